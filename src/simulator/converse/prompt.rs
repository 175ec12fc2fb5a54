//! From a Converse body to a prompt and its token count. Nova's native body is the same and is read here too.

use serde_json::Value;

use crate::simulator::catalog::{Family, Model};
use crate::simulator::content::{Choice, Prompt, Tool};
use crate::simulator::prompt_cache::Meter;

/// The prompt of `body` and the meter of its input.
pub(crate) fn read(body: &Value, model: &Model) -> (Prompt, Meter) {
    let mut meter = Meter::default();
    let tools = tools(&body["toolConfig"]["tools"], &mut meter);
    for block in items(&body["system"]) {
        measure(block, &mut meter);
    }
    for message in items(&body["messages"]) {
        meter.turn(message["role"].as_str().unwrap_or_default());
        items(&message["content"]).for_each(|block| measure(block, &mut meter));
    }
    let last: Vec<&Value> = items(&body["messages"])
        .filter(|message| message["role"] == "user")
        .last()
        .map_or_else(Vec::new, |message| items(&message["content"]).collect());
    let config = &body["inferenceConfig"];
    let fields = &body["additionalModelRequestFields"];
    let format = &body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"];
    let prompt = Prompt {
        question: join(last.iter().filter_map(|block| text(block))),
        tool_results: last.iter().filter_map(|block| block.get("toolResult")).map(tool_result).collect(),
        images: last.iter().filter(|block| block.get("image").is_some()).count(),
        documents: last.iter().filter(|block| block.get("document").is_some()).count(),
        choice: choice(&body["toolConfig"]["toolChoice"]),
        one_call: fields["tool_choice"]["disable_parallel_tool_use"] == true,
        schema: format.as_str().and_then(|text| serde_json::from_str(text).ok()),
        thinks: thinks(body, model),
        max_tokens: config["maxTokens"].as_u64().or(model.max_output_tokens),
        stop_sequences: items(&config["stopSequences"]).filter_map(Value::as_str).map(str::to_owned).collect(),
        seed: meter.fingerprint(),
        tools,
    };
    (prompt, meter)
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn join<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.collect::<Vec<_>>().join("\n")
}

fn text(block: &Value) -> Option<&str> {
    block["text"].as_str().or_else(|| block["guardContent"]["text"]["text"].as_str())
}

fn tools(list: &Value, meter: &mut Meter) -> Vec<Tool> {
    let mut tools = Vec::new();
    for tool in items(list) {
        if let Some(point) = tool.get("cachePoint") {
            meter.checkpoint(point["ttl"].as_str());
            continue;
        }
        meter.json(tool);
        let spec = &tool["toolSpec"];
        if let Some(name) = spec["name"].as_str() {
            tools.push(Tool { name: name.to_owned(), schema: spec["inputSchema"]["json"].clone() });
        }
    }
    tools
}

fn choice(choice: &Value) -> Choice {
    match choice["tool"]["name"].as_str() {
        Some(name) => Choice::Named(name.to_owned()),
        None if choice.get("any").is_some_and(Value::is_object) => Choice::Any,
        None => Choice::Auto,
    }
}

fn thinks(body: &Value, model: &Model) -> bool {
    let fields = &body["additionalModelRequestFields"];
    let on = |value: &Value| matches!(value.as_str(), Some("enabled" | "adaptive"));
    let asked = match model.family() {
        Family::Claude => on(&fields["thinking"]["type"]),
        Family::Nova => on(&fields["reasoningConfig"]["type"]) || on(&body["reasoningConfig"]["type"]),
        _ => [&fields["reasoning_effort"], &fields["reasoning"]["effort"], &body["outputConfig"]["effort"]]
            .into_iter()
            .any(|effort| effort.as_str().is_some_and(|effort| effort != "none")),
    };
    asked && model.reasoning != Some(false)
}

fn measure(block: &Value, meter: &mut Meter) {
    if let Some(text) = text(block) {
        meter.text(text);
    } else if let Some(point) = block.get("cachePoint") {
        meter.checkpoint(point["ttl"].as_str());
    } else if let Some(use_block) = block.get("toolUse") {
        meter.json(&use_block["input"]);
    } else if let Some(result) = block.get("toolResult") {
        items(&result["content"]).for_each(|part| measure(part, meter));
    } else if let Some(json) = block.get("json") {
        meter.json(json);
    } else if let Some(reasoning) = block.get("reasoningContent") {
        meter.text(reasoning["reasoningText"]["text"].as_str().unwrap_or_default());
    } else if block.get("image").is_some() || block["guardContent"].get("image").is_some() {
        meter.image(block["image"]["source"]["bytes"].as_str().unwrap_or_default());
    } else {
        for key in ["document", "video", "audio"] {
            if let Some(source) = block[key].get("source") {
                meter.document(source["bytes"].as_str().or_else(|| source["text"].as_str()).unwrap_or_default());
            }
        }
        if ["citationsContent", "searchResult"].iter().any(|key| block.get(key).is_some()) {
            meter.json(block);
        }
    }
}

fn tool_result(result: &Value) -> String {
    let parts = items(&result["content"])
        .map(|part| part["text"].as_str().map_or_else(|| part["json"].to_string(), str::to_owned));
    parts.collect::<Vec<_>>().join(" ")
}
