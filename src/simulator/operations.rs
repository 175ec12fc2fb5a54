//! Which operation of which service a request means, and what an operation may ask of the simulator.

use std::cell::RefCell;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::calls::Tokens;
use super::catalog::{self, Catalog};
use super::converse::Delivery;
use super::errors::{Failure, Surface};
use super::form::Form;
use super::invoke::direct::Api;
use super::prompt_cache::Prefix;
use super::quota::Reservation;
use super::reply::Reply;
use super::resolve::{Resolver, Target};
use super::sessions::Identity;
use super::{Simulator, async_invoke, control, converse, count, guardrail, iam, invoke, jobs, kms, responses, s3, sts};

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
    /// With the name that the body gives it.
    CreateJob(String),
    Job(String),
    ListJobs,
    StopJob(String),
    ApplyGuardrail {
        id: String,
        version: String,
    },
    ListFoundationModels,
    FoundationModel(String),
    ListInferenceProfiles,
    InferenceProfile(String),
    ModelAvailability(String),
    ProvisionedModel(String),
    CustomModel(String),
    ImportedModel(String),
    Sts(sts::Action, Form),
    Iam(iam::Action, Form),
    S3(s3::Request),
    DescribeKey,
}

impl Operation {
    /// The operation of a request, if AWS has it; those of S3 are told before.
    pub(crate) fn route(parts: &Parts, body: &[u8]) -> Option<Self> {
        if let Some(target) = parts.headers.get("x-amz-target") {
            return (parts.uri.path() == "/" && target == "TrentService.DescribeKey").then_some(Self::DescribeKey);
        }
        match parts.uri.path() {
            "/" => Self::form(parts, body),
            path => Self::bedrock(parts.method.as_str(), path, body),
        }
    }

    /// A call of the query protocol: its service is told by the version of the API.
    fn form(parts: &Parts, body: &[u8]) -> Option<Self> {
        let form = match parts.method.as_str() {
            "POST" => Form::parse(body),
            "GET" => Form::parse(parts.uri.query().unwrap_or_default().as_bytes()),
            _ => return None,
        };
        match form.field("Version")? {
            "2011-06-15" => Some(Self::Sts(sts::Action::of(&form)?, form)),
            "2010-05-08" => Some(Self::Iam(iam::Action::of(&form)?, form)),
            _ => None,
        }
    }

    fn bedrock(method: &str, path: &str, body: &[u8]) -> Option<Self> {
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
        match (method, &labels[..]) {
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
            ("POST", ["model-invocation-job"]) => Some(Self::CreateJob(jobs::peek(body))),
            ("GET", ["model-invocation-jobs"]) => Some(Self::ListJobs),
            ("GET", ["model-invocation-job", id]) => Some(Self::Job(own(id))),
            ("POST", ["model-invocation-job", id, "stop"]) => Some(Self::StopJob(own(id))),
            ("GET", ["foundation-models"]) => Some(Self::ListFoundationModels),
            ("GET", ["foundation-models", id]) => Some(Self::FoundationModel(own(id))),
            ("GET", ["inference-profiles"]) => Some(Self::ListInferenceProfiles),
            ("GET", ["inference-profiles", id]) => Some(Self::InferenceProfile(own(id))),
            ("GET", ["foundation-model-availability", id]) => Some(Self::ModelAvailability(own(id))),
            ("GET", ["provisioned-model-throughput", id]) => Some(Self::ProvisionedModel(own(id))),
            ("GET", ["custom-models", id]) => Some(Self::CustomModel(own(id))),
            ("GET", ["imported-models", id]) => Some(Self::ImportedModel(own(id))),
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
            Self::CreateJob(_) => "CreateModelInvocationJob",
            Self::Job(_) => "GetModelInvocationJob",
            Self::ListJobs => "ListModelInvocationJobs",
            Self::StopJob(_) => "StopModelInvocationJob",
            Self::ApplyGuardrail { .. } => "ApplyGuardrail",
            Self::ListFoundationModels => "ListFoundationModels",
            Self::FoundationModel(_) => "GetFoundationModel",
            Self::ListInferenceProfiles => "ListInferenceProfiles",
            Self::InferenceProfile(_) => "GetInferenceProfile",
            Self::ModelAvailability(_) => "GetFoundationModelAvailability",
            Self::ProvisionedModel(_) => "GetProvisionedModelThroughput",
            Self::CustomModel(_) => "GetCustomModel",
            Self::ImportedModel(_) => "GetImportedModel",
            Self::Sts(action, _) => action.name(),
            Self::Iam(action, _) => action.name(),
            Self::S3(request) => request.name(),
            Self::DescribeKey => "DescribeKey",
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

    /// What a call is about: the bucket and key, the model, the name of a new job or the identifier of one; empty without one.
    pub(crate) fn subject(&self) -> String {
        match self {
            Self::S3(request) => request.subject(),
            Self::CreateJob(job) | Self::Job(job) | Self::StopJob(job) => job.clone(),
            _ => self.model_id().unwrap_or_default().to_owned(),
        }
    }

    /// Whether nobody signs it.
    pub(crate) const fn is_unsigned(&self) -> bool {
        matches!(self, Self::Sts(sts::Action::AssumeRoleWithWebIdentity, _))
    }

    /// Whether the faults of inference apply.
    pub(crate) const fn is_inference(&self) -> bool {
        matches!(self, Self::Converse(..) | Self::Invoke(..) | Self::Direct(..) | Self::StartAsyncInvoke(..))
    }

    /// Whether it is one of Bedrock's control plane.
    pub(crate) const fn is_control(&self) -> bool {
        matches!(
            self,
            Self::ListFoundationModels
                | Self::CreateJob(_)
                | Self::Job(_)
                | Self::ListJobs
                | Self::StopJob(_)
                | Self::FoundationModel(_)
                | Self::ListInferenceProfiles
                | Self::InferenceProfile(_)
                | Self::ModelAvailability(_)
                | Self::ProvisionedModel(_)
                | Self::CustomModel(_)
                | Self::ImportedModel(_)
        )
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
            Self::Sts(..) => Surface::Sts,
            Self::Iam(..) => Surface::Iam,
            Self::S3(_) => Surface::S3,
            Self::DescribeKey => Surface::Kms,
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
            Self::CreateJob(_) => jobs::create(context, body),
            Self::Job(id) => jobs::get(context, id),
            Self::ListJobs => jobs::list(context),
            Self::StopJob(id) => jobs::stop(context, id),
            Self::ListFoundationModels => Ok(control::list_models(context)),
            Self::FoundationModel(id) => control::model(context, id),
            Self::ListInferenceProfiles => control::list_profiles(context),
            Self::InferenceProfile(id) => control::profile(context, id),
            Self::ModelAvailability(id) => control::availability(context, id),
            Self::ProvisionedModel(id) => control::provisioned(context, id),
            Self::CustomModel(id) => control::custom(context, id),
            Self::ImportedModel(id) => control::imported(context, id),
            Self::Sts(action, form) => sts::answer(context, *action, form),
            Self::Iam(action, form) => iam::answer(context, *action, form),
            // Its bodies are streams: it is answered on a way of its own.
            Self::S3(_) => Err(Failure::unknown_operation()),
            Self::DescribeKey => kms::describe(context),
        }
    }
}

/// A call as an operation sees it.
pub(crate) struct Context<'a> {
    pub(crate) simulator: &'a Simulator,
    pub(crate) region: &'a str,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) query: &'a str,
    pub(crate) request_id: &'a str,
    pub(crate) identity: &'a Identity,
    pub(crate) body: &'a [u8],
    /// What the prompt cache learns if the call is admitted.
    pub(crate) prefixes: RefCell<Vec<Prefix>>,
    /// The offer of this moment.
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) lane: Lane,
}

/// How a model is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    Online,
    /// By a batch job: no prompt cache.
    Batch,
}

impl Context<'_> {
    /// The model that an identifier means here and now.
    pub(crate) fn resolve(&self, identifier: &str) -> Result<Target, Failure> {
        let (catalog, today) = (&self.catalog, self.today());
        let resolver = Resolver { catalog, settings: self.simulator.settings(), region: self.region, today: &today };
        resolver.resolve(identifier, self.turn())
    }

    /// The number in `[[route:N]]`, by which a prompt router chooses; 0 without one.
    fn turn(&self) -> usize {
        let at = memchr::memmem::find(self.body, b"[[route:").map(|at| &self.body[at + 8..]);
        let digits = at.into_iter().flatten().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |number: usize, digit| number.saturating_mul(10).saturating_add(usize::from(digit - b'0')))
    }

    /// Holds a call that would be answered with `tokens` to its quota, and lets the prompt cache learn when it fits.
    pub(crate) fn admit(&self, operation: &Operation, tokens: Tokens) -> Result<Option<Reservation>, Failure> {
        let reservation = match operation.model_id().filter(|_| operation.is_inference()) {
            Some(id) if !self.simulator.quotas_kept().is_empty() => self.reserve(id, tokens)?,
            _ => None,
        };
        self.simulator.prompt_cache().remember(self.prefixes.take());
        Ok(reservation)
    }

    fn reserve(&self, identifier: &str, tokens: Tokens) -> Result<Option<Reservation>, Failure> {
        let target = self.resolve(identifier)?;
        if target.is_provisioned() {
            return Ok(None);
        }
        let body: serde_json::Value = serde_json::from_slice(self.body).unwrap_or_default();
        let asked = ["max_tokens", "max_completion_tokens", "max_output_tokens", "max_gen_len"];
        let asked = asked.iter().find_map(|name| body[name].as_u64());
        let asked = asked.or_else(|| body["inferenceConfig"]["maxTokens"].as_u64());
        let default = if target.model.kind == "chat" { target.model.max_output_tokens.unwrap_or(4096) } else { 0 };
        let most = tokens.input + tokens.cache_write + asked.unwrap_or(default);
        let quotas = self.simulator.quotas_kept();
        quotas.admit((self.region, target.quota_id()), most, target.model.burndown(), self.simulator.now())
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
