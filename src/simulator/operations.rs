//! Which operation a method and path mean, and what an operation may ask of the simulator.

use axum::http::{HeaderMap, Method};
use percent_encoding::percent_decode_str;

use super::catalog::{self, Target};
use super::converse::Delivery;
use super::errors::{Failure, Surface};
use super::invoke::direct::Api;
use super::reply::Reply;
use super::{Simulator, async_invoke, control, converse, count, guardrail, invoke, responses};

/// What any operation takes; `InvokeModel` words its refusal differently.
const MAX_BODY: usize = 25_000_000;

/// An operation with the labels of its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Converse(String, Delivery),
    Invoke(String, Delivery),
    CountTokens(String),
    /// An OpenAI or Anthropic path of the runtime.
    Direct(Api, String, Delivery),
    StoredResponse(String),
    DeleteResponse(String),
    /// With the model that the body names.
    StartAsyncInvoke(String),
    AsyncInvoke(String),
    ListAsyncInvokes,
    ApplyGuardrail {
        id: String,
        version: String,
    },
    ListFoundationModels,
    FoundationModel(String),
    ListInferenceProfiles,
    InferenceProfile(String),
}

impl Operation {
    /// The operation of a request, if AWS has it.
    pub(crate) fn route(method: &Method, path: &str, body: &[u8]) -> Option<Self> {
        let segments: Vec<String> = path
            .strip_prefix('/')?
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let labels: Vec<&str> = segments.iter().map(String::as_str).collect();
        let own = |label: &str| label.to_owned();
        let direct = |api| {
            let (model, delivery) = invoke::direct::peek(body);
            Some(Self::Direct(api, model, delivery))
        };
        match (method.as_str(), &labels[..]) {
            ("POST", ["model", id, action]) if !id.is_empty() => match *action {
                "converse" => Some(Self::Converse(own(id), Delivery::Whole)),
                "converse-stream" => Some(Self::Converse(own(id), Delivery::Stream)),
                "invoke" => Some(Self::Invoke(own(id), Delivery::Whole)),
                "invoke-with-response-stream" => Some(Self::Invoke(own(id), Delivery::Stream)),
                "count-tokens" => Some(Self::CountTokens(own(id))),
                _ => None,
            },
            ("POST", ["guardrail", id, "version", version, "apply"]) => {
                Some(Self::ApplyGuardrail { id: own(id), version: own(version) })
            }
            ("POST", ["openai", "v1", "chat", "completions"]) => direct(Api::ChatCompletions),
            ("POST", ["openai", "v1", "responses"]) => direct(Api::Responses),
            ("GET", ["openai", "v1", "responses", id]) => Some(Self::StoredResponse(own(id))),
            ("DELETE", ["openai", "v1", "responses", id]) => Some(Self::DeleteResponse(own(id))),
            ("POST", ["anthropic", "v1", "messages"]) => direct(Api::Messages),
            ("POST", ["async-invoke"]) => Some(Self::StartAsyncInvoke(async_invoke::peek(body))),
            ("GET", ["async-invoke"]) => Some(Self::ListAsyncInvokes),
            ("GET", ["async-invoke", arn]) => Some(Self::AsyncInvoke(own(arn))),
            ("GET", ["foundation-models"]) => Some(Self::ListFoundationModels),
            ("GET", ["foundation-models", id]) => Some(Self::FoundationModel(own(id))),
            ("GET", ["inference-profiles"]) => Some(Self::ListInferenceProfiles),
            ("GET", ["inference-profiles", id]) => Some(Self::InferenceProfile(own(id))),
            _ => None,
        }
    }

    /// AWS's name of the operation.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Converse(_, Delivery::Whole) => "Converse",
            Self::Converse(_, Delivery::Stream) => "ConverseStream",
            Self::Invoke(_, Delivery::Whole) => "InvokeModel",
            Self::Invoke(_, Delivery::Stream) => "InvokeModelWithResponseStream",
            Self::CountTokens(_) => "CountTokens",
            Self::Direct(Api::Messages, ..) => "Messages",
            Self::Direct(Api::Responses, ..) => "Responses",
            Self::Direct(Api::ChatCompletions, ..) => "ChatCompletions",
            Self::StoredResponse(_) => "GetResponse",
            Self::DeleteResponse(_) => "DeleteResponse",
            Self::StartAsyncInvoke(_) => "StartAsyncInvoke",
            Self::AsyncInvoke(_) => "GetAsyncInvoke",
            Self::ListAsyncInvokes => "ListAsyncInvokes",
            Self::ApplyGuardrail { .. } => "ApplyGuardrail",
            Self::ListFoundationModels => "ListFoundationModels",
            Self::FoundationModel(_) => "GetFoundationModel",
            Self::ListInferenceProfiles => "ListInferenceProfiles",
            Self::InferenceProfile(_) => "GetInferenceProfile",
        }
    }

    /// The model identifier of an inference call or a count.
    pub(crate) fn model_id(&self) -> Option<&str> {
        match self {
            Self::Converse(id, _)
            | Self::Invoke(id, _)
            | Self::CountTokens(id)
            | Self::Direct(_, id, _)
            | Self::StartAsyncInvoke(id) => Some(id),
            _ => None,
        }
    }

    /// Whether faults apply.
    pub(crate) const fn is_inference(&self) -> bool {
        matches!(self, Self::Converse(..) | Self::Invoke(..) | Self::Direct(..) | Self::StartAsyncInvoke(..))
    }

    pub(crate) const fn streams(&self) -> bool {
        matches!(
            self,
            Self::Converse(_, Delivery::Stream)
                | Self::Invoke(_, Delivery::Stream)
                | Self::Direct(_, _, Delivery::Stream)
        )
    }

    /// Whose shape its errors have.
    pub(crate) const fn surface(&self) -> Surface {
        match self {
            Self::Direct(api, ..) => api.surface(),
            Self::StoredResponse(_) | Self::DeleteResponse(_) => Surface::Responses,
            _ => Surface::Aws,
        }
    }

    /// Answers the call.
    pub(crate) fn perform(&self, context: &Context<'_>, body: &[u8]) -> Result<Reply, Failure> {
        if body.len() > MAX_BODY && !matches!(self, Self::Invoke(..)) {
            return Err(Failure::new(413, "RequestEntityTooLargeException", "Request size exceeded."));
        }
        match self {
            Self::Direct(api, id, delivery) => invoke::direct::answer(context, *api, id, body, *delivery),
            Self::StoredResponse(id) => responses::retrieve(context, id),
            Self::DeleteResponse(id) => responses::delete(context, id),
            Self::Converse(id, delivery) => converse::answer(context, id, body, *delivery),
            Self::Invoke(id, delivery) => invoke::answer(context, id, body, *delivery),
            Self::CountTokens(id) => count::answer(context, id, body),
            Self::ApplyGuardrail { id, version } => guardrail::apply(context, id, version, body),
            Self::StartAsyncInvoke(_) => async_invoke::start(context, body),
            Self::AsyncInvoke(arn) => async_invoke::get(context, arn),
            Self::ListAsyncInvokes => async_invoke::list(context),
            Self::ListFoundationModels => control::list_models(context),
            Self::FoundationModel(id) => control::model(context, id),
            Self::ListInferenceProfiles => control::list_profiles(context),
            Self::InferenceProfile(id) => control::profile(context, id),
        }
    }
}

/// A call as an operation sees it.
pub(crate) struct Context<'a> {
    pub(crate) simulator: &'a Simulator,
    pub(crate) region: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: &'a str,
}

impl Context<'_> {
    /// The model that an identifier means here and now.
    pub(crate) fn resolve(&self, identifier: &str) -> Result<Target, Failure> {
        catalog::resolve(self.region, identifier, &self.today(), &self.simulator.settings().application_profiles)
    }

    /// `YYYY-MM-DD` by the simulator's clock.
    pub(crate) fn today(&self) -> String {
        self.simulator.now().strftime("%Y-%m-%d").to_string()
    }

    /// Seconds since the epoch by the simulator's clock.
    pub(crate) fn seconds(&self) -> i64 {
        self.simulator.now().as_second()
    }

    pub(crate) fn partition(&self) -> &'static str {
        catalog::partition(self.region).unwrap_or("aws")
    }

    pub(crate) fn account(&self) -> &str {
        &self.simulator.settings().account
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}
