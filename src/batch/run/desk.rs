//! A batch on the desk of its steward: what is being done for it now, what went wrong, and what is held for it.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::job;
use crate::clock::Timestamp;
use crate::money::MicroUsd;
use crate::tenancy::{Caller, Hold};

/// The pauses after things that go wrong: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(2));

/// What can be under way for a batch: its plan, or a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::batch) enum Work {
    /// It is being planned.
    Plan,
    /// Something is done for this shard.
    Shard(u32),
}

/// A moment from which the batch is looked at: what ended later, the look may not know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::batch) struct Glance(u64);

/// What went wrong with a piece of work.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    times: u32,
    until: Instant,
    /// Since when AWS refuses it, not only fails.
    refused_since: Option<Timestamp>,
}

/// A batch that this process has.
pub(in crate::batch) struct Desk {
    batch: String,
    wake: Notify,
    left: CancellationToken,
    /// Nothing more of it is to begin.
    cut: CancellationToken,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    hold: Option<(Hold, Option<MicroUsd>)>,
    busy: HashSet<Work>,
    /// Pieces of work that have ended so far.
    ended: u64,
    troubles: HashMap<Work, Trouble>,
    /// Shards that this process took a place for and never asked AWS about.
    fresh: HashSet<u32>,
    /// Shards whose cost was booked by this process.
    booked: HashSet<u32>,
}

impl Inner {
    fn end(&mut self, work: Work) {
        self.busy.remove(&work);
        self.ended += 1;
    }
}

impl Desk {
    pub(super) fn new(batch: &str, hold: Option<Hold>) -> Self {
        let inner = Inner { hold: hold.map(|hold| (hold, None)), ..Inner::default() };
        Self {
            batch: batch.to_owned(),
            wake: Notify::new(),
            left: CancellationToken::new(),
            cut: CancellationToken::new(),
            inner: Mutex::new(inner),
        }
    }

    pub(in crate::batch) fn batch(&self) -> &str {
        &self.batch
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something may have changed.
    pub(super) fn tell(&self) {
        self.wake.notify_one();
    }

    /// Waits until it is told something, or `until` comes.
    pub(super) async fn told(&self, until: Option<Instant>) {
        match until {
            None => self.wake.notified().await,
            Some(until) => {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = tokio::time::sleep_until(until) => {}
                }
            }
        }
    }

    /// The batch is over, or another worker's: what is done for it ends, and nothing is held any more.
    pub(super) fn leave(&self) {
        self.left.cancel();
        let hold = self.lock().hold.take();
        drop(hold);
    }

    pub(super) fn left(&self) -> &CancellationToken {
        &self.left
    }

    /// Nothing more of the batch is to begin: what runs online ends with the records under way.
    pub(super) fn cut(&self) {
        self.cut.cancel();
    }

    pub(in crate::batch) fn is_cut(&self) -> bool {
        self.cut.is_cancelled() || self.left.is_cancelled()
    }

    /// Returns when nothing more of the batch is to begin.
    pub(in crate::batch) async fn cut_down(&self) {
        self.cut.cancelled().await;
    }

    /// Whether so much is held already, from all budgets that there are now.
    pub(super) fn holds(&self, cost: MicroUsd, caller: &Caller) -> bool {
        self.lock().hold.as_ref().is_some_and(|(hold, held)| *held == Some(cost) && hold.is_of(caller))
    }

    /// What is held from now on; what was held before is given back.
    pub(super) fn hold(&self, hold: Hold, cost: MicroUsd) {
        if self.left.is_cancelled() {
            return;
        }
        let before = self.lock().hold.replace((hold, Some(cost)));
        drop(before);
    }

    /// The cost of a shard is in the ledger under `id`: budgets are charged, once.
    pub(in crate::batch) fn spend(&self, id: &str, cost: MicroUsd, at: Timestamp) {
        if let Some((hold, _)) = &self.lock().hold {
            hold.spend(id, cost, at);
        }
    }

    /// The same for what another process booked.
    pub(in crate::batch) fn spend_booked(&self, id: &str, cost: MicroUsd, at: Timestamp) {
        if let Some((hold, _)) = &self.lock().hold {
            hold.spend_booked(id, cost, at);
        }
    }

    /// True the first time that a shard is booked.
    pub(in crate::batch) fn book(&self, shard: u32) -> bool {
        self.lock().booked.insert(shard)
    }

    /// A place was taken for the shard: AWS was not asked for a job yet.
    pub(super) fn is_fresh(&self, shard: u32) {
        self.lock().fresh.insert(shard);
    }

    /// Whether AWS was surely never asked for this shard's job; from now on it may have been.
    pub(super) fn take_fresh(&self, shard: u32) -> bool {
        self.lock().fresh.remove(&shard)
    }

    /// Says from when the batch is looked at: before anything of it is read.
    pub(super) fn glance(&self) -> Glance {
        Glance(self.lock().ended)
    }

    /// Takes up a piece of work that a look from `glance` on showed to be next. When it is under way, or rests after a
    /// failure, says until when, if that is known.
    ///
    /// What has ended since makes the look worthless: the very same work may be what ended, and done twice it would undo
    /// what followed from it. The steward was told, and looks again.
    pub(super) fn take_up(&self, work: Work, glance: Glance) -> Result<(), Option<Instant>> {
        let mut inner = self.lock();
        if inner.ended != glance.0 {
            return Err(None);
        }
        let rests = inner.troubles.get(&work).map(|trouble| trouble.until).filter(|until| *until > Instant::now());
        if inner.busy.contains(&work) {
            return Err(None);
        }
        if rests.is_some() {
            return Err(rests);
        }
        inner.busy.insert(work);
        Ok(())
    }

    /// Whether anything is under way.
    pub(super) fn is_at_work(&self) -> bool {
        !self.lock().busy.is_empty()
    }

    pub(super) fn is_busy(&self, work: Work) -> bool {
        self.lock().busy.contains(&work)
    }

    /// It went well.
    pub(super) fn done(&self, work: Work) {
        let mut inner = self.lock();
        inner.end(work);
        inner.troubles.remove(&work);
    }

    /// It failed, and is tried again after a pause.
    pub(super) fn failed(&self, work: Work, at_least: Option<Duration>) {
        let mut inner = self.lock();
        inner.end(work);
        let now = Instant::now();
        let trouble = inner.troubles.entry(work).or_insert(Trouble { times: 0, until: now, refused_since: None });
        trouble.times = trouble.times.saturating_add(1);
        let pause = job::pause(trouble.times, PAUSES, fastrand::f64());
        trouble.until = now + pause.max(at_least.unwrap_or_default());
    }

    /// Somebody refuses it: since when, without anything else in between.
    pub(super) fn refused(&self, work: Work, now: Timestamp) -> Timestamp {
        let mut inner = self.lock();
        let trouble =
            inner.troubles.entry(work).or_insert(Trouble { times: 0, until: Instant::now(), refused_since: None });
        *trouble.refused_since.get_or_insert(now)
    }

    /// How often in a row it failed.
    pub(super) fn failures(&self, work: Work) -> u32 {
        self.lock().troubles.get(&work).map_or(0, |trouble| trouble.times)
    }

    /// What failed may be tried again at once.
    pub(super) fn forgive(&self) {
        let now = Instant::now();
        self.lock().troubles.values_mut().for_each(|trouble| trouble.until = now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_not_begun_again_by_a_look_that_began_before_it_ended() {
        let desk = Desk::new("batch_1", None);
        let glance = desk.glance();
        assert_eq!(desk.take_up(Work::Plan, glance), Ok(()));
        assert_eq!(desk.take_up(Work::Plan, glance), Err(None), "it is under way");
        let late = desk.glance();
        desk.done(Work::Plan);
        assert_eq!(desk.take_up(Work::Plan, late), Err(None), "it may have been what this look thinks is next");
        assert_eq!(desk.take_up(Work::Shard(0), desk.glance()), Ok(()));
    }

    #[test]
    fn what_failed_rests_before_it_is_begun_again() {
        let desk = Desk::new("batch_1", None);
        assert_eq!(desk.take_up(Work::Shard(3), desk.glance()), Ok(()));
        desk.failed(Work::Shard(3), None);
        assert!(matches!(desk.take_up(Work::Shard(3), desk.glance()), Err(Some(_))));
        assert_eq!(desk.take_up(Work::Shard(4), desk.glance()), Ok(()), "others do not rest with it");
        desk.forgive();
        assert_eq!(desk.take_up(Work::Shard(3), desk.glance()), Ok(()));
    }
}
