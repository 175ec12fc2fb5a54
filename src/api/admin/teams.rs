//! `/admin/v1/teams`: making, listing, changing and revoking teams.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::query::Query;
use super::{Administrator, IfMatch, Page, Told, tell};
use crate::api::body;
use crate::api::caller::{Body, Segment};
use crate::api::openai::error::ErrorBody;
use crate::error::Result;
use crate::gateway::Gateway;
use crate::tenancy::admin::view::TeamView;
use crate::tenancy::admin::{self, Edit, EditTeam, Teams, known};
use crate::tenancy::{Guardrail, NewSecret, NewTeam, NewWebhook, Team};

/// What a new team is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct CreateTeam {
    /// 1 to 64 printable characters, unique among teams.
    #[schema(example = "search")]
    name: String,
    /// The models that its keys may use at most, by any of their names, or the beginning of names and `*`; without it,
    /// every model.
    #[serde(default)]
    #[schema(example = json!(["claude-*", "nova-lite"]))]
    models: Option<Vec<String>>,
    /// The Regions that its calls may go to; without it, every Region of the gateway.
    #[serde(default)]
    #[schema(example = json!(["eu-central-1", "eu-west-1"]))]
    regions: Option<Vec<String>>,
    /// A geography that its calls may not leave, such as `eu` or `us-gov`.
    #[serde(default)]
    #[schema(example = "eu")]
    geography: Option<String>,
    /// The ARN of an AWS role to assume for its calls; without it, they are made with the gateway's own identity.
    #[serde(default)]
    role_arn: Option<String>,
    /// The guardrail that every call on a model carries, whatever the caller asks for.
    #[serde(default)]
    guardrail: Option<Guardrail>,
    /// What every call on a model tells AWS's invocation log: at most 16 entries, as Converse takes them.
    #[serde(default)]
    #[schema(example = json!({"cost_centre": "4711"}))]
    request_metadata: Option<BTreeMap<String, String>>,
    /// ARNs of application inference profiles, by the model that is called through them, so that its cost shows on the
    /// AWS bill.
    #[serde(default)]
    profiles: Option<BTreeMap<String, String>>,
    /// What becomes of calls whose price is not known, where a budget would have to pay for them: `refuse` (the default)
    /// or `allow_unpriced`.
    #[serde(default)]
    #[schema(example = "refuse")]
    unknown_price: Option<String>,
    /// Where messages about its batches go, over https. The answer shows the secret that they are signed with, this once;
    /// it is kept, sealed, and the gateway needs `auth.sealing_key` for that.
    #[serde(default)]
    #[schema(example = "https://example.com/hooks/batches")]
    webhook_url: Option<String>,
}

/// What is to become of a team. What is left out stays; null clears.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct UpdateTeam {
    /// Its name; cannot be null.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "search")]
    name: Edit<String>,
    /// Its models; null: every model.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    models: Edit<Vec<String>>,
    /// Its Regions; null: every Region of the gateway.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    regions: Edit<Vec<String>>,
    /// Its geography; null: anywhere.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    geography: Edit<String>,
    /// Its AWS role; null: the gateway's own identity.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    role_arn: Edit<String>,
    /// Its guardrail; null: whatever the caller asks for.
    #[serde(default)]
    #[schema(value_type = Option<Guardrail>)]
    guardrail: Edit<Guardrail>,
    /// Its request metadata, as a whole; null: none.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    request_metadata: Edit<BTreeMap<String, String>>,
    /// Its application inference profiles, as a whole; null: none.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    profiles: Edit<BTreeMap<String, String>>,
    /// `refuse` or `allow_unpriced`; null: `refuse`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    unknown_price: Edit<String>,
    /// Where messages about its batches go; null: nowhere. Of a team without one the answer shows the secret, this once; a
    /// team that has one keeps its secret.
    #[serde(default)]
    #[schema(value_type = Option<String>, example = "https://example.com/hooks/batches")]
    webhook_url: Edit<String>,
    /// Whether all its keys are refused. False restores a team that was revoked; cannot be null.
    #[serde(default)]
    #[schema(value_type = Option<bool>)]
    revoked: Edit<bool>,
}

/// What is named of the outer world, to be looked up before it is taken.
#[derive(Default)]
struct Named<'a> {
    models: Option<&'a Vec<String>>,
    regions: Option<&'a Vec<String>>,
    role_arn: Option<&'a String>,
    profiles: Option<&'a BTreeMap<String, String>>,
}

impl Named<'_> {
    /// Refuses what cannot be; the warnings are about what may come.
    fn check(&self, gateway: &Gateway) -> Result<Vec<String>> {
        let catalog = gateway.catalog();
        known::check_regions(&catalog, "regions", self.regions.map_or(&[], Vec::as_slice))?;
        if let Some(arn) = self.role_arn {
            known::check_role(&catalog, gateway.regions(), "role_arn", arn)?;
        }
        known::check_profiles(&catalog, "profiles", self.profiles.into_iter().flatten())?;
        let models = self.models.into_iter().flatten().map(String::as_str);
        let mut warnings = known::doubts(&catalog, "models", models);
        let profiled = self.profiles.into_iter().flat_map(BTreeMap::keys).map(String::as_str);
        warnings.extend(known::doubts(&catalog, "profiles", profiled));
        Ok(warnings)
    }
}

/// Create a team
///
/// A team pays for the calls of its keys, and bounds what they may use. Models that are not known (yet) are taken, and
/// named in `warnings`. Needs the scope `admin`.
#[utoipa::path(
    post,
    path = "/admin/v1/teams",
    operation_id = "create_team",
    tag = "Administration",
    request_body = CreateTeam,
    responses(
        (status = 201, description = "The team.", body = Told<TeamWithSecret>, headers(("ETag", description = "Its version."))),
        (status = 409, description = "There is a team of this name.", body = ErrorBody),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn create(
    State(gateway): State<Gateway>,
    Administrator(actor): Administrator,
    Body(bytes): Body,
) -> Result<Response> {
    let asked: CreateTeam = body::read(&bytes)?;
    let named = Named {
        models: asked.models.as_ref(),
        regions: asked.regions.as_ref(),
        role_arn: asked.role_arn.as_ref(),
        profiles: asked.profiles.as_ref(),
    };
    let warnings = named.check(&gateway)?;
    let webhook = asked.webhook_url.map(|url| webhook(&gateway, url)).transpose()?;
    let new = NewTeam {
        webhook: webhook.clone(),
        name: asked.name,
        models: asked.models,
        regions: asked.regions,
        geography: asked.geography,
        role_arn: asked.role_arn,
        guardrail: asked.guardrail,
        request_metadata: asked.request_metadata.unwrap_or_default(),
        profiles: asked.profiles.unwrap_or_default(),
        unknown_price: asked.unknown_price,
    };
    let team = admin::create_team(gateway.tenancy().store(), gateway.clock(), actor, new).await?;
    gateway.tenancy().refresh().await;
    told_with(StatusCode::CREATED, (&team, webhook.as_ref().map(|new| &new.secret)), warnings)
}

/// List teams
///
/// All teams, revoked ones too, the oldest first. Needs the scope `admin`.
#[utoipa::path(
    get,
    path = "/admin/v1/teams",
    operation_id = "list_teams",
    tag = "Administration",
    params(
        ("name" = Option<String>, Query, description = "The one team with exactly this name."),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "The teams.", body = Page<TeamView>),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    _: Administrator,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<TeamView>>> {
    let query = Query::read(query.as_deref(), &["name"])?;
    let which = Teams { name: query.text("name") };
    let listed = admin::page_of_teams(gateway.tenancy().store(), &which, query.page()).await?;
    Ok(Page::of(listed, |team| TeamView::of(&team)))
}

/// Look a team up
///
/// By its id or its name. Needs the scope `admin`.
#[utoipa::path(
    get,
    path = "/admin/v1/teams/{team}",
    operation_id = "retrieve_team",
    tag = "Administration",
    params(("team" = String, Path, description = "Its id or its name.")),
    responses(
        (status = 200, description = "The team.", body = TeamView, headers(("ETag", description = "Its version."))),
        (status = "4XX", description = "Refused, or not there.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn retrieve(
    State(gateway): State<Gateway>,
    _: Administrator,
    Segment(which): Segment,
) -> Result<Response> {
    let team = admin::find_team(gateway.tenancy().store(), &which).await?;
    told(StatusCode::OK, &team, Vec::new())
}

/// Change a team
///
/// What is left out stays, null clears, and one call changes all or nothing. It counts on this process with the answer, on
/// others within seconds. With `If-Match: "<version>"`, a change that somebody else made in between is a 412. Needs the
/// scope `admin`.
#[utoipa::path(
    patch,
    path = "/admin/v1/teams/{team}",
    operation_id = "update_team",
    tag = "Administration",
    params(
        ("team" = String, Path, description = "Its id or its name."),
        ("If-Match" = Option<String>, Header, description = "The version that is to be changed, as the ETag told it."),
    ),
    request_body = UpdateTeam,
    responses(
        (status = 200, description = "The team.", body = Told<TeamWithSecret>, headers(("ETag", description = "Its version."))),
        (status = 412, description = "It has another version.", body = ErrorBody),
        (status = "4XX", description = "Refused, or not there.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn update(
    State(gateway): State<Gateway>,
    Administrator(actor): Administrator,
    IfMatch(believed): IfMatch,
    Segment(which): Segment,
    Body(bytes): Body,
) -> Result<Response> {
    let asked: UpdateTeam = body::read(&bytes)?;
    let named = Named {
        models: asked.models.new_value(),
        regions: asked.regions.new_value(),
        role_arn: asked.role_arn.new_value(),
        profiles: asked.profiles.new_value(),
    };
    let warnings = named.check(&gateway)?;
    let webhook = asked.webhook_url.read(|url| webhook(&gateway, url))?;
    let edit = EditTeam {
        webhook: webhook.clone(),
        name: asked.name,
        models: asked.models,
        regions: asked.regions,
        geography: asked.geography,
        role_arn: asked.role_arn,
        guardrail: asked.guardrail,
        request_metadata: asked.request_metadata,
        profiles: asked.profiles,
        unknown_price: asked.unknown_price,
        revoked: asked.revoked,
    };
    let store = gateway.tenancy().store();
    let team = admin::change_team(store, gateway.clock(), actor, (&which, &believed), edit).await?;
    gateway.tenancy().refresh().await;
    told_with(StatusCode::OK, (&team, webhook.new_value().map(|new| &new.secret)), warnings)
}

/// Revoke a team
///
/// All its keys are refused, until `revoked` is set to false again. Nothing of it is removed: what it used stays in the
/// ledger. Needs the scope `admin`.
#[utoipa::path(
    delete,
    path = "/admin/v1/teams/{team}",
    operation_id = "revoke_team",
    tag = "Administration",
    params(
        ("team" = String, Path, description = "Its id or its name."),
        ("If-Match" = Option<String>, Header, description = "The version that is to be revoked, as the ETag told it."),
    ),
    responses(
        (status = 200, description = "The team.", body = TeamView, headers(("ETag", description = "Its version."))),
        (status = 412, description = "It has another version.", body = ErrorBody),
        (status = "4XX", description = "Refused, or not there.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn revoke(
    State(gateway): State<Gateway>,
    Administrator(actor): Administrator,
    IfMatch(believed): IfMatch,
    Segment(which): Segment,
) -> Result<Response> {
    let store = gateway.tenancy().store();
    let team = admin::revoke_team_if(store, gateway.clock(), actor, (&which, &believed)).await?;
    gateway.tenancy().refresh().await;
    told(StatusCode::OK, &team, Vec::new())
}

/// A team, and the secret of its webhook, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TeamWithSecret {
    #[serde(flatten)]
    view: TeamView,
    /// What messages are signed with, by Standard Webhooks; only where it was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_<secret>")]
    webhook_secret: Option<String>,
}

/// A webhook that may be called, with a secret for a team that has none.
fn webhook(gateway: &Gateway, url: String) -> Result<NewWebhook> {
    gateway.fetcher().check_receiver("webhook_url", &url)?;
    Ok(NewWebhook { url, secret: NewSecret::make(gateway.sealer())? })
}

/// The team, with the secret if it became its webhook's.
pub(super) fn told_with(
    status: StatusCode,
    (team, secret): (&Team, Option<&NewSecret>),
    warnings: Vec<String>,
) -> Result<Response> {
    let webhook_secret = secret.and_then(|secret| secret.shown_for(team)).map(str::to_owned);
    tell(status, team.version, TeamWithSecret { view: TeamView::of(team), webhook_secret }, warnings)
}

fn told(status: StatusCode, team: &Team, warnings: Vec<String>) -> Result<Response> {
    tell(status, team.version, TeamView::of(team), warnings)
}
