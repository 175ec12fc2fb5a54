//! The catalog side of the control plane: foundation models and inference profiles as the called Region lists them.

use serde_json::{Value, json};

use super::catalog::{self, Model, Profile};
use super::errors::Failure;
use super::handler::query;
use super::operations::Context;
use super::reply::Reply;

const PAGE: usize = 100;
/// When the profiles of the simulator were made.
const CREATED: &str = "2025-01-01T00:00:00Z";

/// Answers `ListFoundationModels`; every filter of AWS but that of customization, which no model here has.
pub(crate) fn list_models(context: &Context<'_>) -> Result<Reply, Failure> {
    let query = query(context.query);
    let enumerated = [
        ("byOutputModality", &["TEXT", "IMAGE", "EMBEDDING"][..]),
        ("byInferenceType", &["ON_DEMAND", "PROVISIONED"]),
        ("byCustomizationType", &["FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION"]),
    ];
    for (name, values) in enumerated {
        refuse_unknown(name, query.get(name).map(String::as_str), values)?;
    }
    let filter = |name: &str| query.get(name).map(String::as_str);
    let today = context.today();
    let listed = catalog::models().filter(|model| is_listed(model, context.region, &today)).filter(|model| {
        filter("byProvider").is_none_or(|provider| model.provider.eq_ignore_ascii_case(provider))
            && filter("byOutputModality")
                .is_none_or(|modality| model.output_modalities.iter().any(|output| output == modality))
            && filter("byInferenceType").is_none_or(|kind| inference_types(model, context.region).contains(&kind))
            && filter("byCustomizationType").is_none()
    });
    let summaries: Vec<Value> = listed.map(|model| summary(context, model)).collect();
    Ok(Reply::json(&json!({"modelSummaries": summaries})))
}

/// Answers `GetFoundationModel`.
pub(crate) fn model(context: &Context<'_>, identifier: &str) -> Result<Reply, Failure> {
    let id = identifier.rsplit('/').next().unwrap_or(identifier);
    let found = catalog::model(id).filter(|model| is_listed(model, context.region, &context.today()));
    let model = found.ok_or_else(|| {
        Failure::not_found(format!("Could not resolve the foundation model from model identifier: {identifier}"))
    })?;
    Ok(Reply::json(&json!({"modelDetails": summary(context, model)})))
}

fn refuse_unknown(member: &str, value: Option<&str>, known: &[&str]) -> Result<(), Failure> {
    match value.filter(|value| !known.contains(value)) {
        Some(value) => Err(Failure::validation(format!(
            "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must satisfy enum value set: [{}]",
            known.join(", ")
        ))),
        None => Ok(()),
    }
}

fn is_listed(model: &Model, region: &str, today: &str) -> bool {
    !model.withdrawn(today) && (model.on_demand_in(region) || model.profile_in(region).is_some())
}

fn inference_types(model: &Model, region: &str) -> Vec<&'static str> {
    let on_demand = model.on_demand_in(region).then_some("ON_DEMAND");
    let by_profile = (on_demand.is_none() && model.profile_in(region).is_some()).then_some("INFERENCE_PROFILE");
    on_demand.into_iter().chain(by_profile).collect()
}

fn summary(context: &Context<'_>, model: &Model) -> Value {
    let status = if model.lifecycle.status == "LEGACY" { "LEGACY" } else { "ACTIVE" };
    let mut lifecycle = json!({"status": status});
    for (member, date) in [("legacyTime", &model.lifecycle.legacy), ("endOfLifeTime", &model.lifecycle.eol)] {
        if let Some(date) = date {
            lifecycle[member] = Value::from(format!("{date}T00:00:00Z"));
        }
    }
    json!({
        "modelArn": model_arn(context, context.region, &model.id),
        "modelId": model.id,
        "modelName": model.name.as_deref().unwrap_or(&model.id),
        "providerName": model.provider,
        "inputModalities": model.input_modalities,
        "outputModalities": model.output_modalities,
        "responseStreamingSupported": model.streaming.unwrap_or(model.kind == "chat"),
        "customizationsSupported": [],
        "inferenceTypesSupported": inference_types(model, context.region),
        "modelLifecycle": lifecycle,
    })
}

fn model_arn(context: &Context<'_>, region: &str, id: &str) -> String {
    format!("arn:{}:bedrock:{region}::foundation-model/{id}", context.partition())
}

/// Answers `ListInferenceProfiles`; the token is the id of the last profile told.
pub(crate) fn list_profiles(context: &Context<'_>) -> Result<Reply, Failure> {
    let query = query(context.query);
    refuse_unknown("typeEquals", query.get("type").map(String::as_str), &["SYSTEM_DEFINED", "APPLICATION"])?;
    let size = match query.get("maxResults") {
        None => PAGE,
        Some(text) => text.parse().ok().filter(|size| (1..=1000).contains(size)).ok_or_else(|| {
            Failure::validation(format!(
                "1 validation error detected: Value '{text}' at 'maxResults' failed to satisfy constraint: Member must have value between 1 and 1000"
            ))
        })?,
    };
    let wanted = |kind: &str| query.get("type").is_none_or(|asked| asked == kind);
    let mut all: Vec<(String, Value)> = Vec::new();
    if wanted("SYSTEM_DEFINED") {
        let today = context.today();
        let lives = |profile: &Profile| catalog::model(&profile.model).is_some_and(|model| !model.withdrawn(&today));
        let listed = catalog::profiles(context.region).filter(|(profile, _)| lives(profile));
        all.extend(listed.map(|(profile, to)| (profile.id.clone(), system_profile(context, profile, &to))));
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
    let (profile, destinations) = catalog::profile(id, context.region).ok_or_else(missing)?;
    Ok(Reply::json(&system_profile(context, profile, &destinations)))
}

fn system_profile(context: &Context<'_>, profile: &Profile, destinations: &[&str]) -> Value {
    let geo = profile.id.split('.').next().unwrap_or_default();
    let name = catalog::model(&profile.model).and_then(|model| model.name.as_deref()).unwrap_or(&profile.model);
    let title = if geo == "global" { "Global".to_owned() } else { geo.to_uppercase() };
    let mut models: Vec<Value> =
        destinations.iter().map(|to| json!({"modelArn": model_arn(context, to, &profile.model)})).collect();
    if geo == "global" {
        let anywhere = format!("arn:{}:bedrock:::foundation-model/{}", context.partition(), profile.model);
        models = vec![
            json!({"modelArn": anywhere}),
            json!({"modelArn": model_arn(context, context.region, &profile.model)}),
        ];
    }
    json!({
        "inferenceProfileName": format!("{title} {name}"),
        "description": format!("Routes requests to {name} in {}.", destinations.join(", ")),
        "createdAt": CREATED,
        "updatedAt": CREATED,
        "inferenceProfileArn": format!("arn:{}:bedrock:{}:{}:inference-profile/{}", context.partition(), context.region, context.account(), profile.id),
        "models": models,
        "inferenceProfileId": profile.id,
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    })
}

fn application_profile(context: &Context<'_>, id: &str, source: &str) -> Option<Value> {
    let models = match catalog::profile(source, context.region) {
        Some((profile, to)) => {
            to.iter().map(|region| json!({"modelArn": model_arn(context, region, &profile.model)})).collect()
        }
        None => vec![json!({"modelArn": model_arn(context, context.region, &catalog::model(source)?.id)})],
    };
    Some(json!({
        "inferenceProfileName": format!("application-{id}"),
        "createdAt": CREATED,
        "updatedAt": CREATED,
        "inferenceProfileArn": format!(
            "arn:{}:bedrock:{}:{}:application-inference-profile/{id}", context.partition(), context.region, context.account()
        ),
        "models": models,
        "inferenceProfileId": id,
        "status": "ACTIVE",
        "type": "APPLICATION",
    }))
}
