//! AWS's exceptions as the simulator answers them: status, `x-amzn-errortype`, a JSON message; beside Bedrock as each service
//! writes them.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use super::form::Xml;

/// What S3 begins its documents with.
pub(crate) const XML_HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Whose shape an error takes: AWS's, or that of the API whose path was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    Aws,
    OpenAi,
    /// OpenAI's Responses API, whose streams have an error event of their own.
    Responses,
    Anthropic,
    /// STS, IAM and S3 write XML; KMS writes JSON with the type inside.
    Sts,
    Iam,
    S3,
    Kms,
}

impl Surface {
    /// The service that a signature is scoped to.
    pub(crate) const fn service(self) -> &'static str {
        match self {
            Self::Sts => "sts",
            Self::Iam => "iam",
            Self::S3 => "s3",
            Self::Kms => "kms",
            _ => "bedrock",
        }
    }
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
    /// `x-amz-bucket-region`.
    bucket_region: Option<Box<str>>,
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
        Self {
            status,
            name,
            message,
            members: None,
            retry_after: None,
            param: None,
            bucket_region: None,
            layer: Layer::Service,
        }
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
            Surface::Aws | Surface::Sts | Surface::Iam | Surface::S3 | Surface::Kms => self.body(),
            Surface::OpenAi | Surface::Responses => {
                json!({"error": {"message": self.message, "type": kind, "param": self.param, "code": self.name}})
            }
            Surface::Anthropic => json!({"type": "error", "error": {"type": kind, "message": self.message}}),
        }
    }

    /// The whole HTTP answer.
    pub(crate) fn response(&self, surface: Surface, request_id: &str) -> Response<Body> {
        if surface.service() != "bedrock" {
            return self.beside(surface, request_id);
        }
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

impl Failure {
    /// The answer of a service beside Bedrock.
    fn beside(&self, surface: Surface, request_id: &str) -> Response<Body> {
        let (status, code) = self.spoken(surface);
        let error = Xml::default().text("Code", &code).text("Message", &self.message);
        let id = Xml::default().text("RequestId", request_id);
        let (content_type, body) = match surface {
            Surface::Kms => {
                let body = json!({"__type": code, "message": self.message}).to_string();
                ("application/x-amz-json-1.1", body)
            }
            Surface::S3 => {
                let members = self.members.iter().flat_map(|members| members.iter());
                let error =
                    members.fold(error, |xml, (name, value)| xml.text(name, value.as_str().unwrap_or_default()));
                let inside = error.text("RequestId", request_id).text("HostId", "simulator");
                ("application/xml", format!("{XML_HEAD}{}", Xml::default().element("Error", "", inside).document()))
            }
            _ => {
                let namespace = match surface {
                    Surface::Iam => " xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"",
                    _ => " xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"",
                };
                let side = Xml::default().text("Type", if status < 500 { "Sender" } else { "Receiver" });
                // XML has no way to write what a refused value may hold.
                let message = self.message.replace(|letter: char| letter.is_control() && letter != '\n', "?");
                let error = Xml::default().text("Code", &code).text("Message", &message);
                let inside = Xml::default().element("Error", "", side.then(error));
                let document = Xml::default().element("ErrorResponse", namespace, inside.then(id));
                ("text/xml", document.document())
            }
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(id) = HeaderValue::from_str(request_id).ok().filter(|_| surface == Surface::S3) {
            response.headers_mut().insert("x-amz-request-id", id);
        }
        let region = self.bucket_region.as_deref().and_then(|region| HeaderValue::from_str(region).ok());
        if let Some(region) = region {
            response.headers_mut().insert("x-amz-bucket-region", region);
        }
        response
    }

    /// Status and code as a service beside Bedrock has them for what Bedrock names otherwise.
    fn spoken(&self, surface: Surface) -> (u16, Cow<'static, str>) {
        let known = match (surface, &*self.name) {
            (Surface::Kms, _) if self.layer == Layer::Signature => return (400, self.name.clone()),
            (Surface::S3, "UnrecognizedClientException") => (403, "InvalidAccessKeyId"),
            (Surface::S3, "ExpiredTokenException") => (400, "ExpiredToken"),
            (Surface::S3, "MissingAuthenticationTokenException")
            | (Surface::S3 | Surface::Sts | Surface::Iam, "AccessDeniedException") => (403, "AccessDenied"),
            (Surface::S3, "IncompleteSignatureException") => (400, "AuthorizationHeaderMalformed"),
            (Surface::S3, "ThrottlingException") => (503, "SlowDown"),
            (Surface::S3, "InternalServerException") => (500, "InternalError"),
            (Surface::S3 | Surface::Sts | Surface::Iam, "InvalidSignatureException") => (403, "SignatureDoesNotMatch"),
            (Surface::Sts | Surface::Iam, "UnrecognizedClientException") => (403, "InvalidClientTokenId"),
            (Surface::Sts | Surface::Iam, "ExpiredTokenException") if self.layer == Layer::Signature => {
                (403, "ExpiredToken")
            }
            (Surface::Sts | Surface::Iam, "ValidationException") => (400, "ValidationError"),
            (Surface::Sts | Surface::Iam, "SerializationException") => (400, "MalformedInput"),
            (Surface::Sts | Surface::Iam, "MissingAuthenticationTokenException") => (403, "MissingAuthenticationToken"),
            (Surface::Sts | Surface::Iam, "IncompleteSignatureException") => (400, "IncompleteSignature"),
            (Surface::Sts | Surface::Iam, "ThrottlingException") => (400, "Throttling"),
            (Surface::Sts | Surface::Iam, "InternalServerException") => (500, "InternalFailure"),
            (Surface::Sts | Surface::Iam | Surface::S3, "ServiceUnavailableException") => (503, "ServiceUnavailable"),
            _ => return (self.status, self.name.clone()),
        };
        (known.0, Cow::Borrowed(known.1))
    }

    /// Telling where the bucket is.
    pub(crate) fn of_bucket_in(self, region: &str) -> Self {
        Self { bucket_region: Some(region.into()), ..self }
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
