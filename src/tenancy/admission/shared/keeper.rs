//! The one task that keeps the connection, renews leases and sends settlements.
//!
//! It does one thing after the other over one connection, so that a hold is never held again after it was settled. A
//! settlement leaves the queue when the shared store has answered it; it may be sent twice and counts once.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::held::Leaving;
use super::script::{self, Charge, Use};
use super::{BOOKED_BY, Shared};
use crate::error::{Error, Result};
use crate::money::MicroUsd;
use crate::tenancy::admission::Settled;
use crate::tenancy::admission::meter::{Balance, THRESHOLDS};

/// How long the shared store is left alone after it could not be reached.
const PAUSE: Duration = Duration::from_millis(500);
/// The shortest time between two connections, when one after the other fails.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
/// Settlements sent in one go.
const AT_ONCE: usize = 256;
/// Holds renewed by one run of the script.
const RENEWED_AT_ONCE: usize = 500;
/// The most settlements that are remembered in case the shared store forgets them.
const REMEMBERED: usize = 50_000;
/// What is left may take so long at the end.
const LAST_WORDS: Duration = Duration::from_secs(3);

pub(super) struct Keeper {
    shared: Shared,
    queue: mpsc::Receiver<Leaving>,
    /// Taken from the queue and not yet answered.
    batch: Vec<Leaving>,
    /// Answered within [`BOOKED_BY`], so that their rows may not be in the ledger yet: when, and under which generation.
    recent: VecDeque<(Instant, i64, Leaving)>,
    /// Whether its absence was logged.
    told: bool,
}

impl Keeper {
    pub(super) fn new(shared: Shared, queue: mpsc::Receiver<Leaving>) -> Self {
        Self { shared, queue, batch: Vec::new(), recent: VecDeque::new(), told: false }
    }

    /// Tries once to connect.
    pub(super) async fn begin(mut self) -> Self {
        if let Err(error) = self.greet().await {
            self.tell(&error);
        }
        self
    }

    fn tell(&mut self, error: &Error) {
        if !self.told {
            tracing::warn!(%error, causes = error.causes(), "the shared store is away");
            self.told = true;
        }
    }

    /// Keeps until `stop`, then sends what is left, within a limit.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep()).await;
        self.queue.close();
        let rest = async {
            while let Ok(settling) = self.queue.try_recv() {
                self.batch.push(settling);
                if self.batch.len() >= AT_ONCE && self.settle().await.is_err() {
                    return;
                }
            }
            self.settle().await.ok();
        };
        tokio::time::timeout(LAST_WORDS, rest).await.ok();
        if !self.batch.is_empty() {
            tracing::warn!(settlements = self.batch.len(), "the shared store could not be told what calls cost");
        }
    }

    async fn keep(&mut self) {
        let shared = self.shared.clone();
        let mut renewal = interval(shared.0.lease / 3);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if !shared.0.shared.is_up() || shared.0.overflow.load(Ordering::Acquire) {
                self.connect().await;
            }
            // A failure of any of these takes the connection down, and the loop begins anew.
            if !self.batch.is_empty() {
                self.settle().await.ok();
                continue;
            }
            tokio::select! {
                () = shared.0.shared.lost() => {}
                () = shared.0.forgotten.notified() => { self.remind().await.ok(); }
                _ = renewal.tick() => { self.renew().await.ok(); }
                _ = self.queue.recv_many(&mut self.batch, AT_ONCE) => {}
            }
        }
    }

    /// Returns with a connection.
    async fn connect(&mut self) {
        loop {
            match self.greet().await {
                Ok(()) => break,
                Err(error) => {
                    self.tell(&error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        if self.told {
            tracing::info!("the shared store is back");
            self.told = false;
        }
        // Holds may have been forgotten, or run out, meanwhile.
        if self.renew().await.is_err() {
            tokio::time::sleep(LEAST_PAUSE).await;
        }
    }

    async fn greet(&mut self) -> Result<()> {
        let inner = &self.shared.0;
        let link = inner.shared.dial().await?;
        // Settlements that found no room in the queue are in the ledger alone: only a new generation counts them.
        let anew = inner.overflow.load(Ordering::Acquire);
        let run = link.server().run.clone();
        let arguments = [script::moment(inner.clock.by_hand()), run.as_str().into(), i64::from(anew).into()];
        let answer = inner.shared.run_over(&link, script::GREET, script::EPOCH, &arguments).await?;
        let since = script::generation(answer)?;
        if anew {
            inner.overflow.store(false, Ordering::Release);
        }
        inner.shared.publish(link);
        inner.connections.fetch_add(1, Ordering::AcqRel);
        self.shared.learn(since);
        Ok(())
    }

    /// Sends the batch. It is kept when that fails.
    async fn settle(&mut self) -> Result<()> {
        let inner = &self.shared.0;
        let calls: Vec<_> =
            self.batch.iter().map(|hold| script::settle(inner.clock.by_hand(), &hold.settling)).collect();
        let answers = inner.shared.run_all(script::SETTLE, script::EPOCH, &calls).await?;
        let now = Instant::now();
        for (leaving, answer) in self.batch.drain(..).zip(answers) {
            let (since, charges) = script::settled(answer)?;
            self.shared.learn(since);
            if let Some(payer) = &leaving.payer {
                inner.accounts.settled(&leaving, payer, (since, &charges));
                thresholds(&leaving, &charges).report(&inner.metrics, payer);
            }
            if leaving.settling.cost > 0 && self.recent.len() < REMEMBERED {
                self.recent.push_back((now, since, leaving));
            }
        }
        while self.recent.front().is_some_and(|(at, ..)| at.elapsed() > BOOKED_BY) {
            self.recent.pop_front();
        }
        Ok(())
    }

    /// The shared store has forgotten: what was settled just before may be in neither it nor the ledger, and is sent again.
    async fn remind(&mut self) -> Result<()> {
        let since = self.shared.0.since.load(Ordering::Acquire);
        for (_, under, settling) in std::mem::take(&mut self.recent) {
            if under == since {
                self.recent.push_back((Instant::now(), under, settling));
            } else {
                self.batch.push(settling);
            }
        }
        self.renew().await
    }

    /// Renews the leases of all running calls, and holds again what is not known.
    async fn renew(&mut self) -> Result<()> {
        let inner = &self.shared.0;
        let ids: Vec<String> = self.live(|live| live.keys().cloned().collect());
        let by_hand = inner.clock.by_hand();
        let calls: Vec<_> = ids.chunks(RENEWED_AT_ONCE).map(|ids| script::renew(by_hand, inner.lease, ids)).collect();
        // Without holds of its own it still asks: that sweeps, and tells the generation.
        let calls = if calls.is_empty() { vec![script::renew(by_hand, inner.lease, &[])] } else { calls };
        let mut unknown = Vec::new();
        for answer in inner.shared.run_all(script::RENEW, script::EPOCH, &calls).await? {
            let (since, ids) = script::renewed(answer)?;
            self.shared.learn(since);
            unknown.extend(ids);
        }
        self.restore(unknown).await
    }

    async fn restore(&self, unknown: Vec<String>) -> Result<()> {
        let inner = &self.shared.0;
        // Those that were settled meanwhile are no longer there.
        let lost: Vec<(String, String)> = self.live(|live| {
            unknown
                .into_iter()
                .filter_map(|id| Some((live.get(&id)?.record.clone(), id)))
                .map(|(r, id)| (id, r))
                .collect()
        });
        for chunk in lost.chunks(RENEWED_AT_ONCE) {
            let arguments = script::restore(inner.clock.by_hand(), inner.lease, chunk);
            for answer in inner.shared.run_all(script::RESTORE, script::EPOCH, &[arguments]).await? {
                let since = script::generation(answer)?;
                self.live(|live| {
                    chunk.iter().filter_map(|(id, _)| live.get_mut(id).map(|live| live.since = since)).count()
                });
            }
        }
        Ok(())
    }

    fn live<T>(&self, look: impl FnOnce(&mut std::collections::HashMap<String, super::Live>) -> T) -> T {
        look(&mut self.shared.0.live.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The thresholds that this settlement, and no other of any replica, has reached.
fn thresholds(leaving: &Leaving, charges: &[Charge]) -> Settled {
    let mut settled = Settled::default();
    for ((budget, window), charge) in leaving.charged().zip(charges) {
        let Charge::Made(Use { spent, held }) = *charge else { continue };
        let is_reached = |spent: i64, percent: u8| {
            i128::from(spent) * 100 >= i128::from(budget.limit.0) * i128::from(percent) && budget.limit.0 > 0
        };
        let before = spent - leaving.settling.cost;
        for percent in THRESHOLDS {
            if is_reached(spent, percent) && !is_reached(before, percent) {
                let balance = Balance { limit: budget.limit, spent: MicroUsd(spent), held: MicroUsd(held), window };
                settled.thresholds.push((Arc::clone(budget), percent, balance));
            }
        }
    }
    settled
}
