//! What becomes of calls that are older than `ledger.retention_days`: whole UTC days are rolled up into sums.
//!
//! Rows are taken from the ledger and added to the sums in one transaction, some hundred at a time, so that a crash between
//! two loses nothing, several processes may do it at once, and the ledger's writer does not wait. A row that comes late, from
//! the journal of a process that was down for long, is added when it has come.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::question::DAY;
use super::{Usage, queries};
use crate::clock::Timestamp;
use crate::error::Result;

/// How often is looked for what has become old.
const INTERVAL: Duration = Duration::from_hours(1);
/// Rows of one transaction: none holds the write lock for long.
const ROWS: u32 = 500;

impl Usage {
    /// Spawns on `tracker` the task that keeps the ledger and the audit log to their days, now and every hour. It ends
    /// with `stop`; what it was doing is undone or done.
    pub fn retain_in_background(&self, tracker: &TaskTracker, stop: CancellationToken) {
        let usage = self.clone();
        let retaining = async move {
            let mut tick = tokio::time::interval(INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                match usage.retain().await {
                    Ok(0) => {}
                    Ok(rows) => tracing::info!(rows, "old calls are kept in sums from now on"),
                    Err(error) => {
                        tracing::warn!(%error, causes = error.causes(), "old calls could not be rolled up");
                    }
                }
            }
        };
        tracker.spawn(stop.run_until_cancelled_owned(retaining));
    }

    /// Rolls up every call of a UTC day that ended `ledger.retention_days` ago or earlier, and takes as old lines out of the
    /// audit log. Says how many calls there were.
    pub async fn retain(&self) -> Result<u64> {
        let inner = &*self.0;
        let now = inner.clock.now();
        let mut rolled_up = 0;
        if let Some(border) = border(now, inner.settings.retention_days) {
            loop {
                let rows = queries::roll_up(&inner.store, border, ROWS).await?;
                rolled_up += rows;
                // None left, or another process has the rest in its hands.
                if rows < u64::from(ROWS) {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        if let Some(border) = border(now, inner.settings.audit_retention_days) {
            while queries::purge_audit(&inner.store, border, ROWS).await? == u64::from(ROWS) {}
        }
        Ok(rolled_up)
    }
}

/// The midnight in UTC before which everything is older than so many whole days; none with 0.
fn border(now: Timestamp, days: u32) -> Option<Timestamp> {
    let border = now.millis().div_euclid(DAY).checked_sub(i64::from(days))?;
    (days > 0).then(|| Timestamp::from_millis(border.saturating_mul(DAY)))
}

/// Calls added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) requests: i64,
    pub(super) unpriced: i64,
    pub(super) tokens: [i64; 4],
    /// Of those whose price is known.
    pub(super) cost: Option<i64>,
}

/// Sums by day and by everything that is kept of a call.
#[derive(Debug, Default)]
pub(super) struct Sums(BTreeMap<(String, i64, [String; 8]), Sum>);

impl Sums {
    pub(super) fn add(&mut self, at: Timestamp, texts: [String; 8], one: Sum) {
        let day = at.millis().div_euclid(DAY);
        let sum = self.0.entry((id(day, &texts), day, texts)).or_default();
        sum.requests += one.requests;
        sum.unpriced += one.unpriced;
        for (tokens, more) in sum.tokens.iter_mut().zip(one.tokens) {
            *tokens = tokens.saturating_add(more);
        }
        if let Some(cost) = one.cost {
            sum.cost = Some(sum.cost.unwrap_or_default().saturating_add(cost));
        }
    }

    /// In the order of their ids: two processes that add to the same ones do not wait for each other in a circle.
    pub(super) fn into_ordered(self) -> impl Iterator<Item = ((String, i64, [String; 8]), Sum)> {
        self.0.into_iter()
    }
}

fn id(day: i64, texts: &[String; 8]) -> String {
    let mut hash = Sha256::new();
    hash.update(day.to_be_bytes());
    for text in texts {
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_days_that_ended_long_enough_ago_are_old() {
        let at = |days: i64| Timestamp::from_millis(days * DAY);
        assert_eq!(border(Timestamp::from_millis(10 * DAY + 5), 3), Some(at(7)));
        assert_eq!(border(at(10), 3), Some(at(7)));
        assert_eq!(border(at(10), 0), None);
    }

    #[test]
    fn groups_that_read_alike_when_put_together_are_not_the_same() {
        let texts = |first: &str, second: &str| {
            let mut texts: [String; 8] = Default::default();
            (texts[0], texts[1]) = (first.into(), second.into());
            texts
        };
        assert_ne!(id(1, &texts("ab", "c")), id(1, &texts("a", "bc")));
        assert_ne!(id(1, &texts("a", "b")), id(2, &texts("a", "b")));
    }
}
