//! Prompt capture: nothing by default, the named teams only, never what is secret, and never in the way.

use std::path::Path;

use bedrock_gateway::tenancy::{NewKey, NewTeam};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::calls::{chat, message, turn, with};
use crate::support::{FIRST, MODEL_ID, TEAM, TestGateway, eventually, log};

/// The captured calls, without the line that says when capturing began.
fn calls(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.remove(0)["event"], "begun", "{text}");
    assert!(lines.iter().all(|line| line["event"] == "call"), "{text}");
    lines
}

/// The whole text of the parts that are at such a place.
fn text(answer: &Value, at: &str) -> String {
    let parts = answer["parts"].as_array().unwrap_or_else(|| panic!("{answer}")).iter();
    parts.filter(|part| part["at"] == at).map(|part| part["text"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn nothing_of_a_prompt_is_kept_by_default() {
    let t = TestGateway::start().await;
    t.openai().chat(log::PRIVATE).await;
    t.openai().stream(log::PRIVATE).await.rest().await;
    t.booked_calls(2).await;
    for entry in std::fs::read_dir(t.folder()).unwrap() {
        let path = entry.unwrap().path();
        let files = if path.is_dir() {
            std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
        } else {
            vec![path]
        };
        for file in files {
            let kept = std::fs::read(&file).unwrap_or_default();
            assert!(!String::from_utf8_lossy(&kept).contains(log::PRIVATE), "{}", file.display());
        }
    }
    t.finish().await;
}

#[tokio::test]
async fn calls_of_the_named_team_are_captured_redacted_and_those_of_others_are_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("prompts.jsonl");
    let t = TestGateway::with(|config| {
        let capture = &mut config.telemetry.capture;
        capture.file = path.display().to_string();
        capture.teams = Some(vec!["research".into()]);
        capture.redact = vec![r"(?i)case \d+".into()];
    })
    .await;
    t.make_team(NewTeam::new("research")).await;
    let (key, secret) = t.make_key(NewKey::new("research", "default")).await;
    let research = || t.openai().with_key(&secret);
    let words = format!("Case 4711, {} and {secret}", "AKIAIOSFODNN7EXAMPLE");
    let image = format!("data:image/png;base64,{}", "iVBORw0KGgo".repeat(100));
    let parts = json!([{"type": "text", "text": words}, {"type": "image_url", "image_url": {"url": image}}]);
    let body = with(chat(""), json!({"messages": [{"role": "user", "content": parts}], "user": "case 12"}));
    research().send(&body).await;
    let reply = research().chat(&words).await;
    t.openai().chat("not of research").await;
    research().send(&json!({"model": "no-such-model", "messages": []})).await;
    t.finish().await;

    let calls = calls(&path);
    assert_eq!(calls.len(), 2, "{calls:#?}");
    let all = std::fs::read_to_string(&path).unwrap();
    for hidden in ["4711", "AKIA", secret.rsplit('_').next().unwrap(), "iVBOR", "case 12", "not of research", "no-such"]
    {
        assert!(!all.contains(hidden), "{hidden} is in {all}");
    }
    let call = &calls[1];
    let expected = json!({
        "event": "call", "time": call["time"], "request_id": reply.header("x-request-id"), "team": "research",
        "key": key.id.as_str(), "surface": "openai", "operation": "chat", "model": MODEL_ID, "region": FIRST, "status": 200,
        "outcome": "ok", "complete": true, "cut": false,
        "request": chat("[redacted], [redacted] and [redacted]"), "answer": call["answer"],
    });
    assert_eq!(*call, expected);
    let answer = call["answer"]["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(answer.starts_with("You said: [redacted], [redacted]"), "{answer}");
    let told = calls[0]["request"]["messages"][0]["content"][1]["image_url"]["url"].as_str().unwrap();
    assert!(told.starts_with("[image/png, ") && told.ends_with(" bytes]"), "{told}");
    let begun = log::all().into_iter().any(|line| {
        line["level"] == "WARN" && line["file"] == path.display().to_string() && line["teams"] == "research"
    });
    assert!(begun, "the log does not say where prompts are captured");
}

#[tokio::test]
async fn streams_are_captured_joined_so_that_nothing_hides_between_their_pieces() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("prompts.jsonl");
    let t = TestGateway::with(|config| {
        config.telemetry.capture.file = path.display().to_string();
        config.telemetry.capture.redact = vec!["bravo charlie".into()];
    })
    .await;
    let words = "name the words [[words:30]]";
    t.openai().stream(words).await.rest().await;
    t.anthropic().stream(message(words)).await.rest().await;
    t.bedrock().open("converse-stream", turn(words).to_string()).await.rest().await;
    let native =
        json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 2000, "messages": message(words)["messages"]});
    t.bedrock().open("invoke-with-response-stream", native.to_string()).await.rest().await;
    let response = json!({"model": crate::support::MODEL, "input": words, "stream": true});
    t.openai().post("/v1/responses", &response).await;
    t.booked_calls(5).await;
    t.finish().await;

    let calls = calls(&path);
    let places = ["choices.delta.content", "delta.text", "delta.text", "delta.text", "response.output_text.delta"];
    assert_eq!(calls.len(), places.len(), "{calls:#?}");
    for (call, at) in calls.iter().zip(places) {
        let said = text(&call["answer"], at);
        assert!(said.starts_with("You said: name the words") && said.contains("alpha [redacted]"), "{call:#?}");
        assert_eq!((&call["outcome"], &call["team"]), (&json!("ok"), &json!(TEAM)));
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_any_more_is_counted_and_calls_go_on() {
    let folder = TempDir::new().unwrap();
    let below = folder.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let path = below.join("prompts.jsonl");
    let t = TestGateway::with(|config| config.telemetry.capture.file = path.display().to_string()).await;
    std::fs::remove_dir_all(&below).unwrap();
    let dropped = || t.metrics().count("gateway_captures_dropped_total", &[("reason", "write")]);
    for count in 1..=2 {
        assert_eq!(t.openai().chat("hello").await.status(), 200);
        eventually("it is counted", async || dropped() == count).await;
    }
    std::fs::create_dir(&below).unwrap();
    assert_eq!(t.openai().chat("again").await.status(), 200);
    assert_eq!(dropped(), 2);
    t.finish().await;
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().count() == 1 && text.contains("You said: again"), "{text}");
}

#[tokio::test]
async fn a_long_call_is_cut_after_it_was_redacted() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("prompts.jsonl");
    let t = TestGateway::with(|config| {
        config.telemetry.capture.file = path.display().to_string();
        config.telemetry.capture.max_record_kb = 8;
    })
    .await;
    let long = format!("{} AKIAIOSFODNN7EXAMPLE {}", "so much ".repeat(125), "to say ".repeat(10_000));
    t.openai().chat(&long).await;
    t.finish().await;
    let calls = calls(&path);
    let said = calls[0]["request"]["messages"][0]["content"].as_str().unwrap();
    assert!(calls[0]["cut"] == true && said.starts_with("so much so much") && said.contains(" bytes]"), "{said}");
    assert!(!said.contains("AKIA"), "{said}");
    assert!(std::fs::metadata(&path).unwrap().len() < 9 * 1024);
}
