//! Jobs over HTTP: `GET /_sim/jobs` tells them and their sums, `POST /_sim/jobs` takes what [`RegionJobs`] takes.

use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde::Deserialize;
use serde_json::{Value, json};

use super::faults::JobFault;
use super::{JobState, Partial, Records, RegionJobs};
use crate::simulator::handler::Door;

/// The body of `POST /_sim/jobs`. `order` is one of [`ORDERS`]; the others are its arguments.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(default = "any_region")]
    region: String,
    #[serde(rename = "order")]
    name: String,
    /// How many jobs meet the fault.
    #[serde(default = "once")]
    times: u64,
    state: Option<JobState>,
    #[serde(default)]
    milliseconds: u64,
    /// How many records.
    records: Option<u64>,
    /// Every so-many-th record ...
    every: Option<u64>,
    /// ... or those of these ids.
    record_ids: Option<Vec<String>>,
    message: Option<String>,
    code: Option<u16>,
    #[serde(default = "once")]
    attempts: u64,
    /// Of `fail_after`: whether the output is lost.
    #[serde(default)]
    lost: bool,
}

/// The names that [`Order::give`] takes.
const ORDERS: [&str; 18] = [
    "manual",
    "automatic",
    "hold_at",
    "release",
    "advance",
    "process",
    "complete",
    "fail",
    "fail_after",
    "partially_complete_after",
    "expire",
    "stick",
    "lose_records",
    "add_records",
    "repeat_records",
    "drop_manifest",
    "in_order",
    "record_errors",
];

fn any_region() -> String {
    "*".to_owned()
}

const fn once() -> u64 {
    1
}

/// `GET` and `POST /_sim/jobs`.
pub(crate) fn routes() -> Router<Door> {
    Router::new().route("/_sim/jobs", get(list).post(order))
}

async fn list(State(door): State<Door>) -> Json<Value> {
    Json(json!({"jobs": door.simulator.jobs(), "totals": door.simulator.job_totals()}))
}

async fn order(State(door): State<Door>, body: Bytes) -> (StatusCode, Json<Value>) {
    let order = serde_json::from_slice::<Order>(&body).map_err(|error| error.to_string());
    let given = match order {
        Ok(order) => {
            let jobs = door.simulator.region(&order.region).jobs();
            order.give(&jobs).await
        }
        Err(message) => Err(message),
    };
    match given {
        Ok(()) => (StatusCode::CREATED, list(State(door)).await),
        Err(message) => (StatusCode::BAD_REQUEST, Json(json!({"message": message}))),
    }
}

impl Order {
    /// Does what is ordered; the error says what is wrong with it.
    async fn give(self, jobs: &RegionJobs) -> Result<(), String> {
        let count = || self.records.ok_or_else(|| format!("{} needs \"records\"", self.name));
        let message = || self.message.clone().unwrap_or_else(|| "The batch inference job failed.".to_owned());
        let partial = if self.lost { Partial::Lost } else { Partial::Kept };
        if self.steers(jobs).await? {
            return Ok(());
        }
        let fault = match self.name.as_str() {
            "record_errors" => return self.err(jobs),
            "fail" => JobFault::Fail { message: message() },
            "fail_after" => JobFault::FailAfter { records: count()?, message: message(), partial },
            "partially_complete_after" => JobFault::PartialAfter { records: count()? },
            "expire" => JobFault::Expire,
            "stick" => JobFault::Stick,
            "lose_records" => JobFault::Lose(self.meant()?),
            "add_records" => JobFault::Add(count()?),
            "repeat_records" => JobFault::Repeat(self.meant()?),
            "drop_manifest" => JobFault::NoManifest,
            "in_order" => JobFault::InOrder,
            other => return Err(format!("there is no order {other:?}; there are {}", ORDERS.join(", "))),
        };
        jobs.add(self.times, fault);
        Ok(())
    }

    /// Whether the order is how fast jobs are or where they go, and was carried out.
    async fn steers(&self, jobs: &RegionJobs) -> Result<bool, String> {
        match self.name.as_str() {
            "manual" => {
                jobs.manual();
            }
            "automatic" => {
                jobs.automatic(Duration::from_millis(self.milliseconds));
            }
            "hold_at" => {
                jobs.hold_at(self.state.ok_or("hold_at needs \"state\"")?);
            }
            "release" => {
                jobs.release();
            }
            "advance" => {
                jobs.advance().await;
            }
            "process" => jobs.process(self.records.ok_or("process needs \"records\"")?).await,
            "complete" => jobs.complete().await,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn err(&self, jobs: &RegionJobs) -> Result<(), String> {
        let code = self.code.ok_or("record_errors needs \"code\"")?;
        match &self.message {
            Some(message) => jobs.record_errors_saying(self.meant()?, code, self.attempts, message),
            None => jobs.record_errors(self.meant()?, code, self.attempts),
        };
        Ok(())
    }

    fn meant(&self) -> Result<Records, String> {
        match (self.every, &self.record_ids) {
            (Some(every), None) => Ok(Records::Every(every)),
            (None, Some(ids)) => Ok(Records::Named(ids.clone())),
            _ => Err(format!("{} needs \"every\" or \"record_ids\"", self.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::{Settings, Simulator};

    #[tokio::test]
    async fn every_order_is_taken_and_others_are_told_what_there_is() {
        let simulator = Simulator::new(Settings::default());
        let jobs = simulator.region("us-east-1").jobs();
        for name in ORDERS {
            let text = format!(
                r#"{{"order": "{name}", "state": "Scheduled", "records": 1, "every": 2, "code": 500, "region": "us-east-1"}}"#
            );
            let order: Order = serde_json::from_str(&text).unwrap();
            order.give(&jobs).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert_eq!(simulator.waiting_faults(), 10);
        let order: Order = serde_json::from_str(r#"{"order": "no such"}"#).unwrap();
        assert!(order.give(&jobs).await.unwrap_err().ends_with(&ORDERS.join(", ")));
        let order: Order = serde_json::from_str(r#"{"order": "lose_records"}"#).unwrap();
        assert!(order.give(&jobs).await.is_err());
    }
}
