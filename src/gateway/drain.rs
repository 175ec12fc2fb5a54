//! Calls that go on when their client has left: for keys that say so, an answer is read to its end and booked with what
//! AWS says of it.
//!
//! Such a call runs in a task of its own from the beginning, because what hyper drops with a connection is the future that
//! would have to go on. A stream is handed over when it is dropped. All of them are on one tracker, which the shutdown waits
//! for; their hold lasts until they are booked, so nobody gets around a limit by hanging up.

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Asked, Gateway, Origin};
use crate::error::{Error, Result};
use crate::telemetry::panics::Work;
use crate::tenancy::{Caller, OnDisconnect};
use crate::upstream::Call;

/// How a call is made while somebody waits for it. What it borrows lives as long as who waits: the request, or a task.
type Make<T> = for<'a> fn(&'a Gateway, &'a Caller, Origin, &'a Asked, Call) -> BoxFuture<'a, Result<T>>;

/// Whether somebody still waits for the answer of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Attendance(Option<CancellationToken>);

impl Attendance {
    /// Its client left, and the call goes on.
    pub(super) fn end(&self) {
        if let Some(left) = &self.0 {
            left.cancel();
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Whether the call goes on without its client.
    pub(super) fn is_optional(&self) -> bool {
        self.0.is_some()
    }
}

impl Gateway {
    /// Makes a call. One of a key that drains is made to its end, even if whoever waits for this is gone: then its settlement
    /// says so, and what it returns is dropped.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        caller: &Caller,
        mut origin: Origin,
        (model, call): (&Asked, Call),
        make: Make<T>,
    ) -> Result<T> {
        if caller.key.on_disconnect != OnDisconnect::Drain {
            return make(self, caller, origin, model, call).await;
        }
        let left = CancellationToken::new();
        origin.trail = origin.trail.attended(Attendance(Some(left.clone())));
        let (gateway, caller, model) = (self.clone(), caller.clone(), model.clone());
        let task = async move { make(&gateway, &caller, origin, &model, call).await };
        let guard = left.drop_guard();
        let answer = outlive(&self.0.parts.unattended, task).await;
        guard.disarm();
        answer?
    }
}

/// What `future` comes to; it goes on, on `tracker`, when whoever waits for this is gone. A panic in it goes on in who
/// waits.
///
/// # Errors
/// `Internal` when the runtime ends before it.
pub async fn outlive<T: Send + 'static>(
    tracker: &TaskTracker,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T> {
    match tracker.spawn(Work::of_current().finish(future)).await {
        Ok(made) => Ok(made),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(Error::internal(error)),
    }
}

/// Has `future` go on by itself, on `tracker`, if there still is a runtime to do so: what is dropped after it can only be
/// dropped.
pub(super) fn go_on(tracker: &TaskTracker, future: impl Future<Output = ()> + Send + 'static) {
    if let Ok(runtime) = Handle::try_current() {
        tracker.spawn_on(future, &runtime);
    }
}
