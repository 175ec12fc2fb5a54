//! Another configuration for a gateway that serves: all of it or nothing, and no call is lost.

use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use bedrock_gateway::config::{Alias, Config};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::support::calls::{chat, with};
use crate::support::reply::Reply;
use crate::support::{FIRST, SECOND, TestGateway, eventually};

const COUNTER: &str = "gateway_config_reloads_total";

fn fast() -> Alias {
    Alias { alias: "fast".into(), model: "claude-haiku-4-5".into(), ..Alias::default() }
}

/// These Regions, in this order; the endpoints of others would be for nothing.
fn call_only(config: &mut Config, regions: &[&str]) {
    config.aws.regions = regions.iter().copied().map(str::to_owned).collect();
    config.aws.endpoints.retain(|region, _| regions.contains(&region.as_str()));
}

fn named(model: &str) -> Value {
    with(chat("hello"), json!({ "model": model }))
}

#[tokio::test]
async fn an_alias_comes_and_goes_without_a_restart() {
    let t = TestGateway::start().await;
    assert_eq!(t.openai().send(&named("fast")).await.status(), 404);
    t.reload(|config| config.models = vec![fast()]).await;
    assert_eq!(t.openai().send(&named("fast")).await.status(), 200);
    let models = t.openai().models().await.json();
    assert!(models["data"].as_array().unwrap().iter().any(|model| model["id"] == "fast"), "{models}");
    t.reload(|config| config.models = vec![fast()]).await;
    t.reload(|_| {}).await;
    assert_eq!(t.openai().send(&named("fast")).await.status(), 404);
    let count = |result| t.metrics().count(COUNTER, &[("result", result)]);
    assert_eq!((count("applied"), count("unchanged"), count("refused")), (2, 1, 0));
    t.finish().await;
}

#[tokio::test]
async fn an_alias_that_comes_later_stays_when_aws_is_asked_again() {
    let t = TestGateway::start().await;
    t.refresh().await;
    t.reload(|config| config.models = vec![fast()]).await;
    assert_eq!(t.openai().send(&named("fast")).await.status(), 200);
    t.refresh().await;
    assert_eq!(t.openai().send(&named("fast")).await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn calls_follow_the_order_of_the_regions_and_streams_stay_where_they_are() {
    let t = TestGateway::tapped(|_| {}).await;
    assert_eq!(t.openai().chat("hello").await.region(), FIRST);
    let released = t.tap.hold_after(4);
    let mut stream = t.openai().stream("slowly [[words:30]]").await;
    stream.read_until("You").await;

    t.reload(|config| call_only(config, &[SECOND])).await;
    released.cancel();
    assert_eq!(t.openai().chat("hello").await.region(), SECOND);
    let rest = stream.rest().await;
    assert_eq!((rest.region(), rest.sse().last().unwrap()), (FIRST, &json!("[DONE]")));
    let regions = t.get("/catalog/regions?region=us-west-2").await.json();
    assert!(regions.to_string().contains(SECOND), "{regions}");

    t.reload(|config| call_only(config, &[SECOND, FIRST])).await;
    assert_eq!(t.openai().chat("hello").await.region(), SECOND);
    t.reload(|_| {}).await;
    assert_eq!(t.openai().chat("hello").await.region(), FIRST);
    t.finish().await;
}

#[tokio::test]
async fn what_rests_goes_on_resting_when_the_regions_change_places() {
    let t = TestGateway::start().await;
    t.sim.region(FIRST).throttle(1);
    assert_eq!(t.openai().chat("hello").await.region(), SECOND);
    t.reload(|config| {
        config.models = vec![fast()];
        config.aws.idle_timeout_s = 7;
    })
    .await;
    assert_eq!(t.openai().chat("hello").await.region(), SECOND, "the Region was throttled, and its rest is not over");
    t.finish().await;
}

#[tokio::test]
async fn a_broken_configuration_changes_nothing_and_is_told_with_every_problem() {
    let t = TestGateway::with(|config| config.models = vec![fast()]).await;
    t.reload(|config| {
        config.models[0].model = "no-such-model".into();
        config.aws.regions.push("mars-north-1".into());
    })
    .await;
    assert_eq!(t.openai().send(&named("fast")).await.status(), 200);
    assert_eq!(t.ops("/readyz").await.text(), "ready\n");
    let told = t.ops("/readyz?verbose").await;
    assert_eq!(told.status(), 200, "what was good goes on");
    for part in ["settings: read 2", "settings: refused 2", "settings: models[0].model: ", "settings: aws.regions[2]: "]
    {
        assert!(told.text().contains(part), "{part} in {}", told.text());
    }
    assert_eq!(t.metrics().count(COUNTER, &[("result", "refused")]), 1);

    t.reload(|config| config.models.push(Alias { alias: "faster".into(), ..fast() })).await;
    assert_eq!(t.openai().send(&named("faster")).await.status(), 200);
    let told = t.ops("/readyz?verbose").await;
    assert!(!told.text().contains("refused"), "{}", told.text());
    t.finish().await;
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_counts() {
    let t = TestGateway::start().await;
    t.reload(|config| {
        config.server.max_body_mb = 1;
        config.store.url = "postgres://gateway:hunter2@db/gateway".into();
        config.models = vec![fast()];
    })
    .await;
    assert_eq!(t.openai().send(&named("fast")).await.status(), 200);
    let told = t.ops("/readyz?verbose").await;
    for setting in ["server.max_body_mb", "store.url"] {
        let line = format!("settings: {setting} has changed and needs a restart\n");
        assert!(told.text().contains(&line), "{}", told.text());
    }
    assert!(!told.text().contains("hunter2"));
    let long = "a".repeat(1_500_000);
    assert_ne!(t.openai().chat(&long).await.status(), 413, "bodies are bounded as at the start");
    t.finish().await;
}

#[tokio::test]
async fn what_browsers_and_administrators_may_do_changes() {
    let t = TestGateway::start().await;
    let key = "bgw_bootstrap_0123456789abcdef0123456789abcdef0123456789abcdef";
    let hash = Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let teams = async || Reply::to(t.request(Method::GET, "/admin/v1/teams").bearer_auth(key)).await.status();
    let origin = "https://app.example.com";
    let page = async || Reply::to(t.request(Method::GET, "/openapi.json").header("origin", origin)).await;
    assert_eq!((teams().await, page().await.status()), (401, 200));
    assert_eq!(page().await.header("access-control-allow-origin"), "");
    t.reload(|config| {
        config.auth.admin_key_sha256 = vec![hash.clone()];
        config.server.cors_origins = vec![origin.into()];
        config.server.public_docs = false;
    })
    .await;
    assert_eq!((teams().await, page().await.status()), (200, 401));
    assert_eq!(page().await.header("access-control-allow-origin"), origin);
    t.reload(|_| {}).await;
    assert_eq!((teams().await, page().await.status()), (401, 200));
    t.finish().await;
}

#[tokio::test]
async fn no_call_is_lost_while_the_configuration_changes_fifty_times() {
    let t = TestGateway::with(|config| config.models = vec![fast()]).await;
    let done = std::cell::Cell::new(false);
    let calling = |streamed: bool| {
        let (t, done) = (&t, &done);
        async move {
            let mut count = 0;
            while !done.get() || count == 0 {
                if streamed {
                    let body = with(named("fast"), json!({"stream": true}));
                    let events = t.openai().open(&body).await.rest().await.sse();
                    assert_eq!(events.last().unwrap(), "[DONE]");
                } else {
                    let reply = t.openai().send(&named("fast")).await;
                    assert_eq!((reply.status(), reply.attempts()), (200, "1"), "{reply:?}");
                }
                count += 1;
            }
        }
    };
    let reloading = async {
        for round in 0..50 {
            t.reload(|config: &mut Config| {
                if round % 2 == 0 {
                    config.aws.regions.reverse();
                    config.aws.idle_timeout_s = 17;
                }
                if round % 3 == 0 {
                    let first = config.aws.regions[0].clone();
                    call_only(config, &[&first]);
                }
                config.server.drain_seconds = round;
            })
            .await;
        }
        done.set(true);
    };
    let calls = (0..8).map(|index| calling(index % 2 == 0));
    tokio::join!(reloading, futures_util::future::join_all(calls));
    assert_eq!(t.metrics().count(COUNTER, &[("result", "applied")]), 50);
    t.finish().await;
}

/// `serve --local` as a process of its own.
struct Program {
    child: Child,
    /// Open, so that whatever else it says finds somebody.
    _said: Lines<BufReader<ChildStdout>>,
    base: String,
    ops: String,
    key: String,
    file: PathBuf,
    folder: TempDir,
}

impl Program {
    fn start(settings: &str) -> Self {
        let folder = TempDir::with_prefix("bedrock-gateway-reload-").unwrap();
        let file = folder.path().join("gateway.toml");
        fs::write(&file, settings).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
        command.args(["serve", "--local", "--config"]).arg(&file).current_dir(folder.path()).env_clear();
        for setting in ["LISTEN", "OPS_LISTEN"] {
            command.env(format!("BEDROCK_GATEWAY__SERVER__{setting}"), "127.0.0.1:0");
        }
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut after = |name: &str| {
            let line = said.by_ref().map(Result::unwrap).find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().to_owned()
        };
        let (base, key, ops) = (after("base URL"), after("key"), after("metrics"));
        Self { child, _said: said, base, ops: ops.trim_end_matches("/metrics").to_owned(), key, file, folder }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    /// The status of a call to a model.
    async fn call(&self, model: &str) -> u16 {
        let url = format!("{}/chat/completions", self.base);
        let request = reqwest::Client::new().post(url).bearer_auth(&self.key).json(&named(model));
        request.send().await.unwrap().status().as_u16()
    }

    async fn told(&self) -> String {
        reqwest::get(format!("{}/readyz?verbose", self.ops)).await.unwrap().text().await.unwrap()
    }

    /// Replaces the file as careful people do.
    fn write(&self, settings: &str) {
        let next = self.folder.path().join("next");
        fs::write(&next, settings).unwrap();
        fs::rename(next, &self.file).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(Path::new(self.folder.path()).join("log")).unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ALIAS: &str = "[[models]]\nalias = \"fast\"\nmodel = \"claude-haiku-4-5\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_program_reads_its_file_again_on_sighup_and_ends_well_on_sigterm() {
    let mut program = Program::start("");
    assert_eq!(program.call("fast").await, 404);
    program.write(ALIAS);
    program.signal("-HUP");
    eventually("the alias is there", async || program.call("fast").await == 200).await;

    program.write(&format!("{ALIAS}[server]\nmax_body_mb = 0\n[telemetry]\nlog = \"loud\"\n"));
    program.signal("-HUP");
    eventually("the broken file is refused", async || program.told().await.contains("refused")).await;
    let (told, log) = (program.told().await, program.log());
    for path in ["server.max_body_mb: ", "telemetry.log: "] {
        assert!(told.contains(path) && log.contains(path), "{told}\n{log}");
    }
    assert_eq!(program.call("fast").await, 200);

    program.write("[telemetry]\nlog = \"debug\"\n");
    program.signal("-HUP");
    eventually("the alias is gone", async || program.call("fast").await == 404).await;
    program.signal("-TERM");
    eventually("it ends", async || program.child.try_wait().unwrap().is_some()).await;
    assert_eq!(program.child.wait().unwrap().code(), Some(0), "{}", program.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_program_reads_its_file_again_when_it_changes() {
    let program = Program::start("");
    assert_eq!(program.call("fast").await, 404);
    program.write(ALIAS);
    eventually("the alias is there", async || program.call("fast").await == 200).await;
    fs::remove_file(&program.file).unwrap();
    eventually("the file is missed", async || program.told().await.contains("refused")).await;
    assert_eq!(program.call("fast").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_is_logged_changes() {
    let program = Program::start("[telemetry]\nlog = \"off\"\n");
    assert_eq!(program.call("no-such-model").await, 404);
    assert_eq!(program.log(), "");
    program.write("[telemetry]\nlog = \"info\"\n");
    program.signal("-HUP");
    eventually("the log is on", async || {
        program.call("no-such-model").await;
        program.log().contains("/v1/chat/completions")
    })
    .await;
}
