//! Faults as they are ordered over HTTP: the names and arguments that `POST /_sim/faults` takes.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::errors::{self, Failure};
use super::faults::{Fault, Faults, Outage, Scope};

/// The body of `POST /_sim/faults`. `fault` is one of [`FAULTS`]; the others are its arguments.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    #[serde(default = "any_region")]
    region: String,
    model: Option<String>,
    /// `inference`, if nothing is said, `control` or `s3`.
    plane: Option<String>,
    /// The one operation of the control plane or of S3 that is meant.
    operation: Option<String>,
    /// An action (`s3:PutObject`) or operation of S3.
    action: Option<String>,
    fault: String,
    #[serde(default = "once")]
    times: u64,
    #[serde(default)]
    after_events: usize,
    #[serde(default)]
    after_bytes: u64,
    #[serde(default)]
    milliseconds: u64,
    exception: Option<String>,
    status: Option<u16>,
    message: Option<String>,
    retry_after: Option<u64>,
    members: Option<Box<serde_json::Map<String, Value>>>,
}

/// The names that [`Order::place`] takes.
const FAULTS: [&str; 27] = [
    "outage",
    "outage_with_503",
    "end_outage",
    "deny_model",
    "allow_model",
    "deny_action",
    "allow_action",
    "deny",
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
    "cut_body",
    "lose_answer",
    "throttle_until_lifted",
    "deny_until_lifted",
    "lift",
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
        if self.place_lasting(faults)? {
            return Ok(());
        }
        let scope = self.scope()?;
        let is_s3 = matches!(scope, Scope::S3(_));
        let reject = |name: &str| {
            let (status, message) = errors::known(name);
            let message = if is_s3 { "Please try again." } else { message };
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
            "deny" => reject("AccessDeniedException"),
            "expired_credentials" => reject("ExpiredTokenException"),
            "reject" => reject(self.exception.as_deref().ok_or("reject needs \"exception\"")?),
            "reset_connection" => Fault::ResetConnection,
            "lose_answer" => Fault::LoseAnswer,
            "slow_first_byte" => Fault::SlowFirstByte(pause),
            "cut_stream" => Fault::CutStream { after },
            "stall_stream" => Fault::StallStream { after, pause },
            "corrupt_frame" => Fault::CorruptFrame { after },
            "cut_body" if is_s3 => Fault::CutBody { after: self.after_bytes },
            "cut_body" => return Err("cut_body needs \"plane\": \"s3\"".to_owned()),
            "stream_exception" => {
                let name = self.exception.clone().ok_or("stream_exception needs \"exception\"")?;
                let message = self.message.clone().unwrap_or_else(|| errors::known(&name).1.to_owned());
                Fault::StreamException { name, message, after }
            }
            other => return Err(format!("there is no fault {other:?}; there are {}", FAULTS.join(", "))),
        };
        if !matches!(scope, Scope::Inference(_)) && fault.is_of_streams() {
            return Err(format!("only inference has streams to {}", self.fault));
        }
        faults.add(&self.region, scope, self.times, fault);
        Ok(())
    }

    /// Whether what is ordered stays until it is taken back, and is now in place.
    fn place_lasting(&self, faults: &Faults) -> Result<bool, String> {
        let model = || self.model.as_deref().ok_or_else(|| format!("{} needs \"model\"", self.fault));
        let action = || self.action.as_deref().ok_or_else(|| format!("{} needs \"action\"", self.fault));
        let of_s3 = self.plane.as_deref() == Some("s3");
        match self.fault.as_str() {
            "outage" if of_s3 => faults.set_s3_outage(&self.region, Some(Outage::Reset)),
            "outage_with_503" if of_s3 => faults.set_s3_outage(&self.region, Some(Outage::Unavailable)),
            "end_outage" if of_s3 => faults.set_s3_outage(&self.region, None),
            "deny_action" => faults.deny_action(&self.region, action()?),
            "allow_action" => faults.allow_action(&self.region, action()?),
            "outage" => faults.set_outage(&self.region, Some(Outage::Reset)),
            "outage_with_503" => faults.set_outage(&self.region, Some(Outage::Unavailable)),
            "end_outage" => faults.set_outage(&self.region, None),
            "deny_model" => faults.deny(&self.region, model()?),
            "allow_model" => faults.allow(&self.region, model()?),
            "lift" => faults.lift(&self.region, &Scope::Control(self.operation.clone())),
            "throttle_until_lifted" | "deny_until_lifted" => {
                let throttles = self.fault.starts_with("throttle");
                let name = if throttles { "ThrottlingException" } else { "AccessDeniedException" };
                let (status, message) = errors::known(name);
                let failure = Failure::new(status, name, self.message.as_deref().unwrap_or(message));
                faults.refuse(&self.region, Scope::Control(self.operation.clone()), failure);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn scope(&self) -> Result<Scope, String> {
        match (self.plane.as_deref(), &self.operation) {
            (Some("control"), operation) => Ok(Scope::Control(operation.clone())),
            (Some("s3"), operation) => Ok(Scope::S3(operation.clone())),
            (None, Some(operation)) => Ok(Scope::Control(Some(operation.clone()))),
            (None | Some("inference"), None) => Ok(Scope::Inference(self.model.clone())),
            (Some("inference"), Some(_)) => Err("\"operation\" is for the control plane".to_owned()),
            (Some(plane), _) => Err(format!("there is no plane {plane:?}; there are inference, control, s3")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::converse::Delivery;
    use crate::simulator::operations::Operation;

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
    fn orders_over_http_name_the_same_faults() {
        let faults = Faults::default();
        let order = |text: &str| serde_json::from_str::<Order>(text).unwrap();
        order(r#"{"fault": "throttle", "region": "us-east-1", "times": 3, "retry_after": 2}"#).place(&faults).unwrap();
        assert_eq!(faults.waiting(), 3);
        let throttled = Failure::new(429, "ThrottlingException", errors::known("ThrottlingException").1);
        assert_eq!(
            faults.take("us-east-1", &converse("", Delivery::Whole)),
            Some(Fault::Reject(throttled.retry_after(Some(2))))
        );
        order(r#"{"fault": "deny", "plane": "control"}"#).place(&faults).unwrap();
        assert_eq!(status(faults.take("us-east-1", &Operation::ListInferenceProfiles)), Some(403));
        order(r#"{"fault": "unavailable", "operation": "ListFoundationModels"}"#).place(&faults).unwrap();
        assert_eq!(status(faults.take("us-east-1", &Operation::ListFoundationModels)), Some(503));
        for text in [
            r#"{"fault": "cut_stream", "plane": "control"}"#,
            r#"{"fault": "throttle", "plane": "moon"}"#,
            r#"{"fault": "deny_model"}"#,
        ] {
            assert!(order(text).place(&faults).is_err(), "{text}");
        }
        let error = order(r#"{"fault": "no such"}"#).place(&faults).unwrap_err();
        assert!(error.ends_with(&FAULTS.join(", ")), "{error}");
        for name in FAULTS {
            let text = format!(
                r#"{{"fault": "{name}", "exception": "ThrottlingException", "model": "m", "action": "s3:GetObject"}}"#
            );
            let text = if name == "cut_body" { text.replace('}', r#", "plane": "s3"}"#) } else { text };
            order(&text).place(&faults).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}
