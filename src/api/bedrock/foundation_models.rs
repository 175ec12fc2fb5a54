//! `ListFoundationModels` and `GetFoundationModel`.
//! <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListFoundationModels.html>

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::control::{Moment, check_one_of, identified, model_arn, not_found, partition};
use super::error;
use crate::api::caller::{Parameters, Segment};
use crate::catalog::{Catalog, Fence, Model, Order, Scope as Reach, Stage};
use crate::error::Result;
use crate::gateway::Gateway;
use crate::tenancy::{Caller, Scope};

/// ListFoundationModels
///
/// The models that this key may use, each once: in the first of the gateway's Regions that has it.
#[utoipa::path(
    get,
    path = "/foundation-models",
    tag = "Bedrock control plane",
    params(
        ("byProvider" = Option<String>, Query, description = "Such as `Anthropic`, in any case."),
        ("byOutputModality" = Option<String>, Query, description = "TEXT, IMAGE or EMBEDDING."),
        ("byInferenceType" = Option<String>, Query, description = "ON_DEMAND or PROVISIONED."),
        ("byCustomizationType" = Option<String>, Query, description = "FINE_TUNING, CONTINUED_PRE_TRAINING or DISTILLATION."),
    ),
    responses((status = 200, description = "The models.", body = FoundationModels), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn list(
    State(gateway): State<Gateway>,
    caller: Caller,
    Parameters(filter): Parameters<Filter>,
) -> Result<Json<FoundationModels>> {
    caller.require(Scope::Inference)?;
    filter.check()?;
    let regions = gateway.regions_of(&caller);
    let catalog = gateway.catalog();
    let allowed =
        catalog.models(&regions, caller.fence()).filter(|model| caller.allows_model([&*model.id, &*model.short]));
    let summaries = allowed.filter_map(|model| FoundationModel::of(&catalog, model, &regions, caller.fence()));
    Ok(Json(FoundationModels { model_summaries: summaries.filter(|model| filter.wants(model)).collect() }))
}

/// GetFoundationModel
///
/// A model by its id or ARN; a short id or an alias will do, too.
#[utoipa::path(
    get,
    path = "/foundation-models/{model}",
    tag = "Bedrock control plane",
    params(("model" = String, Path, description = "Id or ARN, percent-encoded as one segment.")),
    responses((status = 200, description = "The model.", body = FoundationModelAnswer), (status = "4XX", description = "An AWS exception.", body = error::Envelope)),
    security(("key" = ["inference"]))
)]
pub(super) async fn get(
    State(gateway): State<Gateway>,
    caller: Caller,
    Segment(identifier): Segment,
) -> Result<Json<FoundationModelAnswer>> {
    caller.require(Scope::Inference)?;
    let catalog = gateway.catalog();
    let (name, region) = identified(&identifier, "foundation-model")?;
    let missing = || not_found("foundation model");
    let resolved = catalog.resolve(name).map_err(|_| missing())?;
    let mut regions = gateway.regions_of(&caller);
    regions.retain(|code| region.is_none_or(|meant| **code == *meant));
    // A profile is not a model, though it resolves to one.
    let is_profile = name.strip_suffix(&*resolved.name).is_some_and(|geo| !geo.is_empty());
    let model = resolved.model.as_ref().filter(|model| model.is_callable() && !is_profile).ok_or_else(missing)?;
    if !caller.allows_model(resolved.names(name)) {
        return Err(missing());
    }
    let model_details = FoundationModel::of(&catalog, model, &regions, caller.fence()).ok_or_else(missing)?;
    Ok(Json(FoundationModelAnswer { model_details }))
}

/// Which models are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    #[serde(rename = "byProvider")]
    provider: Option<String>,
    #[serde(rename = "byOutputModality")]
    output_modality: Option<String>,
    #[serde(rename = "byInferenceType")]
    inference_type: Option<String>,
    #[serde(rename = "byCustomizationType")]
    customization_type: Option<String>,
}

impl Filter {
    fn check(&self) -> Result<()> {
        check_one_of("byOutputModality", self.output_modality.as_deref(), &["TEXT", "IMAGE", "EMBEDDING"])?;
        check_one_of("byInferenceType", self.inference_type.as_deref(), &["ON_DEMAND", "PROVISIONED"])?;
        let customizations = ["FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION"];
        check_one_of("byCustomizationType", self.customization_type.as_deref(), &customizations)
    }

    fn wants(&self, model: &FoundationModel) -> bool {
        let is_by = |provider: &String| model.provider_name.eq_ignore_ascii_case(provider);
        let makes = |modality: &String| model.output_modalities.contains(modality);
        let takes = |kind: &String| model.inference_types_supported.iter().any(|known| known == kind);
        // No model is customized through this gateway.
        self.customization_type.is_none()
            && self.provider.as_ref().is_none_or(is_by)
            && self.output_modality.as_ref().is_none_or(makes)
            && self.inference_type.as_ref().is_none_or(takes)
    }
}

/// The answer of `ListFoundationModels`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FoundationModels {
    /// By id.
    model_summaries: Vec<FoundationModel>,
}

/// The answer of `GetFoundationModel`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FoundationModelAnswer {
    model_details: FoundationModel,
}

/// A foundation model. What is not known is absent.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct FoundationModel {
    /// In the first of the gateway's Regions that has it.
    model_arn: String,
    model_id: String,
    model_name: String,
    provider_name: String,
    input_modalities: Vec<String>,
    output_modalities: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_streaming_supported: Option<bool>,
    /// None is made through this gateway.
    customizations_supported: Vec<&'static str>,
    /// `ON_DEMAND` where a Region takes the model's own id, `INFERENCE_PROFILE` where one takes a profile's.
    inference_types_supported: Vec<&'static str>,
    model_lifecycle: ModelLifecycle,
}

/// Where a model stands between launch and end.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ModelLifecycle {
    /// `ACTIVE` or `LEGACY`.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_of_life_time: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    legacy_time: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_of_life_time: Option<Moment>,
}

impl FoundationModel {
    /// A model as it is in `regions`; `None` when it is in none of them.
    fn of(catalog: &Catalog, model: &Model, regions: &[Arc<str>], fence: &Fence) -> Option<Self> {
        let resolved = catalog.resolve(&model.id).ok()?;
        let places = catalog.candidates(&resolved, regions, fence, Order::Preference).ok()?;
        let region = &places.first()?.region;
        let is_any = |in_region| places.iter().any(|place| (place.scope == Reach::InRegion) == in_region);
        let types = [(true, "ON_DEMAND"), (false, "INFERENCE_PROFILE")];
        let lifecycle = &model.lifecycle;
        Some(Self {
            model_arn: model_arn(partition(catalog, region), region, &model.id),
            model_id: model.id.to_string(),
            model_name: model.name.clone(),
            provider_name: model.provider.clone(),
            input_modalities: model.input_modalities.clone(),
            output_modalities: model.output_modalities.clone(),
            response_streaming_supported: model.abilities.streaming,
            customizations_supported: Vec::new(),
            inference_types_supported: types.into_iter().filter(|kind| is_any(kind.0)).map(|kind| kind.1).collect(),
            model_lifecycle: ModelLifecycle {
                status: if lifecycle.stage == Stage::Legacy { "LEGACY" } else { "ACTIVE" },
                start_of_life_time: model.created.and_then(Moment::of),
                legacy_time: lifecycle.legacy.and_then(Moment::of),
                end_of_life_time: lifecycle.end.and_then(Moment::of),
            },
        })
    }
}
