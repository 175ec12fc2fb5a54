//! Whether the roles of teams can be taken.

use futures_util::{StreamExt as _, stream};

use super::{AT_ONCE, Check, Examined, Group, Standing, identity, told, within};
use crate::tenancy::Team;
use crate::upstream::{Region, TeamRole, Unreachable};

/// One check for each team with a role.
pub(super) async fn look(examined: &Examined<'_>, standing: &Standing, teams: &[Team]) -> Vec<Check> {
    let with_role: Vec<(&Team, &str)> =
        teams.iter().filter_map(|team| Some((team, team.role.as_ref()?.as_str()))).collect();
    if *standing == Standing::Nobody {
        let skip = |(team, _): &(&Team, &str)| Check::skipped(Group::Teams, &team.name, "needs credentials");
        return with_role.iter().map(skip).collect();
    }
    let looks: Vec<_> = with_role
        .into_iter()
        .map(|(team, arn)| {
            let role = TeamRole { team: team.id.as_str(), name: &team.name, arn };
            let regions = examined.upstream.regions_for(Some(role));
            async move {
                let first = regions.iter().next().cloned();
                let Some(region) = first else { return Vec::new() };
                within(Group::Teams, &team.name, async { vec![look_at(&region, team, arn, examined).await] }).await
            }
        })
        .collect();
    stream::iter(looks).buffered(AT_ONCE).collect::<Vec<_>>().await.concat()
}

/// Asks STS who the team is: a role that cannot be taken has no credentials to ask with.
async fn look_at(region: &Region, team: &Team, arn: &str, examined: &Examined<'_>) -> Check {
    let role = arn.rsplit('/').next().unwrap_or_default();
    let account = identity::shown(arn.split(':').nth(4).unwrap_or_default(), examined.wish.account);
    match identity::caller(region).await {
        Ok(answer) if answer.is_success() => {
            Check::ok(Group::Teams, &team.name, format!("role {role} of the account {account} can be taken"))
        }
        Ok(answer) => {
            let found = format!("the session of role {role} is refused: {} {}", answer.code, answer.message);
            Check::failed(Group::Teams, &team.name, found.trim_end(), trust(arn))
        }
        Err(Unreachable::Credentials(error)) => {
            let found = format!("role {role} of the account {account} cannot be taken: {}", error.causes());
            Check::failed(Group::Teams, &team.name, found, trust(arn))
        }
        Err(unreachable) => {
            let (found, remedy) = told(&unreachable);
            Check::warning(Group::Teams, &team.name, format!("STS: {found}"), remedy)
        }
    }
}

fn trust(arn: &str) -> String {
    let role = arn.rsplit('/').next().unwrap_or_default();
    format!(
        "Let the role {role} trust the gateway's identity with sts:AssumeRole and sts:TagSession, and allow that identity both on \
         it (`iam-policy --team-roles ARN` prints base)."
    )
}
