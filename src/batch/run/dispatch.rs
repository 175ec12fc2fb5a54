//! Places for jobs are given: to whose turn it is among all replicas, as long as AWS and the settings leave some.

use std::collections::HashMap;
use std::time::Duration;

use crate::batch::batches::Batches;
use crate::batch::queries::{self, Mine, Taken, Waiting};
use crate::batch::queue;
use crate::error::Result;

/// How often the queues are looked at while nothing tells that something changed: other replicas' jobs end, too.
const LOOK: Duration = Duration::from_secs(5);
/// The most jobs of a model whose quota is not known.
const MOST: u64 = 20;

impl Batches {
    /// For ever: gives places when something waits for one, and looks every few seconds.
    pub(super) async fn give_places(self) {
        loop {
            self.dispatch().await;
            tokio::select! {
                () = tokio::time::sleep(LOOK.mul_f64(0.8 + 0.4 * fastrand::f64())) => {}
                () = self.crew().queued.notified() => {}
            }
        }
    }

    /// Gives the places there are.
    pub(super) async fn dispatch(&self) {
        if self.crew().is_stopping() || self.crew().desks().is_empty() {
            return;
        }
        if let Err(error) = self.dispatch_all().await {
            tracing::warn!(%error, causes = error.causes(), "places for batch jobs cannot be given: the store fails");
        }
    }

    async fn dispatch_all(&self) -> Result<()> {
        let queues = queries::queues(self.store(), self.worker()).await?;
        if queues.is_empty() {
            return Ok(());
        }
        let running = queries::running(self.store()).await?;
        for (region, model) in &queues {
            let of_queue = running.iter().filter(|taken| taken.region == *region && taken.model == *model);
            let by_team = of_queue.map(|Taken { team, jobs, .. }| (team.clone(), *jobs)).collect();
            self.serve((region, model), &by_team).await?;
        }
        Ok(())
    }

    /// Gives the places of one queue.
    async fn serve(&self, queue: (&str, &str), running: &HashMap<String, u64>) -> Result<()> {
        let (region, model) = queue;
        let most = self.most_jobs(model);
        let free = most.saturating_sub(running.values().sum());
        let waiting = if free == 0 { Vec::new() } else { queries::waiting(self.store(), region, model).await? };
        let next = queue::next(running, &waiting, usize::try_from(free).unwrap_or(usize::MAX));
        let mut taken = 0;
        let mine: Vec<&Waiting> =
            next.into_iter().filter(|shard| shard.worker.as_deref() == Some(self.worker())).collect();
        for shard in &mine {
            let batch = Mine { worker: self.worker(), batch: &shard.batch };
            if !queries::take_slot(self.store(), batch, shard.number, queue, (most, self.now())).await? {
                break;
            }
            taken += 1;
            self.crew().placed(&shard.batch, shard.number);
        }
        if free == 0 || taken < mine.len() {
            let reason = format!(
                "Waiting for a job slot: AWS runs at most {most} batch jobs of `{model}` at a time in {region}."
            );
            queries::explain_queue(self.store(), self.worker(), queue, &reason).await?;
        }
        Ok(())
    }

    /// How many jobs of a model there may be in one Region.
    fn most_jobs(&self, model: &str) -> u64 {
        self.gateway().catalog().batch_limits(model).map_or(MOST, |limits| limits.max_jobs)
    }
}
