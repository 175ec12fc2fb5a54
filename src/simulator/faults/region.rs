//! The faults of a Region's inference by name, and its outages: how tests ask for them.

use std::sync::Arc;
use std::time::Duration;

use super::{ControlFaults, Fault, Faults, Outage, Scope};
use crate::simulator::errors::{self, Failure};
use crate::simulator::s3::S3Faults;
use crate::simulator::{RegionJobs, Simulator};

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
        ControlFaults::new(Arc::clone(self.faults()), &self.region)
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
