//! `/admin/v1/keys`: making, listing, changing and revoking keys.

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
use crate::config::Secret;
use crate::error::Result;
use crate::gateway::Gateway;
use crate::ids::KeyId;
use crate::tenancy::admin::view::KeyView;
use crate::tenancy::admin::{self, Edit, EditKey, Keys, known, moment};
use crate::tenancy::{Key, NewKey, OnDisconnect, Scope, Sealer};

/// What a new key is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct CreateKey {
    /// Id or name of its team.
    #[schema(example = "search")]
    team: String,
    /// What people call it: 1 to 64 printable characters.
    #[schema(example = "ci")]
    name: String,
    /// What it may be used for: `inference`, `batch`, `admin` (everything under `/admin/v1`, of all teams), `metrics`.
    /// Without it, `inference` and `batch`.
    #[serde(default)]
    #[schema(example = json!(["inference"]))]
    scopes: Option<Vec<String>>,
    /// From when on it is refused, as in RFC 3339; without it, never.
    #[serde(default)]
    #[schema(example = "2030-01-01T00:00:00Z")]
    expires_at: Option<String>,
    /// The models it may use, within its team's, by any of their names, or the beginning of names and `*`; without it,
    /// its team's.
    #[serde(default)]
    models: Option<Vec<String>>,
    /// The Regions its calls may go to, within its team's; without it, its team's.
    #[serde(default)]
    regions: Option<Vec<String>>,
    /// The networks that calls have to come from, or single addresses; without it, anywhere.
    #[serde(default)]
    #[schema(example = json!(["10.0.0.0/8"]))]
    networks: Option<Vec<String>>,
    /// What becomes of a call whose client leaves: `cancel` (the default) or `drain`: it is read to its end.
    #[serde(default)]
    #[schema(example = "cancel")]
    on_disconnect: Option<String>,
    /// Whether it is an AWS access key pair as well, with which any AWS SDK signs: its id and its secret. The secret is then
    /// kept, sealed; the gateway needs `auth.sealing_key` for that.
    #[serde(default)]
    sigv4: Option<bool>,
}

/// What is to become of a key. What is left out stays; null clears.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(super) struct UpdateKey {
    /// Its name; cannot be null.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    name: Edit<String>,
    /// What it may be used for; cannot be null.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    scopes: Edit<Vec<String>>,
    /// From when on it is refused, as in RFC 3339; null: never.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    expires_at: Edit<String>,
    /// Its models; null: its team's.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    models: Edit<Vec<String>>,
    /// Its Regions; null: its team's.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    regions: Edit<Vec<String>>,
    /// Its networks; null: anywhere.
    #[serde(default)]
    #[schema(value_type = Option<Vec<String>>)]
    networks: Edit<Vec<String>>,
    /// `cancel` or `drain`; null: `cancel`.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    on_disconnect: Edit<String>,
}

/// A key with its whole text, which is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KeyWithText {
    #[serde(flatten)]
    view: KeyView,
    /// What the client sends: `bgw_<id>_<secret>`. It is kept nowhere.
    #[schema(example = "bgw_5d1c0f2a9b3e4d6f8a7b_<secret>")]
    key: String,
    /// For AWS SDKs that sign, of a key with `sigv4`: the id of the key is the access key id, and this the secret access key.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_access_key: Option<String>,
}

impl KeyWithText {
    /// What is shown of `key`, whose whole text is `text`.
    pub(super) async fn of(gateway: &Gateway, key: &Key, text: &Secret) -> Result<Self> {
        let view = view(gateway, key).await?;
        let secret_access_key = key.secret_access_key(text).map(str::to_owned);
        Ok(Self { view, key: text.expose().to_owned(), secret_access_key })
    }
}

/// Create a key
///
/// The answer shows the key, this once. Models that are not known (yet) are taken, and named in `warnings`. Needs the scope
/// `admin`.
#[utoipa::path(
    post,
    path = "/admin/v1/keys",
    operation_id = "create_key",
    tag = "Administration",
    request_body = CreateKey,
    responses(
        (status = 201, description = "The key.", body = Told<KeyWithText>, headers(("ETag", description = "Its version."))),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn create(
    State(gateway): State<Gateway>,
    Administrator(actor): Administrator,
    Body(bytes): Body,
) -> Result<Response> {
    let asked: CreateKey = body::read(&bytes)?;
    let warnings = check_named(&gateway, asked.models.as_ref(), asked.regions.as_ref())?;
    let NewKey { scopes: default, .. } = NewKey::new("", "");
    let new = NewKey {
        scopes: asked.scopes.as_deref().map(scopes).transpose()?.unwrap_or(default),
        expires_at: asked.expires_at.map(|text| moment::read("expires_at", &text)).transpose()?,
        models: asked.models,
        regions: asked.regions,
        networks: asked.networks,
        on_disconnect: asked.on_disconnect.map(|text| OnDisconnect::parse(&text)).transpose()?.unwrap_or_default(),
        sigv4: match asked.sigv4 {
            Some(true) => Some(gateway.sealer().cloned().ok_or_else(Sealer::missing)?),
            Some(false) | None => None,
        },
        ..NewKey::new(asked.team, asked.name)
    };
    let (key, text) = admin::create_key(gateway.tenancy().store(), gateway.clock(), actor, new).await?;
    gateway.tenancy().refresh().await;
    tell(StatusCode::CREATED, key.version, KeyWithText::of(&gateway, &key, &text).await?, warnings)
}

/// List keys
///
/// All keys, revoked ones too, the oldest first. Needs the scope `admin`.
#[utoipa::path(
    get,
    path = "/admin/v1/keys",
    operation_id = "list_keys",
    tag = "Administration",
    params(
        ("team" = Option<String>, Query, description = "Those of the team with this id or name."),
        ("limit" = Option<u32>, Query, description = "Entries of a page, 1 to 1000; 100 if nothing is said."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "The keys.", body = Page<KeyView>),
        (status = "4XX", description = "Refused.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    _: Administrator,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<KeyView>>> {
    let query = Query::read(query.as_deref(), &["team"])?;
    let which = Keys { team: query.text("team") };
    let listed = admin::page_of_keys(gateway.tenancy().store(), &which, query.page()).await?;
    Ok(Page::of(listed, |(key, team)| KeyView::of(&key, Some(&team))))
}

/// Look a key up
///
/// By its id: what stands between the first two underscores of the key. Needs the scope `admin`.
#[utoipa::path(
    get,
    path = "/admin/v1/keys/{key}",
    operation_id = "retrieve_key",
    tag = "Administration",
    params(("key" = String, Path, description = "Its id.")),
    responses(
        (status = 200, description = "The key.", body = KeyView, headers(("ETag", description = "Its version."))),
        (status = "4XX", description = "Refused, or not there.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn retrieve(
    State(gateway): State<Gateway>,
    _: Administrator,
    Segment(id): Segment,
) -> Result<Response> {
    let (key, team) = admin::find_key(gateway.tenancy().store(), &KeyId::from(id)).await?;
    tell(StatusCode::OK, key.version, KeyView::of(&key, Some(&team)), Vec::new())
}

/// Change a key
///
/// What is left out stays, null clears, and one call changes all or nothing. It counts on this process with the answer, on
/// others within seconds. With `If-Match: "<version>"`, a change that somebody else made in between is a 412. A key that is
/// revoked cannot be changed. Needs the scope `admin`.
#[utoipa::path(
    patch,
    path = "/admin/v1/keys/{key}",
    operation_id = "update_key",
    tag = "Administration",
    params(
        ("key" = String, Path, description = "Its id."),
        ("If-Match" = Option<String>, Header, description = "The version that is to be changed, as the ETag told it."),
    ),
    request_body = UpdateKey,
    responses(
        (status = 200, description = "The key.", body = Told<KeyView>, headers(("ETag", description = "Its version."))),
        (status = 412, description = "It has another version.", body = ErrorBody),
        (status = "4XX", description = "Refused, or not there.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn update(
    State(gateway): State<Gateway>,
    Administrator(actor): Administrator,
    IfMatch(believed): IfMatch,
    Segment(id): Segment,
    Body(bytes): Body,
) -> Result<Response> {
    let asked: UpdateKey = body::read(&bytes)?;
    let warnings = check_named(&gateway, asked.models.new_value(), asked.regions.new_value())?;
    let edit = EditKey {
        name: asked.name,
        scopes: asked.scopes.read(|named| scopes(&named))?,
        expires_at: asked.expires_at.read(|text| moment::read("expires_at", &text))?,
        models: asked.models,
        regions: asked.regions,
        networks: asked.networks,
        on_disconnect: asked.on_disconnect.read(|text| OnDisconnect::parse(&text))?,
    };
    let store = gateway.tenancy().store();
    let key = admin::change_key(store, gateway.clock(), actor, (&KeyId::from(id), &believed), edit).await?;
    gateway.tenancy().refresh().await;
    tell(StatusCode::OK, key.version, view(&gateway, &key).await?, warnings)
}

/// Revoke a key
///
/// For good: it cannot be restored. It is refused on this process with the answer, on others within seconds. Needs the
/// scope `admin`.
#[utoipa::path(
    delete,
    path = "/admin/v1/keys/{key}",
    operation_id = "revoke_key",
    tag = "Administration",
    params(
        ("key" = String, Path, description = "Its id."),
        ("If-Match" = Option<String>, Header, description = "The version that is to be revoked, as the ETag told it."),
    ),
    responses(
        (status = 200, description = "The key.", body = KeyView, headers(("ETag", description = "Its version."))),
        (status = 412, description = "It has another version.", body = ErrorBody),
        (status = "4XX", description = "Refused, or not there.", body = ErrorBody),
    ),
    security(("key" = ["admin"]))
)]
pub(super) async fn revoke(
    State(gateway): State<Gateway>,
    Administrator(actor): Administrator,
    IfMatch(believed): IfMatch,
    Segment(id): Segment,
) -> Result<Response> {
    let store = gateway.tenancy().store();
    let key = admin::revoke_key_if(store, gateway.clock(), actor, (&KeyId::from(id), &believed)).await?;
    gateway.tenancy().refresh().await;
    tell(StatusCode::OK, key.version, view(&gateway, &key).await?, Vec::new())
}

/// What is shown of a key, with the name of its team.
async fn view(gateway: &Gateway, key: &Key) -> Result<KeyView> {
    let team = admin::find_team(gateway.tenancy().store(), key.team.as_str()).await?;
    Ok(KeyView::of(key, Some(&team.name)))
}

fn scopes(names: &[String]) -> Result<Vec<Scope>> {
    names.iter().map(|name| Scope::parse(name)).collect()
}

/// Refuses Regions that do not exist; the warnings are about models that may come.
fn check_named(gateway: &Gateway, models: Option<&Vec<String>>, regions: Option<&Vec<String>>) -> Result<Vec<String>> {
    let catalog = gateway.catalog();
    known::check_regions(&catalog, "regions", regions.map_or(&[], Vec::as_slice))?;
    Ok(known::doubts(&catalog, "models", models.into_iter().flatten().map(String::as_str)))
}
