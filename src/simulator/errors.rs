//! AWS's exceptions as the simulator answers them: status, `x-amzn-errortype`, a JSON message.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

/// Whose shape an error takes: AWS's, or that of the API whose path was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    Aws,
    OpenAi,
    /// OpenAI's Responses API, whose streams have an error event of their own.
    Responses,
    Anthropic,
}

/// A refusal, with AWS's name for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    pub(crate) name: Cow<'static, str>,
    pub(crate) message: String,
    /// Further members of the exception (`originalStatusCode`, ...).
    members: Option<Box<Map<String, Value>>>,
    retry_after: Option<u64>,
    /// The parameter that OpenAI's errors name.
    param: Option<String>,
    layer: Layer,
}

/// Who refused: the service writes `message` and its namespace, the layers before it do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Service,
    Signature,
    ApiKey,
    Router,
}

impl Failure {
    /// Told to come back after so many seconds.
    pub(crate) fn retry_after(self, seconds: Option<u64>) -> Self {
        Self { retry_after: seconds, ..self }
    }

    /// About a parameter of the body.
    pub(crate) fn about(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// With further members.
    pub(crate) fn with(self, members: Option<Box<Map<String, Value>>>) -> Self {
        Self { members, ..self }
    }

    /// An exception of the service.
    pub(crate) fn new(status: u16, name: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (name, message) = (name.into(), message.into());
        Self { status, name, message, members: None, retry_after: None, param: None, layer: Layer::Service }
    }

    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationException", message)
    }

    /// A message of the model, as Converse wraps it.
    pub(crate) fn model(message: impl std::fmt::Display) -> Self {
        Self::validation(format!("The model returned the following errors: {message}"))
    }

    pub(crate) fn serialization(message: impl Into<String>) -> Self {
        Self::new(400, "SerializationException", message)
    }

    pub(crate) fn malformed(message: impl std::fmt::Display) -> Self {
        Self::validation(format!("Malformed input request: {message}, please reformat your input and try again."))
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(404, "ResourceNotFoundException", message)
    }

    /// A refusal of the layer that checks signatures.
    pub(crate) fn signature(status: u16, name: &'static str, message: impl Into<String>) -> Self {
        Self { layer: Layer::Signature, ..Self::new(status, name, message) }
    }

    /// A refusal of the layer that checks API keys; its member is `Message`.
    pub(crate) fn api_key(message: impl Into<String>) -> Self {
        Self { layer: Layer::ApiKey, ..Self::new(403, "AccessDeniedException", message) }
    }

    /// No operation has this method and path.
    pub(crate) fn unknown_operation() -> Self {
        Self { layer: Layer::Router, ..Self::new(404, "UnknownOperationException", "") }
    }

    /// The exception's members as JSON.
    pub(crate) fn body(&self) -> Value {
        let key = if self.layer == Layer::ApiKey { "Message" } else { "message" };
        let mut body = json!({ key: self.message });
        if let (Some(object), Some(members)) = (body.as_object_mut(), &self.members) {
            object.extend((**members).clone());
        }
        body
    }

    /// The error object of a surface; the layers before the service always speak as AWS.
    pub(crate) fn body_for(&self, surface: Surface) -> Value {
        let kind = match self.status {
            400 => "invalid_request_error",
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 | 529 if surface == Surface::Anthropic => "overloaded_error",
            _ => "api_error",
        };
        match surface {
            _ if self.layer != Layer::Service => self.body(),
            Surface::Aws => self.body(),
            Surface::OpenAi | Surface::Responses => {
                json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.name}})
            }
            Surface::Anthropic => json!({"type": "error", "error": {"type": kind, "message": self.message}}),
        }
    }

    /// The whole HTTP answer.
    pub(crate) fn response(&self, surface: Surface) -> Response<Body> {
        let body = match self.layer {
            Layer::Router => {
                r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#
                    .to_owned()
            }
            _ => self.body_for(surface).to_string(),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let error_type = match self.layer {
            Layer::Service => format!("{}:http://internal.amazon.com/coral/com.amazon.bedrock/", self.name),
            _ => self.name.to_string(),
        };
        if let Ok(value) = HeaderValue::from_str(&error_type) {
            headers.insert("x-amzn-errortype", value);
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// The HTTP status and the usual message of an exception, when nobody says otherwise.
pub(crate) fn known(name: &str) -> (u16, &'static str) {
    match name.get(..1).map(|first| first.to_ascii_uppercase() + &name[1..]).as_deref() {
        Some("ThrottlingException") => (429, "Too many requests, please wait before trying again."),
        Some("ServiceUnavailableException") => (503, "Bedrock is unable to process your request."),
        Some("ModelNotReadyException") => (429, "Model is not ready for inference."),
        Some("ModelTimeoutException") => {
            (408, "Model has timed out in processing the request. Try your request again.")
        }
        Some("ModelErrorException" | "ModelStreamErrorException") => {
            (424, "The system encountered an unexpected error during processing. Try your request again.")
        }
        Some("ServiceQuotaExceededException") => (400, "Your request exceeds the service quota for your account."),
        Some("ValidationException") => (400, "The provided request is not valid."),
        Some("AccessDeniedException") => (403, "You don't have access to the model with the specified model ID."),
        Some("ResourceNotFoundException") => (404, "The specified resource was not found."),
        Some("ExpiredTokenException") => (403, "The security token included in the request is expired"),
        _ => (500, "The system encountered an unexpected error during processing. Try your request again."),
    }
}
