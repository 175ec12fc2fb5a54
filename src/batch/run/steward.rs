//! The steward of a batch: reads how it stands, does all that follows, and waits.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::desk::{Desk, Glance, Work};
use crate::batch::batches::Batches;
use crate::batch::job::{self, Step};
use crate::batch::queries::{self, Mine};
use crate::batch::record::{Batch, Shard, State};
use crate::error::{Error, Kind, Result};
use crate::tenancy::Caller;

/// After a failure of the store.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What is known of a batch at one look.
pub(in crate::batch) struct View {
    pub(in crate::batch) batch: Batch,
    pub(in crate::batch) shards: Vec<Shard>,
    /// Who submitted it, or stands in for that key.
    pub(in crate::batch) caller: Caller,
}

/// What a steward does after a look.
enum Onward {
    /// It waits to be told something, or until then.
    Wait(Option<Instant>),
    /// It looks again at once.
    Again,
    /// It leaves the batch: it is over, or another worker's.
    Leave,
}

impl Batches {
    /// Until the batch is over, or another worker's, or the worker stops.
    pub(super) async fn steward(self, desk: Arc<Desk>) {
        let mut failures = 0;
        loop {
            if self.crew().is_stopping() || desk.left().is_cancelled() {
                break;
            }
            match self.advance(&desk).await {
                Ok(Onward::Leave) => break,
                Ok(Onward::Again) => failures = 0,
                Ok(Onward::Wait(until)) => {
                    failures = 0;
                    desk.told(until).await;
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(batch = desk.batch(), %error, causes = error.causes(), "a batch waits");
                    desk.told(Some(Instant::now() + job::pause(failures, PAUSES, fastrand::f64()))).await;
                }
            }
        }
        // What runs online after the stop is let end first.
        while self.crew().is_stopping() && desk.is_at_work() {
            desk.told(None).await;
        }
        self.crew().close(&desk);
        self.crew().look.notify_one();
    }

    fn mine<'a>(&'a self, desk: &'a Desk) -> Mine<'a> {
        Mine { worker: self.worker(), batch: desk.batch() }
    }

    /// One look, and what follows.
    async fn advance(&self, desk: &Arc<Desk>) -> Result<Onward> {
        let mine = self.mine(desk);
        let glance = desk.glance();
        let Some(batch) = queries::load(self.store(), mine).await? else { return Ok(Onward::Leave) };
        if batch.state.is_over() {
            return Ok(Onward::Leave);
        }
        let gateway = self.gateway();
        let tenancy = gateway.tenancy();
        let caller = tenancy.caller_of(&batch.team, &batch.key).await?;
        let caller = caller.ok_or_else(|| Error::internal("a batch has no team"))?;
        let now = self.now();
        if caller.team.revoked_at.is_some() && batch.cancelling_at.is_none() {
            let why = "The team of this batch was revoked.";
            if queries::cancel_team(self.store(), mine, now, why).await? {
                return Ok(Onward::Again);
            }
        }
        let shards = queries::of(self.store(), &batch.id).await?;
        let view = View { batch, shards, caller };
        self.keep_hold(desk, &view).await?;
        if job::cut(&view.batch, now).is_some() {
            desk.cut();
        }
        let mut until = None;
        let mut again = false;
        for step in job::steps(&view.batch, &view.shards, now) {
            match self.take_step(desk, (&view, glance), step).await? {
                Onward::Wait(wait) => until = earlier(until, wait),
                Onward::Again => again = true,
                Onward::Leave => return Ok(Onward::Leave),
            }
        }
        Ok(if again { Onward::Again } else { Onward::Wait(until) })
    }

    /// Holds what the rest of the batch may cost, and no more.
    async fn keep_hold(&self, desk: &Desk, view: &View) -> Result<()> {
        let cost = job::held(&view.batch, &view.shards);
        if !desk.holds(cost, &view.caller) {
            desk.hold(self.hold_anyway(&view.caller, cost).await?, cost);
        }
        Ok(())
    }

    async fn take_step(&self, desk: &Arc<Desk>, (view, glance): (&View, Glance), step: Step) -> Result<Onward> {
        let mine = self.mine(desk);
        match step {
            Step::Queue(_) => {
                self.crew().queue();
                Ok(Onward::Wait(None))
            }
            // Records under way are let end; then the steward is told.
            Step::Close(number) if desk.is_busy(Work::Shard(number)) => Ok(Onward::Wait(None)),
            Step::Close(number) => {
                queries::end(self.store(), mine, number, (None, None), self.now()).await?;
                Ok(Onward::Again)
            }
            Step::Finish(state) => {
                self.finish_batch(view, state, &[]).await?;
                Ok(Onward::Leave)
            }
            Step::Plan if self.cannot_be_planned(desk, view) => {
                let is_cancelled = view.batch.cancelling_at.is_some();
                let state = if is_cancelled { State::Cancelled } else { State::Expired };
                self.finish_batch(view, state, &[]).await?;
                Ok(Onward::Leave)
            }
            Step::Plan => Ok(self.begin(desk, (view, glance), (Work::Plan, step))),
            Step::Submit(number) | Step::Run(number) | Step::Stop(number) | Step::Collect(number) => {
                Ok(self.begin(desk, (view, glance), (Work::Shard(number), step)))
            }
        }
    }

    /// Whether a batch is to end whose plan fails for a reason that passes, but did not in time.
    fn cannot_be_planned(&self, desk: &Desk, view: &View) -> bool {
        job::cut(&view.batch, self.now()).is_some() && desk.failures(Work::Plan) > 0 && !desk.is_busy(Work::Plan)
    }

    /// Has a piece of work done in the background, unless it is under way.
    fn begin(&self, desk: &Arc<Desk>, (view, glance): (&View, Glance), (work, step): (Work, Step)) -> Onward {
        if let Err(until) = desk.take_up(work, glance) {
            return Onward::Wait(until);
        }
        let shard = match work {
            Work::Plan => None,
            Work::Shard(number) => view.shards.iter().find(|shard| shard.number == number).cloned(),
        };
        let view = View { batch: view.batch.clone(), shards: Vec::new(), caller: view.caller.clone() };
        if let Some(staff) = self.crew().staff.get() {
            staff.tracker.spawn(self.clone().carry_out(Arc::clone(desk), (work, step), (view, shard)));
        }
        Onward::Wait(None)
    }

    async fn carry_out(self, desk: Arc<Desk>, (work, step): (Work, Step), (view, shard): (View, Option<Shard>)) {
        let closing = self.crew().staff.get().map(|staff| staff.stop.clone()).unwrap_or_default();
        let work_done = Box::pin(self.carry_out_step(&desk, step, &view, shard.as_ref()));
        let in_time = async {
            if matches!(step, Step::Run(_)) {
                // It sees for itself that nothing more is to begin.
                return Some(work_done.await);
            }
            closing.run_until_cancelled(work_done).await
        };
        match desk.left().clone().run_until_cancelled_owned(in_time).await.flatten() {
            None | Some(Ok(())) => desk.done(work),
            Some(Err(error)) => self.went_wrong(&desk, (work, step), &error).await,
        }
        desk.tell();
    }

    async fn carry_out_step(&self, desk: &Desk, step: Step, view: &View, shard: Option<&Shard>) -> Result<()> {
        match (step, shard) {
            (Step::Plan, _) => self.plan_batch(view).await,
            (Step::Submit(_), Some(shard)) => self.submit_job(desk, &view.batch, shard).await,
            (Step::Run(_), Some(shard)) => self.run_online(desk, view, shard).await,
            (Step::Stop(_), Some(shard)) => self.stop_job(self.mine(desk), shard).await,
            (Step::Collect(_), Some(shard)) => self.collect_shard(desk, view, shard).await,
            _ => Ok(()),
        }
    }

    /// A piece of work failed: it is tried again after a pause, and its owner sees why.
    async fn went_wrong(&self, desk: &Desk, (work, step): (Work, Step), error: &Error) {
        tracing::warn!(
            batch = desk.batch(),
            ?step,
            kind = <&str>::from(error.kind()),
            %error,
            causes = error.causes(),
            "a step of a batch failed and is tried again"
        );
        desk.failed(work, error.wait());
        let reason = match error.kind() {
            Kind::Internal => "The gateway failed to do the next step, and tries again.",
            _ => error.message(),
        };
        let told = match work {
            Work::Plan => queries::explain(self.store(), self.mine(desk), Some(reason)).await,
            Work::Shard(number) => {
                queries::stand(self.store(), self.mine(desk), number, Some(reason)).await.map(|_| ())
            }
        };
        if let Err(error) = told {
            tracing::warn!(batch = desk.batch(), %error, "the owner of a batch cannot be told why it waits");
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
