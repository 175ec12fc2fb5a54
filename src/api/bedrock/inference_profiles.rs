//! `ListInferenceProfiles` and `GetInferenceProfile`: the system-defined profiles, as far as it is known where they lead.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListInferenceProfiles.html>

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::control::{ACCOUNT, bad_token, check_one_of, identified, model_arn, not_found, page_size, partition};
use super::error;
use crate::api::caller::{Parameters, Segment};
use crate::catalog::{Catalog, Destinations, Fence, InferenceProfile};
use crate::error::Result;
use crate::gateway::Gateway;
use crate::tenancy::{Caller, Scope};

/// Profiles of a page, if nothing is said.
const PAGE: usize = 100;
/// The longest description that AWS's shape has room for.
const LONGEST_DESCRIPTION: usize = 200;

/// ListInferenceProfiles
///
/// The profiles that this key may use, each once: as it leads from the first of the gateway's Regions that has it.
#[utoipa::path(
    get,
    path = "/inference-profiles",
    tag = "Bedrock control plane",
    params(
        ("type" = Option<String>, Query, description = "SYSTEM_DEFINED; of APPLICATION there are none here."),
        ("maxResults" = Option<u16>, Query, description = "1 to 1000; 100 if nothing is said."),
        ("nextToken" = Option<String>, Query, description = "Of the page before."),
    ),
    responses((status = 200, description = "The profiles.", body = InferenceProfiles), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    caller: Caller,
    Parameters(page): Parameters<Page>,
) -> Result<Json<InferenceProfiles>> {
    caller.require(Scope::Inference)?;
    check_one_of("typeEquals", page.kind.as_deref(), &["SYSTEM_DEFINED", "APPLICATION"])?;
    let size = page_size(page.max_results.as_deref(), PAGE)?;
    let catalog = gateway.catalog();
    let all = catalog.profiles();
    // The token is the id of the last profile told.
    let start = match &page.next_token {
        None => 0,
        Some(token) => 1 + all.binary_search_by(|profile| (*profile.id).cmp(token)).map_err(|_| bad_token())?,
    };
    let regions = gateway.regions_of(&caller);
    let wanted = page.kind.as_deref() != Some("APPLICATION");
    let mut left = all[start..]
        .iter()
        .filter(|profile| wanted && may_use(&caller, profile))
        .filter_map(|profile| Profile::of(&catalog, profile, &regions, caller.fence()));
    let summaries: Vec<Profile> = left.by_ref().take(size).collect();
    let next_token = left.next().and(summaries.last()).map(|last| last.inference_profile_id.clone());
    Ok(Json(InferenceProfiles { inference_profile_summaries: summaries, next_token }))
}

/// GetInferenceProfile
///
/// A system-defined profile by its id or ARN.
#[utoipa::path(
    get,
    path = "/inference-profiles/{profile}",
    tag = "Bedrock control plane",
    params(("profile" = String, Path, description = "Id or ARN, percent-encoded as one segment.")),
    responses((status = 200, description = "The profile.", body = Profile), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn get(
    State(gateway): State<Gateway>,
    caller: Caller,
    Segment(identifier): Segment,
) -> Result<Json<Profile>> {
    caller.require(Scope::Inference)?;
    let catalog = gateway.catalog();
    let missing = || not_found("inference profile");
    let (id, region) = identified(&identifier, "inference-profile")?;
    let all = catalog.profiles();
    let profile = all.binary_search_by(|profile| (*profile.id).cmp(id)).map(|at| &all[at]).map_err(|_| missing())?;
    if !may_use(&caller, profile) {
        return Err(missing());
    }
    let mut regions = gateway.regions_of(&caller);
    regions.retain(|code| region.is_none_or(|meant| **code == *meant));
    Ok(Json(Profile::of(&catalog, profile, &regions, caller.fence()).ok_or_else(missing)?))
}

fn may_use(caller: &Caller, profile: &InferenceProfile) -> bool {
    caller.allows_model([&*profile.id, &*profile.model.id, &*profile.model.short])
}

/// Which profiles are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Page {
    #[serde(rename = "type")]
    kind: Option<String>,
    max_results: Option<String>,
    next_token: Option<String>,
}

/// The answer of `ListInferenceProfiles`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct InferenceProfiles {
    /// By id.
    inference_profile_summaries: Vec<Profile>,
    /// Absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// An inference profile.
#[derive(Serialize, ToSchema)]
#[schema(as = InferenceProfile)]
#[serde(rename_all = "camelCase")]
pub(super) struct Profile {
    inference_profile_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// Of the account 000000000000, whoever's it really is.
    inference_profile_arn: String,
    /// The model in every Region that a call may be sent to.
    models: Vec<ProfileModel>,
    inference_profile_id: String,
    /// Always `ACTIVE`.
    status: &'static str,
    /// Always `SYSTEM_DEFINED`.
    r#type: &'static str,
}

/// A model that a profile leads to.
#[derive(Serialize, ToSchema)]
#[schema(as = InferenceProfileModel)]
#[serde(rename_all = "camelCase")]
struct ProfileModel {
    model_arn: String,
}

impl Profile {
    /// A profile as it leads from the first of `regions` that has it inside the fence; `None` when none does.
    fn of(catalog: &Catalog, profile: &InferenceProfile, regions: &[Arc<str>], fence: &Fence) -> Option<Self> {
        let mut routes = regions.iter().filter_map(|region| Some((region, profile.destinations(region)?)));
        let (region, to) = routes.find(|(region, to)| fence.permits_route(region, to))?;
        let (partition, model) = (partition(catalog, region), &profile.model);
        let arn = |region: &str| ProfileModel { model_arn: model_arn(partition, region, &model.id) };
        let name = format!("{} {}", model.provider, model.name);
        let (models, routes) = match to {
            // As AWS lists it: the model in no Region, and where the call is made.
            Destinations::Anywhere => (vec![arn(""), arn(region)], "all supported AWS Regions".to_owned()),
            Destinations::Unknown => (vec![arn(region)], "Regions that are not known".to_owned()),
            Destinations::Among(to) => (to.iter().map(|region| arn(region)).collect(), to.join(", ")),
        };
        let title = if &*profile.geo == "global" { "Global".to_owned() } else { profile.geo.to_uppercase() };
        let description = format!("Routes requests to {name} in {routes}.");
        Some(Self {
            inference_profile_name: format!("{title} {name}"),
            description: Some(description).filter(|text| text.len() <= LONGEST_DESCRIPTION),
            inference_profile_arn: format!(
                "arn:{partition}:bedrock:{region}:{ACCOUNT}:inference-profile/{}",
                profile.id
            ),
            models,
            inference_profile_id: profile.id.to_string(),
            status: "ACTIVE",
            r#type: "SYSTEM_DEFINED",
        })
    }
}
