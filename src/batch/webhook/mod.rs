//! Webhooks: a team is told when a batch of its ends, in the shape of OpenAI's events
//! (<https://platform.openai.com/docs/api-reference/webhook-events>), signed by Standard Webhooks.
//!
//! An event is written in the transaction that ends the batch, and delivered afterwards by whichever process leases it: by
//! setting its next try a while ahead. It is tried for about a day. Invariants: a batch makes one event; no two processes
//! deliver it at the same time; what is delivered at least once may come twice, under the same `webhook-id`, when a process
//! dies between the receiver's answer and the row.

mod queries;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use sqlx::AnyConnection;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::queries::Event;
use super::record::{Batch, State};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::fetch::Fetcher;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::tenancy::admin::find_team;
use crate::tenancy::{Message, Sealer, Team, webhook_url};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How often the store is asked what is due.
const TICK: Duration = Duration::from_secs(1);
/// How long nobody else delivers an event that one process took; longer than one delivery takes.
const LEASE: Duration = Duration::from_mins(1);
/// Events that one process delivers at the same time.
const AT_ONCE: usize = 16;
/// How long deliveries under way are waited for when the process stops.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long an event that is over is kept, and how often the older ones are taken out.
const RETENTION: Duration = Duration::from_hours(7 * 24);
const PURGE_INTERVAL: Duration = Duration::from_hours(1);

/// Pauses after tries that failed, each give or take a fifth: nearly a day in all, as Standard Webhooks advises.
const PAUSES: [Duration; 10] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(2),
    Duration::from_hours(4),
    Duration::from_hours(8),
    Duration::from_hours(8),
];

/// Writes the event of a batch that is over, within the transaction that ends it, for the URL of the batch or else of its
/// team. Does nothing where nobody is to be told, and nothing the second time.
///
/// # Errors
/// The store fails.
pub async fn queue(connection: &mut AnyConnection, batch: &Batch, now: Timestamp) -> Result<()> {
    let Some(name) = event_of(batch.state) else { return Ok(()) };
    let url = match &batch.webhook_url {
        Some(url) => Some(url.clone()),
        None => webhook_url(connection, &batch.team).await?,
    };
    let Some(url) = url else { return Ok(()) };
    let id = id_of(&batch.id);
    let body = json!({
        "id": id,
        "object": "event",
        "created_at": now.seconds(),
        "type": name,
        "data": { "id": batch.id },
    });
    let event = Event { id, team: batch.team.clone(), url, body: body.to_string(), tries: 0, due: now };
    queries::insert(connection, &event, now).await
}

/// Whether a caller of `team` may name `url` as the `webhook_url` of a batch.
///
/// # Errors
/// [`crate::error::Kind::Invalid`] or [`crate::error::Kind::Unsupported`], `webhook_url` to blame.
pub fn check(fetcher: &Fetcher, team: &Team, url: &str) -> Result<()> {
    const FIELD: &str = "webhook_url";
    if !fetcher.is_enabled() {
        return Err(Error::unsupported(FIELD, "This gateway calls no URL that a request names (fetch.enabled)."));
    }
    if team.webhook.is_none() {
        let message = "The team has no secret to sign with: an administrator gives it one by setting the team's own \
                       `webhook_url`.";
        return Err(Error::invalid(FIELD, message));
    }
    fetcher.check_receiver(FIELD, url)
}

/// The type of the event that tells of this state.
fn event_of(state: State) -> Option<&'static str> {
    match state {
        State::Completed => Some("batch.completed"),
        State::Failed => Some("batch.failed"),
        State::Expired => Some("batch.expired"),
        State::Cancelled => Some("batch.cancelled"),
        State::Validating | State::InProgress | State::Finalizing | State::Cancelling => None,
    }
}

/// The id of the one event that a batch makes.
fn id_of(batch: &str) -> String {
    let digest = Sha256::digest(batch.as_bytes());
    digest.iter().take(16).fold(String::from("evt_"), |id, byte| id + &format!("{byte:02x}"))
}

/// What became of the event of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Tries so far.
    pub tries: u32,
    /// When it was delivered or given up; `None`: it is tried again.
    pub ended_at: Option<Timestamp>,
    /// Why the last try failed; `None`: it did not, or there was none.
    pub problem: Option<String>,
}

/// What became of the event of the batch with this id.
pub(super) async fn notice(store: &Store, batch: &str) -> Result<Option<Notice>> {
    queries::notice(store, &id_of(batch)).await
}

/// What delivers events. A cheap clone.
#[derive(Clone)]
pub struct Webhooks(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    sealer: Option<Sealer>,
    fetcher: Arc<Fetcher>,
    metrics: Metrics,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Webhooks(..)")
    }
}

/// What became of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tried {
    Delivered,
    /// The receiver wants no more of it.
    Gone,
    /// Another try may succeed; why this one did not.
    Failed(String),
    /// No other try will; why.
    Impossible(&'static str),
}

impl Webhooks {
    /// Signs with the secrets that `sealer` opens. Nothing is delivered until [`Webhooks::deliver_in_background`].
    pub fn new(store: Store, clock: Clock, sealer: Option<Sealer>, fetcher: Arc<Fetcher>, metrics: Metrics) -> Self {
        Self(Arc::new(Inner { store, clock, sealer, fetcher, metrics }))
    }

    /// Spawns on `tracker` the task that delivers what is due. It ends with `stop`, after deliveries that are under way; one
    /// that takes longer is tried again by another process.
    pub fn deliver_in_background(&self, tracker: &TaskTracker, stop: CancellationToken) {
        let (delivering, purging) = (self.clone(), self.clone());
        let until = stop.clone();
        tracker.spawn(async move { delivering.deliver(&until).await });
        let purge = async move {
            let mut tick = tokio::time::interval(PURGE_INTERVAL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let before = Timestamp::from_millis(purging.0.clock.now().millis() - millis(RETENTION));
                if let Err(error) = queries::purge(&purging.0.store, before).await {
                    tracing::warn!(%error, causes = error.causes(), "old webhook events could not be taken out");
                }
            }
        };
        tracker.spawn(stop.run_until_cancelled_owned(purge));
    }

    async fn deliver(&self, stop: &CancellationToken) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(()) = running.next(), if !running.is_empty() => {}
                _ = tick.tick(), if running.len() < AT_ONCE => {
                    for event in self.lease(AT_ONCE - running.len()).await {
                        running.push(self.attempt(event));
                    }
                }
            }
        }
        let rest = async { while running.next().await.is_some() {} };
        if tokio::time::timeout(LAST_WORDS, rest).await.is_err() {
            tracing::warn!("webhooks that were being called are called again later");
        }
    }

    /// Takes up to `count` events that are due.
    async fn lease(&self, count: usize) -> Vec<Event> {
        let now = self.0.clock.now();
        let leased = queries::lease(&self.0.store, now, now.plus(LEASE), count).await;
        leased.unwrap_or_else(|error| {
            tracing::warn!(%error, causes = error.causes(), "webhook events that are due could not be read");
            Vec::new()
        })
    }

    /// Tries one event that was leased, and writes down what became of it.
    async fn attempt(&self, event: Event) {
        let team = find_team(&self.0.store, event.team.as_str()).await;
        let name = team.as_ref().map_or_else(|_| String::new(), |team| team.name.clone());
        let tried = match team {
            Ok(team) => self.send(&team, &event).await,
            Err(error) => Tried::Failed(error.message().to_owned()),
        };
        let now = self.0.clock.now();
        let (result, kept) = match tried {
            Tried::Delivered => ("delivered", queries::end(&self.0.store, &event, now, None).await),
            Tried::Gone => {
                let why = "the receiver answered 410: it wants no more";
                ("gone", queries::end(&self.0.store, &event, now, Some(why)).await)
            }
            Tried::Impossible(why) => ("given_up", queries::end(&self.0.store, &event, now, Some(why)).await),
            Tried::Failed(why) => match pause_after(event.tries, fastrand::f64()) {
                Some(pause) => ("retried", queries::postpone(&self.0.store, &event, now.plus(pause), &why).await),
                None => ("given_up", queries::end(&self.0.store, &event, now, Some(&why)).await),
            },
        };
        self.0.metrics.webhook(&name, result);
        if result != "delivered" {
            tracing::info!(event = event.id, tries = event.tries, result, "a webhook did not take a message");
        }
        if let Err(error) = kept {
            tracing::warn!(%error, causes = error.causes(), event = event.id, "a webhook's answer could not be kept");
        }
    }

    async fn send(&self, team: &Team, event: &Event) -> Tried {
        let Some(webhook) = &team.webhook else { return Tried::Impossible("the team has no webhook any more") };
        let Some(sealer) = &self.0.sealer else { return Tried::Failed("auth.sealing_key is not set".to_owned()) };
        let message = Message { id: &event.id, at: self.0.clock.now(), body: &event.body };
        let Some(signature) = webhook.sign(&team.id, sealer, &message) else {
            return Tried::Failed("the team's secret was sealed under another auth.sealing_key".to_owned());
        };
        let Some(headers) = headers(&message, &signature) else { return Tried::Impossible("it cannot be signed") };
        match self.0.fetcher.post(&event.url, headers, Bytes::from(event.body.clone())).await {
            Ok(200..=299) => Tried::Delivered,
            Ok(status) if status == StatusCode::GONE.as_u16() => Tried::Gone,
            Ok(status) => Tried::Failed(format!("the receiver answered {status}")),
            Err(error) => Tried::Failed(error.message().to_owned()),
        }
    }
}

fn headers(message: &Message<'_>, signature: &str) -> Option<HeaderMap> {
    let value = |text: &str| HeaderValue::from_str(text).ok();
    let at = message.at.seconds().to_string();
    Some(HeaderMap::from_iter([(ID, value(message.id)?), (TIMESTAMP, value(&at)?), (SIGNATURE, value(signature)?)]))
}

/// How long to wait after the try with this number failed, from 1; `chance` is between 0 and 1. `None`: that was the last.
fn pause_after(tries: u32, chance: f64) -> Option<Duration> {
    let index = usize::try_from(tries.max(1) - 1).unwrap_or(usize::MAX);
    Some(PAUSES.get(index)?.mul_f64(0.8 + 0.4 * chance))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
