//! Faults of S3 by name.

use std::sync::Arc;
use std::time::Duration;

use super::super::errors::{self, Failure};
use super::super::faults::{Fault, Faults, Outage, Scope};

/// The faults of S3 in one Region (`*`: in any). `n` is how many of its next calls meet it, or of one operation's after
/// [`Self::on`]; each method returns the faults, so that they line up.
#[derive(Clone, Debug)]
pub struct S3Faults {
    faults: Arc<Faults>,
    region: String,
    operation: Option<String>,
}

impl S3Faults {
    pub(crate) fn new(faults: Arc<Faults>, region: &str) -> Self {
        Self { faults, region: region.to_owned(), operation: None }
    }

    /// The faults asked for from here on are met only by calls of the operation of this name (`PutObject`, `UploadPart`, ...).
    #[must_use]
    pub fn on(&self, operation: &str) -> Self {
        Self { operation: Some(operation.to_owned()), ..self.clone() }
    }

    /// 503 `SlowDown`.
    pub fn throttle(&self, n: u64) -> &Self {
        self.reject(n, "SlowDown", 503, "Please reduce your request rate.")
    }

    /// 500 `InternalError`.
    pub fn internal_error(&self, n: u64) -> &Self {
        self.reject(n, "InternalError", 500, "We encountered an internal error. Please try again.")
    }

    /// 503 `ServiceUnavailable`.
    pub fn unavailable(&self, n: u64) -> &Self {
        self.reject(n, "ServiceUnavailable", 503, "Service is unable to handle request.")
    }

    /// 400 `ExpiredToken`.
    pub fn expired_credentials(&self, n: u64) -> &Self {
        let (status, message) = errors::known("ExpiredTokenException");
        self.add(n, Fault::Reject(Failure::signature(status, "ExpiredTokenException", message)))
    }

    /// Any error, status and message.
    pub fn reject(&self, n: u64, code: &str, status: u16, message: &str) -> &Self {
        self.add(n, Fault::Reject(Failure::new(status, code.to_owned(), message)))
    }

    /// The connection closes without a byte of an answer, and nothing happened.
    pub fn reset_connection(&self, n: u64) -> &Self {
        self.add(n, Fault::ResetConnection)
    }

    /// The answer, otherwise good, begins after `delay`.
    pub fn slow(&self, n: u64, delay: Duration) -> &Self {
        self.add(n, Fault::SlowFirstByte(delay))
    }

    /// The answer of `GetObject` breaks off after so many bytes of the object.
    pub fn cut_body_after(&self, n: u64, bytes: u64) -> &Self {
        self.add(n, Fault::CutBody { after: bytes })
    }

    /// An action (`s3:PutObject`) or operation (`UploadPart`) is refused until [`Self::allow`]: 403 `AccessDenied`.
    pub fn deny(&self, action: &str) -> &Self {
        self.faults.deny_action(&self.region, action);
        self
    }

    /// Takes [`Self::deny`] back.
    pub fn allow(&self, action: &str) -> &Self {
        self.faults.allow_action(&self.region, action);
        self
    }

    /// S3 is away until [`Self::end_outage`]: every connection to it is reset. Bedrock is there.
    pub fn outage(&self) -> &Self {
        self.faults.set_s3_outage(&self.region, Some(Outage::Reset));
        self
    }

    /// As [`Self::outage`], but every call is answered with 503 `ServiceUnavailable`.
    pub fn outage_with_503(&self) -> &Self {
        self.faults.set_s3_outage(&self.region, Some(Outage::Unavailable));
        self
    }

    /// S3 is back.
    pub fn end_outage(&self) -> &Self {
        self.faults.set_s3_outage(&self.region, None);
        self
    }

    fn add(&self, n: u64, fault: Fault) -> &Self {
        self.faults.add(&self.region, Scope::S3(self.operation.clone()), n, fault);
        self
    }
}
