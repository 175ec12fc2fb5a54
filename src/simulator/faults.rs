//! Faults by name. Each waits for the next calls of its Region, of inference (and of a model, if it names one) or of the control
//! plane (and of an operation), first come first served; a fault of streams waits for a stream. Outages and denied models stay
//! until they are taken back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::errors::{self, Failure};
use super::operations::Operation;
use super::s3::{self, S3Faults};
use super::{RegionJobs, Simulator};

const NOT_AUTHORIZED: &str = "User is not authorized to perform this operation.";

/// What happens to a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    Reject(Failure),
    /// The connection is closed before any byte of an answer.
    ResetConnection,
    /// The same, but what was called for happens.
    LoseAnswer,
    SlowFirstByte(Duration),
    CutStream {
        after: usize,
    },
    StallStream {
        after: usize,
        pause: Duration,
    },
    StreamException {
        name: String,
        message: String,
        after: usize,
    },
    /// A frame with a wrong checksum.
    CorruptFrame {
        after: usize,
    },
    /// The bytes of an object break off after so many.
    CutBody {
        after: u64,
    },
}

impl Fault {
    pub(crate) fn is_of_streams(&self) -> bool {
        !matches!(
            self,
            Self::Reject(_) | Self::ResetConnection | Self::LoseAnswer | Self::SlowFirstByte(_) | Self::CutBody { .. }
        )
    }

    /// Whether an operation's answer has what it is about.
    fn fits(&self, operation: &Operation) -> bool {
        match self {
            Self::CutBody { .. } => operation.name() == "GetObject",
            _ => operation.streams() || !self.is_of_streams(),
        }
    }
}

#[derive(Debug)]
struct Waiting {
    region: String,
    scope: Scope,
    fault: Fault,
    times: u64,
}

/// The calls that a fault is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Inference, by models whose identifier contains this.
    Inference(Option<String>),
    /// The control plane of Bedrock or, by its name, any operation that is no inference (`AssumeRole`, `HeadBucket`, ...).
    Control(Option<String>),
    /// S3, or the operation of it that has this name.
    S3(Option<String>),
}

impl Scope {
    fn takes(&self, operation: &Operation) -> bool {
        match self {
            Self::Inference(model) => {
                let id = operation.model_id().unwrap_or_default();
                operation.is_inference() && model.as_deref().is_none_or(|model| id.contains(model))
            }
            Self::Control(None) => operation.is_control(),
            Self::Control(Some(name)) => !operation.is_inference() && operation.name() == name,
            Self::S3(name) => {
                matches!(operation, Operation::S3(_)) && name.as_deref().is_none_or(|name| operation.name() == name)
            }
        }
    }
}

/// How a Region is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    /// Every connection is reset.
    Reset,
    /// Everything is answered with 503.
    Unavailable,
}

/// The faults that wait, and those that stay.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    waiting: Mutex<VecDeque<Waiting>>,
    lasting: Mutex<Lasting>,
}

#[derive(Debug, Default)]
struct Lasting {
    outages: BTreeMap<String, Outage>,
    denied: BTreeSet<(String, String)>,
    s3_outages: BTreeMap<String, Outage>,
    /// Regions, and actions or operations of S3.
    denied_actions: BTreeSet<(String, String)>,
    /// Refusals of the control plane, by Region.
    refused: Vec<(String, Scope, Failure)>,
}

impl Faults {
    pub(crate) fn add(&self, region: &str, scope: Scope, times: u64, fault: Fault) {
        if times > 0 {
            self.lock().push_back(Waiting { region: region.to_owned(), scope, fault, times });
        }
    }

    /// How `region` is out, if it is.
    pub(crate) fn outage(&self, region: &str) -> Option<Outage> {
        let lasting = self.lasting();
        lasting.outages.get(region).or_else(|| lasting.outages.get("*")).copied()
    }

    /// Whether `region` denies a model of this identifier.
    pub(crate) fn is_denied(&self, region: &str, model_id: &str) -> bool {
        let lasting = self.lasting();
        lasting.denied.iter().any(|(at, model)| (at == region || at == "*") && model_id.contains(model))
    }

    pub(crate) fn set_outage(&self, region: &str, outage: Option<Outage>) {
        let mut lasting = self.lasting();
        match outage {
            Some(outage) => lasting.outages.insert(region.to_owned(), outage),
            None => lasting.outages.remove(region),
        };
    }

    pub(crate) fn deny(&self, region: &str, model: &str) {
        self.lasting().denied.insert((region.to_owned(), model.to_owned()));
    }

    pub(crate) fn allow(&self, region: &str, model: &str) {
        self.lasting().denied.remove(&(region.to_owned(), model.to_owned()));
    }

    /// How S3 is out in `region`, if it is.
    pub(crate) fn s3_outage(&self, region: &str) -> Option<Outage> {
        let lasting = self.lasting();
        lasting.s3_outages.get(region).or_else(|| lasting.s3_outages.get("*")).copied()
    }

    pub(crate) fn set_s3_outage(&self, region: &str, outage: Option<Outage>) {
        let mut lasting = self.lasting();
        match outage {
            Some(outage) => lasting.s3_outages.insert(region.to_owned(), outage),
            None => lasting.s3_outages.remove(region),
        };
    }

    /// The action or operation by which `region` denies a call of S3.
    pub(crate) fn denied_action(&self, region: &str, request: &s3::Request) -> Option<String> {
        let lasting = self.lasting();
        let names = [Some(request.name()), request.permission()];
        let denied = lasting.denied_actions.iter().find(|(at, action)| {
            (at == region || at == "*") && names.iter().flatten().any(|name| name.eq_ignore_ascii_case(action))
        });
        denied.map(|(_, action)| action.clone())
    }

    pub(crate) fn deny_action(&self, region: &str, action: &str) {
        self.lasting().denied_actions.insert((region.to_owned(), action.to_owned()));
    }

    pub(crate) fn allow_action(&self, region: &str, action: &str) {
        self.lasting().denied_actions.remove(&(region.to_owned(), action.to_owned()));
    }

    /// `scope` is refused in `region` until [`Self::lift`].
    pub(crate) fn refuse(&self, region: &str, scope: Scope, failure: Failure) {
        self.lasting().refused.push((region.to_owned(), scope, failure));
    }

    /// Takes the lasting refusals of `scope` back; of the control plane as a whole, those of each operation too.
    pub(crate) fn lift(&self, region: &str, scope: &Scope) {
        let is_meant = |at: &str, refused: &Scope| at == region && (refused == scope || *scope == Scope::Control(None));
        self.lasting().refused.retain(|(at, refused, _)| !is_meant(at, refused));
    }

    fn lasting(&self) -> MutexGuard<'_, Lasting> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The fault of a call, if one waits for it.
    pub(crate) fn take(&self, region: &str, operation: &Operation) -> Option<Fault> {
        let is_meant = |at: &str, scope: &Scope| (at == region || at == "*") && scope.takes(operation);
        let refusal = self.lasting().refused.iter().find(|(at, scope, _)| is_meant(at, scope)).cloned();
        if let Some((_, _, failure)) = refusal {
            return Some(Fault::Reject(failure));
        }
        let mut waiting = self.lock();
        let found = waiting.iter().position(|entry| {
            (entry.region == region || entry.region == "*")
                && entry.scope.takes(operation)
                && entry.fault.fits(operation)
        })?;
        let entry = waiting.get_mut(found)?;
        entry.times -= 1;
        let fault = entry.fault.clone();
        if entry.times == 0 {
            waiting.remove(found);
        }
        Some(fault)
    }

    pub(crate) fn clear(&self) {
        self.lock().clear();
        *self.lasting() = Lasting::default();
    }

    /// How many calls will meet a fault.
    pub(crate) fn waiting(&self) -> u64 {
        self.lock().iter().map(|entry| entry.times).sum()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The faults of one Region (`*`: of any), asked for by name. `n` is how many of its next inference calls meet it; each
/// method returns the Region, so that faults line up.
#[derive(Clone, Debug)]
pub struct RegionFaults {
    simulator: Simulator,
    region: String,
    model: Option<String>,
}

impl RegionFaults {
    pub(crate) fn new(simulator: Simulator, region: &str) -> Self {
        Self { simulator, region: region.to_owned(), model: None }
    }

    /// The batch jobs of this Region.
    pub fn jobs(&self) -> RegionJobs {
        RegionJobs::new(self.simulator.clone(), &self.region)
    }

    fn faults(&self) -> &Arc<Faults> {
        &self.simulator.inner.faults
    }

    /// The faults asked for from here on are met only by calls whose model identifier contains `model`.
    #[must_use]
    pub fn on_model(&self, model: &str) -> Self {
        Self { model: Some(model.to_owned()), ..self.clone() }
    }

    /// The faults of the control plane of this Region.
    pub fn control(&self) -> ControlFaults {
        ControlFaults { faults: Arc::clone(self.faults()), region: self.region.clone(), operation: None }
    }

    /// The faults of S3 in this Region.
    pub fn s3(&self) -> S3Faults {
        S3Faults::new(Arc::clone(self.faults()), &self.region)
    }

    /// The whole Region is out until [`Self::end_outage`]: every connection is reset, whatever is called.
    pub fn outage(&self) -> &Self {
        self.faults().set_outage(&self.region, Some(Outage::Reset));
        self
    }

    /// As [`Self::outage`], but every call is answered with 503 `ServiceUnavailableException`.
    pub fn outage_with_503(&self) -> &Self {
        self.faults().set_outage(&self.region, Some(Outage::Unavailable));
        self
    }

    /// The Region is back.
    pub fn end_outage(&self) -> &Self {
        self.faults().set_outage(&self.region, None);
        self
    }

    /// Calls of models whose identifier contains `model`, by whatever name, are refused until [`Self::allow_model`]: 403
    /// `AccessDeniedException`.
    pub fn deny_model(&self, model: &str) -> &Self {
        self.faults().deny(&self.region, model);
        self
    }

    /// Takes [`Self::deny_model`] back.
    pub fn allow_model(&self, model: &str) -> &Self {
        self.faults().allow(&self.region, model);
        self
    }

    /// 429 `ThrottlingException`.
    pub fn throttle(&self, n: u64) -> &Self {
        self.known(n, "ThrottlingException")
    }

    /// 503 `ServiceUnavailableException`.
    pub fn unavailable(&self, n: u64) -> &Self {
        self.known(n, "ServiceUnavailableException")
    }

    /// 500 `InternalServerException`.
    pub fn internal_error(&self, n: u64) -> &Self {
        self.known(n, "InternalServerException")
    }

    /// 408 `ModelTimeoutException`.
    pub fn model_timeout(&self, n: u64) -> &Self {
        self.known(n, "ModelTimeoutException")
    }

    /// 429 `ModelNotReadyException`.
    pub fn model_not_ready(&self, n: u64) -> &Self {
        self.known(n, "ModelNotReadyException")
    }

    /// 400 `ServiceQuotaExceededException`.
    pub fn quota_exceeded(&self, n: u64) -> &Self {
        self.known(n, "ServiceQuotaExceededException")
    }

    /// 403 `ExpiredTokenException`.
    pub fn expired_credentials(&self, n: u64) -> &Self {
        let (status, message) = errors::known("ExpiredTokenException");
        self.add(n, Fault::Reject(Failure::signature(status, "ExpiredTokenException", message)))
    }

    /// 529 with `overloaded_error`'s message, as some models answer.
    pub fn overloaded(&self, n: u64) -> &Self {
        self.reject(n, "ModelErrorException", 529, "Overloaded")
    }

    /// Any exception, status and message.
    pub fn reject(&self, n: u64, exception: &str, status: u16, message: &str) -> &Self {
        self.add(n, Fault::Reject(Failure::new(status, exception.to_owned(), message)))
    }

    /// 429 `ThrottlingException` with a `Retry-After` header.
    pub fn throttle_for(&self, n: u64, retry_after_seconds: u64) -> &Self {
        let (status, message) = errors::known("ThrottlingException");
        let failure = Failure::new(status, "ThrottlingException", message);
        self.add(n, Fault::Reject(failure.retry_after(Some(retry_after_seconds))))
    }

    /// The connection closes without a byte of an answer. Needs a server of this module; elsewhere the body breaks off.
    pub fn reset_connection(&self, n: u64) -> &Self {
        self.add(n, Fault::ResetConnection)
    }

    /// The answer, otherwise good, begins after `delay`.
    pub fn slow_first_byte(&self, n: u64, delay: Duration) -> &Self {
        self.add(n, Fault::SlowFirstByte(delay))
    }

    /// The next stream breaks off after so many events.
    pub fn cut_stream_after(&self, events: usize) -> &Self {
        self.add(1, Fault::CutStream { after: events })
    }

    /// The next stream stands still for `pause` after so many events.
    pub fn stall_stream_after(&self, events: usize, pause: Duration) -> &Self {
        self.add(1, Fault::StallStream { after: events, pause })
    }

    /// The next stream ends in an exception (`throttlingException`, ...) after so many events.
    pub fn stream_exception(&self, name: &str, after_events: usize) -> &Self {
        let message = errors::known(name).1.to_owned();
        self.add(1, Fault::StreamException { name: name.to_owned(), message, after: after_events })
    }

    /// The next stream's frame after so many events has a wrong checksum.
    pub fn corrupt_frame_after(&self, events: usize) -> &Self {
        self.add(1, Fault::CorruptFrame { after: events })
    }

    fn known(&self, n: u64, name: &'static str) -> &Self {
        let (status, message) = errors::known(name);
        self.add(n, Fault::Reject(Failure::new(status, name, message)))
    }

    fn add(&self, n: u64, fault: Fault) -> &Self {
        self.faults().add(&self.region, Scope::Inference(self.model.clone()), n, fault);
        self
    }
}

/// The faults of the control plane of one Region (`*`: of any). `n` is how many of its next calls meet it: of Bedrock's control
/// plane or, after [`Self::on`], of one operation, which may be one of STS, IAM, S3 or KMS.
#[derive(Clone, Debug)]
pub struct ControlFaults {
    faults: Arc<Faults>,
    region: String,
    operation: Option<String>,
}

impl ControlFaults {
    /// The faults asked for from here on are met only by calls of the operation of this name (`ListFoundationModels`,
    /// `GetInferenceProfile`, `AssumeRole`, ...).
    #[must_use]
    pub fn on(&self, operation: &str) -> Self {
        Self { operation: Some(operation.to_owned()), ..self.clone() }
    }

    /// 429 `ThrottlingException`; STS and IAM call it 400 `Throttling`, S3 503 `SlowDown`.
    pub fn throttle(&self, n: u64) -> &Self {
        self.known(n, "ThrottlingException")
    }

    /// 503 `ServiceUnavailableException`.
    pub fn unavailable(&self, n: u64) -> &Self {
        self.known(n, "ServiceUnavailableException")
    }

    /// 500 `InternalServerException`.
    pub fn internal_error(&self, n: u64) -> &Self {
        self.known(n, "InternalServerException")
    }

    /// 403 `AccessDeniedException`, as for a caller without the permission.
    pub fn deny(&self, n: u64) -> &Self {
        self.reject(n, "AccessDeniedException", 403, NOT_AUTHORIZED)
    }

    /// As [`Self::throttle`], until [`Self::lift`].
    pub fn throttle_until_lifted(&self) -> &Self {
        let (status, message) = errors::known("ThrottlingException");
        self.refuse(Failure::new(status, "ThrottlingException", message))
    }

    /// As [`Self::deny`], until [`Self::lift`].
    pub fn deny_until_lifted(&self) -> &Self {
        self.refuse(Failure::new(403, "AccessDeniedException", NOT_AUTHORIZED))
    }

    /// Takes back what was to last until now: for the operation of [`Self::on`], or for all.
    pub fn lift(&self) -> &Self {
        self.faults.lift(&self.region, &Scope::Control(self.operation.clone()));
        self
    }

    /// What is called for happens, but the connection closes without a byte of an answer.
    pub fn lose_answer(&self, n: u64) -> &Self {
        self.add(n, Fault::LoseAnswer)
    }

    fn refuse(&self, failure: Failure) -> &Self {
        self.faults.refuse(&self.region, Scope::Control(self.operation.clone()), failure);
        self
    }

    /// Any exception, status and message.
    pub fn reject(&self, n: u64, exception: &str, status: u16, message: &str) -> &Self {
        self.add(n, Fault::Reject(Failure::new(status, exception.to_owned(), message)))
    }

    /// The connection closes without a byte of an answer.
    pub fn reset_connection(&self, n: u64) -> &Self {
        self.add(n, Fault::ResetConnection)
    }

    /// The answer, otherwise good, begins after `delay`.
    pub fn slow(&self, n: u64, delay: Duration) -> &Self {
        self.add(n, Fault::SlowFirstByte(delay))
    }

    fn known(&self, n: u64, name: &'static str) -> &Self {
        let (status, message) = errors::known(name);
        self.add(n, Fault::Reject(Failure::new(status, name, message)))
    }

    fn add(&self, n: u64, fault: Fault) -> &Self {
        self.faults.add(&self.region, Scope::Control(self.operation.clone()), n, fault);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::Settings;
    use crate::simulator::converse::Delivery;

    fn converse(model: &str, delivery: Delivery) -> Operation {
        Operation::Converse(model.to_owned(), delivery)
    }

    fn status(fault: Option<Fault>) -> Option<u16> {
        match fault? {
            Fault::Reject(failure) => Some(failure.status),
            _ => None,
        }
    }

    #[test]
    fn faults_wait_for_their_region_model_and_kind_of_call() {
        let simulator = Simulator::new(Settings::default());
        let (faults, east) = (&simulator.inner.faults, simulator.region("us-east-1"));
        let (whole, stream) = (converse("m", Delivery::Whole), converse("m", Delivery::Stream));
        east.cut_stream_after(2).throttle(2);
        east.on_model("nova").unavailable(1);
        assert_eq!(faults.take("us-west-2", &stream), None);
        assert_eq!(status(faults.take("us-east-1", &whole)), Some(429));
        assert_eq!(faults.take("us-east-1", &stream), Some(Fault::CutStream { after: 2 }));
        assert_eq!(status(faults.take("us-east-1", &stream)), Some(429));
        assert_eq!(faults.take("us-east-1", &stream), None);
        let nova = converse("amazon.nova-lite-v1:0", Delivery::Stream);
        assert_eq!(status(faults.take("us-east-1", &nova)), Some(503));
        assert_eq!(faults.waiting(), 0);
    }

    #[test]
    fn faults_of_the_control_plane_leave_inference_alone() {
        let simulator = Simulator::new(Settings::default());
        let (faults, control) = (&simulator.inner.faults, simulator.region("us-east-1").control());
        control.throttle(1);
        control.on("GetInferenceProfile").unavailable(1);
        assert_eq!(faults.take("us-east-1", &converse("m", Delivery::Whole)), None);
        assert_eq!(status(faults.take("us-east-1", &Operation::ListFoundationModels)), Some(429));
        assert_eq!(faults.take("us-east-1", &Operation::ListFoundationModels), None);
        assert_eq!(status(faults.take("us-east-1", &Operation::InferenceProfile("p".to_owned()))), Some(503));
    }

    #[test]
    fn outages_and_denials_last_until_they_are_taken_back() {
        let simulator = Simulator::new(Settings::default());
        let (faults, east) = (&simulator.inner.faults, simulator.region("us-east-1"));
        east.outage().deny_model("claude");
        assert_eq!((faults.outage("us-east-1"), faults.outage("us-west-2")), (Some(Outage::Reset), None));
        assert!(faults.is_denied("us-east-1", "us.anthropic.claude-opus-5"));
        assert!(!faults.is_denied("us-west-2", "us.anthropic.claude-opus-5"));
        east.outage_with_503().end_outage().allow_model("claude");
        assert_eq!(faults.outage("us-east-1"), None);
        assert!(!faults.is_denied("us-east-1", "us.anthropic.claude-opus-5"));
    }
}
