//! Converse and ConverseStream: AWS's bytes in both directions.

use reqwest::Method;
use serde_json::json;

use crate::support::calls::{anthropic, turn};
use crate::support::frames::Frame;
use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL_ID, TestGateway};

/// Odd but good JSON: blanks, an escape, a number in an unusual form, members that nobody knows.
const ODD: &str = r#"
 {"messages" : [{"role":"user","content":[{"text":"h\u00e9llo  [[words:5]]", "later": null}]}],
  "inferenceConfig": {"temperature": 5.0E-1, "maxTokens": 400},
  "notYetInvented": {"deep": [1, {"b": 2, "a": 1}]}  }"#;

#[tokio::test]
async fn converse_passes_every_byte_in_both_directions() {
    let t = TestGateway::tapped(|_| {}).await;
    let reply = t.bedrock().send("converse", ODD).await;
    assert_eq!((reply.status(), reply.region(), reply.attempts()), (200, FIRST, "1"));
    let passed = t.tap.only_exchange();
    assert_eq!(passed.request, ODD);
    assert_eq!(reply.bytes(), &passed.response);
    assert_eq!(passed.path, "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse");
    assert_eq!(reply.header("content-type"), "application/json");
    let theirs = passed.response_headers["x-amzn-requestid"].to_str().unwrap();
    assert_eq!(reply.header("x-amzn-requestid"), theirs, "AWS support asks for this one");
    t.finish().await;
}

#[tokio::test]
async fn converse_stream_passes_every_byte_in_both_directions() {
    let t = TestGateway::tapped(|_| {}).await;
    let reply = t.bedrock().send("converse-stream", ODD).await;
    let passed = t.tap.only_exchange();
    assert_eq!(passed.request, ODD);
    assert_eq!(reply.bytes(), &passed.response);
    let kinds: Vec<String> = reply.frames().iter().map(Frame::kind).collect();
    assert_eq!(kinds.first().unwrap(), "messageStart");
    assert_eq!(kinds[kinds.len() - 2..], ["messageStop", "metadata"]);
    t.finish().await;
}

#[tokio::test]
async fn the_callers_key_and_headers_stay_here_and_bedrocks_own_travel() {
    let t = TestGateway::tapped(|_| {}).await;
    let request = t
        .bedrock()
        .request("converse")
        .body(turn("hi").to_string())
        .header("x-amzn-bedrock-trace", "DISABLED")
        .header("x-api-key", t.key())
        .header("x-forwarded-for", "10.1.2.3")
        .header("cookie", "session=1");
    assert_eq!(crate::support::reply::Reply::to(request).await.status(), 200);
    let sent = t.tap.only_exchange().request_headers;
    assert_eq!(sent["x-amzn-bedrock-trace"], "DISABLED");
    assert!(sent["authorization"].to_str().unwrap().starts_with("AWS4-HMAC-SHA256 "));
    for name in ["x-api-key", "x-forwarded-for", "cookie"] {
        assert!(!sent.contains_key(name), "{name}");
    }
    assert!(!format!("{sent:?}").contains(t.key().rsplit('_').next().unwrap()));
    t.finish().await;
}

#[tokio::test]
async fn every_spelling_of_a_model_is_understood_and_booked_as_one() {
    let t = TestGateway::start().await;
    let spellings = [
        "claude-haiku-4-5",
        "anthropic.claude-haiku-4-5-20251001-v1:0",
        "anthropic.claude-haiku-4-5-20251001-v1%3A0",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0",
        "global.anthropic.claude-haiku-4-5-20251001-v1:0",
        "arn:aws:bedrock:us-east-1:000000000000:inference-profile%2Fus.anthropic.claude-haiku-4-5-20251001-v1:0",
    ];
    for spelling in spellings {
        let reply = t.bedrock().model(spelling).converse("hi").await;
        assert_eq!((reply.status(), reply.header("x-gateway-model")), (200, MODEL_ID), "{spelling}");
    }
    assert!(t.booked_calls(spellings.len()).await.iter().all(|call| call.model == MODEL_ID));
    t.finish().await;
}

#[tokio::test]
async fn a_profile_of_another_geography_is_not_called_from_here() {
    let t = TestGateway::start().await;
    let reply = t.bedrock().model("eu.anthropic.claude-haiku-4-5-20251001-v1:0").converse("hi").await;
    let (name, message) = reply.exception();
    assert_eq!((reply.status(), name), (404, "ResourceNotFoundException"));
    assert!(message.contains("eu-"), "says from where it can be called: {message}");
    t.finish().await;
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_exception_frame() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).cut_stream_after(3);
    let frames = t.bedrock().converse_stream("cut [[words:30]]").await.rest().await.frames();
    assert_eq!(frames.len(), 4);
    assert_eq!(frames[3].kind(), "!internalServerException");
    assert!(frames[3].json()["message"].as_str().unwrap().contains("broke off"));

    t.sim.region(FIRST).stream_exception("throttlingException", 2);
    let frames = t.bedrock().converse_stream("slow down [[words:30]]").await.rest().await.frames();
    assert_eq!(frames[2].kind(), "!throttlingException");
    let outcomes: Vec<_> = t.booked_calls(2).await.into_iter().map(|call| (call.outcome, call.attempts)).collect();
    assert_eq!(format!("{outcomes:?}").matches(", 1)").count(), 2, "{outcomes:?}");
    t.finish().await;
}

#[tokio::test]
async fn a_model_that_takes_too_long_is_told_by_the_exception_that_the_stream_has() {
    let t = TestGateway::start().await;
    // Only the models' own streams have an exception for a model that took too long.
    for (operation, body, exception) in [
        ("converse-stream", turn("late [[words:30]]"), "!modelStreamErrorException"),
        ("invoke-with-response-stream", anthropic("late [[words:30]]"), "!modelTimeoutException"),
    ] {
        t.sim.region("*").stream_exception("modelTimeoutException", 2);
        let frames = t.bedrock().send(operation, body.to_string()).await.frames();
        assert_eq!(frames[2].kind(), exception);
    }
    t.finish().await;
}

#[tokio::test]
async fn tools_come_as_the_model_calls_them() {
    let t = TestGateway::start().await;
    let schema = json!({"json": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}});
    let tools =
        json!({"tools": [{"toolSpec": {"name": "get_weather", "inputSchema": schema}}], "toolChoice": {"any": {}}});
    let body = crate::support::calls::with(turn("hi"), json!({"toolConfig": tools})).to_string();
    let reply = t.bedrock().send("converse", body.clone()).await.json();
    assert_eq!(reply["stopReason"], "tool_use");
    assert_eq!(reply["output"]["message"]["content"][0]["toolUse"]["name"], "get_weather");
    let frames = t.bedrock().send("converse-stream", body).await.frames();
    let start = frames.iter().find(|frame| frame.kind() == "contentBlockStart").unwrap().json();
    assert_eq!(start["start"]["toolUse"]["name"], "get_weather");
    t.finish().await;
}

#[tokio::test]
async fn an_arn_whose_slashes_are_as_they_are_is_called_as_the_encoded_one() {
    let t = TestGateway::tapped(|_| {}).await;
    let arn = format!("arn:aws:bedrock:{FIRST}:000000000000:inference-profile/us.{MODEL_ID}");
    for operation in ["converse", "converse-stream"] {
        let send = async |arn: &str| {
            let request = t.request(Method::POST, &format!("/model/{arn}/{operation}")).bearer_auth(t.key());
            Reply::to(request.body(turn("hi").to_string())).await
        };
        let (plain, encoded) = (send(&arn).await, send(&arn.replace(':', "%3A").replace('/', "%2F")).await);
        assert_eq!((plain.status(), plain.region(), encoded.status()), (200, FIRST, 200), "{plain:?}");
    }
    let paths: Vec<String> = t.tap.exchanges().into_iter().map(|exchange| exchange.path).collect();
    assert_eq!((&paths[0], &paths[2]), (&paths[1], &paths[3]));
    let calls = t.booked_calls(4).await;
    assert_eq!(calls.iter().filter(|call| &*call.operation == "converse").count(), 2, "{calls:?}");
    assert_eq!(calls.iter().filter(|call| &*call.operation == "converse_stream").count(), 2, "{calls:?}");

    let get = async |path: &str| Reply::to(t.request(Method::GET, path).bearer_auth(t.key())).await;
    let model = get(&format!("/foundation-models/arn:aws:bedrock:{FIRST}::foundation-model/{MODEL_ID}")).await;
    assert_eq!((model.status(), &model.json()["modelDetails"]["modelId"]), (200, &json!(MODEL_ID)), "{model:?}");
    let profile = get(&format!("/inference-profiles/{arn}")).await;
    let id = json!(format!("us.{MODEL_ID}"));
    assert_eq!((profile.status(), &profile.json()["inferenceProfileId"]), (200, &id), "{profile:?}");
    // What is no text is told by the name that its own API has for it.
    for (path, field) in
        [("/foundation-models/%ff", "modelIdentifier"), ("/inference-profiles/%ff", "inferenceProfileIdentifier")]
    {
        let reply = get(path).await;
        let (name, message) = reply.exception();
        assert_eq!((reply.status(), name), (400, "ValidationException"), "{reply:?}");
        assert!(message.contains(field) && message.contains("UTF-8"), "{message}");
    }
    assert_eq!(get("/v1/responses/%ff").await.openai_error()["param"], "response_id");
    t.finish().await;
}
