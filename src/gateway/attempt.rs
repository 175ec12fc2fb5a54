//! One candidate after another until one answers, or nothing is left to try. Who is next is decided in `candidates.rs`,
//! what follows a failure by `upstream::retry`; it is done here, once, and nowhere beneath.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::candidates::{Candidates, Chosen, Work};
use super::settle::Settlement;
use super::stream::shutting_down;
use super::{Gateway, Trail};
use crate::catalog::Place;
use crate::error::{Error, Exception, Kind};
use crate::telemetry::traces::{AttemptSpan, Trying};
use crate::upstream::health::Visit;
use crate::upstream::quota::Reservation;
use crate::upstream::retry::{Left, Next, Retry};
use crate::upstream::{Failure, Reason, Region, mask};

/// How long and how often a call is tried.
#[derive(Clone, Copy, Debug)]
pub struct Failover {
    /// Attempts of one call, the first included.
    pub max_attempts: u32,
    /// For all attempts and pauses of one call, up to the whole answer or a stream's first event.
    pub call_timeout: Duration,
    /// After this long without an answer another candidate is asked as well; `None`: never.
    pub hedge_after: Option<Duration>,
}

/// What is asked for, of whom.
pub(super) struct Ask<'a> {
    /// What the metrics call it.
    pub(super) label: &'a Arc<str>,
    pub(super) failover: Failover,
    /// In order of preference.
    pub(super) candidates: Vec<Arc<Place>>,
    /// The call on a model, if it is one that counts against the model's quota.
    pub(super) work: Option<Work<'a>>,
}

/// An attempt that AWS has begun to answer and whose outcome is not counted yet: a stream may break. One that is dropped
/// has none, because its client did not wait.
pub(super) struct Attempt {
    gateway: Gateway,
    trail: Trail,
    region: Region,
    model: Arc<str>,
    visit: Visit,
    /// `None` where the request is not traced.
    span: Option<Arc<AttemptSpan>>,
}

impl Attempt {
    /// The answer is there, or its first event.
    fn answered(&self) {
        self.visit.answered(self.gateway.clock().now());
        self.region.health().allowance().succeeded();
    }

    /// The answer ended well, or what ended it is not the Region's fault.
    pub(super) fn succeeded(self) {
        self.gateway.metrics().attempt(self.region.name(), &self.model, "ok");
        if let Some(span) = &self.span {
            span.succeeded();
        }
        self.visit.succeeded();
    }

    /// There was no answer, or it broke.
    pub(super) fn failed(self, failure: &Failure) {
        self.tell(failure);
        self.region.health().allowance().failed(failure.reason);
        self.visit.failed(failure, self.gateway.clock().now());
    }

    /// The time of the call was over. Who had most of it is to blame; of others that says nothing.
    fn overdue(self, failure: &Failure, has_had_most: HasHadMost) {
        match has_had_most {
            HasHadMost::Yes => self.failed(failure),
            HasHadMost::No => self.tell(failure),
        }
    }

    fn tell(&self, failure: &Failure) {
        self.gateway.metrics().attempt(self.region.name(), &self.model, failure.reason.outcome());
        let reason: &'static str = failure.reason.into();
        let (region, model, request_id) = (&**self.region.name(), &*self.model, self.trail.id().as_str());
        tracing::warn!(request_id, region, model, reason, "an attempt failed");
        if let Some(span) = &self.span {
            span.failed(
                failure.reason.outcome(),
                reason,
                failure.error.aws().map_or(reason, |exception| exception.name),
            );
        }
    }
}

#[derive(Clone, Copy)]
enum HasHadMost {
    Yes,
    No,
}

/// Why nobody waits for a call any longer.
#[derive(Clone, Copy)]
enum Over {
    /// Its time is up.
    Deadline,
    /// The gateway shuts down, and has waited as long as it may.
    Drain,
}

/// An attempt whose answer has not begun.
struct Try {
    place: Arc<Place>,
    attempt: Attempt,
    reservation: Option<Reservation>,
    began: Instant,
}

/// Makes attempts with `one` until one succeeds. Whatever is waited for here is AWS: answers, credentials, pauses.
pub(super) async fn first_success<T, F: Future<Output = Result<T, Failure>>>(
    gateway: &Gateway,
    ask: Ask<'_>,
    settlement: &mut Settlement,
    one: impl Fn(Region, Arc<str>) -> F,
) -> Result<(T, Attempt), Error> {
    let trail = settlement.trail().clone();
    trail.wait_for(search(gateway, ask, settlement, one)).await
}

async fn search<T, F: Future<Output = Result<T, Failure>>>(
    gateway: &Gateway,
    ask: Ask<'_>,
    settlement: &mut Settlement,
    one: impl Fn(Region, Arc<str>) -> F,
) -> Result<(T, Attempt), Error> {
    let mut search = Search::begin(gateway, ask, settlement);
    let mut current = search.candidates.choose();
    while let Some(chosen) = current {
        let (place, region, quota) = (chosen.place.clone(), chosen.region.clone(), chosen.quota.clone());
        let failure = match search.outcome(chosen, &one).await {
            Ok((answer, tried)) => return Ok((answer, search.won(tried))),
            Err(failure) => failure,
        };
        let left =
            Left { others: search.candidates.count(), time: search.time(), allowance: region.health().allowance() };
        let next = search.retry.after(&failure, left);
        search.told(failure);
        current = match next {
            Next::SameRegionAfter(pause) => {
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = search.over() => break,
                }
                let reservation = search.candidates.reserve(quota.as_ref());
                Some(Chosen { place, region, quota, reservation })
            }
            Next::NextCandidate => search.candidates.choose(),
            Next::GiveUp => None,
        };
    }
    Err(search.error())
}

/// The search of one call for an answer.
struct Search<'a> {
    gateway: &'a Gateway,
    settlement: &'a mut Settlement,
    label: &'a Arc<str>,
    failover: Failover,
    deadline: Instant,
    candidates: Candidates<'a>,
    retry: Retry,
    told: Option<Error>,
    /// Why the last attempt that failed did.
    after: Option<Reason>,
}

impl<'a> Search<'a> {
    fn begin(gateway: &'a Gateway, ask: Ask<'a>, settlement: &'a mut Settlement) -> Self {
        let Ask { label, failover, candidates, work } = ask;
        let regions = gateway.regions_as(settlement.caller());
        Self {
            gateway,
            settlement,
            label,
            failover,
            deadline: Instant::now() + failover.call_timeout,
            candidates: Candidates::new(gateway, regions, candidates, work),
            retry: Retry::new(failover.max_attempts, fastrand::u64(..)),
            told: None,
            after: None,
        }
    }

    /// Begins an attempt.
    fn start(&mut self, chosen: Chosen) -> Try {
        let Chosen { place, region, quota, reservation } = chosen;
        let is_hedge = self.settlement.is_hedged();
        self.settlement.attempt(&place);
        let span = self.settlement.span.span().map(|call| {
            call.attempt(&Trying {
                number: self.settlement.attempts(),
                region: region.name(),
                candidate: &mask(&place.id),
                host: region.host(),
                is_hedge,
                after: self.after.map(Into::into),
            })
        });
        let region = region.traced(span.clone());
        let visit = region.health().begin(&place.id, quota.as_ref(), self.gateway.clock().now());
        let attempt = Attempt {
            gateway: self.gateway.clone(),
            trail: self.settlement.trail().clone(),
            region,
            model: Arc::clone(self.label),
            visit,
            span,
        };
        Try { place, attempt, reservation, began: Instant::now() }
    }

    /// What comes of an attempt, and of the one that may be made beside it.
    async fn outcome<T, F: Future<Output = Result<T, Failure>>>(
        &mut self,
        chosen: Chosen,
        one: &impl Fn(Region, Arc<str>) -> F,
    ) -> Result<(T, Try), Failure> {
        let tried = self.start(chosen);
        // One allocation, instead of a large future that is moved into each of those around it.
        let answer = Box::pin(one(tried.attempt.region.clone(), tried.place.id.clone()));
        match self.failover.hedge_after {
            Some(after) if self.candidates.count() > 0 && self.retry.is_left() => {
                Box::pin(self.race((tried, answer), after, one)).await
            }
            _ => self.wait(tried, answer).await,
        }
    }

    /// Waits for one attempt, as long as there is time.
    async fn wait<T>(
        &mut self,
        tried: Try,
        answer: impl Future<Output = Result<T, Failure>>,
    ) -> Result<(T, Try), Failure> {
        tokio::select! {
            biased;
            ended = answer => match ended {
                Ok(answer) => Ok((answer, tried)),
                Err(failure) => Err(fail(tried, failure)),
            },
            over = self.over() => Err(self.overdue(tried, over)),
        }
    }

    /// Waits for `first`, and when it has not answered `after` that time for another candidate beside it, if one is ready.
    async fn race<T, F: Future<Output = Result<T, Failure>>>(
        &mut self,
        (first, mut answer): (Try, Pin<Box<F>>),
        after: Duration,
        one: &impl Fn(Region, Arc<str>) -> F,
    ) -> Result<(T, Try), Failure> {
        tokio::select! {
            biased;
            ended = &mut answer => return match ended {
                Ok(answer) => Ok((answer, first)),
                Err(failure) => Err(fail(first, failure)),
            },
            () = sleep_until(self.deadline.min(Instant::now() + after)) => {}
            () = self.gateway.0.parts.cut.cancelled() => {}
        }
        let Some(chosen) = self.candidates.choose_ready() else { return self.wait(first, answer).await };
        self.settlement.hedge(&first.place);
        let second = self.start(chosen);
        let mut other_answer = Box::pin(one(second.attempt.region.clone(), second.place.id.clone()));
        let (ended, tried, other, other_answer) = tokio::select! {
            biased;
            ended = &mut answer => (ended, first, second, other_answer),
            ended = &mut other_answer => (ended, second, first, answer),
            over = self.over() => {
                self.settlement.unhedge();
                self.overdue(first, over);
                return Err(self.overdue(second, over));
            }
        };
        self.settlement.unhedge();
        match ended {
            Ok(answer) => {
                // Nobody waits for the other any more: its connection goes, and what it may have cost is booked.
                drop(other_answer);
                self.settlement.lost(&other.place);
                self.settlement.is_at(&tried.place);
                Ok((answer, tried))
            }
            Err(failure) => {
                self.retry.count(&failure);
                self.settlement.is_at(&other.place);
                self.told(fail(tried, failure));
                self.wait(other, other_answer).await
            }
        }
    }

    /// Waits until nobody may wait for the call any longer.
    async fn over(&self) -> Over {
        tokio::select! {
            () = sleep_until(self.deadline) => Over::Deadline,
            () = self.gateway.0.parts.cut.cancelled() => Over::Drain,
        }
    }

    /// Nobody waits for the attempt any more.
    fn overdue(&mut self, tried: Try, over: Over) -> Failure {
        let (error, is_to_blame) = match over {
            Over::Deadline => {
                let text = "AWS took longer to answer than the gateway may wait for a call.";
                let exception = Exception { name: "ModelTimeoutException", status: 408 };
                let is_most = tried.began.elapsed() >= self.failover.call_timeout / 2;
                (Error::new(Kind::Timeout, text).exception(exception), is_most)
            }
            Over::Drain => {
                // AWS may have read it.
                self.settlement.seen_input();
                (shutting_down(), false)
            }
        };
        let failure = Failure { reason: Reason::Timeout, error, retry_after: None, sent: true };
        tried.attempt.overdue(&failure, if is_to_blame { HasHadMost::Yes } else { HasHadMost::No });
        failure
    }

    /// An attempt is answered: the search is over.
    fn won(self, tried: Try) -> Attempt {
        let Try { place, attempt, reservation, .. } = tried;
        attempt.answered();
        if let Some(reservation) = reservation {
            self.settlement.reserved(reservation);
        }
        self.candidates.served(&place);
        attempt
    }

    /// A refusal means "not through this candidate": what the first one said is the better reason.
    fn told(&mut self, failure: Failure) {
        self.after = Some(failure.reason);
        if self.told.is_none() || !matches!(failure.reason, Reason::Denied | Reason::Missing) {
            self.told = Some(failure.error);
        }
    }

    /// What the caller is told when nothing is left to try.
    fn error(self) -> Error {
        let soonest = self.candidates.soonest();
        let told = self.told.unwrap_or_else(|| Error::internal("no candidate belongs to a configured Region"));
        let may_pass = matches!(told.kind(), Kind::UpstreamThrottled | Kind::UpstreamUnavailable);
        if may_pass && told.wait().is_none() { told.retry_after(soonest) } else { told }
    }

    /// Until the call has to be over.
    fn time(&self) -> Duration {
        if self.gateway.0.parts.cut.is_cancelled() {
            return Duration::ZERO;
        }
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// An attempt failed; what it had reserved goes back, but for what may have been read.
fn fail(tried: Try, failure: Failure) -> Failure {
    if let Some(reservation) = tried.reservation
        && !failure.sent
    {
        reservation.refused();
    }
    tried.attempt.failed(&failure);
    failure
}
