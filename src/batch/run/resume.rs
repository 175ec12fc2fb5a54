//! The start of the worker: what open batches hold of the budgets is held again before this process admits a call.
//!
//! Of a process that died, some are known to be dead, and what they had is taken at once. Others may live: until one is
//! heard of, or its lease is over and its batches are taken, what they hold is held here, too. Invariant: where budgets are
//! counted in this process alone, they count what open batches may cost from the first admission on.

use super::keep::{CLAIMS, LEASE};
use crate::batch::batches::Batches;
use crate::batch::job;
use crate::batch::queries::{self, Mine};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids;
use crate::money::MicroUsd;
use crate::tenancy::{Caller, Hold};

/// What is held for a batch of a worker that may be dead.
pub(super) struct Silent {
    hold: Option<Hold>,
    /// What was heard of its worker last. When it is heard of again, it holds what its batches may cost itself.
    lease_until: Timestamp,
}

impl Batches {
    /// Takes what nobody works on, however much it is, and holds what it may cost.
    pub(super) async fn resume(&self) -> Result<()> {
        queries::beat(self.store(), self.worker(), self.now().plus(LEASE)).await?;
        self.release_dead().await?;
        loop {
            let claimed = queries::claim(self.store(), self.worker(), self.now(), CLAIMS).await?;
            for batch in &claimed {
                let hold = self.held_again(Mine { worker: self.worker(), batch }).await?;
                tracing::info!(batch, "a batch that nobody worked on was taken");
                self.crew().open(self, batch, hold);
            }
            if claimed.len() < CLAIMS as usize {
                break;
            }
        }
        // What replicas hold in the shared store stays there for a while.
        if self.gateway().tenancy().shared_state().is_some() {
            return Ok(());
        }
        for other in queries::elsewhere(self.store(), self.worker()).await? {
            let hold = self.held_again(Mine { worker: &other.worker, batch: &other.batch }).await?;
            self.crew().silent().insert(other.batch, Silent { hold, lease_until: other.lease_until });
        }
        Ok(())
    }

    /// Gives back what is held for batches whose workers were heard of, or that are over.
    pub(super) async fn listen_to_silent(&self) -> Result<()> {
        if self.crew().silent().is_empty() {
            return Ok(());
        }
        let open = queries::elsewhere(self.store(), self.worker()).await?;
        self.crew().silent().retain(|batch, silent| {
            open.iter().any(|other| other.batch == *batch && other.lease_until <= silent.lease_until)
        });
        Ok(())
    }

    /// What the rest of a batch may cost, held; nothing where it is over by now, or has no team.
    async fn held_again(&self, mine: Mine<'_>) -> Result<Option<Hold>> {
        let Some(batch) = queries::load(self.store(), mine).await? else { return Ok(None) };
        let Some(caller) = self.gateway().tenancy().caller_of(&batch.team, &batch.key).await? else { return Ok(None) };
        let shards = queries::of(self.store(), &batch.id).await?;
        self.hold_anyway(&caller, job::held(&batch, &shards)).await.map(Some)
    }

    /// Holds `cost` for a batch that was admitted before.
    pub(super) async fn hold_anyway(&self, caller: &Caller, cost: MicroUsd) -> Result<Hold> {
        self.gateway().tenancy().hold_anyway(caller, &ids::fresh("hold_"), cost).await
    }
}

impl super::Crew {
    /// What is held for a batch whose worker was not heard of, for who takes it over.
    pub(super) fn take_silent(&self, batch: &str) -> Option<Hold> {
        self.silent().remove(batch)?.hold
    }
}
