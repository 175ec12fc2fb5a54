//! No operation without a key that may do it, and none on what is another team's: the OpenAPI document is walked, so that
//! a route cannot be forgotten. A route that is new needs its parameters and its body here, or the walk fails.

use std::time::Duration;

use bedrock_gateway::config::Secret;
use bedrock_gateway::simulator::Bucket;
use bedrock_gateway::tenancy::admin::{self, Actor};
use bedrock_gateway::tenancy::{NewKey, NewTeam, Scope};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::reply::Reply;
use crate::support::{FIRST, MODEL, TEAM, TestGateway};

/// The operations of the document that need no key.
const PUBLIC: [(&str, &str); 0] = [];
/// Every scope that there is.
const SCOPES: [Scope; 4] = [Scope::Inference, Scope::Batch, Scope::Admin, Scope::Metrics];
/// A file, uploaded.
const UPLOAD: &str = "--X\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--X\r\nContent-Disposition: form-data; \
                      name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{}\r\n--X--\r\n";
/// The team whose keys walk.
const WALKERS: &str = "walkers";

/// An operation of the document.
struct Operation {
    method: Method,
    pattern: String,
    /// The scopes of which a key needs one.
    scopes: Vec<Scope>,
}

fn operations() -> Vec<Operation> {
    let document = serde_json::to_value(bedrock_gateway::api::openapi()).unwrap();
    let mut all = Vec::new();
    for (pattern, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            if PUBLIC.contains(&(&**method, &**pattern)) {
                continue;
            }
            let ways = operation["security"].as_array().unwrap_or_else(|| panic!("{method} {pattern} needs no key"));
            let scope = |way: &Value| Some(Scope::parse(way["key"][0].as_str()?).unwrap());
            let scopes: Vec<Scope> = ways.iter().filter_map(scope).collect();
            assert!(!scopes.is_empty(), "{method} {pattern}");
            let method = method.to_uppercase().parse().unwrap();
            all.push(Operation { method, pattern: pattern.clone(), scopes });
        }
    }
    assert!(all.len() >= 50, "{}", all.len());
    all
}

/// Whose what a parameter of a path names is.
#[derive(PartialEq)]
enum Owner {
    /// AWS's: everybody may name it.
    Nobody,
    /// The one team's that made it.
    Team,
    /// Every administrator's.
    Administrators,
}

/// Whose a parameter is, and a value that is well-formed; for what has an owner, one that is not there.
fn parameter(name: &str) -> (Owner, &'static str) {
    match name {
        "model_id" | "model" => (Owner::Nobody, MODEL),
        "guardrail" => (Owner::Nobody, "gr1"),
        "version" => (Owner::Nobody, "1"),
        "profile" => (Owner::Nobody, "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        "batch_id" => (Owner::Team, "batch_00000000000000000000000000000000"),
        "message_batch_id" => (Owner::Team, "msgbatch_00000000000000000000000000000000"),
        "job" => (Owner::Team, "arn%3Aaws%3Abedrock%3Aus-east-1%3A000000000000%3Amodel-invocation-job%2Fabcdef012345"),
        "response_id" => (Owner::Team, "resp_00000000000000000000000000000000"),
        "file_id" => (Owner::Team, "file-00000000000000000000000000000000"),
        "invocation" => (Owner::Team, "arn%3Aaws%3Abedrock%3Aus-east-1%3A000000000000%3Aasync-invoke%2Fabcdef012345"),
        "team" | "key" | "limit" | "budget" => (Owner::Administrators, "nothing"),
        unknown => panic!("a parameter that this test does not know: {unknown}"),
    }
}

impl Operation {
    fn parameters(&self) -> Vec<&str> {
        self.pattern.split('{').skip(1).map(|rest| rest.split('}').next().unwrap()).collect()
    }

    fn path(&self) -> String {
        self.path_with(|name| parameter(name).1.to_owned())
    }

    fn path_with(&self, value: impl Fn(&str) -> String) -> String {
        let mut path = self.pattern.clone();
        for name in self.parameters() {
            path = path.replace(&format!("{{{name}}}"), &value(name));
        }
        path
    }

    /// A body that the operation takes: what it refuses, it refuses because of the key.
    fn body(&self) -> Option<Value> {
        if !["POST", "PUT", "PATCH"].contains(&self.method.as_str()) {
            return None;
        }
        let chat = json!([{"role": "user", "content": "hello"}]);
        let turns = json!([{"role": "user", "content": [{"text": "hello"}]}]);
        let native = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 16, "messages": chat});
        let output = json!({"s3OutputDataConfig": {"s3Uri": "s3://bedrock-gateway/out"}});
        let no_file = parameter("file_id").1;
        Some(match &*self.pattern {
            "/v1/chat/completions" | "/v1/messages/count_tokens" => json!({"model": MODEL, "messages": chat}),
            "/v1/responses" | "/v1/responses/input_tokens" => json!({"model": MODEL, "input": "hello"}),
            "/v1/embeddings" => json!({"model": "titan-embed-text-v2", "input": "hello"}),
            "/v1/images/generations" => json!({"model": "sd3-5-large", "prompt": "a cat"}),
            // Sent as a form.
            "/v1/files" => json!(null),
            "/v1/rerank" => json!({"model": "rerank-v3-5", "query": "a", "documents": ["b"]}),
            "/v1/batches" => over(no_file),
            "/v1/messages/batches" => message_batch(),
            "/model-invocation-job" => job(no_file),
            "/v1/messages" => json!({"model": MODEL, "max_tokens": 16, "messages": chat}),
            "/model/{model_id}/converse" | "/model/{model_id}/converse-stream" => json!({"messages": turns}),
            "/model/{model_id}/invoke" | "/model/{model_id}/invoke-with-response-stream" => native,
            "/model/{model_id}/count-tokens" => json!({"input": {"converse": {"messages": turns}}}),
            "/guardrail/{guardrail}/version/{version}/apply" => {
                json!({"source": "INPUT", "content": [{"text": {"text": "hello"}}]})
            }
            "/async-invoke" => json!({
                "modelId": "twelvelabs.marengo-embed-3-0-v1:0",
                "modelInput": {"inputType": "text", "text": {"inputText": "hello"}},
                "outputDataConfig": output,
            }),
            "/admin/v1/teams" => json!({"name": "made by the walk"}),
            "/admin/v1/keys" => json!({"team": TEAM, "name": "made by the walk"}),
            "/admin/v1/limits" => json!({"team": TEAM, "requests_per_minute": 1_000_000}),
            "/admin/v1/budgets" => json!({"team": TEAM, "period": "total", "limit_usd": "1000"}),
            "/v1/responses/{response_id}/cancel"
            | "/v1/batches/{batch_id}/cancel"
            | "/v1/messages/batches/{message_batch_id}/cancel"
            | "/model-invocation-job/{job}/stop"
            | "/admin/v1/teams/{team}"
            | "/admin/v1/teams/{team}/webhook/rotate"
            | "/admin/v1/keys/{key}"
            | "/admin/v1/keys/{key}/rotate" => json!({}),
            unknown => panic!("a body that this test does not know: {} {unknown}", self.method),
        })
    }

    /// Whether path or body name something that may not be there.
    fn names_something(&self) -> bool {
        let in_body = self.method == Method::POST && ["/v1/batches", "/model-invocation-job"].contains(&&*self.pattern);
        in_body || self.parameters().iter().any(|name| parameter(name).0 != Owner::Nobody)
    }

    async fn send(&self, t: &TestGateway, path: &str, key: Option<&str>) -> Reply {
        let is_form = self.pattern == "/v1/files" && self.method == Method::POST;
        let kind = if is_form { "multipart/form-data; boundary=X" } else { "application/json" };
        let mut request = t.request(self.method.clone(), path).header("content-type", kind);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        if let Some(body) = self.body() {
            request = request.body(if is_form { UPLOAD.to_owned() } else { body.to_string() });
        }
        Reply::to(request).await
    }

    /// That the answer is a refusal in the dialect of the route: its status, and what the dialect calls it.
    fn assert_refused(&self, reply: &Reply, status: u16, words: [&str; 2]) {
        let what = format!("{} {}: {reply:?}", self.method, self.pattern);
        let [openai, anthropic] = words;
        if self.pattern.starts_with("/v1/messages") {
            assert_eq!((reply.status(), &reply.anthropic_error()["type"]), (status, &json!(anthropic)), "{what}");
        } else if ["/v1/", "/catalog/", "/admin/"].iter().any(|start| self.pattern.starts_with(start)) {
            assert_eq!((reply.status(), &reply.openai_error()["code"]), (status, &json!(openai)), "{what}");
        } else {
            reply.exception();
            assert_eq!(reply.status(), 403, "{what}");
        }
    }
}

/// A batch over this file.
fn over(file: &str) -> Value {
    json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"})
}

/// A message batch of which nothing runs.
fn message_batch() -> Value {
    let params =
        json!({"model": MODEL, "max_tokens": 16, "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    json!({"requests": [{"custom_id": "a", "params": params}]})
}

/// A job over this file.
fn job(file: &str) -> Value {
    json!({
        "jobName": "walk",
        "roleArn": "arn:aws:iam::000000000000:role/anybody",
        "modelId": MODEL,
        "modelInvocationType": "Converse",
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": format!("s3://bedrock-gateway/files/{file}")}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bedrock-gateway/files/"}},
    })
}

fn with_bucket(config: &mut bedrock_gateway::config::Config) {
    config.batch.bucket = [(FIRST.to_owned(), "files-east".to_owned())].into();
    "arn:aws:iam::000000000000:role/batch".clone_into(&mut config.batch.role_arn);
    // What the secret of a webhook is kept under.
    config.auth.sealing_key = Secret::new("MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=");
}

/// A gateway with a bucket that is there.
async fn gateway() -> TestGateway {
    TestGateway::with_simulated(with_bucket, |settings| {
        settings.buckets.insert("files-east".to_owned(), Bucket::default());
    })
    .await
}

/// Keys that are good for nothing, each with what is wrong with it.
async fn bad_keys(t: &TestGateway) -> Vec<(&'static str, Option<String>)> {
    let every = |name: &str| NewKey { scopes: SCOPES.to_vec(), ..NewKey::new(WALKERS, name) };
    let (_, good) = t.make_key(every("good")).await;
    let end = t.clock.now().plus(Duration::from_secs(30));
    let (_, expired) = t.make_key(NewKey { expires_at: Some(end), ..every("expired") }).await;
    let (revoked, revoked_text) = t.make_key(every("revoked")).await;
    admin::revoke_key(&t.store, &t.clock, Actor::CommandLine, &revoked.id).await.unwrap();
    t.make_team(NewTeam::new("gone")).await;
    let (_, of_revoked_team) = t.make_key(NewKey { team: "gone".into(), ..every("of a revoked team") }).await;
    let which = ("gone", &admin::Precondition::Any);
    admin::revoke_team_if(&t.store, &t.clock, Actor::CommandLine, which).await.unwrap();
    t.gateway().tenancy().refresh().await;
    vec![
        ("missing", None),
        ("malformed", Some("sk-of-elsewhere".into())),
        ("unknown", Some("bgw_nobody_secret".into())),
        ("wrong secret", Some(format!("{good}0"))),
        ("expired", Some(expired)),
        ("revoked", Some(revoked_text)),
        ("of a revoked team", Some(of_revoked_team)),
    ]
}

#[tokio::test]
async fn every_operation_refuses_keys_that_do_not_count() {
    let t = gateway().await;
    t.make_team(NewTeam::new(WALKERS)).await;
    let keys = bad_keys(&t).await;
    for operation in operations() {
        // Who sends many wrong keys in a minute is told to wait instead.
        t.clock.advance(Duration::from_mins(1));
        for (_, key) in &keys {
            let reply = operation.send(&t, &operation.path(), key.as_deref()).await;
            operation.assert_refused(&reply, 401, ["invalid_api_key", "authentication_error"]);
        }
    }
    assert!(t.sim.calls().is_empty(), "nothing may reach AWS");
    t.finish().await;
}

#[tokio::test]
async fn every_operation_refuses_a_key_without_its_scope_and_takes_one_that_has_it() {
    let t = gateway().await;
    t.make_team(NewTeam::new(WALKERS)).await;
    let mut keys = Vec::new();
    for scope in SCOPES {
        keys.push((
            scope,
            t.make_key(NewKey { scopes: vec![scope], ..NewKey::new(WALKERS, scope.to_string()) }).await.1,
        ));
    }
    let operations = operations();
    for operation in &operations {
        for (_, key) in keys.iter().filter(|(scope, _)| !operation.scopes.contains(scope)) {
            let reply = operation.send(&t, &operation.path(), Some(key)).await;
            operation.assert_refused(&reply, 403, ["insufficient_permissions", "permission_error"]);
        }
    }
    assert!(t.sim.calls().is_empty(), "nothing may reach AWS");
    for operation in &operations {
        for (scope, key) in keys.iter().filter(|(scope, _)| operation.scopes.contains(scope)) {
            let reply = operation.send(&t, &operation.path(), Some(key)).await;
            let what = format!("{} {} with {scope}: {reply:?}", operation.method, operation.pattern);
            assert!(![401, 403, 405].contains(&reply.status()) && reply.status() < 500, "{what}");
            // Only what is not there is not found: the walk's bodies are good.
            assert!(
                reply.status() < 300 || operation.names_something() || operation.pattern.starts_with("/guardrail"),
                "{what}"
            );
            if let Some(key) = reply.json_if_any().and_then(|body| body["key"].as_str().map(str::to_owned)) {
                t.watch(&key);
            }
        }
    }
    t.finish().await;
}

#[tokio::test]
async fn what_is_one_teams_is_nothing_to_another() {
    let t = gateway().await;
    t.make_team(NewTeam::new(WALKERS)).await;
    let all_but_admin = vec![Scope::Inference, Scope::Batch, Scope::Metrics];
    let (_, other) = t.make_key(NewKey { scopes: all_but_admin, ..NewKey::new(WALKERS, "curious") }).await;
    let find = |pattern: &str, method: &Method| {
        operations().into_iter().find(|found| found.pattern == pattern && found.method == method).unwrap()
    };
    let made = find("/v1/responses", &Method::POST).send(&t, "/v1/responses", Some(t.key())).await;
    let response = made.json()["id"].as_str().unwrap().to_owned();
    let made = find("/async-invoke", &Method::POST).send(&t, "/async-invoke", Some(t.key())).await;
    let invocation = made.json()["invocationArn"].as_str().unwrap().to_owned();
    let made = find("/v1/files", &Method::POST).send(&t, "/v1/files", Some(t.key())).await;
    let file = made.json()["id"].as_str().unwrap().to_owned();
    // One of its lines is wrong: what is over it has failed, and nothing runs.
    let submit = async |path: &str, body: Value, name: &str| {
        let made = Reply::to(t.request(Method::POST, path).bearer_auth(t.key()).json(&body)).await;
        made.json()[name].as_str().unwrap_or_else(|| panic!("{path}: {made:?}")).to_owned()
    };
    let batch = submit("/v1/batches", over(&file), "id").await;
    let message_batch = submit("/v1/messages/batches", message_batch(), "id").await;
    let job = submit("/model-invocation-job", job(&file), "jobArn").await;
    let own = |name: &str| match name {
        "batch_id" => batch.clone(),
        "message_batch_id" => message_batch.clone(),
        "job" => job.replace(':', "%3A").replace('/', "%2F"),
        "response_id" => response.clone(),
        "file_id" => file.clone(),
        "invocation" => invocation.replace(':', "%3A").replace('/', "%2F"),
        shared => {
            assert!(parameter(shared).0 != Owner::Team, "nothing was made that `{shared}` names");
            parameter(shared).1.to_owned()
        }
    };
    let team = admin::find_team(&t.store, TEAM).await.unwrap().id;
    let key = t.key().split('_').nth(1).unwrap().to_owned();
    let marks = [&*response, &*file, &*batch, &*message_batch, &*job, &*invocation, team.as_str(), &*key, TEAM];

    let mut owned = 0;
    for operation in operations() {
        let of_team = operation.parameters().iter().any(|name| parameter(name).0 == Owner::Team);
        if of_team {
            owned += 1;
            let (theirs, nothing) = (operation.path_with(own), operation.path());
            let found = operation.send(&t, &theirs, Some(&other)).await;
            let absent = operation.send(&t, &nothing, Some(&other)).await;
            assert!([400, 404].contains(&found.status()), "{} {}: {found:?}", operation.method, operation.pattern);
            let plain = |reply: &Reply| {
                let mut text = reply.text().replace(reply.header("x-request-id"), "REQUEST");
                let names = [
                    (&response, "response_id"),
                    (&file, "file_id"),
                    (&batch, "batch_id"),
                    (&message_batch, "message_batch_id"),
                ];
                for (own, name) in names {
                    text = text.replace(own.as_str(), "ID").replace(parameter(name).1, "ID");
                }
                (reply.status(), text)
            };
            assert_eq!(plain(&found), plain(&absent), "{} {}", operation.method, operation.pattern);
        } else if operation.method == Method::GET {
            let reply = operation.send(&t, &operation.path(), Some(&other)).await;
            for mark in marks {
                assert!(!reply.text().contains(mark), "{} tells {mark}: {reply:?}", operation.pattern);
            }
        }
    }
    assert!(owned >= 5, "{owned}");
    let usage =
        async |query: &str| Reply::to(t.request(Method::GET, &format!("/v1/usage?{query}")).bearer_auth(&other)).await;
    let (theirs, nobodys) = (usage(&format!("team={team}")).await, usage("team=nobody").await);
    assert_eq!((theirs.status(), theirs.text()), (403, nobodys.text()));
    let of_key = usage(&format!("group_by=model&key={key}")).await;
    assert_eq!((of_key.status(), &of_key.json()["data"]), (200, &json!([])));
    let kept = Reply::to(t.request(Method::GET, &format!("/v1/responses/{response}")).bearer_auth(t.key())).await;
    assert_eq!(kept.status(), 200, "nobody else deleted it");
    t.finish().await;
}
