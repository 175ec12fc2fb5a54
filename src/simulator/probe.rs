//! How the simulator's own tests call it: over its router, with a bearer token or a signature.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::Simulator;
use super::sigv4::{Authorization, Rules, Signed, body_hash};

/// The status and text of an answer.
pub(crate) async fn send(simulator: &Simulator, method: &str, path: &str, body: &Value) -> (u16, String) {
    send_with(simulator, method, path, body, &[]).await
}

/// As [`send`], with further headers.
pub(crate) async fn send_with(
    simulator: &Simulator,
    method: &str,
    path: &str,
    body: &Value,
    headers: &[(&str, &str)],
) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(path).header("authorization", "Bearer sim-bearer-token");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = simulator.router().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// What a call is signed with.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) token: Option<String>,
}

impl Keys {
    /// The lasting key of a simulator.
    pub(crate) fn of(simulator: &Simulator) -> Self {
        let settings = simulator.settings();
        Self { access_key: settings.access_key.clone(), secret_key: settings.secret_key.clone(), token: None }
    }
}

/// The status and text of a signed call. `scope` is the service and the Region.
pub(crate) async fn signed(
    simulator: &Simulator,
    keys: &Keys,
    (service, region): (&str, &str),
    request: (&str, &str, &[u8]),
    headers: &[(&'static str, &str)],
) -> (u16, String) {
    let response = signed_response(simulator, keys, (service, region), request, headers).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// As [`signed`], but the answer with its headers.
pub(crate) async fn signed_response(
    simulator: &Simulator,
    keys: &Keys,
    (service, region): (&str, &str),
    (method, path, body): (&str, &str, &[u8]),
    headers: &[(&'static str, &str)],
) -> axum::http::Response<Body> {
    let date = simulator.now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let mut request = Request::builder().method(method).uri(path).header("host", "sim").header("x-amz-date", &date);
    let mut names = vec!["host", "x-amz-date"];
    let hash = body_hash(body);
    if service == "s3" {
        request = request.header("x-amz-content-sha256", &hash);
        names.push("x-amz-content-sha256");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
        names.push(name);
    }
    if let Some(token) = &keys.token {
        request = request.header("x-amz-security-token", token);
        names.push("x-amz-security-token");
    }
    names.sort_unstable();
    let mut request = request.body(Body::from(body.to_vec())).unwrap();
    let authorization = Authorization {
        access_key: &keys.access_key,
        date: &date[..8],
        region,
        service,
        signed_headers: names.clone(),
        signature: "",
    };
    let rules = if service == "s3" { Rules::S3 } else { Rules::Usual };
    let (uri, headers) = (request.uri(), request.headers());
    let parts = Signed { method: request.method(), uri, headers, hash: &hash, rules };
    let header = format!(
        "AWS4-HMAC-SHA256 Credential={}/{}/{region}/{service}/aws4_request, SignedHeaders={}, Signature={}",
        keys.access_key,
        &date[..8],
        names.join(";"),
        authorization.expected(&parts, &date, &keys.secret_key)
    );
    request.headers_mut().insert("authorization", header.parse().unwrap());
    simulator.router().oneshot(request).await.unwrap()
}

/// The text of an element of an XML document.
pub(crate) fn element<'a>(xml: &'a str, name: &str) -> &'a str {
    let inside = xml.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
    inside.map_or("", |(text, _)| text)
}

/// The status and JSON of a POST.
pub(crate) async fn post(simulator: &Simulator, path: &str, body: &Value) -> (u16, Value) {
    let (status, text) = send(simulator, "POST", path, body).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// The server-sent events of a stream: names (empty without one) and data, JSON or text.
pub(crate) fn events(text: &str) -> Vec<(String, Value)> {
    let frames = text.trim_end().split("\n\n");
    frames
        .map(|frame| {
            let (name, data) = frame.split_once('\n').unwrap_or(("", frame));
            let data = data.strip_prefix("data: ").unwrap();
            let data = serde_json::from_str(data).unwrap_or_else(|_| Value::from(data));
            (name.strip_prefix("event: ").unwrap_or_default().to_owned(), data)
        })
        .collect()
}

/// `base` with the members of `fields`.
pub(crate) fn with(mut base: Value, fields: &Value) -> Value {
    base.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    base
}
