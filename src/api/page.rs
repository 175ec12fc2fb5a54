//! `/docs` and `/openapi.json`: the API's document, and the page that shows it and tries its calls with the caller's key.
//!
//! The page is compiled in and loads nothing from another host. Its headers have the browser hold to that, whatever the
//! page's scripts would do: they reach this gateway alone.

use axum::Router;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::middleware::{Next, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_SECURITY_POLICY, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue};
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::config::Server;
use crate::error::Kind;
use crate::gateway::Gateway;
use crate::tenancy::Caller;

/// Scripts, pictures and calls of this gateway alone, in nobody's frame. The page writes its style sheets itself, and shows
/// what it downloaded by `blob:`.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
                      media-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What a browser asks its user for. It knows names and passwords only.
const ASK: &str = "Basic realm=\"a gateway key as the password, any name\", charset=\"UTF-8\"";

/// The routes of the page and its document. Unless they are public they take a key, also as a browser asks for one.
pub(super) fn router(gateway: &Gateway, server: &Server, document: OpenApi) -> Router<Gateway> {
    let config = Config::default()
        .use_base_layout()
        .try_it_out_enabled(true)
        .persist_authorization(true)
        .display_request_duration(true)
        .filter(true)
        .doc_expansion("none")
        // Without it the page has a stranger check the document, unless it is reached as localhost.
        .validator_url("none");
    let page: Router<Gateway> = SwaggerUi::new("/docs").url("/openapi.json", document).config(config).into();
    let mut routes = page.route("/", get(|| async { Redirect::temporary("/docs/") }));
    if !server.public_docs {
        routes = routes.route_layer(from_fn_with_state(gateway.clone(), ask_for_a_key));
    }
    routes.route_layer(map_response(fence))
}

async fn fence(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn ask_for_a_key(State(gateway): State<Gateway>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Some(bearer) = password(&parts.headers) {
        parts.headers.insert(AUTHORIZATION, bearer);
    }
    match Caller::from_request_parts(&mut parts, &gateway).await {
        Ok(_) => next.run(Request::from_parts(parts, body)).await,
        Err(error) => {
            let is_to_be_asked = error.kind() == Kind::Unauthenticated;
            let mut response = error.into_response();
            if is_to_be_asked {
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(ASK));
            }
            response
        }
    }
}

/// The password of `Authorization: Basic` as a bearer key: <https://www.rfc-editor.org/rfc/rfc7617#section-2>.
fn password(headers: &HeaderMap) -> Option<HeaderValue> {
    let (scheme, pair) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let pair = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(pair.trim()).ok())??;
    let (_, key) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {key}")).ok()?;
    bearer.set_sensitive(true);
    Some(bearer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_what_a_browser_sends_as_the_password() {
        let read = |text: &str| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, text.parse().unwrap())]);
            password(&headers).map(|value| value.to_str().unwrap().to_owned())
        };
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        assert_eq!(read(&basic("anybody:bgw_a_b:c")), Some("Bearer bgw_a_b:c".into()));
        assert_eq!(read(&basic(":bgw_a_b").replace("Basic", "basic")), Some("Bearer bgw_a_b".into()));
        for other in [&*basic("bgw_a_b"), &basic("a:b\nc"), "Basic !", "Bearer bgw_a_b", "Basic"] {
            assert_eq!(read(other), None, "{other}");
        }
    }
}
