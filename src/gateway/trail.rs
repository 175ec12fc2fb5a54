//! What becomes known of a request on its way: the one thing that all layers it passes share.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::drain::Attendance;
use super::waits::Waits;
use super::{Booked, Receipt};
use crate::ids::RequestId;
use crate::memory::Share;
use crate::telemetry::traces;
use crate::tenancy::{Caller, Scope, Standing};

/// The trail of one request. Clones are the same trail.
#[derive(Clone, Debug)]
pub struct Trail(Arc<Marks>, Attendance);

#[derive(Debug)]
struct Marks {
    id: RequestId,
    client: Option<IpAddr>,
    /// How long it waited for others; began with it.
    waits: Waits,
    caller: OnceLock<Caller>,
    /// Whether the request is to be sent as it is, or not at all.
    strict: AtomicBool,
    /// Whether a batch holds what its calls may cost.
    paid_for: AtomicBool,
    /// Of the first call; most requests make one.
    receipt: OnceLock<Arc<Receipt>>,
    /// How far the caller's limits were used after its last call was admitted, or refused.
    standing: Mutex<Option<Standing>>,
    /// Where its calls hang in its trace.
    trace: OnceLock<traces::Scope>,
    /// Of all further calls.
    further: Mutex<Vec<Arc<Receipt>>>,
    /// Of the memory for bodies.
    share: Mutex<Option<Share>>,
}

impl Trail {
    /// The trail of a request that came in by no connection.
    pub fn new(id: RequestId) -> Self {
        Self::of(id, None)
    }

    /// The trail of a request that has just come in from `client`.
    pub fn of(id: RequestId, client: Option<IpAddr>) -> Self {
        let marks = Arc::new(Marks {
            id,
            client,
            waits: Waits::new(),
            caller: OnceLock::new(),
            strict: AtomicBool::new(false),
            paid_for: AtomicBool::new(false),
            receipt: OnceLock::new(),
            standing: Mutex::default(),
            trace: OnceLock::new(),
            further: Mutex::default(),
            share: Mutex::default(),
        });
        Self(marks, Attendance::default())
    }

    /// The id that `x-request-id` shows.
    pub fn id(&self) -> &RequestId {
        &self.0.id
    }

    /// The address that it came from, if it came by a connection.
    pub fn client(&self) -> Option<IpAddr> {
        self.0.client
    }

    pub(super) fn waits(&self) -> &Waits {
        &self.0.waits
    }

    /// Who sent it, once the key was accepted.
    pub fn caller(&self) -> Option<&Caller> {
        self.0.caller.get()
    }

    /// The key was accepted.
    pub fn identified(&self, caller: &Caller) {
        self.0.caller.set(caller.clone()).ok();
    }

    /// The receipt of its first call, once one was admitted.
    pub fn receipt(&self) -> Option<&Arc<Receipt>> {
        self.0.receipt.get()
    }

    /// How its calls were booked, taken together: what each used and cost, and the Region and the outcome of the first
    /// that did not end well, else of the first. `None` while a call is open, and when there was none.
    pub fn booked(&self) -> Option<Booked> {
        let mut sum = self.receipt()?.booked()?.clone();
        for receipt in self.0.further.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            sum.add(receipt.booked()?);
        }
        Some(sum)
    }

    /// What it holds of the memory for bodies, to be held further by who takes it.
    pub fn take_share(&self) -> Option<Share> {
        self.0.share.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// That is held for its body until it is taken again, or nothing works for it any more.
    pub fn keep_share(&self, share: Share) {
        *self.0.share.lock().unwrap_or_else(PoisonError::into_inner) = Some(share);
    }

    /// It is traced: its calls hang there.
    pub fn trace(&self, scope: traces::Scope) {
        self.0.trace.set(scope).ok();
    }

    /// Where its calls hang in its trace, if it is traced.
    pub(super) fn traced(&self) -> Option<&traces::Scope> {
        self.0.trace.get()
    }

    /// Its request is to be sent as it is, or not at all.
    pub fn forbid_changes(&self) {
        self.0.strict.store(true, Ordering::Relaxed);
    }

    /// Whether that was said.
    pub(super) fn forbids_changes(&self) -> bool {
        self.0.strict.load(Ordering::Relaxed)
    }

    /// It is a record of a batch, which holds what it may cost: admission sets no money aside, and asks for the scope
    /// `batch`.
    pub fn pay_by_batch(&self) {
        self.0.paid_for.store(true, Ordering::Relaxed);
    }

    /// The scope that its caller's key needs.
    pub fn scope(&self) -> Scope {
        if self.is_paid_by_batch() { Scope::Batch } else { Scope::Inference }
    }

    /// Whether that was said.
    pub(super) fn is_paid_by_batch(&self) -> bool {
        self.0.paid_for.load(Ordering::Relaxed)
    }

    /// The same trail, for one call of the request that goes on without its client.
    pub(super) fn attended(&self, attendance: Attendance) -> Self {
        Self(Arc::clone(&self.0), attendance)
    }

    /// Whether somebody waits for the call that this is handed to.
    pub(super) fn attendance(&self) -> &Attendance {
        &self.1
    }

    /// How far the caller's limits are used, as far as they were asked.
    pub fn standing(&self) -> Option<Standing> {
        *self.0.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That is how far the caller's limits are used.
    pub(super) fn stands(&self, standing: Option<Standing>) {
        if standing.is_some() {
            *self.0.standing.lock().unwrap_or_else(PoisonError::into_inner) = standing;
        }
    }

    /// A call was admitted.
    pub(super) fn admitted(&self, receipt: &Arc<Receipt>) {
        if self.0.receipt.set(Arc::clone(receipt)).is_err() {
            self.0.further.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(receipt));
        }
    }
}
