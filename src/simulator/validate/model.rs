//! What a model refuses on Converse: features it lacks, limits above its own. Flags are the catalog's; an unknown flag allows.
//! Claude's own rules are in `claude`.

use serde_json::Value;

use super::{claude, images};
use crate::simulator::catalog::{Family, Model};
use crate::simulator::errors::Failure;

/// Checks `body`, a Converse request that passed `shape` and `conversation`.
pub(crate) fn check(body: &Value, model: &Model, streaming: bool) -> Result<(), Failure> {
    if streaming && model.streaming == Some(false) {
        return Err(Failure::validation(
            "The model is unsupported for streaming. Try again with the Converse operation.",
        ));
    }
    if model.system == Some(false) && body["system"].as_array().is_some_and(|system| !system.is_empty()) {
        return Err(Failure::validation(
            "This model doesn't support system messages. Try again without a system message or use a model that supports system messages.",
        ));
    }
    tools(body, model)?;
    cache_points(body, model)?;
    media(body, model)?;
    output(body, model)?;
    let config = &body["inferenceConfig"];
    if let Some(limit) =
        model.max_output_tokens.filter(|limit| config["maxTokens"].as_u64().is_some_and(|asked| asked > *limit))
    {
        return Err(Failure::validation(format!(
            "The maximum tokens you requested exceeds the model limit of {limit}. Try again with a maximum tokens value that is lower than {limit}."
        )));
    }
    if model.is_any(&["openai.gpt-5", "openai.gpt-6", "xai.grok", "kimi-k3"])
        && config["maxTokens"].as_u64().is_some_and(|asked| asked < 16)
    {
        return Err(Failure::model(
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16.",
        ));
    }
    match model.family() {
        Family::Claude => claude::check(&claude::Request::from_converse(body)?, model).map_err(Failure::model),
        _ => others(body, model),
    }
}

/// Refuses the optimized latency to a model that has none.
pub(crate) fn check_latency(model: &Model, latency: Option<&str>) -> Result<(), Failure> {
    let fast = ["amazon.nova-pro", "llama3-1-70b", "llama3-1-405b", "claude-3-5-haiku"];
    if latency == Some("optimized") && !model.is_any(&fast) {
        return Err(Failure::validation(format!(
            "Latency performance configuration is not supported for {}. Please refer to the Amazon Bedrock documentation.",
            model.id
        )));
    }
    Ok(())
}

fn others(body: &Value, model: &Model) -> Result<(), Failure> {
    let config = &body["inferenceConfig"];
    if model.sampling_params == Some(false) {
        let refused = ["temperature", "topP"].into_iter().find(|name| config[name].is_number());
        if let Some(name) = refused {
            return Err(unsupported(&format!("inferenceConfig.{name}")));
        }
    }
    let stops = config["stopSequences"].as_array().map_or(0, Vec::len);
    if model.family() == Family::Nova && stops > 4 {
        return Err(Failure::model(format!(
            "Malformed input request: #/inferenceConfig/stopSequences: expected maximum item count: 4, found: {stops}, please reformat your input and try again."
        )));
    }
    let fields = body["additionalModelRequestFields"].as_object();
    let known = ["inferenceConfig", "reasoningConfig", "toolConfig", "schemaVersion", "requestMetadata"];
    if let Some(key) = fields
        .into_iter()
        .flat_map(|fields| fields.keys())
        .find(|key| model.family() == Family::Nova && !known.contains(&key.as_str()))
    {
        return Err(Failure::malformed(format!("extraneous key [{key}] is not permitted")));
    }
    Ok(())
}

fn unsupported(field: &str) -> Failure {
    Failure::validation(format!("This model doesn't support the {field} field. Remove {field} and try again."))
}

fn tools(body: &Value, model: &Model) -> Result<(), Failure> {
    let config = &body["toolConfig"];
    if config.is_object() && model.tools == Some(false) {
        return Err(Failure::validation("This model doesn't support tool use."));
    }
    let forced = ["any", "tool"].into_iter().find(|kind| config["toolChoice"].get(kind).is_some_and(Value::is_object));
    match forced {
        Some(kind) if model.tool_choice == Some(false) || model.forced_tool_use == Some(false) => {
            Err(unsupported(&format!("toolConfig.toolChoice.{kind}")))
        }
        _ => Ok(()),
    }
}

/// Only models that are known to cache take cache points: AWS refuses the others.
fn cache_points(body: &Value, model: &Model) -> Result<(), Failure> {
    let contents = body["messages"].as_array().into_iter().flatten().map(|message| &message["content"]);
    let lists = contents.chain([&body["system"], &body["toolConfig"]["tools"]]).filter_map(Value::as_array);
    let has_point = lists.flatten().any(|block| block.get("cachePoint").is_some_and(Value::is_object));
    if has_point && model.cacheable_tokens().is_none() {
        return Err(Failure::new(
            403,
            "AccessDeniedException",
            "You invoked an unsupported model or your request did not allow prompt caching. See the documentation for more information.",
        ));
    }
    Ok(())
}

fn media(body: &Value, model: &Model) -> Result<(), Failure> {
    let messages = body["messages"].as_array().into_iter().flatten().enumerate();
    let blocks = messages.flat_map(|(at, message)| {
        let blocks = message["content"].as_array().into_iter().flatten().enumerate();
        blocks.map(move |(index, block)| (format!("messages.{at}.content.{index}"), block))
    });
    for (path, block) in blocks {
        let lacks = |key: &str, supported: bool| block.get(key).is_some_and(Value::is_object) && !supported;
        let modality = |name: &str| model.input_modalities.iter().any(|modality| modality == name);
        let refused = [
            ("image", model.vision),
            ("document", model.documents != Some(false)),
            ("video", modality("VIDEO")),
            ("audio", modality("AUDIO") || modality("SPEECH")),
        ];
        if let Some((kind, _)) = refused.into_iter().find(|(kind, supported)| lacks(kind, *supported)) {
            return Err(Failure::validation(format!(
                "This model doesn't support the {kind} content block that you provided at {path}. Try again with a model that supports it."
            )));
        }
        let image = &block["image"];
        let (Some(bytes), Some(format)) = (image["source"]["bytes"].as_str(), image["format"].as_str()) else {
            continue;
        };
        match images::sniff(bytes) {
            None => return Err(Failure::model("Could not process image")),
            Some(real) if real != format => {
                return Err(Failure::model(format!(
                    "{path}.image.source.base64: The image was specified using the image/{format} media type, but the image appears to be a image/{real} image"
                )));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn output(body: &Value, model: &Model) -> Result<(), Failure> {
    let paths = body["additionalModelResponseFieldPaths"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(path) = paths.into_iter().find(|path| !path.starts_with('/')) {
        return Err(Failure::validation(format!(
            "The JSON pointer {path} in additionalModelResponseFieldPaths is invalid."
        )));
    }
    if body.get("additionalModelRequestFields").is_some_and(|fields| !fields.is_object() && !fields.is_null()) {
        return Err(Failure::validation(
            "The format of the additionalModelRequestFields field is invalid. Provide a json object for the field and try again.",
        ));
    }
    let format = &body["outputConfig"]["textFormat"];
    if !format.is_object() {
        return Ok(());
    }
    if model.structured_output == Some(false) {
        return Err(unsupported("outputConfig.textFormat"));
    }
    let text = format["structure"]["jsonSchema"]["schema"].as_str().unwrap_or_default();
    let schema: Value = serde_json::from_str(text).map_err(|_| {
        Failure::validation("The value at outputConfig.textFormat.structure.jsonSchema.schema is not valid JSON. Provide a JSON schema and try again.")
    })?;
    closed_objects(&schema).map_err(|message| Failure::model(format!("output_config.format.schema: {message}")))
}

/// The grammar compiler takes objects only when they are closed.
pub(crate) fn closed_objects(schema: &Value) -> Result<(), String> {
    let is_object = schema["type"] == "object" || (schema.get("properties").is_some() && schema.get("type").is_none());
    if is_object && schema["additionalProperties"] != Value::Bool(false) {
        return Err("For 'object' type, 'additionalProperties' must be explicitly set to false".to_owned());
    }
    let maps = ["properties", "$defs", "definitions"]
        .into_iter()
        .filter_map(|key| schema[key].as_object())
        .flat_map(|map| map.values());
    let lists = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|key| schema[key].as_array()).flatten();
    maps.chain(lists).chain(schema.get("items")).try_for_each(closed_objects)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::simulator::catalog;

    fn told(id: &str, fields: Value) -> String {
        let mut body = fields;
        if body.get("messages").is_none() {
            body["messages"] = json!([{"role": "user", "content": [{"text": "a"}]}]);
        }
        let model = catalog::model(id).unwrap();
        check(&body, model, false).map_or_else(|failure| failure.message, |()| "ok".to_owned())
    }

    const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";

    #[test]
    fn features_and_limits_of_the_model_are_held() {
        let tool = json!({"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}]});
        assert_eq!(told("deepseek.r1-v1:0", json!({"toolConfig": tool})), "This model doesn't support tool use.");
        assert!(
            told(HAIKU, json!({"inferenceConfig": {"maxTokens": 64001}})).contains("exceeds the model limit of 64000")
        );
        assert!(
            told("amazon.nova-lite-v1:0", json!({"inferenceConfig": {"stopSequences": ["a", "b", "c", "d", "e"]}}))
                .contains("maximum item count: 4")
        );
        assert!(
            told("amazon.nova-lite-v1:0", json!({"additionalModelRequestFields": {"top_k": 5}}))
                .contains("extraneous key [top_k]")
        );
    }

    #[test]
    fn images_are_what_they_claim_to_be() {
        let image = |bytes: &str| json!({"messages": [{"role": "user", "content": [{"image": {"format": "jpeg", "source": {"bytes": bytes}}}]}]});
        assert!(told(HAIKU, image("iVBORw0KGgoAAAAA")).contains("appears to be a image/png image"));
        assert!(told(HAIKU, image("aGVsbG8gd29ybGQh")).contains("Could not process image"));
        assert!(
            told("amazon.nova-micro-v1:0", image("/9j/4AAQSkZJRgAB"))
                .contains("doesn't support the image content block")
        );
        assert_eq!(told(HAIKU, image("/9j/4AAQSkZJRgAB")), "ok");
    }

    #[test]
    fn structured_output_takes_closed_objects_only() {
        let format = |schema: &str| json!({"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema}}}}});
        assert!(told(HAIKU, format("{")).contains("not valid JSON"));
        assert!(told(HAIKU, format(r#"{"type":"object","properties":{}}"#)).contains("additionalProperties"));
        assert_eq!(told(HAIKU, format(r#"{"type":"object","properties":{},"additionalProperties":false}"#)), "ok");
    }
}
