//! A panic is a 500 in the caller's dialect with the id of its request, one line in the log that quotes nobody, and a count.

use std::net::SocketAddr;
use std::sync::Once;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use bedrock_gateway::api;
use bedrock_gateway::telemetry::panics;
use futures_util::{StreamExt as _, stream};
use reqwest::header::HeaderMap;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::support::reply::Reply;
use crate::support::{TestGateway, eventually, log, within};

/// The hook of production, before the one that tells which test failed.
fn report() {
    static BEGUN: Once = Once::new();
    BEGUN.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            panics::tell(panic);
            before(panic);
        }));
    });
}

/// Quotes what it was sent, as slicing a text does.
async fn fail(body: Bytes) -> String {
    panic!("cannot read {}", String::from_utf8_lossy(&body))
}

/// Fails when the client has half of it.
async fn fail_midway() -> Body {
    let pieces = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"half"))]);
    let rest = async {
        // Until the first half has left.
        tokio::task::yield_now().await;
        panic!("{} is not whole", log::PRIVATE)
    };
    Body::from_stream(pieces.chain(stream::once(rest)))
}

/// The client port with handlers that fail, while `calls` is made.
async fn while_failing(t: &TestGateway, calls: impl AsyncFnOnce(SocketAddr)) {
    report();
    let routes = Router::new()
        .route("/v1/chat/completions", post(fail))
        .route("/v1/messages", post(fail))
        .route("/model/{model_id}/converse", post(fail))
        .route("/v1/models", get(fail_midway));
    let routes = api::framed(routes, t.gateway(), &t.config.server);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stopped = stop.clone().cancelled_owned();
    let serving = async { axum::serve(listener, routes).with_graceful_shutdown(stopped).await.unwrap() };
    let calling = async {
        calls(address).await;
        stop.cancel();
    };
    within(async { tokio::join!(serving, calling) }).await;
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500_in_the_dialect_and_a_line_without_the_prompt() {
    let t = TestGateway::start().await;
    let before = t.metrics().count("gateway_panics_total", &[]);
    while_failing(&t, async |address| {
        let send = |path: &str| {
            let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
            Reply::to(http.post(format!("http://{address}{path}")).body(log::PRIVATE))
        };
        let openai = send("/v1/chat/completions").await;
        assert_eq!((openai.status(), &openai.openai_error()["type"]), (500, &json!("server_error")));
        let anthropic = send("/v1/messages").await;
        assert_eq!((anthropic.status(), &anthropic.anthropic_error()["type"]), (500, &json!("api_error")));
        let bedrock = send("/model/m/converse").await;
        assert_eq!((bedrock.status(), bedrock.exception().0), (500, "InternalServerException"));
        for reply in [openai, anthropic, bedrock] {
            let id = reply.header("x-request-id");
            assert!(!id.is_empty() && !reply.text().contains(log::PRIVATE));
            eventually("the line is written", async || !log::access_lines(id).is_empty()).await;
            let line = &log::access_lines(id)[0];
            assert_eq!((&line["level"], &line["error"]), (&json!("ERROR"), &json!("internal")), "{line}");
            assert_eq!(line["error_causes"], "a panic");
            let told: Vec<_> = log::all().into_iter().filter(|line| line["request_id"] == id).collect();
            let told = told.iter().find(|line| line.get("place").is_some()).unwrap_or_else(|| panic!("{told:?}"));
            assert!(told["place"].as_str().unwrap().starts_with("tests/it/panics.rs:"), "{told}");
            assert_eq!((told.get("said"), &told["level"]), (None, &json!("ERROR")));
        }
    })
    .await;
    assert!(t.metrics().count("gateway_panics_total", &[]) >= before + 3);
    // `finish` looks for what is private in everything that was logged.
    t.finish().await;
}

#[tokio::test]
async fn an_answer_that_panics_midway_breaks_off_and_says_so_in_the_log() {
    let t = TestGateway::start().await;
    let headers: HeaderMap = [("x-request-id".parse().unwrap(), "midway".parse().unwrap())].into_iter().collect();
    while_failing(&t, async |address| {
        let http = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        let reply = http.get(format!("http://{address}/v1/models")).headers(headers).send().await.unwrap();
        assert_eq!(reply.status(), 200);
        assert!(reply.bytes().await.is_err(), "half an answer looks like a whole one");
    })
    .await;
    eventually("the line is written", async || !log::access_lines("midway").is_empty()).await;
    let line = &log::access_lines("midway")[0];
    assert_eq!(
        (&line["complete"], &line["level"], &line["error"]),
        (&json!(false), &json!("ERROR"), &json!("internal"))
    );
    t.finish().await;
}
