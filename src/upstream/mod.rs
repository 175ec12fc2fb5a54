//! AWS as called through its Regions: the wire lane that carries a caller's inference call, and the control plane.
//!
//! The only folder that names an `aws_*` crate. It never retries on its own beyond one immediate repeat with
//! corrected credentials or clock; which candidate is tried next, and when, is decided by the pure functions of
//! [`route`], [`retry`] and [`health`] and done by `gateway/`. Account ids and ARNs do not leave it inside a message.

mod assume;
mod classify;
mod credentials;
mod endpoint;
pub mod frames;
pub mod health;
mod identity;
pub mod jobs;
mod mask;
pub mod objects;
mod plain;
pub mod quota;
mod region;
pub mod retry;
pub mod route;
pub mod sign;
mod sse;
pub mod sticky;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
mod wire;

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Result};

pub use classify::{Failure, Reason};
pub use frames::{Frame, FrameKind, Frames};
pub use identity::{Regions, TeamRole};
pub use mask::mask;
pub use objects::{Objects, Reading, Writer};
pub use plain::PlainCall;
pub use region::{Call, Operation, Region, Reply, Service, Told, Unreachable};

use identity::Identities;
use region::Shared;

/// Every configured Region, as the gateway itself and as each team with a role of its own calls it. Clones share
/// connections, credentials and health.
#[derive(Clone)]
pub struct Upstream(Arc<Inner>);

struct Inner {
    /// As the gateway itself calls them.
    own: Regions,
    teams: Identities,
    shared: Arc<Shared>,
    clock: Clock,
}

impl Upstream {
    /// Prepares the Regions of `aws`, in their order. Asks AWS for nothing: credentials and root certificates load on
    /// `tracker` in the background, and a call that comes sooner waits for them. Fails on a Region or an endpoint that
    /// cannot be used.
    pub async fn connect(aws: &config::Aws, clock: Clock, tracker: &TaskTracker) -> Result<Self> {
        let shared = Arc::new(Shared::load(aws, clock.clone(), tracker).await?);
        let mut regions: Vec<Region> = Vec::with_capacity(aws.regions.len());
        for name in &aws.regions {
            if regions.iter().any(|known| known.name().as_ref() == name) {
                return Err(Error::invalid("aws.regions", format!("`{name}` is listed twice.")));
            }
            let overrides = aws.endpoints.get(name).cloned().unwrap_or_default();
            regions.push(Region::resolve(name, &overrides, Arc::clone(&shared)).await?);
        }
        shared.warm_up();
        Ok(Self(Arc::new(Inner { own: Regions(regions.into()), teams: Identities::default(), shared, clock })))
    }

    /// The Regions of `aws`, as those that are here already where they did not change: with what is known of their health,
    /// with all connections, credentials and sessions of teams. This one stays what it is, for calls under way.
    ///
    /// Who calls, and where roles are assumed, stays as it was at the start.
    ///
    /// # Errors
    /// A Region or an endpoint that cannot be used.
    pub async fn changed(&self, aws: &config::Aws) -> Result<Self> {
        let Inner { own, teams, shared, clock } = &*self.0;
        let shared = shared.with_patience(aws);
        let mut regions: Vec<Region> = Vec::with_capacity(aws.regions.len());
        for name in &aws.regions {
            let overrides = aws.endpoints.get(name).cloned().unwrap_or_default();
            let region = match own.region(name) {
                Some(known) if known.is_reached_by(&overrides, &shared) => known.clone(),
                known => Region::resolve(name, &overrides, Arc::clone(&shared)).await?.with_health_of(known),
            };
            regions.push(region);
        }
        let own = Regions(regions.into());
        let teams = teams.changed(|assumed| Region::assuming_still(assumed, &own, &shared));
        Ok(Self(Arc::new(Inner { own, teams, shared, clock: clock.clone() })))
    }

    /// The Region of that name as the gateway itself calls it, if it is configured.
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.0.own.region(name)
    }

    /// All Regions as the gateway itself calls them, in order of preference.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.0.own.iter()
    }

    /// All Regions as `role` calls them; without one, as the gateway itself does. A team's role is assumed at its first
    /// call, with the gateway's own credentials; at most a thousand are kept, and one is forgotten when it changes.
    pub fn regions_for(&self, role: Option<TeamRole<'_>>) -> Regions {
        let Inner { own, teams, shared, clock } = &*self.0;
        let Some(role) = role else { return own.clone() };
        teams.regions(role, clock.now(), || Region::assuming(own, role, shared))
    }

    /// Everybody as whom AWS has been called, for the administrator: the gateway itself first, then teams by their id.
    pub fn identities(&self) -> Vec<(Option<Arc<str>>, Regions)> {
        let teams = self.0.teams.all().into_iter().map(|(team, regions)| (Some(team), regions));
        std::iter::once((None, self.0.own.clone())).chain(teams).collect()
    }
}
