//! Gates for crash tests: the next call of an operation is held before it takes effect, or after its effect but before its
//! answer, until somebody lets it go on. In process by [`Simulator::gate`], over HTTP under `/_sim/gates`.
//!
//! A caller that goes away while its call is held before its effect takes the call with it: nothing happens.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::Simulator;
use super::handler::Door;
use super::operations::Operation;

/// Where a call is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// It is signed and allowed, and has done nothing.
    Before,
    /// It has done all it does, and is not answered. Calls that fail do not come so far.
    After,
}

/// A call that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Held {
    /// `x-amzn-requestid`.
    pub request_id: String,
    /// AWS's name of the operation.
    pub operation: &'static str,
    /// The Region that was called.
    pub region: String,
    /// What the call is about: `bucket/key` of S3, a model's or job's identifier; empty without one.
    pub subject: String,
}

impl Held {
    pub(crate) fn of(request_id: &str, operation: &Operation, region: &str) -> Self {
        let (request_id, region) = (request_id.to_owned(), region.to_owned());
        Self { request_id, operation: operation.name(), region, subject: operation.subject() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Standing {
    Waiting,
    Holding(Held),
    Open,
}

#[derive(Debug)]
struct Post {
    operation: String,
    when: When,
    standing: watch::Sender<Standing>,
}

/// The gates of one simulator.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    posts: Mutex<Vec<Arc<Post>>>,
    /// Those that were asked for over HTTP.
    remote: Mutex<BTreeMap<u64, Arc<Gate>>>,
}

impl Gates {
    /// Holds a call at the first gate that waits for it.
    pub(crate) async fn pass(&self, call: &Held, when: When) {
        let post = self.posts().iter().find(|post| post.takes(call, when)).cloned();
        if let Some(post) = post {
            // The sender lives in the post that is held here.
            let _ = post.standing.subscribe().wait_for(|standing| *standing == Standing::Open).await;
        }
    }

    fn posts(&self) -> MutexGuard<'_, Vec<Arc<Post>>> {
        self.posts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remote(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Gate>>> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Post {
    /// Whether it waits for this call, which it holds from now on.
    fn takes(&self, call: &Held, when: When) -> bool {
        self.when == when
            && self.operation == call.operation
            && self.standing.send_if_modified(|standing| {
                let waits = *standing == Standing::Waiting;
                if waits {
                    *standing = Standing::Holding(call.clone());
                }
                waits
            })
    }
}

/// A gate for one call: the next of its operation. Dropped, it is open.
#[derive(Debug)]
pub struct Gate {
    post: Arc<Post>,
    simulator: std::sync::Weak<super::Inner>,
}

impl Gate {
    /// Waits until a call is held.
    pub async fn reached(&self) -> Held {
        let mut standing = self.post.standing.subscribe();
        loop {
            if let Standing::Holding(held) = &*standing.borrow_and_update() {
                return held.clone();
            }
            // The sender lives in the gate.
            let _ = standing.changed().await;
        }
    }

    /// The call that is held, if one is.
    pub fn held(&self) -> Option<Held> {
        match &*self.post.standing.borrow() {
            Standing::Holding(held) => Some(held.clone()),
            _ => None,
        }
    }

    /// Lets the call go on; a gate that holds none holds none any more.
    pub fn release(self) {}

    fn open(&self) {
        self.post.standing.send_replace(Standing::Open);
        if let Some(inner) = self.simulator.upgrade() {
            inner.gates.posts().retain(|post| !Arc::ptr_eq(post, &self.post));
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.open();
    }
}

impl Simulator {
    /// A gate for the next call of an operation (`PutObject`, `CreateModelInvocationJob`, `Converse`, ...), in any Region. Gates
    /// of one operation hold one call each, in the order in which they were made.
    pub fn gate(&self, operation: &str, when: When) -> Gate {
        let post =
            Arc::new(Post { operation: operation.to_owned(), when, standing: watch::Sender::new(Standing::Waiting) });
        self.inner.gates.posts().push(Arc::clone(&post));
        Gate { post, simulator: Arc::downgrade(&self.inner) }
    }
}

/// `POST`, `GET` and `DELETE /_sim/gates`, and the latter two of one gate.
pub(crate) fn routes() -> Router<Door> {
    Router::new()
        .route("/_sim/gates", get(list).post(add).delete(release_all))
        .route("/_sim/gates/{id}", get(wait).delete(release))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    operation: String,
    when: When,
}

/// How long to wait for a call, in milliseconds; without, not at all.
#[derive(Deserialize)]
struct Patience {
    #[serde(default)]
    milliseconds: u64,
}

fn told(id: u64, gate: &Gate) -> Value {
    json!({"id": id, "operation": gate.post.operation, "when": gate.post.when, "held": gate.held()})
}

async fn add(State(door): State<Door>, body: Bytes) -> (StatusCode, Json<Value>) {
    let order: Order = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(error) => return (StatusCode::BAD_REQUEST, Json(json!({"message": error.to_string()}))),
    };
    let gate = Arc::new(door.simulator.gate(&order.operation, order.when));
    let mut remote = door.simulator.inner.gates.remote();
    let id = remote.last_key_value().map_or(1, |(last, _)| last + 1);
    let told = told(id, &gate);
    remote.insert(id, gate);
    (StatusCode::CREATED, Json(told))
}

async fn list(State(door): State<Door>) -> Json<Value> {
    let remote = door.simulator.inner.gates.remote();
    let gates: Vec<Value> = remote.iter().map(|(id, gate)| told(*id, gate)).collect();
    Json(json!({"gates": gates}))
}

async fn wait(
    State(door): State<Door>,
    Path(id): Path<u64>,
    Query(patience): Query<Patience>,
) -> (StatusCode, Json<Value>) {
    let gate = door.simulator.inner.gates.remote().get(&id).cloned();
    let Some(gate) = gate else {
        return (StatusCode::NOT_FOUND, Json(json!({"message": format!("there is no gate {id}")})));
    };
    // Nobody came in time: that is told, too.
    let _ = tokio::time::timeout(Duration::from_millis(patience.milliseconds), gate.reached()).await;
    (StatusCode::OK, Json(told(id, &gate)))
}

async fn release(State(door): State<Door>, Path(id): Path<u64>) -> StatusCode {
    let gate = door.simulator.inner.gates.remote().remove(&id);
    // Somebody may be waiting at it, and holds it, too.
    gate.map_or(StatusCode::NOT_FOUND, |gate| {
        gate.open();
        StatusCode::NO_CONTENT
    })
}

async fn release_all(State(door): State<Door>) -> StatusCode {
    let gates = std::mem::take(&mut *door.simulator.inner.gates.remote());
    for gate in gates.values() {
        gate.open();
    }
    StatusCode::NO_CONTENT
}
