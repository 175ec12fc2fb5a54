//! The Responses API as its callers see it, over the router.

use serde_json::{Value, json};

use crate::simulator::probe::{self, events, send, with};
use crate::simulator::{Settings, Simulator};

const GPT: &str = "us.openai.gpt-5.6-sol";

async fn ask(simulator: &Simulator, fields: Value) -> (u16, Value) {
    probe::post(simulator, "/openai/v1/responses", &with(json!({"model": GPT, "input": "hello"}), &fields)).await
}

async fn refused(fields: Value) -> (u16, String, Value) {
    let (status, body) = ask(&Simulator::new(Settings::default()), fields).await;
    (status, body["error"]["message"].as_str().unwrap_or_default().to_owned(), body["error"]["param"].clone())
}

async fn streamed(simulator: &Simulator, fields: Value) -> Vec<(String, Value)> {
    let body = with(json!({"model": GPT, "input": "hello", "stream": true}), &fields);
    events(&send(simulator, "POST", "/openai/v1/responses", &body).await.1)
}

fn weather() -> Value {
    json!([{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}])
}

#[tokio::test]
async fn a_response_has_its_output_items_and_usage() {
    let simulator = Simulator::new(Settings::default());
    let (status, body) = ask(
        &simulator,
        json!({"reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"]}),
    )
    .await;
    assert_eq!((status, &body["status"], &body["object"]), (200, &json!("completed"), &json!("response")));
    assert_eq!(body["output"][0]["type"], "reasoning");
    assert!(body["output"][0]["summary"][0]["text"].as_str().unwrap().contains("short answer"));
    assert!(body["output"][0]["encrypted_content"].is_string());
    assert_eq!(body["output"][1]["content"][0]["text"], "You said: hello");
    let usage = &body["usage"];
    assert!(usage["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 0);
    assert_eq!(
        usage["total_tokens"].as_u64().unwrap(),
        usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap()
    );
    let call = simulator.calls().remove(0);
    assert_eq!((call.operation, call.model_id.as_str()), ("Responses", GPT));
    assert_eq!(Some(call.tokens.output), usage["output_tokens"].as_u64());
}

#[tokio::test]
async fn the_stream_tells_what_the_whole_answer_says() {
    let simulator = Simulator::new(Settings::default());
    let fields = json!({"input": "the weather in Oslo [[tools:2]]", "tools": weather(), "reasoning": {"effort": "high", "summary": "detailed"}});
    let events = streamed(&simulator, fields).await;
    for (at, (name, data)) in events.iter().enumerate() {
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!(name), &json!(at)));
    }
    let names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names[..4],
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.reasoning_summary_part.added"
        ]
    );
    let whole = &events.last().unwrap().1["response"];
    assert_eq!((names.last(), &whole["status"]), (Some(&"response.completed"), &json!("completed")));
    let joined = |kind: &str, output: usize| -> String {
        let of = events.iter().filter(|(name, data)| name == kind && data["output_index"] == output);
        of.map(|(_, data)| data["delta"].as_str().unwrap()).collect()
    };
    assert_eq!(
        joined("response.reasoning_summary_text.delta", 0),
        whole["output"][0]["summary"][0]["text"].as_str().unwrap()
    );
    assert_eq!(joined("response.output_text.delta", 1), whole["output"][1]["content"][0]["text"].as_str().unwrap());
    for output in [2, 3] {
        assert_eq!(whole["output"][output]["name"], "weather");
        assert_eq!(
            joined("response.function_call_arguments.delta", output),
            whole["output"][output]["arguments"].as_str().unwrap()
        );
    }
    let done: Vec<&Value> =
        events.iter().filter(|(name, _)| name == "response.output_item.done").map(|(_, data)| &data["item"]).collect();
    assert_eq!(done, whole["output"].as_array().unwrap().iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn tool_results_are_answered_and_a_stored_response_is_continued() {
    let simulator = Simulator::new(Settings::default());
    let (_, first) = ask(&simulator, json!({"input": "weather", "tools": weather(), "tool_choice": "required"})).await;
    let call = first["output"].as_array().unwrap().iter().find(|item| item["type"] == "function_call").unwrap();
    let output = json!([{"type": "function_call_output", "call_id": call["call_id"], "output": "21 degrees"}]);
    let (status, second) =
        ask(&simulator, json!({"previous_response_id": first["id"], "input": output, "tools": weather()})).await;
    assert_eq!(status, 200, "{second}");
    assert_eq!(second["output"][1]["content"][0]["text"], "The tool said: 21 degrees");
    let (status, message, _) = refused(json!({"input": output})).await;
    assert_eq!((status, message.starts_with("No tool call found for function call output")), (400, true), "{message}");
    let (_, unstored) = ask(&simulator, json!({"store": false})).await;
    let (status, refusal) = ask(&simulator, json!({"previous_response_id": unstored["id"]})).await;
    assert_eq!((status, &refusal["error"]["param"]), (404, &json!("previous_response_id")));
    let path = format!("/openai/v1/responses/{}", first["id"].as_str().unwrap());
    assert_eq!(send(&simulator, "GET", &path, &json!({})).await, (200, first.to_string()));
    assert_eq!(send(&simulator, "DELETE", &path, &json!({})).await.0, 200);
    assert_eq!(send(&simulator, "GET", &path, &json!({})).await.0, 404);
}

#[tokio::test]
async fn limits_and_filters_make_a_response_incomplete() {
    let simulator = Simulator::new(Settings::default());
    let fields = json!({"input": "hi [[words:99]]", "max_output_tokens": 16, "reasoning": {"effort": "none"}});
    let (_, body) = ask(&simulator, fields.clone()).await;
    assert_eq!(
        (&body["status"], &body["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    assert_eq!(body["output"][0]["status"], "incomplete");
    assert_eq!(streamed(&simulator, fields).await.last().unwrap().0, "response.incomplete");
    let (_, body) = ask(&simulator, json!({"input": "[[stop:content_filtered]] hm"})).await;
    assert_eq!(body["incomplete_details"]["reason"], "content_filter");
}

#[tokio::test]
async fn structured_output_fits_its_schema() {
    let schema = json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": false});
    let format = |schema: &Value| json!({"text": {"format": {"type": "json_schema", "name": "person", "schema": schema}}, "reasoning": {"effort": "none"}});
    let (_, body) = ask(&Simulator::new(Settings::default()), format(&schema)).await;
    assert_eq!(body["output"][0]["content"][0]["text"], r#"{"name":"hello"}"#);
    let (status, message, param) = refused(format(&json!({"type": "object", "properties": {"a": {}}}))).await;
    assert_eq!((status, param), (400, json!("text.format.schema")));
    assert!(message.contains("'additionalProperties' is required to be supplied and to be false"), "{message}");
}

#[tokio::test]
async fn what_bedrock_does_not_offer_is_refused_by_name() {
    let user = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    let call = json!({"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{}"});
    let thought = |fields: Value| {
        let mut item = json!({"type": "reasoning", "id": "rs_1", "summary": []});
        item.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"input": [item, {"role": "user", "content": "a"}]})
    };
    for (fields, status, param, expected) in [
        (json!({"surprise": 1}), 400, "surprise", "Unknown parameter: 'surprise'."),
        (json!({"background": true}), 400, "background", "Background mode is not supported"),
        (json!({"conversation": "conv_1"}), 400, "conversation", "not supported"),
        (json!({"input": null}), 400, "input", "Missing required parameter: 'input'."),
        (json!({"max_output_tokens": 15}), 400, "max_output_tokens", "Expected a value >= 16, but got 15 instead."),
        (json!({"temperature": 0.5}), 400, "temperature", "Unsupported parameter: 'temperature'"),
        (json!({"reasoning": {"effort": "minimal"}}), 400, "reasoning.effort", "Unsupported value: 'minimal'"),
        (json!({"include": ["everything"]}), 400, "include[0]", "Invalid value: 'everything'"),
        (json!({"store": "yes"}), 400, "store", "expected a boolean, but got a string instead"),
        (json!({"metadata": {"k": "v".repeat(513)}}), 400, "metadata.k", "maximum length 512"),
        (json!({"tools": [{"type": "web_search"}]}), 400, "tools[0].type", "Tool type 'web_search' is not supported"),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f"}}]}),
            400,
            "tools[0].name",
            "Missing required parameter: 'tools[0].name'.",
        ),
        (json!({"tool_choice": "required"}), 400, "tool_choice", "must be specified with 'tools'"),
        (
            json!({"tools": weather(), "tool_choice": {"type": "function", "name": "clock"}}),
            400,
            "tool_choice",
            "'clock' not found",
        ),
        (
            user(json!({"type": "input_image", "image_url": "https://example.com/a.png"})),
            400,
            "input[0].content[0].image_url",
            "by URL are not supported",
        ),
        (user(json!({"type": "text", "text": "a"})), 400, "input[0].content[0].type", "Invalid value: 'text'"),
        (
            user(json!({"type": "input_file", "file_id": "file-1", "filename": "a"})),
            400,
            "input[0].content[0].file_id",
            "Files by id",
        ),
        (json!({"input": [{"type": "web_search_call"}]}), 400, "input[0].type", "Invalid value: 'web_search_call'"),
        (
            json!({"input": [call, {"role": "user", "content": "a"}]}),
            400,
            "input",
            "No tool output found for function call c1.",
        ),
        (thought(json!({})), 404, "input", "Item with id 'rs_1' not found"),
        (
            thought(json!({"encrypted_content": "gAAAAABforged"})),
            400,
            "input[0].encrypted_content",
            "could not be verified",
        ),
        (json!({"model": "openai.gpt-oss-120b-1:0"}), 400, "model", "doesn't support the model"),
        (json!({"model": "us.anthropic.claude-opus-5"}), 400, "model", "doesn't support the model"),
    ] {
        let (got, message, about) = refused(fields.clone()).await;
        assert_eq!((got, about.as_str().unwrap_or_default()), (status, param), "{fields}: {message}");
        assert!(message.contains(expected), "{fields}: {message}");
    }
    let (_, message, _) = refused(json!({"model": "openai.gpt-5.6-sol"})).await;
    assert!(message.contains("on-demand throughput isn"), "{message}");
}

#[tokio::test]
async fn models_answer_the_paths_that_they_have() {
    let simulator = Simulator::new(Settings::default());
    let chat = |model: &str| json!({"model": model, "messages": [{"role": "user", "content": "hello"}]});
    for (model, chats, responds) in [
        ("us.openai.gpt-5.6-sol", 200, 200),
        ("us.openai.gpt-6-luna", 200, 200),
        ("us.xai.grok-4.6", 200, 200),
        ("us.openai.gpt-5.4", 400, 200),
        ("us.openai.gpt-5.5", 400, 200),
        ("openai.gpt-oss-20b-1:0", 200, 400),
    ] {
        assert_eq!(send(&simulator, "POST", "/openai/v1/chat/completions", &chat(model)).await.0, chats, "{model}");
        assert_eq!(ask(&simulator, json!({"model": model})).await.0, responds, "{model}");
    }
}

#[tokio::test]
async fn a_long_prompt_is_written_to_the_cache_and_read_from_it() {
    let simulator = Simulator::new(Settings::default());
    let long = "word ".repeat(2_000);
    let first = ask(&simulator, json!({"instructions": long})).await.1["usage"].clone();
    let second = ask(&simulator, json!({"instructions": long})).await.1["usage"].clone();
    let details = |usage: &Value, key: &str| usage["input_tokens_details"][key].as_u64().unwrap();
    assert!(details(&first, "cache_write_tokens") > 2_000 && details(&first, "cached_tokens") == 0, "{first}");
    assert_eq!(details(&second, "cached_tokens"), details(&first, "cache_write_tokens"));
    assert_eq!(first["input_tokens"], second["input_tokens"]);
}

#[tokio::test]
async fn an_exception_within_the_stream_is_an_error_event() {
    let simulator = Simulator::new(Settings::default());
    simulator.region("us-east-1").stream_exception("throttlingException", 3);
    let events = streamed(&simulator, json!({})).await;
    assert_eq!(events.len(), 4);
    let (name, data) = &events[3];
    assert_eq!(
        (name.as_str(), &data["code"], &data["sequence_number"]),
        ("error", &json!("throttlingException"), &json!(3))
    );
    simulator.region("us-east-1").throttle(1);
    let (status, body) = ask(&simulator, json!({})).await;
    assert_eq!((status, &body["error"]["type"]), (429, &json!("rate_limit_error")));
}
