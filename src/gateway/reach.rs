//! What a caller reaches: the model that a name stands for, and the Regions and places where this caller may have it
//! called. Everybody who needs to know asks here, so a call, a list of models and a plan of a batch agree.

use std::sync::Arc;

use super::Gateway;
use crate::catalog::{Place, Resolved};
use crate::error::Error;
use crate::tenancy::Caller;
use crate::upstream::{Regions, TeamRole};

/// A model as a caller asked for it.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The name that was used.
    pub name: String,
    /// What it stands for.
    pub resolved: Resolved,
}

impl Gateway {
    /// What a caller's name for a model stands for, by the application inference profiles of the caller's team where it has
    /// some for the model.
    ///
    /// # Errors
    /// `ModelNotFound` if nothing; `Forbidden` when a profile of the team is one of another model. Waits for
    /// AWS only for the ARN of an application inference profile that was not seen for an hour.
    pub async fn model(&self, caller: &Caller, name: impl Into<String>) -> Result<Asked, Error> {
        let Asked { name, resolved } = self.model_itself(caller, name).await?;
        Ok(Asked { name, resolved: self.through_profiles(caller, resolved).await? })
    }

    /// The same without the profiles of a team, for what cannot be called through one.
    pub async fn model_itself(&self, caller: &Caller, name: impl Into<String>) -> Result<Asked, Error> {
        let name = name.into();
        let mut resolved = self.catalog().resolve_for(&name, &|names| caller.allows_model(names))?;
        if resolved.hidden_profile().is_some() {
            resolved = Box::pin(self.unveil(caller, resolved)).await;
        }
        Ok(Asked { name, resolved })
    }

    /// Where this caller may have a model called, best first.
    ///
    /// # Errors
    /// `ModelNotFound` when no Region of the gateway offers it, `Forbidden` when every call would leave the Regions that
    /// the caller or the alias is limited to.
    pub fn candidates(&self, caller: &Caller, resolved: &Resolved) -> Result<Vec<Arc<Place>>, Error> {
        self.catalog().candidates(resolved, &self.0.regions, caller.fence(), self.0.parts.order)
    }

    /// The Regions that this gateway calls and this caller may use, in order of preference.
    pub fn regions_of(&self, caller: &Caller) -> Vec<Arc<str>> {
        self.0.regions.iter().filter(|region| caller.allows_region(region)).cloned().collect()
    }

    /// AWS, Region by Region, with the identity that calls of `caller` are made with: its team's role, if it has one.
    pub fn regions_as(&self, caller: &Caller) -> Regions {
        let team = &*caller.team;
        let role = team.role.as_ref();
        let role = role.map(|role| TeamRole { team: team.id.as_str(), name: &team.name, arn: role.as_str() });
        self.upstream().regions_for(role)
    }
}
