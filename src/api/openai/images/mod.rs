//! `POST /v1/images/generations`: <https://platform.openai.com/docs/api-reference/images/create>.
//!
//! Stability's models make one picture for each call, so `n` pictures are `n` calls. The base64 of a picture is never
//! decoded.

mod settings;
mod wire;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;

use self::settings::Settings;
use self::wire::{Image, ImageList, Request};
use super::error::{self, ErrorBody, FILTERED};
use crate::api::answer::{annotate, of_json};
use crate::api::body;
use crate::api::caller::{Body, Strictness};
use crate::api::fan_out::{self, Answered, Part};
use crate::api::purpose;
use crate::error::{Error, Exception, Kind, Result};
use crate::families::image::{self, Answer, ImageModel};
use crate::gateway::{Gateway, Origin, Trail};
use crate::report::Report;
use crate::tenancy::Caller;

/// Create images
///
/// Stability's text-to-image models. Images come as base64. The models take a ratio of width to height, not pixels:
/// `size` becomes the nearest. `negative_prompt`, `seed` and further fields of the model go to it as they are.
#[utoipa::path(
    post,
    path = "/v1/images/generations",
    tag = "OpenAI",
    request_body = Request,
    responses(
        (status = 200, description = "The images.", body = ImageList),
        (status = "4XX", description = "The request cannot be served as it is, or a filter stopped it.", body = ErrorBody),
        (status = "5XX", description = "Bedrock or the gateway failed.", body = ErrorBody),
    ),
    security(("key" = ["inference"]))
)]
pub(super) async fn create(
    State(gateway): State<Gateway>,
    caller: Caller,
    trail: Trail,
    strictness: Strictness,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response> {
    let mut request: Request = body::read(&body)?;
    drop(body);
    settings::refuse_impossible(&request)?;
    let model = trail.wait_for(gateway.model(&caller, std::mem::take(&mut request.model))).await?;
    let family = purpose::family(&model, "images", ImageModel::of)?;
    let mut report = Report::default();
    let Settings { count, ratio, format } = settings::read(&request, family, &mut report)?;
    strictness.judge(&report)?;
    request.extra.retain(|_, value| !value.is_null());
    request.extra.extend(request.seed.map(|seed| ("seed".to_owned(), seed.into())));
    let native = image::body(&request.prompt, ratio.as_deref(), format.as_deref(), &request.extra)?;
    let origin =
        Origin { surface: "openai", operation: "images", trail, end_user: request.user, status: error::status };

    let parts =
        std::iter::repeat_n(native, count).map(|body| Part { body, blame: None, own: Arc::default() }).collect();
    let (answers, served) = fan_out::invoke(&gateway, &caller, &origin, (&model, &headers), parts).await?;
    let created = gateway.clock().now().seconds();
    // What the models make when nothing is asked for.
    let format = format.as_deref().unwrap_or("png");
    let answer = render(&answers, created, format)?;
    Ok(annotate(of_json(answer.into()), &served, &report))
}

/// The answer's body.
fn render(answers: &[Answered], created: i64, output_format: &str) -> Result<Vec<u8>> {
    let mut data = Vec::with_capacity(answers.len());
    for answer in answers {
        match image::read(&answer.body) {
            Ok(Answer::Images(images)) => data.extend(images.into_iter().map(|b64_json| Image { b64_json })),
            Ok(Answer::Filtered(reason)) => {
                let message = format!("The model's content filter stopped the request. {reason}.");
                let exception = Exception { name: FILTERED, status: 400 };
                return Err(Error::new(Kind::UpstreamRejected, message).param("prompt").exception(exception));
            }
            Ok(Answer::Failed(reason)) => {
                let message = format!("The model failed to make the image. {reason}.");
                return Err(Error::new(Kind::UpstreamUnavailable, message));
            }
            Err(cause) => {
                let message = "Bedrock sent an answer that could not be read.";
                return Err(Error::new(Kind::UpstreamUnavailable, message).source(cause));
            }
        }
    }
    serde_json::to_vec(&ImageList { created, data, output_format }).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn answered(body: &'static str) -> Answered {
        Answered { body: Bytes::from_static(body.as_bytes()), input_tokens: 0 }
    }

    #[test]
    fn pictures_are_passed_on_as_they_came() {
        let one = answered(r#"{"images":["QUJD"],"seeds":[1],"finish_reasons":[null]}"#);
        let two = answered(r#"{"images":["REVG"],"seeds":[2],"finish_reasons":[null]}"#);
        let body = render(&[one, two], 7, "png").unwrap();
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"created":7,"data":[{"b64_json":"QUJD"},{"b64_json":"REVG"}],"output_format":"png"}"#
        );
    }

    #[test]
    fn what_a_filter_stopped_is_no_fault_of_the_service() {
        let kind = |body| render(&[answered(body)], 7, "png").unwrap_err().kind();
        assert_eq!(kind(r#"{"finish_reasons":["Filter reason: prompt"]}"#), Kind::UpstreamRejected);
        assert_eq!(kind(r#"{"finish_reasons":["Inference error"]}"#), Kind::UpstreamUnavailable);
        assert_eq!(kind("{}"), Kind::UpstreamUnavailable);
    }
}
