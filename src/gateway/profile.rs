//! The application inference profiles of a team: the way that its calls of a model take, so that what they cost shows on the
//! AWS bill under the profile's tags.
//!
//! Whichever name a caller uses, the model is what counts: a profile belongs to all names that mean the model, and several
//! names of one model may have one profile each, as a way in each Region. Where a model has a profile it is called through
//! nothing else: a Region without one is no candidate, and the fences of key, team and alias are judged as ever.

use futures_util::future::join_all;

use super::Gateway;
use crate::catalog::{Hosting, Resolved};
use crate::error::{Error, Kind, Result};
use crate::tenancy::Caller;

impl Gateway {
    /// `resolved`, by the profiles that the caller's team has for its model; as it is where there are none.
    ///
    /// # Errors
    /// `Forbidden` when AWS says that a profile leads to another model, or it cannot be one of this partition.
    pub(super) async fn through_profiles(&self, caller: &Caller, resolved: Resolved) -> Result<Resolved> {
        if caller.team.profiles.is_empty() {
            return Ok(resolved);
        }
        Box::pin(self.through_those_of_team(caller, resolved)).await
    }

    async fn through_those_of_team(&self, caller: &Caller, resolved: Resolved) -> Result<Resolved> {
        let profiles = &caller.team.profiles;
        let Some(model) = resolved.model.as_ref() else { return Ok(resolved) };
        // Capacity that is paid for, or a model of one's own, is not what a profile of the model leads to.
        if !matches!(resolved.hosting(), None | Some(Hosting::ApplicationProfile)) {
            return Ok(resolved);
        }
        let catalog = self.catalog();
        let meant: Vec<_> =
            profiles.iter().filter(|(name, _)| catalog.is_named(model, name)).map(|(_, arn)| arn).collect();
        if meant.is_empty() {
            return Ok(resolved);
        }
        let ways = meant.into_iter().map(|arn| async {
            let hidden = catalog.resolve(arn).map_err(|cause| misleading(&resolved).source(cause))?;
            let way = self.unveil(caller, hidden).await;
            // What AWS did not tell is believed to be what an administrator said, at a price that is not known.
            let leads_there = way.model.as_ref().is_none_or(|told| told.id == model.id);
            if leads_there { Ok(way) } else { Err(misleading(&resolved)) }
        });
        let ways: Vec<Resolved> = join_all(ways).await.into_iter().collect::<Result<_>>()?;
        Ok(resolved.through(&ways))
    }
}

fn misleading(resolved: &Resolved) -> Error {
    let message = format!(
        "The application inference profile by which the team of this key calls `{}` is not one of that model: an \
         administrator has to correct the team's profiles.",
        resolved.name
    );
    Error::new(Kind::Forbidden, message).param("model").reason("model")
}
