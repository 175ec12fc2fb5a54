//! `bedrock-gateway batches`: the program itself, as a client of a gateway that runs.

use std::process::Command;

use bedrock_gateway::config::Config;
use bedrock_gateway::simulator::Bucket;
use serde_json::{Value, json};

use crate::support::{FIRST, TestGateway};

const BUCKET: &str = "files-east";

async fn gateway() -> TestGateway {
    let configured = |config: &mut Config| {
        config.batch.bucket = [(FIRST.to_owned(), BUCKET.to_owned())].into();
        "arn:aws:iam::000000000000:role/bedrock-batch".clone_into(&mut config.batch.role_arn);
    };
    TestGateway::with_simulated(configured, |settings| {
        settings.buckets.insert(BUCKET.to_owned(), Bucket::default());
    })
    .await
}

/// The program, with the URL of a gateway and a key to it.
struct Program {
    url: String,
    key: String,
}

impl Program {
    fn of(t: &TestGateway) -> Self {
        Self { url: format!("http://{}/v1", t.address()), key: t.key().to_owned() }
    }

    /// Its exit code, and what it said on its outputs.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
        command.arg("batches").args(arguments).env_clear();
        let command = command.env("BEDROCK_GATEWAY_URL", &self.url).env("BEDROCK_GATEWAY_KEY", &self.key);
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, said) = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(code, 0, "{arguments:?}: {said}");
        serde_json::from_str(&out).unwrap()
    }
}

/// A file of so many records.
fn records(t: &TestGateway, count: usize) -> String {
    let path = t.folder().join("prompts.jsonl");
    let record = |n: usize| {
        let body = json!({"model": "nova-lite", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]});
        format!(
            "{}\n",
            json!({"custom_id": format!("r{n}"), "method": "POST", "url": "/v1/chat/completions", "body": body})
        )
    };
    std::fs::write(&path, (0..count).map(record).collect::<String>()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_file_is_submitted_watched_to_its_end_and_its_results_fetched() {
    let t = gateway().await;
    let program = Program::of(&t);
    let file = records(&t, 3);
    let (code, out, said) = program.run(&["submit", &file, "--watch", "--metadata", "run=7"]);
    assert_eq!(code, 0, "{out}{said}");
    assert!(out.contains("3 of 3 records done"), "{out}");
    let listed = program.json(&["list"]);
    let batch = &listed["data"][0];
    assert_eq!((&batch["status"], &batch["metadata"]), (&json!("completed"), &json!({"run": "7"})));
    let id = batch["id"].as_str().unwrap();
    assert_eq!(program.json(&["show", id])["request_counts"]["completed"], 3);
    assert_eq!(program.json(&["watch", id])["status"], "completed");
    let (_, shown, _) = program.run(&["show", id]);
    assert!(shown.contains("completed") && shown.contains("nova-lite"), "{shown}");

    let (code, out, said) = program.run(&["results", id]);
    assert_eq!((code, out.lines().count()), (0, 3), "{said}");
    let place = t.folder().join("answers.jsonl");
    // As if it had been stopped after ten bytes.
    let output_file = batch["output_file_id"].as_str().unwrap();
    std::fs::write(t.folder().join(format!("answers.jsonl.{output_file}.part")), &out[..10]).unwrap();
    let (code, nothing, said) = program.run(&["results", id, "-o", place.to_str().unwrap()]);
    assert_eq!((code, &*nothing), (0, ""), "{said}");
    assert_eq!(std::fs::read_to_string(&place).unwrap(), out);
    assert!(!t.folder().join(format!("answers.jsonl.{output_file}.part")).exists());
    let (code, _, said) = program.run(&["results", id, "--errors"]);
    assert!(code == 1 && said.contains("has no errors"), "{said}");
    t.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_batch_that_fails_says_why_and_the_program_ends_with_1() {
    let t = gateway().await;
    let program = Program::of(&t);
    let path = t.folder().join("bad.jsonl");
    let good = std::fs::read_to_string(records(&t, 1)).unwrap();
    std::fs::write(&path, format!("{good}{{\"custom_id\": \n")).unwrap();
    let (code, out, said) = program.run(&["submit", path.to_str().unwrap(), "--watch"]);
    assert_eq!(code, 1, "{out}{said}");
    assert!(out.contains("is failed") && out.contains("line 2: ") && out.contains("invalid_json_line"), "{out}");
    t.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_wrong_is_told_before_anything_is_sent() {
    let t = gateway().await;
    let (program, file) = (Program::of(&t), records(&t, 1));
    let nobody = Program { url: "http://127.0.0.1:1".into(), key: program.key.clone() };
    let wrong_key = Program { key: "bgw_nobody_secret".into(), ..Program::of(&t) };
    let no_url = Program { url: "gateway.example.com".into(), ..Program::of(&t) };
    let ops = Program { url: program.url.replace("/v1", "/elsewhere"), ..Program::of(&t) };
    for (program, arguments, told) in [
        (&program, &["submit", "/nonexistent/prompts.jsonl"][..], "/nonexistent/prompts.jsonl cannot be read"),
        (&program, &["submit", &file, "--endpoint", "/v1/nonsense"], "endpoint"),
        (&program, &["submit", &file, "--window", "soon"], "completion_window"),
        (&program, &["show", "batch_nobody"], "batch_nobody"),
        (&program, &["cancel", "batch_nobody"], "batch_nobody"),
        (&program, &["results", "batch_nobody"], "batch_nobody"),
        (&program, &["watch", "batch_nobody"], "batch_nobody"),
        (&program, &["list", "--key-file", "/nonexistent/key"], "/nonexistent/key cannot be read"),
        (&nobody, &["submit", &file], "No gateway can be reached at http://127.0.0.1:1/"),
        (&wrong_key, &["submit", &file], "key"),
        (&no_url, &["list"], "--url"),
        (&ops, &["list"], "no route"),
    ] {
        let (code, out, said) = program.run(arguments);
        assert!(code == 1 && said.contains(told), "{arguments:?}: {out}{said}");
        assert!(!said.contains(&program.key) && out.is_empty(), "{said}");
    }
    let files = t.get("/v1/files").await.json();
    assert_eq!(files["data"], json!([]), "what was uploaded for a batch that was refused is taken back");
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
    let output = command.args(["batches", "list"]).env_clear().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("BEDROCK_GATEWAY_URL"), "{said}");
    let key = t.folder().join("key");
    std::fs::write(&key, format!("{}\n", t.key())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
    let command = command.args(["batches", "list", "--url", &program.url, "--key-file"]).arg(&key).env_clear();
    assert!(command.output().unwrap().status.success());
    t.finish().await;
}
