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

    /// Takes over the server's clock, if what it refused was signed at a time that is off; says whether it was. Of many
    /// that were refused together one finds the clock wrong, and all have to be repeated.
    pub(super) fn adopt(&self, server: Timestamp, signed_at: Timestamp) -> bool {
        let is_near = |at: Timestamp| at.since(server).max(server.since(at)) < TOLERATED_SKEW;
        if is_near(signed_at) {
            return false;
        }
        if is_near(self.now()) {
            return true;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_was_signed_by_the_wrong_clock_is_repeated_and_nothing_else() {
        let own = Timestamp::from_millis(1_700_000_000_000);
        let clock = AwsClock::new(Clock::manual(own));
        let server = own.plus(Duration::from_hours(1));
        assert!(clock.adopt(server, own), "the first finds the clock wrong");
        assert!(clock.adopt(server, own), "the second was signed before it was put right");
        assert_eq!(clock.now(), server);
        assert!(!clock.adopt(server, clock.now()), "this was refused for another reason");
    }
}
