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

use futures_util::future;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::{Live, Observed, Problem};
use crate::clock::Clock;
use crate::config::Alias;
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
    live: Live,
    upstream: Upstream,
    aliases: Vec<Alias>,
    metrics: Metrics,
    clock: Clock,
    /// Held during a round: there is one at a time.
    known: Mutex<Known>,
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
        let aliases = aliases.to_vec();
        Self(Arc::new(Inner { live, upstream, aliases, metrics, clock, known: Mutex::default() }))
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
        let mut known = self.0.known.lock().await;
        let regions: Vec<&Region> = self.0.upstream.regions().collect();
        let answers = future::join_all(regions.iter().map(|region| ask::ask(region))).await;
        let (mut failed, mut changed) = (0, false);
        for (region, answer) in regions.iter().zip(answers) {
            let name = region.name();
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
            self.0.live.note(name, self.0.clock.now(), noted);
        }
        if changed {
            self.rebuild(&mut known).await;
        }
        failed
    }

    /// Puts what is known together and makes it the catalog.
    async fn rebuild(&self, known: &mut Known) {
        let (inner, seen) = (Arc::clone(&self.0), known.seen.clone());
        let building = tokio::task::spawn_blocking(move || {
            let last = inner.live.now();
            last.refreshed(seen.values().map(|seen| &**seen), &inner.aliases)
        });
        match building.await {
            Ok(Ok((catalog, lost))) => {
                self.0.live.replace(catalog);
                for alias in lost.iter().filter(|alias| !known.lost.contains(alias)) {
                    tracing::warn!(alias, "the model of this alias is gone; it is still called as it was last known");
                }
                known.lost = lost;
            }
            Ok(Err(error)) => tracing::error!(%error, causes = error.causes(), "the catalog could not be built"),
            Err(error) => tracing::error!(%error, "the catalog could not be built"),
        }
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
