//! What becomes of a message in a batch, and what is told of it.

use serde_json::{Value, json};

use super::*;
use crate::catalog::Catalog;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::error::Kind;
use crate::gateway::Asked;

const CLAUDE: &str = "claude-haiku-4-5";
const NOVA: &str = "nova-lite";

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn prepared_with(model: &str, params: &str, native_tools: bool) -> Result<Prepared> {
    let catalog = Catalog::configured(&Config::default()).unwrap();
    let model = Asked { name: model.into(), resolved: catalog.resolve(model).unwrap() };
    prepare(&raw(params), &Target { model: &model, native_tools, invocation: None })
}

fn prepared(model: &str, params: &str) -> Result<Prepared> {
    prepared_with(model, params, false)
}

fn job(model: &str, params: &str) -> (Invocation, String, String) {
    match prepared(model, params).unwrap() {
        Prepared::Job { invocation, input, note } => (invocation, String::from_utf8(input).unwrap(), note),
        Prepared::Online { why } => panic!("runs online: {why}"),
    }
}

/// A request with more members.
fn with(more: &str) -> String {
    format!(r#"{{"model":"m","max_tokens":16,"messages":[{{"role":"user","content":"hi"}}]{more}}}"#)
}

#[test]
fn claude_gets_the_callers_bytes_without_what_names_the_model() {
    let params = r#"{"model":"x", "max_tokens" : 1e2,"new":[ 1,"\u00e9"],"messages":[{"role":"user","content":"a"}],"stream":false,"anthropic_beta":["context-1m-2025-08-07","made-up"],"service_tier":"auto"}"#;
    let sent = r#"{ "max_tokens" : 1e2,"new":[ 1,"\u00e9"],"messages":[{"role":"user","content":"a"}],"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["context-1m-2025-08-07"]}"#;
    assert_eq!(job(CLAUDE, params), (Invocation::InvokeModel, sent.to_owned(), String::new()));
}

#[test]
fn marks_for_the_cache_go_wherever_they_stand_because_a_job_caches_nothing() {
    let mark = r#""cache_control":{"type":"ephemeral","ttl":"1h","scope":"global"}"#;
    let params = format!(
        r#"{{"max_tokens":1,{mark},"system":[{{"type":"text","text":"s",{mark}}}],"messages":[{{"role":"user","content":[
{{{mark},"type":"tool_result","tool_use_id":"t","content":[{{"type":"text",{mark},"text":"a"}}]}},
{{"type":"document","source":{{"type":"content","content":[{{"type":"text","text":"d",{mark}}}]}}}}]}}]}}"#
    )
    .replace('\n', "");
    let sent = params.replace(&format!(",{mark}"), "").replace(&format!("{mark},"), "");
    let sent = format!("{},\"anthropic_version\":\"bedrock-2023-05-31\"}}", &sent[..sent.len() - 1]);
    assert!(!sent.contains("cache_control"));
    assert_eq!(job(CLAUDE, &params).1, sent);

    let (_, input, _) =
        job(NOVA, &with(r#","system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}]"#));
    assert!(input.contains(r#""system":[{"text":"s"}]"#) && !input.contains("cachePoint"), "{input}");
}

#[test]
fn other_models_get_the_translation() {
    let more = r#","system":"Be brief.","stop_sequences":["END"],"temperature":0.5,"service_tier":"standard_only","metadata":{"user_id":"u"},"stream":null"#;
    let (invocation, input, note) = job(NOVA, &with(more));
    let input: Value = serde_json::from_str(&input).unwrap();
    let expected = json!({
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "system": [{"text": "Be brief."}],
        "inferenceConfig": {"maxTokens": 16, "temperature": 0.5, "stopSequences": ["END"]},
        "additionalModelResponseFieldPaths": ["/stop_sequence"],
    });
    assert_eq!((invocation, input, &*note), (Invocation::Converse, expected, "END"));
}

#[test]
fn what_a_job_cannot_do_runs_online_and_says_why() {
    let tools = r#","tools":[{"name":"t","input_schema":{"type":"object"}}]"#;
    let format = r#"{"type":"json_schema","schema":{"type":"object"}}"#;
    let picture = r#"[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://a/b.png"}}]}]"#;
    for model in [CLAUDE, NOVA] {
        for (params, why) in [
            (with(tools), TOOLS),
            (with(&format!(r#","output_config":{{"effort":"low","format":{format}}}"#)), FORM),
            (with(&format!(r#","output_format":{format}"#)), FORM),
            (with(r#","service_tier":"priority""#), TIER),
            (format!(r#"{{"model":"m","max_tokens":1,"messages":{picture}}}"#), ELSEWHERE),
        ] {
            assert_eq!(prepared(model, &params).unwrap(), Prepared::Online { why }, "{model}: {params}");
        }
    }
    let used = r#"{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":{}}]}"#;
    let result = r#"{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x"}]}"#;
    let history =
        format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":"go"}},{used},{result}]}}"#);
    assert_eq!(prepared(NOVA, &history).unwrap(), Prepared::Online { why: TOOLS });
    assert_eq!(prepared("claude-opus-5-5", &with("")).unwrap(), Prepared::Online { why: OTHER_PATH });

    // In its own body Claude takes tools; where nothing is asked of the form, an effort is no form.
    let Prepared::Job { input, .. } = prepared_with(CLAUDE, &with(tools), true).unwrap() else { panic!("online") };
    assert!(String::from_utf8(input).unwrap().contains(tools));
    assert_eq!(prepared_with(NOVA, &with(tools), true).unwrap(), Prepared::Online { why: TOOLS });
    assert_eq!(
        job(CLAUDE, &with(r#","output_config":{"effort":"low","format":null},"tools":[]"#)).0,
        Invocation::InvokeModel
    );
}

#[test]
fn what_nothing_can_do_is_the_records_error() {
    for model in [CLAUDE, NOVA] {
        for (params, field) in [
            (with(r#","stream":true"#), Some("stream")),
            (with(r#","stream":"no""#), Some("stream")),
            (with(r#","service_tier":"first""#), Some("service_tier")),
            (with(r#","container":"c1""#), Some("container")),
            (with(r#","mcp_servers":[{}]"#), Some("mcp_servers")),
            (with(r#","tools":[{"type":"web_search_20250305","name":"web_search"}]"#), Some("tools[0].type")),
            (r#"{"model":"m","messages":[]}"#.to_owned(), Some("max_tokens")),
            (r#"{"model":"m","max_tokens":1}"#.to_owned(), Some("messages")),
            (with(r#","max_tokens":1"#), Some("max_tokens")),
            ("[1]".to_owned(), None),
        ] {
            let error = prepared(model, &params).unwrap_err();
            assert_eq!(error.blamed(), field, "{model}: {params}");
        }
    }
    let error = prepared("titan-embed-text-v2", &with("")).unwrap_err();
    assert!(error.message().contains("/v1/embeddings"), "{error}");
}

fn rendered(invocation: Invocation, output: &str, note: &str) -> Rendered {
    let output = raw(output);
    let at = Timestamp::from_millis(0);
    render(&Answer { invocation, output: &output, note, model: "mine", model_id: "a.m", id: "0a", at }).unwrap()
}

#[test]
fn claudes_answer_keeps_its_bytes_and_others_become_messages_with_ids_that_stay() {
    let own = r#"{"id":"msg_bdrk_1","content":[{"type":"text","text":"\u00e9"}], "usage":{"input_tokens":3,"output_tokens":4}}"#;
    let told = rendered(Invocation::InvokeModel, own, "");
    assert_eq!((&*told.body, told.usage.unwrap().total_tokens), (own.as_bytes(), 7));

    let output = r#"{"output":{"message":{"role":"assistant","content":[{"text":"yes"}]}},"stopReason":"stop_sequence","usage":{"inputTokens":3,"outputTokens":4,"totalTokens":7},"metrics":{"latencyMs":1}}"#;
    let told = rendered(Invocation::Converse, output, "END");
    let message: Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(
        (&message["id"], &message["model"], &message["type"]),
        (&json!("msg_0a"), &json!("mine"), &json!("message"))
    );
    assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!("stop_sequence"), &json!("END")));
    assert_eq!((&message["usage"]["output_tokens"], &message["usage"]["service_tier"]), (&json!(4), &json!("batch")));
    assert_eq!(told.usage.unwrap().input_tokens, 3);
    assert_eq!(rendered(Invocation::Converse, output, "END").body, told.body);
}

#[test]
fn an_answer_that_is_none_is_an_error_and_no_message() {
    let output = raw("{}");
    let (model, at) = ("m", Timestamp::from_millis(0));
    let answer =
        Answer { invocation: Invocation::Converse, output: &output, note: "", model, model_id: "a.m", id: "0", at };
    assert_eq!(render(&answer).unwrap_err().kind(), Kind::UpstreamUnavailable);
}

#[test]
fn lines_are_as_anthropic_writes_them() {
    let written = |outcome| {
        let mut out = Vec::new();
        line(&Line { id: "my-1", request: "0a", input: None, outcome }, &mut out);
        assert_eq!(out.pop(), Some(b'\n'));
        let line: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line["custom_id"], "my-1");
        line["result"].clone()
    };
    let good = written(Outcome::Answered { status: 200, body: br#"{"id":"msg_1"}"# });
    assert_eq!(good, json!({"type": "succeeded", "message": {"id": "msg_1"}}));
    let (status, body) = shape(&Error::invalid("max_tokens", "`max_tokens` is missing."), "0a");
    let error = json!({"type": "invalid_request_error", "message": "`max_tokens` is missing."});
    let error = json!({"type": "error", "error": error, "request_id": "req_0a"});
    assert_eq!(status, 400);
    assert_eq!(written(Outcome::Answered { status, body: &body }), json!({"type": "errored", "error": error}));
    let lost = |why| written(Outcome::Lost { why, message: "Gone." });
    assert_eq!(lost(Lost::BatchCancelled), json!({"type": "canceled"}));
    assert_eq!(lost(Lost::BatchExpired), json!({"type": "expired"}));
    for why in [Lost::JobFailed, Lost::NoResult] {
        let error = &lost(why)["error"];
        assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("api_error")));
        assert_eq!(error["error"]["message"], "Gone.");
    }
}
