//! Faults by name. Each waits for the next inference calls of its Region (and model, if it names one), first come first
//! served; a fault of streams waits for a stream.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::errors::{self, Failure};

/// What happens to a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    Reject(Failure),
    /// The connection is closed before any byte of an answer.
    ResetConnection,
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
}

impl Fault {
    fn is_of_streams(&self) -> bool {
        !matches!(self, Self::Reject(_) | Self::ResetConnection | Self::SlowFirstByte(_))
    }
}

#[derive(Debug)]
struct Waiting {
    region: String,
    model: Option<String>,
    fault: Fault,
    times: u64,
}

/// The faults that wait.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    waiting: Mutex<VecDeque<Waiting>>,
}

impl Faults {
    fn add(&self, region: &str, model: Option<&str>, times: u64, fault: Fault) {
        if times > 0 {
            let (region, model) = (region.to_owned(), model.map(str::to_owned));
            self.lock().push_back(Waiting { region, model, fault, times });
        }
    }

    /// The fault of a call, if one waits for it.
    pub(crate) fn take(&self, region: &str, model_id: &str, streaming: bool) -> Option<Fault> {
        let mut waiting = self.lock();
        let found = waiting.iter().position(|entry| {
            (entry.region == region || entry.region == "*")
                && entry.model.as_deref().is_none_or(|model| model_id.contains(model))
                && (streaming || !entry.fault.is_of_streams())
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
    faults: Arc<Faults>,
    region: String,
    model: Option<String>,
}

impl RegionFaults {
    pub(crate) fn new(faults: Arc<Faults>, region: &str) -> Self {
        Self { faults, region: region.to_owned(), model: None }
    }

    /// The faults asked for from here on are met only by calls whose model identifier contains `model`.
    #[must_use]
    pub fn on_model(&self, model: &str) -> Self {
        Self { model: Some(model.to_owned()), ..self.clone() }
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
        self.faults.add(&self.region, self.model.as_deref(), n, fault);
        self
    }
}

/// The body of `POST /_sim/faults`. `fault` is one of [`FAULTS`]; the others are its arguments.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    #[serde(default = "any_region")]
    region: String,
    model: Option<String>,
    fault: String,
    #[serde(default = "once")]
    times: u64,
    #[serde(default)]
    after_events: usize,
    #[serde(default)]
    milliseconds: u64,
    exception: Option<String>,
    status: Option<u16>,
    message: Option<String>,
    retry_after: Option<u64>,
    members: Option<Box<serde_json::Map<String, Value>>>,
}

/// The names that [`Order::place`] takes.
const FAULTS: [&str; 14] = [
    "throttle",
    "unavailable",
    "internal_error",
    "model_timeout",
    "model_not_ready",
    "quota_exceeded",
    "expired_credentials",
    "reject",
    "reset_connection",
    "slow_first_byte",
    "cut_stream",
    "stall_stream",
    "corrupt_frame",
    "stream_exception",
];

fn any_region() -> String {
    "*".to_owned()
}

const fn once() -> u64 {
    1
}

impl Order {
    /// Queues what is ordered; the error says what is wrong with it.
    pub(crate) fn place(self, faults: &Faults) -> Result<(), String> {
        let reject = |name: &str| {
            let (status, message) = errors::known(name);
            let message = self.message.clone().unwrap_or_else(|| message.to_owned());
            let failure = Failure::new(self.status.unwrap_or(status), name.to_owned(), message);
            Fault::Reject(failure.retry_after(self.retry_after).with(self.members.clone()))
        };
        let pause = Duration::from_millis(self.milliseconds);
        let after = self.after_events;
        let fault = match self.fault.as_str() {
            "throttle" => reject("ThrottlingException"),
            "unavailable" => reject("ServiceUnavailableException"),
            "internal_error" => reject("InternalServerException"),
            "model_timeout" => reject("ModelTimeoutException"),
            "model_not_ready" => reject("ModelNotReadyException"),
            "quota_exceeded" => reject("ServiceQuotaExceededException"),
            "expired_credentials" => reject("ExpiredTokenException"),
            "reject" => reject(self.exception.as_deref().ok_or("reject needs \"exception\"")?),
            "reset_connection" => Fault::ResetConnection,
            "slow_first_byte" => Fault::SlowFirstByte(pause),
            "cut_stream" => Fault::CutStream { after },
            "stall_stream" => Fault::StallStream { after, pause },
            "corrupt_frame" => Fault::CorruptFrame { after },
            "stream_exception" => {
                let name = self.exception.clone().ok_or("stream_exception needs \"exception\"")?;
                let message = self.message.clone().unwrap_or_else(|| errors::known(&name).1.to_owned());
                Fault::StreamException { name, message, after }
            }
            other => return Err(format!("there is no fault {other:?}; there are {}", FAULTS.join(", "))),
        };
        faults.add(&self.region, self.model.as_deref(), self.times, fault);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_wait_for_their_region_model_and_kind_of_call() {
        let faults = Arc::new(Faults::default());
        let east = RegionFaults::new(Arc::clone(&faults), "us-east-1");
        east.cut_stream_after(2).throttle(2);
        east.on_model("nova").unavailable(1);
        assert_eq!(faults.take("us-west-2", "m", true), None);
        assert!(matches!(faults.take("us-east-1", "m", false), Some(Fault::Reject(failure)) if failure.status == 429));
        assert_eq!(faults.take("us-east-1", "m", true), Some(Fault::CutStream { after: 2 }));
        assert!(matches!(faults.take("us-east-1", "m", true), Some(Fault::Reject(failure)) if failure.status == 429));
        assert_eq!(faults.take("us-east-1", "m", true), None);
        assert!(
            matches!(faults.take("us-east-1", "amazon.nova-lite-v1:0", true), Some(Fault::Reject(f)) if f.status == 503)
        );
        assert_eq!(faults.waiting(), 0);
    }

    #[test]
    fn orders_over_http_name_the_same_faults() {
        let faults = Faults::default();
        let order = |text: &str| serde_json::from_str::<Order>(text).unwrap();
        order(r#"{"fault": "throttle", "region": "us-east-1", "times": 3, "retry_after": 2}"#).place(&faults).unwrap();
        assert_eq!(faults.waiting(), 3);
        assert!(
            matches!(faults.take("us-east-1", "", false), Some(Fault::Reject(f)) if f == Failure::new(429, "ThrottlingException", errors::known("ThrottlingException").1).retry_after(Some(2)))
        );
        let error = order(r#"{"fault": "no such"}"#).place(&faults).unwrap_err();
        assert!(error.ends_with(&FAULTS.join(", ")), "{error}");
        for name in FAULTS {
            let text = format!(r#"{{"fault": "{name}", "exception": "ThrottlingException"}}"#);
            order(&text).place(&faults).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
