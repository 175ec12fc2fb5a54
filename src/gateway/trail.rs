//! What becomes known of a request on its way: the one thing that all layers it passes share.

use std::sync::{Arc, OnceLock};

use super::Receipt;
use crate::ids::RequestId;
use crate::tenancy::Caller;

/// The trail of one request. Clones are the same trail.
#[derive(Clone, Debug)]
pub struct Trail(Arc<Marks>);

#[derive(Debug)]
struct Marks {
    id: RequestId,
    caller: OnceLock<Caller>,
    receipt: OnceLock<Arc<Receipt>>,
}

impl Trail {
    /// The trail of a request that has just come in.
    pub fn new(id: RequestId) -> Self {
        Self(Arc::new(Marks { id, caller: OnceLock::new(), receipt: OnceLock::new() }))
    }

    /// The id that `x-request-id` shows.
    pub fn id(&self) -> &RequestId {
        &self.0.id
    }

    /// Who sent it, once the key was accepted.
    pub fn caller(&self) -> Option<&Caller> {
        self.0.caller.get()
    }

    /// The key was accepted.
    pub fn identified(&self, caller: &Caller) {
        self.0.caller.set(caller.clone()).ok();
    }

    /// The receipt of its call, once one was admitted.
    pub fn receipt(&self) -> Option<&Arc<Receipt>> {
        self.0.receipt.get()
    }

    /// The call was admitted. A request makes one call; of more, the first is told.
    pub(super) fn admitted(&self, receipt: &Arc<Receipt>) {
        self.0.receipt.set(Arc::clone(receipt)).ok();
    }
}
