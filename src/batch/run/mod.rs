//! What runs batches: one worker per process, and one steward for each batch that the worker has.
//!
//! A steward reads what the store knows of its batch, does what follows from it (`job/`), and waits to be told that
//! something changed: it remembers nothing that matters. Places for jobs are given by `dispatch.rs`, jobs are looked at
//! by `poll.rs`, Region by Region. Invariant: whatever is done for a batch ends when the batch is another worker's.
//! What batches hold is held again at the start, before calls are admitted: `resume.rs`.

mod desk;
mod dispatch;
mod keep;
mod poll;
mod purge;
mod resume;
mod steward;
mod stop;
mod submit;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(super) use self::desk::Desk;
use self::resume::Silent;
pub(super) use self::steward::View;
use super::batches::Batches;
use crate::error::Result;
use crate::tenancy::Hold;

/// Files that are planned or collected at once: each keeps a core busy, and some memory.
const HEAVY: usize = 2;
/// Records that run online at once, in all batches of this process.
const ONLINE: usize = 8;
/// Requests for jobs at once. AWS takes about one in a second.
const REQUESTS: usize = 2;

/// What this process works on.
pub(super) struct Crew {
    desks: Mutex<HashMap<String, Arc<Desk>>>,
    /// Batches of workers that were not heard of since the start.
    silent: Mutex<HashMap<String, Silent>>,
    staff: OnceLock<Staff>,
    /// Something waits for a place.
    queued: Notify,
    /// Somebody should look for batches now.
    look: Notify,
    /// Batches were taken over.
    taken: watch::Sender<()>,
    pub(super) heavy: Semaphore,
    pub(super) online: Arc<Semaphore>,
    requests: Semaphore,
}

/// Where work is done, and until when.
#[derive(Clone)]
struct Staff {
    tracker: TaskTracker,
    /// Nothing more begins.
    stop: CancellationToken,
}

impl Default for Crew {
    fn default() -> Self {
        Self {
            desks: Mutex::default(),
            silent: Mutex::default(),
            staff: OnceLock::new(),
            queued: Notify::new(),
            look: Notify::new(),
            taken: watch::Sender::new(()),
            heavy: Semaphore::new(HEAVY),
            online: Arc::new(Semaphore::new(ONLINE)),
            requests: Semaphore::new(REQUESTS),
        }
    }
}

impl fmt::Debug for Crew {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crew").field("desks", &self.lock().len()).finish_non_exhaustive()
    }
}

impl Crew {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Desk>>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn silent(&self) -> MutexGuard<'_, HashMap<String, Silent>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker has this batch now; `hold` is what is held for it, if that is known.
    pub(super) fn open(&self, batches: &Batches, batch: &str, hold: Option<Hold>) {
        let mut desks = self.lock();
        if let Some(known) = desks.get(batch) {
            known.tell();
            return;
        }
        let desk = Arc::new(Desk::new(batch, hold));
        desks.insert(batch.to_owned(), Arc::clone(&desk));
        drop(desks);
        if let Some(staff) = self.staff.get() {
            staff.begin(batches, desk);
        }
    }

    /// Something may have changed about a batch, if the worker has it.
    pub(super) fn tell(&self, batch: &str) {
        if let Some(desk) = self.lock().get(batch) {
            desk.tell();
        }
    }

    /// The worker has nothing to do with the batch any more.
    fn close(&self, desk: &Arc<Desk>) {
        let mut desks = self.lock();
        if desks.get(desk.batch()).is_some_and(|known| Arc::ptr_eq(known, desk)) {
            desks.remove(desk.batch());
        }
        drop(desks);
        desk.leave();
    }

    fn desks(&self) -> Vec<Arc<Desk>> {
        self.lock().values().cloned().collect()
    }

    /// A shard has a place.
    fn placed(&self, batch: &str, shard: u32) {
        let desk = self.lock().get(batch).cloned();
        if let Some(desk) = desk {
            desk.is_fresh(shard);
            desk.tell();
        }
    }

    /// Something waits for a place.
    pub(super) fn queue(&self) {
        self.queued.notify_one();
    }

    fn is_stopping(&self) -> bool {
        self.staff.get().is_none_or(|staff| staff.stop.is_cancelled())
    }
}

impl Staff {
    fn begin(&self, batches: &Batches, desk: Arc<Desk>) {
        if !self.stop.is_cancelled() {
            self.tracker.spawn(batches.clone().steward(desk));
        }
    }
}

impl Batches {
    /// Begins to work: on batches that are submitted here, at once, and on those that no process works on, which are
    /// looked for every few seconds. Ends by [`Batches::stop`]. When this returns, budgets hold again what open batches
    /// may cost: no call is to be admitted before.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn work(&self) -> Result<()> {
        let crew = self.crew();
        self.resume().await?;
        let staff = Staff { tracker: TaskTracker::new(), stop: CancellationToken::new() };
        if crew.staff.set(staff.clone()).is_err() {
            return Ok(());
        }
        for desk in crew.desks() {
            staff.begin(self, desk);
        }
        let spawn = |work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            staff.tracker.spawn(staff.stop.clone().run_until_cancelled_owned(work));
        };
        // The keeper goes on while records run online that nobody else should begin again.
        staff.tracker.spawn(self.clone().keep(staff.stop.clone()));
        spawn(Box::pin(self.clone().give_places()));
        for region in self.gateway().regions() {
            spawn(Box::pin(self.clone().watch(Arc::clone(region))));
        }
        Ok(())
    }

    /// One look at everything there is to look at, now: for tests and tools, which then do not wait for timers.
    pub async fn step(&self) {
        self.look().await;
        for desk in self.crew().desks() {
            desk.forgive();
            desk.tell();
        }
        self.dispatch().await;
        for region in self.gateway().regions() {
            self.poll(region).await;
        }
    }
}
