//! The faults of the control plane, and of whatever is no inference, by name: how tests ask for them.

use std::sync::Arc;
use std::time::Duration;

use super::{Fault, Faults, Scope};
use crate::simulator::errors::{self, Failure};

const NOT_AUTHORIZED: &str = "User is not authorized to perform this operation.";

/// The faults of the control plane of one Region (`*`: of any). `n` is how many of its next calls meet it: of Bedrock's control
/// plane or, after [`Self::on`], of one operation, which may be one of STS, IAM, S3 or KMS.
#[derive(Clone, Debug)]
pub struct ControlFaults {
    faults: Arc<Faults>,
    region: String,
    operation: Option<String>,
}

impl ControlFaults {
    pub(super) fn new(faults: Arc<Faults>, region: &str) -> Self {
        Self { faults, region: region.to_owned(), operation: None }
    }

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
