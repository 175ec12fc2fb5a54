//! Guardrails: `ApplyGuardrail`, and what one does to Converse. Every identifier exists; it intervenes on `[[blocked]]`.

use serde_json::{Value, json};

use super::errors::Failure;
use super::operations::Context;
use super::reply::Reply;
use super::validate::shape;

/// What a blocked caller reads.
pub(crate) const MESSAGE: &str = "Sorry, the model cannot answer this question.";
const TRIGGER: &str = "[[blocked]]";

/// Answers `ApplyGuardrail`.
pub(crate) fn apply(context: &Context<'_>, id: &str, version: &str, body: &[u8]) -> Result<Reply, Failure> {
    let body = shape::parse("ApplyGuardrailRequest", body)?;
    let texts: Vec<&str> = items(&body["content"]).filter_map(|block| block["text"]["text"].as_str()).collect();
    if items(&body["content"]).next().is_none() {
        return Err(Failure::validation("The content list is empty. Add content and try again."));
    }
    let blocked = texts.iter().any(|text| text.contains(TRIGGER));
    let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
    let units = characters.div_ceil(1000).max(1);
    let coverage = json!({"textCharacters": {"guarded": characters, "total": characters}});
    let arn = format!("arn:{}:bedrock:{}:{}:guardrail/{id}", context.partition(), context.region, context.account());
    let details = json!({"guardrailId": id, "guardrailVersion": version, "guardrailArn": arn, "guardrailOrigin": ["REQUEST"], "guardrailOwnership": "SELF"});
    let metrics = json!({"guardrailProcessingLatency": 50, "usage": usage(units), "guardrailCoverage": coverage});
    let mut assessment = json!({"invocationMetrics": metrics, "appliedGuardrailDetails": details});
    if blocked {
        assessment["wordPolicy"] = word_policy();
    }
    let outputs = if blocked { json!([{"text": MESSAGE}]) } else { json!([]) };
    Ok(Reply::json(&json!({
        "action": if blocked { "GUARDRAIL_INTERVENED" } else { "NONE" },
        "actionReason": if blocked { "Guardrail blocked." } else { "No action." },
        "assessments": [assessment],
        "guardrailCoverage": coverage,
        "outputs": outputs,
        "usage": usage(units),
    })))
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn usage(units: usize) -> Value {
    json!({
        "topicPolicyUnits": units, "contentPolicyUnits": units, "wordPolicyUnits": units, "sensitiveInformationPolicyUnits": 0,
        "sensitiveInformationPolicyFreeUnits": units, "contextualGroundingPolicyUnits": 0, "contentPolicyImageUnits": 0,
    })
}

fn word_policy() -> Value {
    json!({"customWords": [{"match": TRIGGER, "action": "BLOCKED", "detected": true}], "managedWordLists": []})
}

/// Whether the guardrail of a Converse body blocks its last user text; identifier and version come together.
pub(crate) fn of_converse(body: &Value, question: &str) -> Result<bool, Failure> {
    let config = &body["guardrailConfig"];
    pair(config["guardrailIdentifier"].as_str(), config["guardrailVersion"].as_str())?;
    Ok(config["guardrailIdentifier"].is_string() && question.contains(TRIGGER))
}

/// Refuses half of a guardrail.
pub(crate) fn pair(identifier: Option<&str>, version: Option<&str>) -> Result<(), Failure> {
    let (given, missing) = match (identifier, version) {
        (Some(_), None) => ("guardrailIdentifier", "guardrailVersion"),
        (None, Some(_)) => ("guardrailVersion", "guardrailIdentifier"),
        _ => return Ok(()),
    };
    Err(Failure::validation(format!(
        "The {missing} field is required when {given} is provided. Add {missing} and try again."
    )))
}

/// Whether the caller wants to see what a guardrail found.
pub(crate) fn is_traced(body: &Value) -> bool {
    matches!(body["guardrailConfig"]["trace"].as_str(), Some("enabled" | "enabled_full"))
}

/// The trace of a guardrail that blocked the input of a Converse body.
pub(crate) fn trace(body: &Value) -> Value {
    let id = body["guardrailConfig"]["guardrailIdentifier"].as_str().unwrap_or_default();
    let id = id.rsplit('/').next().unwrap_or_default();
    json!({"inputAssessment": {id: {"wordPolicy": word_policy()}}, "actionReason": "Guardrail blocked."})
}
