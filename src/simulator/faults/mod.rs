//! Faults: how they wait, and whom they meet. Tests ask for them by name, in `region.rs` and `control.rs`. Each waits for the next calls of its Region, of inference (and of a model, if it names one) or of the control
//! plane (and of an operation), first come first served; a fault of streams waits for a stream. Outages and denied models stay
//! until they are taken back.

mod control;
mod region;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use control::ControlFaults;
pub use region::RegionFaults;

use super::errors::Failure;
use super::operations::Operation;
use super::s3;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::converse::Delivery;
    use crate::simulator::{Settings, Simulator};

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
