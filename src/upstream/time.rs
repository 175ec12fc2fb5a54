//! AWS's clock as far as the gateway knows it: this machine's, and by how much that one is off. Signatures, and how long
//! credentials last, go by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_types::sdk_config::TimeSource;

use crate::clock::{Clock, Timestamp};

/// A clock this much off is corrected; AWS refuses signatures from five minutes on.
const TOLERATED_SKEW: Duration = Duration::from_secs(10);

/// The clock. Clones are corrected together.
#[derive(Clone, Debug)]
pub(super) struct AwsClock {
    own: Clock,
    /// What to add to our clock to have AWS's, in milliseconds.
    skew: Arc<AtomicI64>,
}

impl AwsClock {
    pub(super) fn new(own: Clock) -> Self {
        Self { own, skew: Arc::default() }
    }

    /// The time by AWS's clock, as far as we know it.
    pub(super) fn now(&self) -> Timestamp {
        let skew = self.skew.load(Ordering::Relaxed);
        Timestamp::from_millis(self.own.now().millis().saturating_add(skew))
    }

    /// Takes over the server's clock if ours is off; says whether it was.
    pub(super) fn adopt(&self, server: Timestamp) -> bool {
        let now = self.now();
        if now.since(server).max(server.since(now)) < TOLERATED_SKEW {
            return false;
        }
        let skew = server.millis().saturating_sub(self.own.now().millis());
        tracing::warn!(skew_ms = skew, "the clock of this machine is off; signing by AWS's clock");
        self.skew.store(skew, Ordering::Relaxed);
        true
    }
}

/// What the SDK signs its calls to STS by.
impl TimeSource for AwsClock {
    fn now(&self) -> SystemTime {
        Self::now(self).into()
    }
}
