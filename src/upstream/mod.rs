//! AWS as called through its Regions: the wire lane that carries a caller's inference call, and the control plane.
//!
//! The only folder that names an `aws_*` crate. It never retries on its own beyond one immediate repeat with
//! corrected credentials or clock; which candidate is tried next, and when, is decided by the pure functions of
//! [`route`], [`retry`] and [`health`] and done by `gateway/`. Account ids and ARNs do not leave it inside a message.

mod classify;
mod credentials;
mod endpoint;
pub mod frames;
pub mod health;
mod mask;
mod plain;
mod region;
pub mod retry;
pub mod route;
pub mod sign;
mod sse;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config;
use crate::error::{Error, Result};

pub use classify::{Failure, Reason};
pub use frames::{Frame, FrameKind, Frames};
pub use mask::mask;
pub use plain::PlainCall;
pub use region::{Call, Operation, Region, Reply, Service, Told, Unreachable};

use region::Shared;

/// Every configured Region. Clones share connections, credentials and health.
#[derive(Clone)]
pub struct Upstream {
    regions: Arc<[Region]>,
}

impl Upstream {
    /// Prepares the Regions of `aws`, in their order. Asks AWS for nothing: credentials and root certificates load on
    /// `tracker` in the background, and a call that comes sooner waits for them. Fails on a Region or an endpoint that
    /// cannot be used.
    pub async fn connect(aws: &config::Aws, clock: Clock, tracker: &TaskTracker) -> Result<Self> {
        let shared = Arc::new(Shared::load(aws, clock, tracker).await?);
        let mut regions: Vec<Region> = Vec::with_capacity(aws.regions.len());
        for name in &aws.regions {
            if regions.iter().any(|known| known.name().as_ref() == name) {
                return Err(Error::invalid("aws.regions", format!("`{name}` is listed twice.")));
            }
            let overrides = aws.endpoints.get(name).cloned().unwrap_or_default();
            regions.push(Region::resolve(name, &overrides, Arc::clone(&shared)).await?);
        }
        shared.warm_up(tracker);
        Ok(Self { regions: regions.into() })
    }

    /// The Region of that name, if it is configured.
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.regions.iter().find(|region| region.name().as_ref() == name)
    }

    /// All Regions, in order of preference.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter()
    }
}
