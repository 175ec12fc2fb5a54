//! Whose credentials a call is made with, and what becomes of it when they expire, are revoked or cannot be had.

use std::time::Duration;

use bedrock_gateway::simulator::{AssumedSession, Call};
use bedrock_gateway::tenancy::{NewKey, NewTeam};
use futures_util::future::join_all;

use crate::support::{FIRST, MODEL, TEAM, TestGateway, calls, eventually, log};

const BLUE: &str = "arn:aws:iam::000000000000:role/blue";
const RED: &str = "arn:aws:iam::000000000000:role/tenants/red";

/// A key of a team of that name, which is called with `role`.
async fn team(t: &TestGateway, name: &str, role: &str) -> String {
    t.make_team(NewTeam { role_arn: Some(role.into()), ..NewTeam::new(name) }).await;
    t.make_key(NewKey::new(name, "key")).await.1
}

async fn chat(t: &TestGateway, key: &str) -> u16 {
    t.openai().with_key(key).chat("hello").await.status()
}

/// Who made the last call of a model.
fn caller(t: &TestGateway) -> String {
    t.sim.calls().into_iter().rfind(is_inference).unwrap().identity
}

fn is_inference(call: &Call) -> bool {
    call.operation == "Converse"
}

/// A program that ends with its test.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How often a role was assumed.
fn times(sessions: &[AssumedSession], role: &str) -> u64 {
    sessions.iter().filter(|session| session.role_arn == role).map(|session| session.times).sum()
}

/// Lets time pass here and at AWS.
fn pass(t: &TestGateway, time: Duration) {
    t.clock.advance(time);
    t.sim.advance_clock(time);
}

#[tokio::test]
async fn a_team_is_called_with_its_own_role_and_a_session_of_its_own() {
    let t = TestGateway::start().await;
    let (blue, red) = (team(&t, "Data & Science", BLUE).await, team(&t, "red", RED).await);
    let green = team(&t, "green", RED).await;
    for (key, identity) in [(t.key(), "root key"), (&blue, BLUE), (&red, RED), (&green, RED), (&blue, BLUE)] {
        assert_eq!(chat(&t, key).await, 200);
        assert_eq!(caller(&t), identity);
    }
    let sessions = t.sim.sessions();
    assert_eq!(sessions.len(), 3);
    for (session, (name, role)) in sessions.iter().zip([("Data _ Science", BLUE), ("red", RED), ("green", RED)]) {
        assert_eq!((session.role_arn.as_str(), session.times, session.assumed_by.as_str()), (role, 1, "root key"));
        let id = &session.tags["team-id"];
        assert_eq!((session.tags["team"].as_str(), session.tags.len()), (name, 2));
        assert!(id.starts_with("team_") && session.session_name.ends_with(id.as_str()), "{session:?}");
    }
    t.finish().await;
}

#[tokio::test]
async fn every_surface_and_every_kind_of_call_is_made_as_the_team() {
    let t = TestGateway::start().await;
    let blue = team(&t, "blue", BLUE).await;
    assert_eq!(t.openai().with_key(&blue).stream("hello").await.rest().await.status(), 200);
    assert_eq!(t.anthropic().with_key(&blue).send(&calls::message("hello")).await.status(), 200);
    assert_eq!(t.bedrock().with_key(&blue).converse_stream("hello").await.rest().await.status(), 200);
    let path = "/guardrail/gr0000000000/version/DRAFT/apply";
    let body = serde_json::json!({"source": "INPUT", "content": [{"text": {"text": "hello"}}]});
    t.request(reqwest::Method::POST, path).bearer_auth(&blue).json(&body).send().await.unwrap();
    let called = t.sim.calls();
    let others = called.iter().filter(|call| call.operation != "AssumeRole");
    let operations: Vec<_> = others.clone().map(|call| call.operation).collect();
    assert!(operations.len() >= 4 && operations.contains(&"ApplyGuardrail"), "{operations:?}");
    assert!(others.into_iter().all(|call| call.identity == BLUE), "{called:#?}");
    t.finish().await;
}

#[tokio::test]
async fn many_first_calls_assume_a_role_once() {
    let t = TestGateway::start().await;
    let blue = team(&t, "blue", BLUE).await;
    let all = join_all((0..50).map(|_| chat(&t, &blue))).await;
    assert_eq!(all, [200; 50]);
    assert_eq!(times(&t.sim.sessions(), BLUE), 1);
    t.finish().await;
}

#[tokio::test]
async fn a_session_is_renewed_before_it_ends_without_a_failed_call() {
    let t = TestGateway::start().await;
    let blue = team(&t, "blue", BLUE).await;
    // An hour lasts from minute 0; from minute 55 on it is renewed while calls go on.
    for _ in 0..20 {
        assert_eq!(join_all((0..5).map(|_| chat(&t, &blue))).await, [200; 5]);
        pass(&t, Duration::from_mins(7));
    }
    let refused: Vec<_> = t.sim.calls().into_iter().filter(|call| call.status >= 400).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    let assumed = times(&t.sim.sessions(), BLUE);
    assert!((3..=4).contains(&assumed), "{assumed} sessions in 133 minutes");
    t.finish().await;
}

#[tokio::test]
async fn sessions_that_expire_or_are_revoked_under_load_cost_no_call() {
    let t = TestGateway::start().await;
    let blue = team(&t, "blue", BLUE).await;
    assert_eq!(chat(&t, &blue).await, 200);
    for end in [TestGateway::expire_sessions, TestGateway::revoke_sessions] {
        pass(&t, Duration::from_mins(10));
        end(&t);
        let before = times(&t.sim.sessions(), BLUE);
        assert_eq!(join_all((0..20).map(|_| chat(&t, &blue))).await, [200; 20]);
        assert_eq!(times(&t.sim.sessions(), BLUE) - before, 1, "one new session for all");
    }
    t.finish().await;
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_is_one_clear_error_for_its_team_alone_and_heals_by_itself() {
    let t = TestGateway::start().await;
    let (blue, red) = (team(&t, "blue", BLUE).await, team(&t, "red", RED).await);
    t.sim.deny_role(BLUE);
    let reply = t.openai().with_key(&blue).chat("hello").await;
    assert_eq!(reply.status(), 503);
    let error = reply.openai_error();
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("AWS role of this team cannot be assumed"), "{message}");
    assert!(reply.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(t.bedrock().with_key(&blue).converse("hello").await.exception().0, "ServiceUnavailableException");
    assert_eq!((chat(&t, &red).await, chat(&t, t.key()).await), (200, 200));

    // However many come, STS is asked ever more rarely.
    let asked =
        || t.sim.calls().into_iter().filter(|call| call.operation == "AssumeRole" && call.status >= 400).count();
    assert_eq!(asked(), 1);
    for _ in 0..60 {
        assert_eq!(chat(&t, &blue).await, 503);
        pass(&t, Duration::from_millis(500));
    }
    assert_eq!(asked(), 5, "at 0, 1, 3, 7 and 15 seconds");
    let told = log::all().into_iter().filter(|line| line["team"].as_str().is_some_and(|id| id.starts_with("team_")));
    let told: Vec<_> = told.filter(|line| line["message"].as_str().unwrap().contains("could not be assumed")).collect();
    let line = told.last().unwrap();
    let cause = line["cause"].as_str().unwrap();
    assert!(
        cause.contains("AccessDenied: User: [the gateway]") && cause.ends_with("sts:AssumeRole on resource: the role"),
        "{line}"
    );
    assert!(line["message"].as_str().unwrap().contains("sts:TagSession"), "{line}");

    t.sim.allow_role(BLUE);
    pass(&t, Duration::from_secs(30));
    assert_eq!((chat(&t, &blue).await, caller(&t)), (200, BLUE.into()));
    t.expect_lost_attempts(2 * 62);
    t.finish().await;
}

#[tokio::test]
async fn sts_that_is_throttled_or_away_for_a_moment_fails_no_call() {
    let t = TestGateway::start().await;
    let blue = team(&t, "blue", BLUE).await;
    t.sim.region(FIRST).control().on("AssumeRole").throttle(1);
    assert_eq!(chat(&t, &blue).await, 200);
    t.finish().await;
}

#[tokio::test]
async fn the_gateways_own_role_is_assumed_first_and_the_teams_with_it() {
    let own = "arn:aws:iam::000000000000:role/gateway";
    let t = TestGateway::assuming(own).await;
    let blue = team(&t, "blue", BLUE).await;
    assert_eq!((chat(&t, t.key()).await, caller(&t)), (200, own.into()));
    assert_eq!((chat(&t, &blue).await, caller(&t)), (200, BLUE.into()));
    let sessions = t.sim.sessions();
    let by: Vec<_> = sessions.iter().map(|session| (&*session.session_name, &*session.assumed_by)).collect();
    assert_eq!((by[0], by[1].1, by.len()), (("bedrock-gateway", "root key"), own, 2));

    // Everything ends at once: the gateway's session is renewed to assume the team's again.
    pass(&t, Duration::from_mins(10));
    t.sim.revoke_sessions();
    assert_eq!((chat(&t, &blue).await, chat(&t, t.key()).await), (200, 200));
    t.finish().await;
}

#[tokio::test]
async fn a_team_has_its_role_also_where_the_gateway_calls_with_an_api_key() {
    let t = TestGateway::bearing().await;
    let blue = team(&t, "blue", BLUE).await;
    assert_eq!((chat(&t, t.key()).await, caller(&t)), (200, "bearer token".into()));
    assert_eq!((chat(&t, &blue).await, caller(&t)), (200, BLUE.into()));
    t.finish().await;
}

#[tokio::test]
async fn another_account_has_another_health() {
    let t = TestGateway::start().await;
    let blue = team(&t, "blue", BLUE).await;
    t.sim.region(FIRST).throttle(1);
    let reply = t.openai().with_key(&blue).chat("hello").await;
    assert_eq!((reply.status(), reply.attempts()), (200, "2"));
    let reply = t.openai().with_key(&blue).chat("hello").await;
    assert_ne!(reply.region(), FIRST, "it rests for the team");
    assert_eq!(t.openai().chat("hello").await.region(), FIRST, "and for nobody else");
    t.finish().await;
}

#[tokio::test]
async fn neither_role_nor_credential_is_logged_or_told() {
    let t = TestGateway::start().await;
    let secret = "arn:aws:iam::000000000000:role/known-to-nobody-else";
    let key = team(&t, "secretive", secret).await;
    assert_eq!(chat(&t, &key).await, 200);
    t.sim.deny_role(secret);
    t.sim.revoke_sessions();
    pass(&t, Duration::from_mins(1));
    let reply = t.openai().with_key(&key).chat("hello").await;
    assert!(reply.status() == 503 && !reply.text().contains("arn:"), "{}", reply.text());
    log::assert_without(["known-to-nobody-else"].into_iter());
    t.expect_lost_attempts(1);
    t.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_command_line_gives_a_team_its_role_and_geography_and_shows_them() {
    let t = TestGateway::start().await;
    let file = t.folder().join("gateway.toml");
    std::fs::write(&file, format!("[store]\nurl = \"{}\"\n", t.config.store.url)).unwrap();
    let command = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
        let output = command.args(arguments).arg("--config").arg(&file).env_clear().output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let create = ["teams", "create", "fenced", "--regions", "us-east-1,us-east-2,us-west-2", "--geography", "us"];
    let (made, out, said) = command(&[&create[..], &["--role-arn", BLUE, "--json"]].concat());
    assert!(made, "{said}");
    let team: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&team["role_arn"], &team["geography"]), (&BLUE.into(), &"us".into()));
    let (_, list, _) = command(&["teams", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert!(list["data"].as_array().unwrap().contains(&team), "{list}");

    for (wrong, name) in [
        (["--geography", "europe"], "geography"),
        (["--role-arn", "blue"], "role_arn"),
        (["--role-arn", "arn:aws-us-gov:iam::000000000000:role/blue"], "aws-us-gov"),
    ] {
        let (made, _, said) = command(&[&["teams", "create", "other"][..], &wrong].concat());
        assert!(!made && said.contains(name) && !said.contains("000000000000"), "{said}");
    }
    let (_, key) = t.make_key(NewKey::new("fenced", "key")).await;
    assert_eq!((chat(&t, &key).await, caller(&t)), (200, BLUE.into()));
    t.finish().await;
}

#[tokio::test]
async fn a_geography_fences_the_calls_of_a_team() {
    let t = TestGateway::start().await;
    t.make_team(NewTeam { geography: Some("eu".into()), ..NewTeam::new("europeans") }).await;
    let (_, key) = t.make_key(NewKey::new("europeans", "key")).await;
    assert_eq!(chat(&t, &key).await, 403);
    t.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_identity_of_a_pod_is_taken_from_its_token_and_the_endpoints_from_the_environment() {
    let t = TestGateway::start().await;
    let token = t.folder().join("token");
    std::fs::write(&token, "sim-web-identity-token").unwrap();
    let file = t.folder().join("gateway.toml");
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nops_listen = \"127.0.0.1:0\"\n[store]\nurl = \"{}\"\njournal = \"{}\"\n[aws]\nregions = [\"{FIRST}\"]\n",
        t.config.store.url,
        t.folder().join("journal-of-the-pod").display()
    );
    std::fs::write(&file, text).unwrap();
    let url = t.config.aws.endpoints[FIRST].runtime.clone().unwrap();
    let (log, said) = (t.folder().join("log"), || std::fs::read_to_string(t.folder().join("log")).unwrap());
    let output = std::fs::File::create(&log).unwrap();
    let gateway = std::process::Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"))
        .args(["serve", "--config"])
        .arg(&file)
        .env_clear()
        .env("AWS_ROLE_ARN", BLUE)
        .env("AWS_ROLE_SESSION_NAME", "pod")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", &token)
        .env("AWS_ENDPOINT_URL_STS", &url)
        .env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", &url)
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn();
    let gateway = Process(gateway.unwrap());
    let address = || {
        let lines: Vec<serde_json::Value> = said().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.iter().find_map(|line| line["address"].as_str().map(str::to_owned))
    };
    eventually("the gateway is ready", async || address().is_some()).await;
    let address = address().unwrap();
    let ask = async || {
        let url = format!("http://{address}/v1/chat/completions");
        let request = reqwest::Client::new().post(url).bearer_auth(t.key());
        let body = serde_json::json!({"model": MODEL, "messages": [{"role": "user", "content": TEAM}]});
        request.json(&body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(ask().await, 200);
    assert_eq!(caller(&t), BLUE);
    let sessions = t.sim.sessions();
    assert_eq!((sessions.len(), &*sessions[0].session_name, &*sessions[0].assumed_by), (1, "pod", ""));

    // The token is rotated in its file, as Kubernetes does, and the session is lost.
    t.sim.set_web_identity_token("the-next-token");
    std::fs::write(&token, "the-next-token").unwrap();
    t.sim.revoke_sessions();
    assert_eq!(ask().await, 200);
    drop(gateway);
    t.sim.clear_calls();
    t.sim.clear_sessions();
    t.finish().await;
}
