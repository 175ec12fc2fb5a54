//! Administration at the command line: the program itself, against the store of a gateway that runs.

use std::process::Command;

use serde_json::{Value, json};

use super::Administrator;
use crate::support::{FIRST, TEAM, TestGateway, eventually};

/// The program, with the store of a gateway.
struct Program {
    file: std::path::PathBuf,
}

impl Program {
    fn of(t: &TestGateway) -> Self {
        let file = t.folder().join("gateway.toml");
        std::fs::write(&file, format!("[store]\nurl = \"{}\"\n", t.config.store.url)).unwrap();
        Self { file }
    }

    /// Whether it did as it was told, and what it said on its outputs.
    fn run(&self, arguments: &[&str]) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
        let output = command.args(arguments).arg("--config").arg(&self.file).env_clear().output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    fn text(&self, arguments: &[&str]) -> String {
        let (done, out, said) = self.run(arguments);
        assert!(done, "{arguments:?}: {said}");
        out
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.text(&[arguments, &["--json"]].concat())).unwrap()
    }

    fn refused(&self, arguments: &[&str]) -> String {
        let (done, _, said) = self.run(arguments);
        assert!(!done, "{arguments:?}");
        said
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_program_shows_what_the_api_shows() {
    let t = TestGateway::start().await;
    let (admin, program) = (Administrator::of(&t).await, Program::of(&t));
    let arguments =
        ["teams", "create", "search", "--models", "nova-*", "--geography", "us", "--request-metadata", "a=b=c"];
    let team = program.json(&arguments);
    assert_eq!((&team["request_metadata"], &team["models"]), (&json!({"a": "b=c"}), &json!(["nova-*"])));
    assert_eq!(admin.get("/teams/search").await.json(), team);
    assert_eq!(program.json(&["teams", "show", "search"]), team);
    assert_eq!(program.json(&["teams", "list"])["data"][0], team, "by name");

    let mut key = program.json(&[
        "keys",
        "create",
        "--team",
        "search",
        "--name",
        "ci",
        "--networks",
        "127.0.0.1",
        "--expires",
        "30d",
    ]);
    let text = key.as_object_mut().unwrap().remove("key").unwrap().as_str().unwrap().to_owned();
    t.watch(&text);
    let id = key["id"].as_str().unwrap().to_owned();
    assert_eq!(admin.get(&format!("/keys/{id}")).await.json(), key);
    assert_eq!(program.json(&["keys", "show", &id]), key);
    assert_eq!(program.json(&["keys", "list", "--team", "search"]), json!({"data": [key], "next": null}));

    let limit =
        program.json(&["limits", "set", "--team", "search", "--model", "nova-lite", "--requests-per-minute", "60"]);
    assert_eq!(admin.get("/limits").await.json(), json!({"data": [limit], "next": null}));
    assert_eq!(program.json(&["limits", "list", "--team", "search"]), json!({"data": [limit], "next": null}));
    let budget = program.json(&["budgets", "set", "--key", &id, "--period", "month", "--limit-usd", "12.50"]);
    assert_eq!(admin.get("/budgets").await.json()["data"][0]["limit_usd"], "12.500000");
    assert_eq!(program.json(&["budgets", "list"])["data"][0]["id"], budget["id"]);
    let acts = program.json(&["audit", "--actor", "command_line", "--limit", "2"]);
    assert_eq!((&acts["data"][0]["action"], &acts["data"][1]["action"]), (&json!("budget.set"), &json!("limit.set")));
    let older = program.json(&["audit", "--limit", "1", "--cursor", acts["next"].as_str().unwrap()]);
    assert_eq!(older["data"][0]["action"], "key.create");
    let removed = program.json(&["limits", "remove", limit["id"].as_str().unwrap()]);
    assert!(removed["removed_at"].is_string());
    program.text(&["budgets", "remove", budget["id"].as_str().unwrap()]);
    assert_eq!(admin.get("/budgets").await.json(), json!({"data": [], "next": null}));
    t.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_the_program_changes_counts_on_a_gateway_that_runs() {
    let t = TestGateway::start().await;
    let program = Program::of(&t);
    program.text(&["teams", "create", "search"]);
    let key = program.text(&["keys", "create", "--team", "search", "--name", "ci"]).lines().last().unwrap().to_owned();
    t.watch(&key);
    let id = key.split('_').nth(1).unwrap();
    let status = async || t.openai().with_key(&key).chat("hello").await.status();
    assert_eq!(status().await, 200);
    program.text(&["keys", "update", id, "--models", "nova-*"]);
    eventually("the model is not allowed", async || status().await == 404).await;
    program.text(&["keys", "update", id, "--clear", "models"]);
    eventually("the model is allowed", async || status().await == 200).await;
    program.text(&["teams", "revoke", "search"]);
    eventually("the key is refused", async || status().await == 401).await;
    program.text(&["teams", "update", "search", "--restore", "--name", "found"]);
    eventually("the key is taken", async || status().await == 200).await;
    assert!(program.text(&["teams", "list"]).contains("found"));
    t.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn people_get_tables_and_reasons() {
    let t = TestGateway::start().await;
    let program = Program::of(&t);
    let shown = program.text(&["teams", "show", TEAM]);
    assert!(shown.contains("unknown_price") && shown.contains("refuse"), "{shown}");
    let profile = "nova-lite=arn:aws:bedrock:us-moon-1:000000000000:application-inference-profile/abc";
    for (arguments, told) in [
        (&["teams", "show", "nobody"][..], "no team `nobody`"),
        (&["teams", "update", TEAM, "--regions", "us-est-1"], "did you mean \"us-east-1\"?"),
        (&["teams", "update", TEAM, "--models", "a", "--clear", "models"], "both set and cleared"),
        (&["teams", "update", TEAM, "--clear", "name"], "possible values"),
        (&["teams", "update", TEAM, "--guardrail", "gr1"], "--guardrail-version"),
        (&["teams", "update", TEAM, "--profile", profile], "us-moon-1"),
        (&["keys", "create", "--team", TEAM, "--name", "x", "--on-disconnect", "stay"], "on_disconnect"),
        (&["keys", "update", "nobody", "--name", "x"], "no key `nobody`"),
        (&["limits", "set", "--requests-per-minute", "1"], "Name a `team`"),
        (&["budgets", "set", "--team", TEAM, "--period", "month", "--limit-usd", "1.0000001"], "limit_usd"),
        (&["budgets", "remove", "nothing"], "no budget `nothing`"),
        (&["audit", "--from", "yesterday"], "RFC 3339"),
    ] {
        let said = program.refused(arguments);
        assert!(said.contains(told), "{arguments:?}: {said}");
        assert!(!said.contains("000000000000"), "{said}");
    }
    let (_, _, said) = program.run(&["teams", "update", TEAM]);
    assert!(said.contains("nothing is to be changed"), "{said}");
    program.text(&["teams", "update", TEAM, "--regions", FIRST]);
    assert!(program.text(&["audit"]).contains("team.update"));
    t.finish().await;
}
