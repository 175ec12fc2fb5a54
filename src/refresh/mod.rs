//! Keeps the catalog fresh: asks every Region in the background what it has, and replaces the catalog when it changed.
//!
//! Nothing waits for it. A Region that does not answer keeps what is known of it and is told to be stale; a call under way
//! keeps the catalog that it began with. What AWS's answers mean is read and merged in `crate::catalog`; here is who asks,
//! when, and who is told.

mod ask;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::{Catalog, Live, Observed, Problem};
use crate::clock::Clock;
use crate::config::Alias;
use crate::error::{Error, Result};
use crate::telemetry::Metrics;
use crate::upstream::{Reason, Region, Upstream};

/// A Region that did not answer is asked again this soon.
const AGAIN: Duration = Duration::from_mins(5);
/// The result that is no problem.
const OK: &str = "ok";

/// What keeps the catalog fresh. A cheap clone.
#[derive(Clone)]
pub struct Refresher(Arc<Inner>);

struct Inner {
    target: ArcSwap<Target>,
    metrics: Metrics,
    clock: Clock,
    /// Held during a round: there is one at a time.
    round: Mutex<()>,
    /// Held while a catalog is made of it, never while AWS is waited for.
    known: Mutex<Known>,
}

/// What is kept fresh.
struct Target {
    live: Live,
    upstream: Upstream,
    aliases: Vec<Alias>,
}

/// Another configuration's catalog, which is the one to keep fresh once the change is made. Until then, or until this is
/// dropped, no other catalog is made.
pub struct Change<'a> {
    of: &'a Inner,
    known: MutexGuard<'a, Known>,
    target: Target,
}

#[derive(Default)]
struct Known {
    /// The last answer of each Region.
    seen: BTreeMap<Arc<str>, Arc<Observed>>,
    /// The results that were last logged.
    logged: BTreeMap<Arc<str>, &'static str>,
    /// Aliases whose model is gone.
    lost: Vec<String>,
}

impl fmt::Debug for Refresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refresher(..)")
    }
}

impl Refresher {
    /// For the catalog `live`, whose aliases these are, and the Regions of `upstream`.
    pub fn new(live: Live, upstream: Upstream, aliases: &[Alias], metrics: Metrics, clock: Clock) -> Self {
        let target = ArcSwap::from_pointee(Target { live, upstream, aliases: aliases.to_vec() });
        Self(Arc::new(Inner { target, metrics, clock, round: Mutex::default(), known: Mutex::default() }))
    }

    /// Prepares for other settings: `catalog` is what they make of the compiled-in data, with these aliases, and gets what
    /// the Regions of `upstream` were seen to have. Waits for AWS in no case.
    ///
    /// # Errors
    /// The catalog cannot be built, which a test would have found.
    pub async fn change(&self, upstream: Upstream, catalog: Catalog, aliases: &[Alias]) -> Result<Change<'_>> {
        let known = self.0.known.lock().await;
        let aliases = aliases.to_vec();
        let seen: Vec<_> = known.seen.iter().filter(|(region, _)| upstream.region(region).is_some()).collect();
        let catalog = if seen.is_empty() {
            catalog
        } else {
            let (seen, aliases) =
                (seen.into_iter().map(|(_, seen)| Arc::clone(seen)).collect::<Vec<_>>(), aliases.clone());
            let building = move || catalog.refreshed(seen.iter().map(|seen| &**seen), &aliases);
            tokio::task::spawn_blocking(building).await.map_err(Error::internal)??.0
        };
        let live = self.0.target.load().live.followed_by(catalog);
        Ok(Change { of: &self.0, known, target: Target { live, upstream, aliases } })
    }

    /// Begins with a round at once and makes one every `period`, give or take a tenth, so that replicas that start
    /// together do not ask together; sooner while a Region does not answer.
    pub fn in_background(&self, period: Duration, tracker: &TaskTracker, stop: CancellationToken) {
        let refresher = self.clone();
        let refreshing = async move {
            loop {
                let failed = refresher.refresh().await;
                let pause = if failed > 0 { period.min(AGAIN) } else { period };
                tokio::time::sleep(pause.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            }
        };
        tracker.spawn(stop.run_until_cancelled_owned(refreshing));
    }

    /// Asks every Region once, all at the same time, and replaces the catalog if something changed. Returns how many
    /// Regions did not answer, without those where the permission is missing: asking them sooner helps nobody.
    pub async fn refresh(&self) -> usize {
        let _round = self.0.round.lock().await;
        let asked = self.0.target.load_full();
        let regions: Vec<&Region> = asked.upstream.regions().collect();
        let answers = future::join_all(regions.iter().map(|region| ask::ask(region))).await;
        let mut known = self.0.known.lock().await;
        // Other settings may have come meanwhile.
        let target = self.0.target.load_full();
        let (mut failed, mut changed) = (0, false);
        for (region, answer) in regions.iter().zip(answers) {
            let name = region.name();
            if target.upstream.region(name).is_none() {
                continue;
            }
            let result = answer.as_ref().map_or_else(|problem| problem.result, |_| OK);
            self.0.metrics.catalog_refresh(name, result);
            log(&mut known, name, &answer);
            failed += usize::from(result != OK && !is_denied(result));
            let noted = match answer {
                Ok(seen) => {
                    if known.seen.get(name).is_none_or(|last| **last != seen) {
                        known.seen.insert(Arc::clone(name), Arc::new(seen));
                        changed = true;
                    }
                    Ok(())
                }
                Err(problem) => Err(problem),
            };
            target.live.note(name, self.0.clock.now(), noted);
        }
        if changed {
            rebuild(&target, &mut known).await;
        }
        failed
    }
}

impl Change<'_> {
    /// The catalog, as calls by the new settings are to find it.
    pub fn live(&self) -> &Live {
        &self.target.live
    }

    /// From now on this catalog is kept fresh. What AWS is being asked for the one before counts for it as well.
    pub fn make(mut self) {
        let upstream = &self.target.upstream;
        self.known.seen.retain(|region, _| upstream.region(region).is_some());
        self.known.logged.retain(|region, _| upstream.region(region).is_some());
        self.of.target.store(Arc::new(self.target));
    }
}

impl fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Change(..)")
    }
}

/// Puts what is known together and makes it the catalog.
async fn rebuild(target: &Arc<Target>, known: &mut Known) {
    let (building, seen) = (Arc::clone(target), known.seen.clone());
    let building = tokio::task::spawn_blocking(move || {
        let last = building.live.now();
        last.refreshed(seen.values().map(|seen| &**seen), &building.aliases)
    });
    match building.await {
        Ok(Ok((catalog, lost))) => {
            target.live.replace(catalog);
            for alias in lost.iter().filter(|alias| !known.lost.contains(alias)) {
                tracing::warn!(alias, "the model of this alias is gone; it is still called as it was last known");
            }
            known.lost = lost;
        }
        Ok(Err(error)) => tracing::error!(%error, causes = error.causes(), "the catalog could not be built"),
        Err(error) => tracing::error!(%error, "the catalog could not be built"),
    }
}

/// Whether the permission is missing: an administrator may want it so.
fn is_denied(result: &str) -> bool {
    result == <&str>::from(Reason::Denied)
}

/// Says what changed since it was last said: an outage is news once, and its end.
fn log(known: &mut Known, region: &Arc<str>, answer: &Result<Observed, Problem>) {
    let result = answer.as_ref().map_or_else(|problem| problem.result, |_| OK);
    let last = known.logged.insert(Arc::clone(region), result);
    if last == Some(result) {
        return;
    }
    match answer {
        Ok(seen) => {
            let (models, profiles, broken) = (seen.models(), seen.profiles(), seen.broken());
            tracing::info!(%region, models, profiles, broken, "AWS told which models the Region has");
        }
        Err(problem) if is_denied(problem.result) => {
            tracing::info!(%region, cause = problem.message, "the catalog of the Region stays as it is known");
        }
        Err(problem) => {
            let Problem { result, message } = problem;
            tracing::warn!(%region, result, cause = message, "the catalog of the Region is stale: AWS did not tell which models it has");
        }
    }
}
