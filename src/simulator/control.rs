//! The catalog side of the control plane: foundation models and inference profiles as the called Region lists them.

use serde_json::{Value, json};

use super::catalog::{Model, Routing};
use super::errors::Failure;
use super::handler::query;
use super::operations::Context;
use super::reply::Reply;

const PAGE: usize = 100;
/// When the profiles of the simulator were made.
const CREATED: &str = "2025-01-01T00:00:00Z";

/// Answers `ListFoundationModels`; every filter of AWS but that of customization, which no model here has.
pub(crate) fn list_models(context: &Context<'_>) -> Reply {
    let query = query(context.query);
    let filter = |name: &str| query.get(name).map(String::as_str);
    let today = context.today();
    let listed = context.catalog.models().filter(|model| is_listed(context, model, &today)).filter(|model| {
        filter("byProvider").is_none_or(|provider| model.provider.eq_ignore_ascii_case(provider))
            && filter("byOutputModality")
                .is_none_or(|modality| model.output_modalities.iter().any(|output| output == modality))
            && filter("byInferenceType")
                .is_none_or(|kind| inference_types(context, model).iter().any(|offered| offered == kind))
            && filter("byCustomizationType").is_none()
    });
    let summaries: Vec<Value> = listed.map(|model| summary(context, model)).collect();
    Reply::json(&json!({"modelSummaries": summaries}))
}

/// Answers `GetFoundationModel`.
pub(crate) fn model(context: &Context<'_>, identifier: &str) -> Result<Reply, Failure> {
    let id = identifier.rsplit('/').next().unwrap_or(identifier);
    let found = context.catalog.model(id).filter(|model| is_listed(context, model, &context.today()));
    let model = found.ok_or_else(|| {
        Failure::not_found(format!("Could not resolve the foundation model from model identifier: {identifier}"))
    })?;
    Ok(Reply::json(&json!({"modelDetails": summary(context, model)})))
}

fn is_offered(context: &Context<'_>, model: &Model) -> bool {
    model.on_demand_in(context.region) || context.catalog.profile_of(model, context.region).is_some()
}

fn is_listed(context: &Context<'_>, model: &Model, today: &str) -> bool {
    !model.withdrawn(today) && is_offered(context, model)
}

fn inference_types(context: &Context<'_>, model: &Model) -> Vec<String> {
    if let Some(types) = &model.inference_types {
        return types.clone();
    }
    let on_demand = model.on_demand_in(context.region).then_some("ON_DEMAND");
    let by_profile = (on_demand.is_none() && is_offered(context, model)).then_some("INFERENCE_PROFILE");
    on_demand.into_iter().chain(by_profile).map(str::to_owned).collect()
}

fn summary(context: &Context<'_>, model: &Model) -> Value {
    let status = match model.lifecycle.status.as_str() {
        // The data files say more of some; AWS does not.
        "ACTIVE_UNVERIFIED" | "EOL" | "EOL_OR_WITHDRAWN" | "EOL_PER_LITELLM" => "ACTIVE",
        told => told,
    };
    let mut lifecycle = json!({"status": status});
    for (member, date) in [("legacyTime", &model.lifecycle.legacy), ("endOfLifeTime", &model.lifecycle.eol)] {
        if let Some(date) = date {
            lifecycle[member] = Value::from(format!("{date}T00:00:00Z"));
        }
    }
    json!({
        "modelArn": context.model_arn(context.region, &model.id),
        "modelId": model.id,
        "modelName": model.name.as_deref().unwrap_or(&model.id),
        "providerName": model.provider,
        "inputModalities": model.input_modalities,
        "outputModalities": model.output_modalities,
        "responseStreamingSupported": model.streaming.unwrap_or(model.kind == "chat"),
        "customizationsSupported": [],
        "inferenceTypesSupported": inference_types(context, model),
        "modelLifecycle": lifecycle,
    })
}

/// Answers `ListInferenceProfiles`; the token is the id of the last profile told.
pub(crate) fn list_profiles(context: &Context<'_>) -> Result<Reply, Failure> {
    let query = query(context.query);
    let size = query.get("maxResults").and_then(|text| text.parse().ok()).unwrap_or(PAGE);
    let wanted = |kind: &str| query.get("type").is_none_or(|asked| asked == kind);
    let mut all: Vec<(String, Value)> = Vec::new();
    if wanted("SYSTEM_DEFINED") {
        let today = context.today();
        let lives = |routing: &Routing| {
            context.catalog.model(&routing.profile.model).is_some_and(|model| !model.withdrawn(&today))
        };
        let listed = context.catalog.profiles(context.region).filter(lives);
        all.extend(listed.map(|routing| (routing.profile.id.clone(), system_profile(context, &routing))));
    }
    if wanted("APPLICATION") {
        let own = context.simulator.settings().application_profiles.iter();
        all.extend(own.filter_map(|(id, source)| Some((id.clone(), application_profile(context, id, source)?))));
    }
    let start = match query.get("nextToken") {
        None => 0,
        Some(token) => {
            let last = all.iter().position(|(id, _)| id == token);
            last.ok_or_else(|| Failure::validation("The pagination token that you provided is invalid."))? + 1
        }
    };
    let page: Vec<Value> = all.iter().skip(start).take(size).map(|(_, profile)| profile.clone()).collect();
    let mut body = json!({"inferenceProfileSummaries": page});
    if start + size < all.len() {
        body["nextToken"] = Value::from(all[start + size - 1].0.clone());
    }
    Ok(Reply::json(&body))
}

/// Answers `GetInferenceProfile` with the destinations of the Region that was called.
pub(crate) fn profile(context: &Context<'_>, identifier: &str) -> Result<Reply, Failure> {
    let missing = || {
        Failure::not_found("The requested inference profile could not be found. Check the identifier and try again.")
    };
    let id = identifier.rsplit('/').next().unwrap_or(identifier);
    if identifier.starts_with("arn:") && identifier.split(':').nth(3) != Some(context.region) {
        return Err(missing());
    }
    if let Some(source) = context.simulator.settings().application_profiles.get(id) {
        return application_profile(context, id, source).map(|body| Reply::json(&body)).ok_or_else(missing);
    }
    let routing = context.catalog.profile(id, context.region).ok_or_else(missing)?;
    Ok(Reply::json(&system_profile(context, &routing)))
}

/// The models that a profile routes to.
fn routed(context: &Context<'_>, routing: &Routing) -> Vec<Value> {
    let Routing { profile, destinations } = routing;
    let mut models: Vec<Value> =
        destinations.iter().map(|to| json!({"modelArn": context.model_arn(to, &profile.model)})).collect();
    if profile.is_global() {
        let anywhere = format!("arn:{}:bedrock:::foundation-model/{}", context.partition(), profile.model);
        models =
            vec![json!({"modelArn": anywhere}), json!({"modelArn": context.model_arn(context.region, &profile.model)})];
    }
    models
}

fn system_profile(context: &Context<'_>, routing: &Routing) -> Value {
    let Routing { profile, destinations } = routing;
    let geo = profile.id.split('.').next().unwrap_or_default();
    let model = context.catalog.model(&profile.model);
    // As AWS does, with none of the characters that it does not take in names.
    let name = model.and_then(|model| model.name.as_deref()).unwrap_or(&profile.model).replace(['(', ')'], "");
    let (title, reach) = if profile.is_global() {
        ("Global".to_owned(), "globally across all supported AWS Regions".to_owned())
    } else {
        (geo.to_uppercase(), format!("in {}", destinations.join(" and ")))
    };
    json!({
        "inferenceProfileName": format!("{title} {name}"),
        "description": format!("Routes requests to {name} {reach}."),
        "createdAt": CREATED,
        "updatedAt": CREATED,
        "inferenceProfileArn": context.own(&format!("inference-profile/{}", profile.id)),
        "models": routed(context, routing),
        "inferenceProfileId": profile.id,
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    })
}

fn application_profile(context: &Context<'_>, id: &str, source: &str) -> Option<Value> {
    let models = match context.catalog.profile(source, context.region) {
        Some(routing) => routed(context, &routing),
        None => vec![json!({"modelArn": context.model_arn(context.region, &context.catalog.model(source)?.id)})],
    };
    Some(json!({
        "inferenceProfileName": format!("application-{id}"),
        "createdAt": CREATED,
        "updatedAt": CREATED,
        "inferenceProfileArn": context.own(&format!("application-inference-profile/{id}")),
        "models": models,
        "inferenceProfileId": id,
        "status": "ACTIVE",
        "type": "APPLICATION",
    }))
}

/// Answers `GetFoundationModelAvailability`: a model that exists but is not offered here is told so.
pub(crate) fn availability(context: &Context<'_>, id: &str) -> Result<Reply, Failure> {
    let model = context.catalog.model(id).filter(|model| !model.withdrawn(&context.today()));
    let model = model.ok_or_else(|| {
        Failure::not_found(format!("Could not resolve the foundation model from model identifier: {id}"))
    })?;
    let available = |holds: bool| if holds { "AVAILABLE" } else { "NOT_AVAILABLE" };
    let granted = !context.simulator.inner.faults.is_denied(context.region, id);
    Ok(Reply::json(&json!({
        "modelId": model.id,
        "agreementAvailability": {"status": available(granted)},
        "authorizationStatus": if granted { "AUTHORIZED" } else { "NOT_AUTHORIZED" },
        "entitlementAvailability": available(granted),
        "regionAvailability": available(is_offered(context, model)),
    })))
}

/// The name of a resource that an id or an ARN of `kind` in this Region means, and what `resources` has under it.
fn owned<'a>(
    context: &Context<'_>,
    kind: &str,
    identifier: &str,
    resources: &'a std::collections::BTreeMap<String, String>,
) -> Result<(String, &'a str), Failure> {
    let here = context.own(kind);
    let id = match identifier.strip_prefix(here.as_str()).and_then(|rest| rest.strip_prefix('/')) {
        Some(rest) => rest.rsplit('/').next().unwrap_or(rest),
        None => identifier,
    };
    let found = resources
        .get(id)
        .ok_or_else(|| Failure::not_found(format!("The provided model identifier {identifier} was not found.")))?;
    Ok((id.to_owned(), found))
}

/// Answers `GetProvisionedModelThroughput`.
pub(crate) fn provisioned(context: &Context<'_>, identifier: &str) -> Result<Reply, Failure> {
    let resources = &context.simulator.settings().provisioned_models;
    let (id, model) = owned(context, "provisioned-model", identifier, resources)?;
    let arn = context.model_arn(context.region, model);
    Ok(Reply::json(&json!({
        "modelUnits": 1, "desiredModelUnits": 1, "provisionedModelName": format!("provisioned-{id}"),
        "provisionedModelArn": context.own(&format!("provisioned-model/{id}")),
        "modelArn": arn, "desiredModelArn": arn, "foundationModelArn": arn,
        "status": "InService", "creationTime": CREATED, "lastModifiedTime": CREATED,
    })))
}

/// Answers `GetCustomModel`.
pub(crate) fn custom(context: &Context<'_>, identifier: &str) -> Result<Reply, Failure> {
    let (id, model) = owned(context, "custom-model", identifier, &context.simulator.settings().custom_models)?;
    Ok(Reply::json(&json!({
        "modelArn": context.own(&format!("custom-model/{model}/{id}")), "modelName": format!("custom-{id}"),
        "baseModelArn": context.model_arn(context.region, model), "customizationType": "FINE_TUNING",
        "creationTime": CREATED, "modelStatus": "Active",
    })))
}

/// Answers `GetImportedModel`.
pub(crate) fn imported(context: &Context<'_>, identifier: &str) -> Result<Reply, Failure> {
    let (id, model) = owned(context, "imported-model", identifier, &context.simulator.settings().imported_models)?;
    let provider = context.catalog.model(model).map_or("", |model| model.provider.as_str());
    Ok(Reply::json(&json!({
        "modelArn": context.own(&format!("imported-model/{id}")), "modelName": format!("imported-{id}"),
        "creationTime": CREATED, "modelArchitecture": provider.to_lowercase(), "instructSupported": true,
    })))
}
