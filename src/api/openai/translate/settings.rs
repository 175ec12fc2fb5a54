//! Everything of a request but messages and tools: length, sampling, form of the answer, bookkeeping, and the fields
//! that no Bedrock model takes.

use serde_json::{Value, json};

use crate::api::conversation::{self, At, Sampling, Wanted};
use crate::api::openai::wire::{ChatRequest, PerformanceConfig, ResponseFormat, TextOrList};
use crate::converse::{GuardrailConfig, InferenceConfig, Object};
use crate::error::Error;
use crate::families::Traits;
use crate::families::reasoning::Ask;
use crate::report::{Action, Report};

/// As many answers as one request may ask for: each is a call of its own, and paid for.
const MAX_CHOICES: u32 = 8;

/// Refuses what would change the answer beyond recognition if it were merely left out.
pub(super) fn refuse_impossible(wire: &ChatRequest) -> Result<(), Error> {
    if wire.model.trim().is_empty() {
        return Err(Error::invalid("model", "Name a model. GET /v1/models lists them."));
    }
    match wire.n {
        None | Some(1..=MAX_CHOICES) => {}
        Some(_) => return Err(Error::invalid("n", format!("`n` has to lie between 1 and {MAX_CHOICES}."))),
    }
    if wire.modalities.iter().flatten().any(|modality| modality != "text") {
        return Err(Error::unsupported("modalities", "Answers come as text only."));
    }
    let impossible = [
        ("audio", wire.audio.is_some(), "Answers come as text only."),
        ("web_search_options", wire.web_search_options.is_some(), "There is no web search; offer one as a tool."),
    ];
    for (field, present, message) in impossible {
        if present {
            return Err(Error::unsupported(field, message));
        }
    }
    Ok(())
}

/// Whether the answer comes in pieces, and whether the last piece tells the usage.
pub(super) fn stream(wire: &ChatRequest, report: &mut Report) -> Result<(bool, bool), Error> {
    let stream = wire.stream.unwrap_or(false);
    let Some(options) = &wire.stream_options else { return Ok((stream, false)) };
    if !stream {
        return Err(Error::invalid("stream_options", "`stream_options` needs `stream` to be true."));
    }
    if options.include_obfuscation == Some(true) {
        report.add(Action::Dropped, "stream_options.include_obfuscation");
    }
    Ok((stream, options.include_usage.unwrap_or(false)))
}

/// Length, sampling and stop sequences.
pub(super) fn inference(wire: &ChatRequest, traits: &Traits, report: &mut Report) -> Result<InferenceConfig, Error> {
    let asked = Sampling { temperature: wire.temperature, top_p: wire.top_p, hottest: 2.0 };
    let (temperature, top_p) = conversation::sampling(asked, traits, report)?;
    let (field, most) = max_tokens(wire)?;
    Ok(InferenceConfig {
        max_tokens: conversation::max_tokens(field, most, traits, report)?,
        temperature,
        top_p,
        stop_sequences: stop(wire.stop.as_ref(), traits, report),
    })
}

/// The most tokens of the answer, and the field that says so.
fn max_tokens(wire: &ChatRequest) -> Result<(&'static str, Option<u32>), Error> {
    match (wire.max_completion_tokens, wire.max_tokens) {
        (Some(new), Some(old)) if new != old => {
            let message = "`max_tokens` and `max_completion_tokens` contradict each other: send one of them.";
            Err(Error::invalid("max_tokens", message))
        }
        (Some(new), _) => Ok(("max_completion_tokens", Some(new))),
        (None, old) => Ok(("max_tokens", old)),
    }
}

fn stop(stop: Option<&TextOrList<String>>, traits: &Traits, report: &mut Report) -> Vec<String> {
    match stop {
        None => Vec::new(),
        Some(TextOrList::Text(text)) => {
            conversation::stop_sequences(vec![text.clone()], |_| At::field("stop"), traits, report)
        }
        Some(TextOrList::List(items)) => {
            conversation::stop_sequences(items.clone(), |i| At::item("stop", i), traits, report)
        }
    }
}

/// The form of the answer.
pub(super) fn wanted(format: Option<ResponseFormat>) -> Result<Option<Wanted>, Error> {
    let Some(format) = format else { return Ok(None) };
    match format.kind.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Wanted::Json)),
        "json_schema" => {
            let Some(asked) = format.json_schema else {
                return Err(Error::invalid("response_format.json_schema", "`json_schema` is missing."));
            };
            let Some(schema) = asked.schema else {
                return Err(Error::invalid("response_format.json_schema.schema", "The schema is missing."));
            };
            Ok(Some(Wanted::Schema { schema, name: asked.name, description: asked.description }))
        }
        _ => {
            Err(Error::invalid("response_format.type", "`type` has to be one of `text`, `json_object`, `json_schema`."))
        }
    }
}

/// How much the model is to think.
pub(super) fn ask(effort: Option<&str>) -> Result<Option<Ask>, Error> {
    match effort {
        None => Ok(None),
        Some("none") => Ok(Some(Ask::Off)),
        Some(effort) => effort.parse().map(|effort| Some(Ask::Effort(effort))).map_err(|_| {
            let message =
                "`reasoning_effort` has to be one of `none`, `minimal`, `low`, `medium`, `high`, `xhigh`, `max`.";
            Error::invalid("reasoning_effort", message)
        }),
    }
}

/// The tier, by Bedrock's name for it. `auto` leaves it to Bedrock.
pub(super) fn service_tier(asked: Option<&str>) -> Result<Option<Value>, Error> {
    let tier = match asked {
        None | Some("auto") => return Ok(None),
        Some(tier @ ("default" | "flex" | "priority")) => tier,
        Some("fast") => "priority",
        Some("scale" | "reserved") => "reserved",
        Some(_) => {
            let message = "`service_tier` has to be one of `auto`, `default`, `flex`, `priority`, `scale`.";
            return Err(Error::invalid("service_tier", message));
        }
    };
    Ok(Some(json!({ "type": tier })))
}

/// Whether the answer hurries.
pub(in crate::api::openai) fn performance(asked: Option<PerformanceConfig>) -> Result<Option<Value>, Error> {
    match asked {
        None => Ok(None),
        Some(PerformanceConfig { latency }) if matches!(latency.as_str(), "standard" | "optimized") => {
            Ok(Some(json!({ "latency": latency })))
        }
        Some(_) => Err(Error::invalid("performanceConfig.latency", "`latency` has to be `standard` or `optimized`.")),
    }
}

/// The guardrail; how it judges a stream is for streams alone.
pub(super) fn guardrail(asked: Option<GuardrailConfig>, stream: bool, report: &mut Report) -> Option<GuardrailConfig> {
    let mut guardrail = asked?;
    if !stream && guardrail.stream_processing_mode.take().is_some() {
        report.add(Action::Dropped, "guardrailConfig.streamProcessingMode");
    }
    Some(guardrail)
}

/// The model's own fields: whatever nobody here knows.
pub(super) fn additional(extra: Object) -> Object {
    extra.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

/// Notes the fields that cannot be sent, unless they say what happens anyway.
pub(super) fn drop_untranslatable(wire: &ChatRequest, report: &mut Report) {
    let is_set = |number: Option<f64>| number.is_some_and(|number| number.abs() > 0.0);
    let dropped = [
        ("frequency_penalty", is_set(wire.frequency_penalty)),
        ("presence_penalty", is_set(wire.presence_penalty)),
        ("logit_bias", wire.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty())),
        ("logprobs", wire.logprobs == Some(true)),
        ("top_logprobs", wire.top_logprobs.is_some_and(|count| count > 0)),
        ("seed", wire.seed.is_some()),
        ("prediction", wire.prediction.is_some()),
        ("store", wire.store == Some(true)),
        ("verbosity", wire.verbosity.as_deref().is_some_and(|verbosity| verbosity != "medium")),
        ("prompt_cache_key", wire.prompt_cache_key.is_some()),
        ("prompt_cache_retention", wire.prompt_cache_retention.is_some()),
        ("prompt_cache_options", wire.prompt_cache_options.as_ref().is_some_and(conversation::says_more_than_marks)),
        ("moderation", wire.moderation.is_some()),
    ];
    for (field, _) in dropped.into_iter().filter(|(_, present)| *present) {
        report.add(Action::Dropped, field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openai::wire;
    use crate::families::Reasoning;
    use crate::families::reasoning::Habit;

    /// The translation of `fields` in an otherwise plain request: Bedrock's body and the report.
    fn translated(fields: &str, traits: &Traits) -> (Value, String) {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}],{fields}}}"#);
        let translated = crate::api::openai::translate::request(wire::parse(body.as_bytes()).unwrap(), traits).unwrap();
        let mut body = serde_json::to_value(&translated.request).unwrap();
        body.as_object_mut().unwrap().shift_remove("messages");
        (body, translated.report.to_string())
    }

    #[test]
    fn claude_keeps_one_sampling_parameter_and_the_newest_none() {
        let both = r#""temperature":0.5,"top_p":0.9"#;
        let xor = Traits { temperature_xor_top_p: true, ..Traits::default() };
        assert_eq!(translated(both, &xor), (json!({"inferenceConfig": {"temperature": 0.5}}), "dropped:top_p".into()));
        let alone = r#""top_p":0.9"#;
        assert_eq!(translated(alone, &xor), (json!({"inferenceConfig": {"topP": 0.9}}), String::new()));
        let none = Traits { sampling: false, ..Traits::default() };
        assert_eq!(translated(both, &none), (json!({}), "dropped:temperature,dropped:top_p".into()));
        assert_eq!(translated(r#""temperature":1,"top_p":1"#, &none), (json!({}), String::new()));
    }

    #[test]
    fn length_is_held_to_what_the_model_can() {
        let short = Traits { max_output_tokens: Some(100), ..Traits::default() };
        let (body, report) = translated(r#""max_completion_tokens":101"#, &short);
        assert_eq!(
            (body, report.as_str()),
            (json!({"inferenceConfig": {"maxTokens": 100}}), "clamped:max_completion_tokens")
        );
    }

    #[test]
    fn defaults_of_untranslatable_fields_are_not_reported() {
        let defaults = r#""frequency_penalty":0,"presence_penalty":0.0,"logit_bias":{},"logprobs":false,"n":1,
            "top_logprobs":0,"store":false,"verbosity":"medium","seed":null,"modalities":["text"],
            "response_format":{"type":"text"},"parallel_tool_calls":true,"unknown":null"#;
        assert_eq!(translated(defaults, &Traits::default()), (json!({}), String::new()));
    }

    #[test]
    fn what_openai_alone_does_is_left_out_and_named() {
        let fields = r#""prompt_cache_options":{"mode":"implicit"},"moderation":{"model":"m"},"prompt_cache_key":"k""#;
        let report = "dropped:prompt_cache_key,dropped:prompt_cache_options,dropped:moderation";
        assert_eq!(translated(fields, &Traits::default()), (json!({}), report.into()));
    }

    #[test]
    fn every_tier_of_openais_clients_is_one_of_bedrocks() {
        let served = |tier: &str| service_tier(Some(tier)).unwrap().map(|tier| tier["type"].clone());
        assert_eq!(served("auto"), None);
        for (asked, bedrocks) in [
            ("default", "default"),
            ("flex", "flex"),
            ("priority", "priority"),
            ("fast", "priority"),
            ("scale", "reserved"),
        ] {
            assert_eq!(served(asked), Some(json!(bedrocks)), "{asked}");
        }
        assert_eq!(service_tier(Some("x")).unwrap_err().blamed(), Some("service_tier"));
    }

    #[test]
    fn effort_is_sent_only_where_the_model_reads_it() {
        let effort = r#""reasoning_effort":"low""#;
        assert_eq!(translated(effort, &Traits::default()), (json!({}), "dropped:reasoning_effort".into()));
        let raw = Traits { reasoning: Reasoning::Raw(Habit::Always), ..Traits::default() };
        let (body, report) = translated(effort, &raw);
        assert_eq!(body, json!({"additionalModelRequestFields": {"reasoning_effort": "low"}}));
        assert!(report.is_empty());
    }

    #[test]
    fn metadata_that_bedrock_would_refuse_is_left_out() {
        let (body, report) =
            translated(r#""metadata":{"app":"a-1","note":"naïve","":"x"},"user":"u@example.com""#, &Traits::default());
        assert_eq!(body, json!({"requestMetadata": {"app": "a-1", "user": "u@example.com"}}));
        assert_eq!(report, "dropped:metadata.,dropped:metadata.note");
    }
}
