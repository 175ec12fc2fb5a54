//! The shape of an error as an AWS SDK reads it: the exception's name in `x-amzn-errortype`, the text in `message`.

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::problem::Problem;
use crate::error::{Error, Exception, Kind};
use crate::upstream::{Operation, frames};

/// An error.
#[derive(Serialize, ToSchema)]
#[schema(as = BedrockError)]
pub(super) struct Envelope<'a> {
    /// What to do about it.
    #[schema(value_type = String)]
    message: &'a str,
}

/// A failed request in this surface's shape.
pub(in crate::api) fn shape(problem: &Problem) -> Response {
    let exception = exception(&problem.0);
    let body = serde_json::to_vec(&Envelope { message: problem.0.message() }).unwrap_or_default();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (HeaderName::from_static("x-amzn-errortype"), HeaderValue::from_static(exception.name)),
    ];
    problem.answer(exception.status, (headers, body))
}

/// The HTTP status of `error`.
pub(super) fn status(error: &Error) -> u16 {
    exception(error).status
}

/// The exception frame that ends a stream of `operation` which broke after its first byte.
pub(super) fn frame(operation: Operation, error: &Error) -> Bytes {
    // The five exceptions that every event stream of the runtime declares, and one that only the models' own have:
    // <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ResponseStream.html>.
    let name = match exception(error).name {
        "ModelTimeoutException" if operation == Operation::InvokeModelWithResponseStream => "modelTimeoutException",
        "ValidationException" => "validationException",
        "ThrottlingException" => "throttlingException",
        "ServiceUnavailableException" => "serviceUnavailableException",
        "ModelStreamErrorException" | "ModelErrorException" | "ModelTimeoutException" => "modelStreamErrorException",
        _ => "internalServerException",
    };
    frames::exception(name, error.message())
}

/// The exception that stands for an error: AWS's own if there is one behind it.
/// <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html#API_runtime_Converse_Errors>
fn exception(error: &Error) -> Exception {
    if let Some(exception) = error.aws() {
        return exception;
    }
    let (name, status) = match error.kind() {
        Kind::Invalid | Kind::Unsupported | Kind::TooLarge | Kind::UpstreamRejected => ("ValidationException", 400),
        Kind::Conflict | Kind::Stale => ("ConflictException", 400),
        Kind::Unauthenticated => ("UnrecognizedClientException", 403),
        Kind::Forbidden => ("AccessDeniedException", 403),
        Kind::ModelNotFound => ("ResourceNotFoundException", 404),
        Kind::NotFound => ("UnknownOperationException", 404),
        Kind::MethodNotAllowed => ("UnknownOperationException", 405),
        Kind::TooSlow => ("RequestTimeoutException", 408),
        Kind::RateLimited | Kind::UpstreamThrottled => ("ThrottlingException", 429),
        Kind::BudgetExhausted => ("ServiceQuotaExceededException", 400),
        Kind::Unavailable | Kind::UpstreamUnavailable => ("ServiceUnavailableException", 503),
        Kind::Timeout => ("ModelTimeoutException", 408),
        Kind::Internal => ("InternalServerException", 500),
    };
    Exception { name, status }
}
