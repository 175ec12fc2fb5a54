//! The worker's life: it says that it lives, finds batches that nobody works on, and notices what was taken from it.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::batches::{Batches, worker_of};
use crate::batch::queries;
use crate::clock::Timestamp;
use crate::error::Result;

/// How long a worker lives that is not heard of.
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// How often it says that it lives.
const BEAT: Duration = Duration::from_secs(10);
/// How often batches are looked for that nobody works on, or that are to end.
const LOOK: Duration = Duration::from_secs(5);
/// How often all that the worker has is compared with the store.
const AUDIT: Duration = Duration::from_mins(1);
/// Batches that are taken at one look: another replica finds some, too.
pub(super) const CLAIMS: u32 = 100;
/// Workers that are dead for so long have left nothing.
const FORGOTTEN: Duration = Duration::from_hours(24);

/// What the keeper did last.
struct Last {
    beat: Option<Timestamp>,
    audit: Instant,
}

impl Batches {
    /// Until `stop`, and beyond it while something is under way: then it only says that it lives.
    pub(super) async fn keep(self, stop: CancellationToken) {
        let mut last = Last { beat: None, audit: Instant::now() };
        loop {
            if let Err(error) = self.round(&mut last, &stop).await {
                tracing::warn!(%error, causes = error.causes(), "batches cannot be looked after: the store fails");
            }
            if self.is_idle(&stop) {
                return;
            }
            let look = LOOK.mul_f64(0.8 + 0.4 * fastrand::f64());
            tokio::select! {
                () = tokio::time::sleep(look) => {}
                () = self.crew().look.notified() => {}
            }
        }
    }

    /// Whether nothing is under way after the stop.
    fn is_idle(&self, stop: &CancellationToken) -> bool {
        stop.is_cancelled() && self.crew().desks().is_empty()
    }

    async fn round(&self, last: &mut Last, stop: &CancellationToken) -> Result<()> {
        let now = self.now();
        let is_late = last.beat.is_some_and(|beat| now.since(beat) >= LEASE);
        if last.beat.is_none_or(|beat| now.since(beat) >= BEAT) {
            queries::beat(self.store(), self.worker(), now.plus(LEASE)).await?;
            last.beat = Some(now);
            self.count_jobs().await?;
        }
        if is_late || last.audit.elapsed() >= AUDIT {
            self.audit().await?;
            last.audit = Instant::now();
            if !stop.is_cancelled()
                && let Err(error) = self.purge().await
            {
                tracing::warn!(%error, causes = error.causes(), "objects of old batches cannot be deleted yet");
            }
        }
        if !stop.is_cancelled() {
            self.find().await?;
        }
        Ok(())
    }

    /// One look by hand.
    pub(super) async fn look(&self) {
        let beat = queries::beat(self.store(), self.worker(), self.now().plus(LEASE)).await;
        let found = match beat {
            Ok(()) => self.find().await,
            Err(error) => Err(error),
        };
        if let Err(error) = found {
            tracing::warn!(%error, "batches cannot be looked after: the store fails");
        }
        self.crew().look.notify_one();
    }

    /// Takes what nobody works on, and tells stewards what is to end.
    async fn find(&self) -> Result<()> {
        self.release_dead().await?;
        let now = self.now();
        let claimed = queries::claim(self.store(), self.worker(), now, CLAIMS).await?;
        for batch in &claimed {
            tracing::info!(batch, "a batch that nobody worked on was taken");
            self.crew().open(self, batch, self.crew().take_silent(batch));
        }
        if !claimed.is_empty() {
            self.crew().taken.send_replace(());
        }
        self.listen_to_silent().await?;
        for batch in queries::due(self.store(), self.worker(), now).await? {
            self.crew().tell(&batch);
        }
        Ok(())
    }

    /// Nobody has to wait for the lease of a process that is known to be dead. Were it forgotten here by a failure of the
    /// store, the lease would end all the same.
    pub(super) async fn release_dead(&self) -> Result<()> {
        for writer in self.gateway().tenancy().take_dead() {
            queries::leave(self.store(), &worker_of(&writer)).await?;
        }
        Ok(())
    }

    /// Lets go what is another worker's by now, and has each steward look whether its team still is one.
    async fn audit(&self) -> Result<()> {
        let owned: HashSet<String> = queries::owned(self.store(), self.worker()).await?.into_iter().collect();
        for desk in self.crew().desks() {
            if owned.contains(desk.batch()) {
                continue;
            }
            // Over, or taken: the steward sees which, and what runs for it ends now.
            tracing::info!(batch = desk.batch(), "a batch is not this worker's any more");
            self.crew().close(&desk);
            desk.tell();
        }
        for batch in owned {
            self.crew().open(self, &batch, None);
        }
        queries::sweep(self.store(), Timestamp::from_millis(self.now().millis() - millis(FORGOTTEN))).await
    }

    async fn count_jobs(&self) -> Result<()> {
        let states = queries::job_states(self.store(), self.worker()).await?;
        self.gateway().metrics().batch_jobs(&states);
        Ok(())
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
