//! Whether the application inference profiles of teams are there, and of the models that they are for.

use futures_util::{StreamExt as _, stream};
use http::Method;
use serde::Deserialize;

use super::{AT_ONCE, Check, Examined, Group, Standing, within};
use crate::catalog::Model;
use crate::tenancy::Team;
use crate::upstream::{Failure, PlainCall, Reason, TeamRole};

const REMEDY: &str = "Correct the team's profiles: its calls of the model are refused.";

/// One check for each profile of each team.
pub(super) async fn look(examined: &Examined<'_>, standing: &Standing, teams: &[Team]) -> Vec<Check> {
    let all = teams.iter().flat_map(|team| team.profiles.iter().map(move |(name, arn)| Own { team, name, arn }));
    if *standing == Standing::Nobody {
        return all.map(|own| Check::skipped(Group::Teams, own.subject(), "needs credentials")).collect();
    }
    let looks: Vec<_> =
        all.map(|own| async move {
            within(Group::Teams, &own.subject(), async { vec![own.look_at(examined).await] }).await
        })
        .collect();
    stream::iter(looks).buffered(AT_ONCE).collect::<Vec<_>>().await.concat()
}

/// A team's profile for a model.
#[derive(Clone, Copy)]
struct Own<'t> {
    team: &'t Team,
    /// The model's.
    name: &'t str,
    arn: &'t str,
}

#[derive(Deserialize)]
struct Profile {
    models: Vec<Destination>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Destination {
    model_arn: String,
}

impl Own<'_> {
    fn subject(self) -> String {
        format!("{}, {}", self.team.name, self.name)
    }

    async fn look_at(self, examined: &Examined<'_>) -> Check {
        let failed = |found: &str| Check::failed(Group::Teams, self.subject(), found, REMEDY);
        let model = examined.catalog.resolve(self.name).ok().and_then(|known| known.model);
        let Some(model) = model.filter(|model| examined.catalog.is_named(model, self.name)) else {
            return failed("the catalog knows no such model, so that no call goes through the profile");
        };
        let role = self.team.role.as_ref().map(|role| TeamRole {
            team: self.team.id.as_str(),
            name: &self.team.name,
            arn: role.as_str(),
        });
        let regions = examined.upstream.regions_for(role);
        let place = self.arn.split(':').nth(3).unwrap_or_default();
        let Some(region) = regions.region(place) else {
            return failed(&format!("the profile is in {place}, which is not in aws.regions"));
        };
        match region.control(&PlainCall::new(Method::GET, ["inference-profiles", self.arn])).await {
            Ok(reply) => match serde_json::from_slice::<Profile>(&reply.body) {
                Ok(profile) if self.leads_to(&profile, &model, examined) => {
                    let found = format!("the profile in {place} is one of {}", model.id);
                    Check::ok(Group::Teams, self.subject(), found)
                }
                Ok(_) => failed(&format!("the profile in {place} is not one of {}", model.id)),
                Err(_) => failed("the profile could not be read"),
            },
            Err(Failure { reason: Reason::Denied, .. }) => {
                let remedy = "Grant bedrock:GetInferenceProfile (`iam-policy` prints it): prices and residency are judged by it.";
                Check::warning(Group::Teams, self.subject(), "where the profile leads could not be seen", remedy)
            }
            Err(failure) => failed(&format!("AWS does not tell of the profile: {}", failure.error.message())),
        }
    }

    fn leads_to(self, profile: &Profile, model: &Model, examined: &Examined<'_>) -> bool {
        let Ok(hidden) = examined.catalog.resolve(self.arn) else { return false };
        let arns = profile.models.iter().map(|to| to.model_arn.as_str());
        let told = examined.catalog.unveiled(&hidden, arns).and_then(|told| told.model);
        told.is_some_and(|told| told.id == model.id)
    }
}
