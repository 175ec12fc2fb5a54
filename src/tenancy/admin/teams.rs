//! Making, changing and revoking teams.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::view::TeamView;
use super::{Act, Actor, Edit, Listed, Page, Precondition, difference, shown, value_of};
use crate::catalog::Geography;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Result};
use crate::ids::{self, TeamId};
use crate::store::Store;
use crate::tenancy::allow_list::AllowList;
use crate::tenancy::carried;
use crate::tenancy::queries::{self, Change};
use crate::tenancy::team::{self, Guardrail, NewTeam, RoleArn, Team};
use crate::tenancy::webhook::{NewSecret, NewWebhook};

/// Makes a team. Fails with [`Kind::Invalid`], the field named, or [`Kind::Conflict`] when the name is taken.
pub async fn create_team(store: &Store, clock: &Clock, actor: Actor, new: NewTeam) -> Result<Team> {
    let mut team = new.check(TeamId::from(ids::fresh("team_")), clock.now())?;
    let mut change = Change::begin(store).await?;
    team.version = change.version;
    let detail = value_of(&TeamView::of(&team))?;
    let act = Act::new(team.created_at, actor, "team.create", team.id.as_str(), detail);
    if queries::insert_team(&mut change, &team).await? {
        change.commit(&act).await?;
        return Ok(team);
    }
    Err(taken(&team.name))
}

/// Every team, revoked ones too, by name.
pub async fn list_teams(store: &Store) -> Result<Vec<Team>> {
    queries::teams(store).await
}

/// Which teams a list is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Teams {
    /// The one with this name.
    pub name: Option<String>,
}

/// Teams, revoked ones too, the oldest first. Fails with [`Kind::Invalid`] for a cursor that is none.
pub async fn page_of_teams(store: &Store, which: &Teams, page: &Page) -> Result<Listed<Team>> {
    let name = which.name.as_deref().unwrap_or_default();
    let rows = queries::page_of_teams(store, page.after_id(), name, page.rows()).await?;
    Ok(page.of(rows, |team| team.id.to_string()))
}

/// The team with this id, or else this name. Fails with [`Kind::NotFound`].
pub async fn find_team(store: &Store, id_or_name: &str) -> Result<Team> {
    queries::find_team(store, id_or_name).await?.ok_or_else(|| unknown(id_or_name))
}

/// What is to become of a team.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EditTeam {
    /// Its name; cannot be cleared.
    pub name: Edit<String>,
    /// Its models; cleared: every model.
    pub models: Edit<Vec<String>>,
    /// Its Regions; cleared: every Region.
    pub regions: Edit<Vec<String>>,
    /// Its geography; cleared: anywhere.
    pub geography: Edit<String>,
    /// Its AWS role; cleared: the gateway's own identity.
    pub role_arn: Edit<String>,
    /// Its guardrail; cleared: whatever the caller asks for.
    pub guardrail: Edit<Guardrail>,
    /// Its request metadata, as a whole.
    pub request_metadata: Edit<BTreeMap<String, String>>,
    /// Its application inference profiles, as a whole.
    pub profiles: Edit<BTreeMap<String, String>>,
    /// `refuse` or `allow_unpriced`; cleared: `refuse`.
    pub unknown_price: Edit<String>,
    /// Who is told of its batches; cleared: nobody, and the secret goes too. Of a team that has a webhook the URL alone
    /// changes.
    pub webhook: Edit<NewWebhook>,
    /// Whether all its keys are refused; cannot be cleared.
    pub revoked: Edit<bool>,
}

impl EditTeam {
    fn apply(self, team: &Team, now: Timestamp) -> Result<Team> {
        let name = self.name.required("name", team.name.clone())?;
        team::check_name(&name)?;
        let list = |now: &AllowList| now.entries().map(<[String]>::to_vec);
        let geography = match self.geography {
            Edit::Keep => team.geography,
            Edit::Clear => None,
            Edit::Set(name) => Some(Geography::parse("geography", &name)?),
        };
        let role = match self.role_arn {
            Edit::Keep => team.role.clone(),
            Edit::Clear => None,
            Edit::Set(arn) => Some(RoleArn::parse("role_arn", &arn)?),
        };
        let guardrail = self.guardrail.or(team.guardrail.clone());
        let unknown_price = match self.unknown_price {
            Edit::Keep => team.unknown_price,
            Edit::Clear => team::unknown_price("refuse")?,
            Edit::Set(text) => team::unknown_price(&text)?,
        };
        let webhook = match self.webhook {
            Edit::Keep => team.webhook.clone(),
            Edit::Clear => None,
            Edit::Set(new) => Some(new.kept(&team.id, team.webhook.as_ref())?),
        };
        let revoked = self.revoked.required("revoked", team.revoked_at.is_some())?;
        let metadata = self.request_metadata.or(Some(team.request_metadata.clone())).unwrap_or_default();
        let profiles = self.profiles.or(Some(team.profiles.clone())).unwrap_or_default();
        Ok(Team {
            id: team.id.clone(),
            name,
            models: AllowList::models("models", self.models.or(list(&team.models)))?,
            regions: AllowList::regions("regions", self.regions.or(list(&team.regions)))?,
            geography,
            role,
            guardrail: guardrail.map(|new| carried::guardrail("guardrail", new)).transpose()?,
            request_metadata: carried::metadata("request_metadata", metadata)?,
            profiles: carried::profiles("profiles", profiles)?,
            unknown_price,
            webhook,
            created_at: team.created_at,
            revoked_at: revoked.then(|| team.revoked_at.unwrap_or(now)),
            version: team.version,
        })
    }
}

/// Changes the team with this id, or else this name; one act changes all settings or none. It counts within a second or
/// two in every process that serves from this store. Fails with [`Kind::Invalid`], the field named, [`Kind::NotFound`],
/// [`Kind::Conflict`] when the name is taken, and [`Kind::Stale`].
pub async fn change_team(
    store: &Store,
    clock: &Clock,
    actor: Actor,
    (id_or_name, believed): (&str, &Precondition),
    edit: EditTeam,
) -> Result<Team> {
    change(store, clock, actor, (id_or_name, believed), ("team.update", edit)).await
}

/// Revokes a team: all its keys are refused, those that are made later too, until [`EditTeam::revoked`] is set to false.
/// What its keys were revoked for by themselves stays. Fails as [`change_team`] does.
pub async fn revoke_team_if(
    store: &Store,
    clock: &Clock,
    actor: Actor,
    (id_or_name, believed): (&str, &Precondition),
) -> Result<Team> {
    let edit = EditTeam { revoked: Edit::Set(true), ..EditTeam::default() };
    change(store, clock, actor, (id_or_name, believed), ("team.revoke", edit)).await
}

/// Gives the webhook of the team with this id, or else this name, another secret; messages are signed with the one before as
/// well for `overlap`, and with one before that no more. Fails with [`Kind::NotFound`], [`Kind::Conflict`] for a team without a
/// webhook, [`Kind::Invalid`] for an overlap beyond [`super::MAX_OVERLAP`], and [`Kind::Stale`].
pub async fn rotate_webhook(
    store: &Store,
    clock: &Clock,
    actor: Actor,
    (id_or_name, believed): (&str, &Precondition),
    (new, overlap): (&NewSecret, Duration),
) -> Result<Team> {
    if overlap > super::MAX_OVERLAP {
        let message = "Two secrets of a webhook can count for 30 days at most.";
        return Err(Error::invalid("overlap_seconds", message));
    }
    let mut change = Change::begin(store).await?;
    let mut team = queries::find_team_in(&mut change, id_or_name).await?.ok_or_else(|| unknown(id_or_name))?;
    believed.check(Some(team.version))?;
    let Some(webhook) = &team.webhook else {
        let message = "The team has no webhook: set `webhook_url` first.";
        return Err(Error::new(Kind::Conflict, message).param("team"));
    };
    let now = clock.now();
    let until = now.plus(overlap);
    team.webhook = Some(webhook.rotated(&team.id, new, until)?);
    team.version = change.version;
    queries::update_team(&mut change, &team).await?;
    let detail = json!({ "previous_until": until.millis() });
    change.commit(&Act::new(now, actor, "webhook.rotate", team.id.as_str(), detail)).await?;
    Ok(team)
}

async fn change(
    store: &Store,
    clock: &Clock,
    actor: Actor,
    (id_or_name, believed): (&str, &Precondition),
    (action, edit): (&'static str, EditTeam),
) -> Result<Team> {
    let mut change = Change::begin(store).await?;
    let team = queries::find_team_in(&mut change, id_or_name).await?.ok_or_else(|| unknown(id_or_name))?;
    believed.check(Some(team.version))?;
    let now = clock.now();
    let mut edited = edit.apply(&team, now)?;
    if edited == team {
        return Ok(team);
    }
    edited.version = change.version;
    if !queries::update_team(&mut change, &edited).await? {
        return Err(taken(&edited.name));
    }
    let detail = difference(&value_of(&TeamView::of(&team))?, &value_of(&TeamView::of(&edited))?);
    change.commit(&Act::new(now, actor, action, edited.id.as_str(), detail)).await?;
    Ok(edited)
}

fn taken(name: &str) -> Error {
    Error::new(Kind::Conflict, format!("There is a team `{name}` already.")).param("name")
}

fn unknown(id_or_name: &str) -> Error {
    Error::new(Kind::NotFound, format!("There is no team `{}`.", shown(id_or_name))).param("team")
}
