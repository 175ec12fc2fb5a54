//! A team's webhook, from a batch over the wire to a receiver that is not always willing.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bedrock_gateway::config::{Config, Secret};
use bedrock_gateway::simulator::Bucket;
use bedrock_gateway::tenancy::{NewKey, Scope};
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::support::reply::Reply;
use crate::support::{FIRST, TEAM, TestGateway, eventually};

const BUCKET: &str = "files-east";

/// Whoever is told. It fails so many times first.
struct Receiver {
    url: String,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Receiver {
    async fn start(failures: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://localhost:{}/hook", listener.local_addr().unwrap().port());
        let seen: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
        let kept = Arc::clone(&seen);
        TaskTracker::new().spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(socket.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
                let mut body = vec![0; length.parse().unwrap()];
                socket.read_exact(&mut body).await.unwrap();
                let count = {
                    let mut seen = kept.lock().unwrap();
                    seen.push((head, String::from_utf8(body).unwrap()));
                    seen.len()
                };
                let status = if count <= failures { "503 Busy" } else { "204 Thanks" };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, seen }
    }

    fn seen(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().clone()
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    head.lines().find_map(|line| line.strip_prefix(&*format!("{name}: "))).unwrap()
}

async fn ask(t: &TestGateway, method: Method, path: &str, key: &str, body: &Value) -> Value {
    let reply = Reply::to(t.request(method, path).bearer_auth(key).json(body)).await;
    assert!(reply.status() < 300, "{reply:?}");
    reply.json()
}

/// The id of a batch of one record; its end is told to `url`, or else to the team's webhook.
async fn submitted(t: &TestGateway, url: Option<&str>) -> String {
    let chat = json!({"model": "nova-lite", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]});
    let line = json!({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": chat});
    let form = format!(
        "--X\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--X\r\nContent-Disposition: form-data; \
         name=\"file\"; filename=\"a.jsonl\"\r\n\r\n{line}\n\r\n--X--\r\n"
    );
    let request = t.request(Method::POST, "/v1/files").bearer_auth(t.key());
    let file = Reply::to(request.header("content-type", "multipart/form-data; boundary=X").body(form)).await;
    let mut new =
        json!({"input_file_id": file.json()["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"});
    if let Some(url) = url {
        new["webhook_url"] = json!(url);
    }
    ask(t, Method::POST, "/v1/batches", t.key(), &new).await["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_end_of_a_batch_is_told_until_it_is_taken_and_an_administrator_sees_how_that_goes() {
    let (of_team, own) = (Receiver::start(2).await, Receiver::start(0).await);
    let configured = |config: &mut Config| {
        config.batch.bucket = [(FIRST.to_owned(), BUCKET.to_owned())].into();
        "arn:aws:iam::000000000000:role/bedrock-batch".clone_into(&mut config.batch.role_arn);
        config.auth.sealing_key = Secret::new(STANDARD.encode([3; 32]));
        config.fetch.allow_networks = vec!["127.0.0.0/8".into(), "::1/128".into()];
    };
    let t = TestGateway::with_simulated(configured, |settings| {
        settings.buckets.insert(BUCKET.to_owned(), Bucket::default());
    })
    .await;
    let (_, admin) = t.make_key(NewKey { scopes: vec![Scope::Admin], ..NewKey::new(TEAM, "a") }).await;
    let set = json!({"webhook_url": of_team.url});
    let team = ask(&t, Method::PATCH, &format!("/admin/v1/teams/{TEAM}"), &admin, &set).await;
    let secret = team["webhook_secret"].as_str().unwrap().to_owned();

    let first = submitted(&t, None).await;
    eventually("the team's receiver was asked", async || of_team.seen().len() == 1).await;
    let notice =
        async || ask(&t, Method::GET, "/admin/v1/batches", &admin, &json!(null)).await["data"][0]["webhook"].clone();
    eventually("its refusal is kept", async || notice().await["problem"] == "the receiver answered 503").await;
    assert_eq!((&notice().await["tries"], &notice().await["ended_at"]), (&json!(1), &Value::Null));
    t.clock.advance(Duration::from_secs(7));
    eventually("it was asked again", async || of_team.seen().len() == 2).await;
    eventually("that is kept", async || notice().await["tries"] == 2).await;
    t.clock.advance(Duration::from_secs(40));
    eventually("it has taken it", async || notice().await["ended_at"].is_string()).await;
    assert_eq!((of_team.seen().len(), &notice().await["problem"]), (3, &Value::Null));
    let second = submitted(&t, Some(&own.url)).await;
    eventually("the batch's own receiver was told", async || own.seen().len() == 1).await;

    for ((head, body), batch) in of_team.seen().iter().map(|seen| (seen, &first)).chain([(&own.seen()[0], &second)]) {
        let event: Value = serde_json::from_str(body).unwrap();
        assert_eq!((&event["type"], &event["data"]), (&json!("batch.completed"), &json!({"id": batch})));
        assert_eq!((&event["object"], event["id"].as_str().unwrap()), (&json!("event"), header(head, "webhook-id")));
        let key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.{body}", header(head, "webhook-id"), header(head, "webhook-timestamp")).as_bytes());
        let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
        assert_eq!(header(head, "webhook-signature"), signature);
    }
    let delivered = || t.metrics().count("gateway_webhook_deliveries_total", &[("result", "delivered")]);
    eventually("both are counted", async || delivered() == 2).await;
    t.finish().await;
}
