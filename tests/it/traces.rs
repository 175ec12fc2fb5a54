//! Traces: the tree of spans that a collector gets, what goes in and out by `traceparent`, and what is in none of them.

use std::time::{Duration, Instant};

use bedrock_gateway::config::{Config, Secret};
use bedrock_gateway::simulator::Settings;
use bedrock_gateway::telemetry::traces::{ATTRIBUTES, EVENTS};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

use crate::support::calls::{chat, message, turn, with};
use crate::support::collector::{Collector, Span};
use crate::support::reply::Reply;
use crate::support::scrape::Scrape;
use crate::support::{FIRST, MODEL_ID, SECOND, TEAM, TestGateway, log};

/// Of the example in <https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers>.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// The one span of this name.
fn named<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

fn is_below(child: &Span, parent: &Span) -> bool {
    let within = parent.times.0 <= child.times.0 && child.times.1 <= parent.times.1;
    (&child.trace, &child.parent) == (&parent.trace, &parent.id) && within
}

#[tokio::test]
async fn a_request_is_a_tree_of_its_call_and_its_attempt() {
    let collector = Collector::start().await;
    let t = TestGateway::with(|config| {
        collector.configure(config);
        config.telemetry.otlp_headers.insert("x-collector-key".into(), Secret::new("letmein"));
        config.telemetry.otel.service_name = Some("prompts".into());
        config.telemetry.otel.resource = vec![("deployment.environment.name".into(), "test".into())];
    })
    .await;
    let body = with(chat("hello"), json!({"max_tokens": 50, "temperature": 0.5}));
    let reply = t.openai().send(&body).await;
    assert_eq!(reply.status(), 200, "{reply:?}");
    let entry = t.only_call().await;
    t.finish().await;

    let spans = collector.spans();
    let request = named(&spans, "POST /v1/chat/completions");
    let call = named(&spans, &format!("chat {MODEL_ID}"));
    let attempt = named(&spans, &format!("attempt {FIRST}"));
    assert_eq!(spans.len(), 3, "{spans:#?}");
    assert!(request.parent.is_empty() && is_below(call, request) && is_below(attempt, call), "{spans:#?}");
    assert_eq!((request.kind, call.kind, attempt.kind), (SpanKind::Server, SpanKind::Client, SpanKind::Client));
    assert!(!spans.iter().any(|span| span.is_error));
    assert_eq!((attempt.events.as_slice(), call.events.len()), (["first_byte".to_owned()].as_slice(), 0));

    let id = reply.header("x-request-id");
    assert_eq!(reply.header("traceresponse"), format!("00-{}-{}-01", request.trace, request.id));
    assert_eq!(log::access_lines(id)[0]["trace_id"], request.trace);
    for (span, name, value) in [
        (request, "http.request.method", json!("POST")),
        (request, "http.route", json!("/v1/chat/completions")),
        (request, "url.path", json!("/v1/chat/completions")),
        (request, "network.protocol.version", json!("1.1")),
        (request, "http.response.status_code", json!(200)),
        (request, "http.response.body.size", json!(reply.bytes().len())),
        (request, "bedrock_gateway.request_id", json!(id)),
        (request, "bedrock_gateway.complete", json!(true)),
        (request, "bedrock_gateway.surface", json!("openai")),
        (request, "bedrock_gateway.operation", json!("chat")),
        (request, "bedrock_gateway.team", json!(TEAM)),
        (request, "bedrock_gateway.key", json!(entry.key.as_str())),
        (request, "bedrock_gateway.outcome", json!("ok")),
        (request, "error.type", Value::Null),
        (call, "gen_ai.operation.name", json!("chat")),
        (call, "gen_ai.provider.name", json!("aws.bedrock")),
        (call, "gen_ai.request.model", json!(MODEL_ID)),
        (call, "gen_ai.response.model", json!(MODEL_ID)),
        (call, "gen_ai.request.stream", json!(false)),
        (call, "gen_ai.request.max_tokens", json!(50)),
        (call, "gen_ai.request.temperature", json!(0.5)),
        (call, "gen_ai.request.top_p", Value::Null),
        (call, "gen_ai.response.finish_reasons", json!(["end_turn"])),
        (call, "gen_ai.usage.input_tokens", json!(entry.input_tokens)),
        (call, "gen_ai.usage.output_tokens", json!(entry.output_tokens)),
        (call, "gen_ai.usage.cache_read.input_tokens", json!(0)),
        (call, "cloud.region", json!(FIRST)),
        (call, "bedrock_gateway.attempts", json!(1)),
        (call, "bedrock_gateway.cost_micro_usd", json!(entry.cost.unwrap().0)),
        (call, "bedrock_gateway.tier", json!("default")),
        (call, "bedrock_gateway.usage_source", json!("final")),
        (call, "bedrock_gateway.outcome", json!("ok")),
        (attempt, "bedrock_gateway.attempt.number", json!(1)),
        (attempt, "bedrock_gateway.attempt.candidate", json!(format!("us.{MODEL_ID}"))),
        (attempt, "bedrock_gateway.attempt.after", Value::Null),
        (attempt, "bedrock_gateway.outcome", json!("ok")),
        (attempt, "cloud.region", json!(FIRST)),
        (attempt, "server.address", json!("127.0.0.1")),
        (attempt, "http.response.status_code", json!(200)),
    ] {
        assert_eq!(span.get(name), value, "{name} of {span:#?}");
    }
    assert!(attempt.get("aws.request_id").is_string() && attempt.get("server.port").is_number(), "{attempt:#?}");

    let resource = collector.resource();
    assert_eq!(
        (&resource["service.name"], &resource["deployment.environment.name"]),
        (&json!("prompts"), &json!("test"))
    );
    assert_eq!(resource["service.version"], env!("CARGO_PKG_VERSION"));
    let (headers, _) = collector.exports().swap_remove(0);
    assert_eq!(headers["x-collector-key"], "letmein");
    assert_eq!(headers["content-type"], "application/x-protobuf");
    collector.stop().await;
}

#[tokio::test]
async fn a_stream_that_moves_on_has_an_attempt_for_each_region_and_bedrock_learns_of_both() {
    let collector = Collector::start().await;
    let t = TestGateway::tapped(|config| collector.configure(config)).await;
    t.sim.region(FIRST).throttle(1);
    let reply = t.openai().stream("hello [[words:20]]").await.rest().await;
    assert_eq!((reply.status(), reply.attempts()), (200, "2"));
    let sent: Vec<_> = t.tap.exchanges().into_iter().map(|exchange| exchange.request_headers).collect();
    t.finish().await;

    let spans = collector.spans();
    let request = named(&spans, "POST /v1/chat/completions");
    let call = named(&spans, &format!("chat {MODEL_ID}"));
    let (first, second) = (named(&spans, &format!("attempt {FIRST}")), named(&spans, &format!("attempt {SECOND}")));
    assert!(is_below(call, request) && is_below(first, call) && is_below(second, call), "{spans:#?}");
    assert!(first.times.1 <= second.times.0);
    assert_eq!(call.events, ["first_event"]);
    assert!(first.is_error && !second.is_error && !call.is_error && !request.is_error, "{spans:#?}");
    for (span, name, value) in [
        (first, "bedrock_gateway.outcome", json!("throttled")),
        (first, "bedrock_gateway.attempt.reason", json!("throttled")),
        (first, "error.type", json!("ThrottlingException")),
        (first, "http.response.status_code", json!(429)),
        (second, "bedrock_gateway.attempt.number", json!(2)),
        (second, "bedrock_gateway.attempt.after", json!("throttled")),
        (second, "bedrock_gateway.outcome", json!("ok")),
        (call, "bedrock_gateway.attempts", json!(2)),
        (call, "cloud.region", json!(SECOND)),
        (call, "gen_ai.request.stream", json!(true)),
        (call, "gen_ai.response.finish_reasons", json!(["end_turn"])),
        (request, "http.response.body.size", json!(reply.bytes().len())),
    ] {
        assert_eq!(span.get(name), value, "{name} of {span:#?}");
    }
    for (attempt, headers) in [first, second].into_iter().zip(&sent) {
        assert_eq!(headers["traceparent"], format!("00-{}-{}-01", attempt.trace, attempt.id));
        let signed = headers["authorization"].to_str().unwrap();
        assert!(signed.contains("SignedHeaders=") && !signed.contains("traceparent"), "{signed}");
    }
    collector.stop().await;
}

#[tokio::test]
async fn every_surface_and_lane_is_traced_alike() {
    let collector = Collector::start().await;
    let t = TestGateway::with(|config| collector.configure(config)).await;
    let native = with(message("hello"), json!({"temperature": 0.5}));
    assert_eq!(t.anthropic().send(&native).await.status(), 200);
    assert_eq!(t.anthropic().stream(native.clone()).await.rest().await.status(), 200);
    assert_eq!(t.bedrock().converse("hello").await.status(), 200);
    let invoke = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 2000, "messages": native["messages"]});
    assert_eq!(t.bedrock().open("invoke-with-response-stream", invoke.to_string()).await.rest().await.status(), 200);
    assert_eq!(t.anthropic().count(&message("hello")).await.status(), 200);
    let embeddings = json!({"model": "amazon.titan-embed-text-v2:0", "input": ["a", "b"]});
    assert_eq!(t.openai().post("/v1/embeddings", &embeddings).await.status(), 200);
    t.finish().await;

    let spans = collector.spans();
    let calls: Vec<_> = spans.iter().filter(|span| !span.get("gen_ai.provider.name").is_null()).collect();
    let told: Vec<_> = calls
        .iter()
        .map(|call| {
            let of = |name| call.get(name).as_str().unwrap().to_owned();
            (of("gen_ai.operation.name"), of("bedrock_gateway.operation"), call.get("gen_ai.response.finish_reasons"))
        })
        .collect();
    let told: Vec<_> = told.iter().map(|(name, ours, why)| (name.as_str(), ours.as_str(), why)).collect();
    let (ended, none) = (json!(["end_turn"]), Value::Null);
    assert_eq!(
        told,
        [
            ("chat", "messages", &ended),
            ("chat", "messages", &ended),
            ("chat", "converse", &ended),
            ("chat", "invoke_model_with_response_stream", &ended),
            ("count_tokens", "count_tokens", &none),
            ("embeddings", "embeddings", &none),
            ("embeddings", "embeddings", &none),
        ]
    );
    // Two calls, one request.
    let of_embeddings = named(&spans, "POST /v1/embeddings");
    assert_eq!(calls.iter().filter(|call| is_below(call, of_embeddings)).count(), 2, "{spans:#?}");
    assert_eq!(spans.iter().filter(|span| span.name.starts_with("attempt ")).count(), calls.len());
    collector.stop().await;
}

#[tokio::test]
async fn a_refused_request_is_one_span_and_a_failed_one_an_error() {
    let collector = Collector::start().await;
    let t = TestGateway::with(|config| {
        collector.configure(config);
        config.aws.max_attempts = 2;
    })
    .await;
    assert_eq!(t.openai().with_key("bgw_none_none").chat("hello").await.status(), 401);
    assert_eq!(t.get("/no/such/route?secret=1").await.status(), 404);
    let unknown = Reply::to(t.request("BREW".parse().unwrap(), "/v1/models")).await;
    assert_eq!(unknown.status(), 405);
    t.sim.region("*").unavailable(2);
    assert_eq!(t.openai().chat("hello").await.status(), 503);
    t.finish().await;

    let spans = collector.spans();
    let of = |status: u16| {
        let found: Vec<_> = spans
            .iter()
            .filter(|span| span.kind == SpanKind::Server && span.get("http.response.status_code") == json!(status))
            .collect();
        assert_eq!(found.len(), 1, "{status} in {spans:#?}");
        found[0]
    };
    let (refused, lost, odd, failed) = (of(401), of(404), of(405), of(503));
    assert_eq!((refused.get("error.type"), refused.is_error), (json!("unauthenticated"), false));
    assert!(refused.get("bedrock_gateway.team").is_null() && collector.trace(&refused.trace).len() == 1);
    assert_eq!((lost.name.as_str(), lost.get("http.route"), lost.get("url.path")), ("GET", Value::Null, Value::Null));
    assert_eq!((odd.name.as_str(), odd.get("http.request.method")), ("_OTHER /v1/models", json!("_OTHER")));
    assert_eq!((failed.get("error.type"), failed.is_error), (json!("upstream_unavailable"), true));
    let tree = collector.trace(&failed.trace);
    let call = named(&tree, &format!("chat {MODEL_ID}"));
    assert_eq!((call.get("error.type"), call.is_error), (json!("ServiceUnavailableException"), true));
    assert_eq!((tree.len(), call.get("bedrock_gateway.outcome")), (4, json!("upstream_unavailable")));
    collector.stop().await;
}

#[tokio::test]
async fn spans_end_when_the_client_leaves_and_when_a_stream_breaks() {
    let collector = Collector::start().await;
    let t = TestGateway::with(|config| collector.configure(config)).await;
    let mut live = t.openai().stream("slowly [[words:2000]]").await;
    live.read_until("You").await;
    live.hang_up();
    assert_eq!(t.only_call().await.outcome.as_str(), "cancelled");
    t.sim.region(FIRST).cut_stream_after(3);
    t.openai().stream("one two three four").await.rest().await;
    t.booked_calls(2).await;
    t.finish().await;

    let spans = collector.spans();
    let requests: Vec<_> = spans.iter().filter(|span| span.kind == SpanKind::Server).collect();
    let [left, broke] = requests[..] else { panic!("{requests:#?}") };
    let outcomes = |request: &Span| -> Vec<_> {
        collector
            .trace(&request.trace)
            .iter()
            .map(|span| (span.get("bedrock_gateway.outcome"), span.is_error))
            .collect()
    };
    assert_eq!(outcomes(left), [(json!("cancelled"), false), (json!("cancelled"), false), (json!("ok"), false)]);
    assert_eq!(
        (left.get("bedrock_gateway.complete"), left.get("http.response.status_code")),
        (json!(false), json!(200))
    );
    let failed = (json!("upstream_unavailable"), true);
    assert_eq!(outcomes(broke), [failed.clone(), failed, (json!("error"), true)]);
    collector.stop().await;
}

#[tokio::test]
async fn the_loser_of_two_attempts_is_told_apart() {
    let collector = Collector::start().await;
    let t = TestGateway::with(|config| {
        collector.configure(config);
        config.aws.hedge_after_ms = 20;
    })
    .await;
    t.sim.region(FIRST).slow_first_byte(1, Duration::from_secs(30));
    let reply = t.openai().chat("hello").await;
    assert_eq!((reply.status(), reply.region()), (200, SECOND));
    t.booked_calls(2).await;
    t.finish().await;
    let spans = collector.spans();
    let (first, second) = (named(&spans, &format!("attempt {FIRST}")), named(&spans, &format!("attempt {SECOND}")));
    assert_eq!(
        (first.get("bedrock_gateway.outcome"), first.get("bedrock_gateway.attempt.hedge")),
        (json!("abandoned"), Value::Null)
    );
    assert_eq!(
        (second.get("bedrock_gateway.outcome"), second.get("bedrock_gateway.attempt.hedge")),
        (json!("ok"), json!(true))
    );
    collector.stop().await;
}

#[tokio::test]
async fn the_callers_trace_goes_on_and_its_word_on_sampling_holds() {
    let collector = Collector::start().await;
    let t = TestGateway::tapped(|config| collector.configure(config)).await;
    let call = async |headers: &[(&str, String)]| {
        let request = t.openai().request().json(&chat("hello"));
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let reply = Reply::to(request).await;
        assert_eq!(reply.status(), 200, "{reply:?}");
        let sent = t.tap.exchanges().pop().unwrap().request_headers;
        let of = |name: &str| sent.get(name).map(|value| value.to_str().unwrap().to_owned());
        (reply.header("traceresponse").to_owned(), of("traceparent").unwrap(), of("tracestate"))
    };
    let state = ("tracestate", "vendor=1,other=2".to_owned());
    let (told, sent, passed) = call(&[("traceparent", traceparent("01")), state.clone()]).await;
    assert!(
        told.contains(TRACE) && sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-01"),
        "{told} {sent}"
    );
    assert!(!sent.contains(PARENT) && passed.as_deref() == Some("vendor=1,other=2"), "{sent} {passed:?}");

    // Not sampled: passed on, and told to nobody.
    let other = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let (told, sent, _) = call(&[("traceparent", format!("00-{other}-{PARENT}-00"))]).await;
    assert!(
        told.contains(other) && sent.starts_with(&format!("00-{other}-")) && sent.ends_with("-00"),
        "{told} {sent}"
    );

    let zeros = "0".repeat(32);
    for wrong in [
        "",
        "nonsense",
        &format!("00-{zeros}-{PARENT}-01"),
        &format!("ff-{other}-{PARENT}-01"),
        &format!("00-{other}-x-01"),
    ] {
        let (_, sent, _) = call(&[("traceparent", wrong.to_owned())]).await;
        assert!(!sent.contains(other) && sent.ends_with("-01"), "{wrong:?}: {sent}");
    }
    let twice = [("traceparent", format!("00-{other}-{PARENT}-01")), ("traceparent", traceparent("01"))];
    assert!(!call(&twice).await.1.contains(other));
    t.finish().await;

    let spans = collector.trace(TRACE);
    assert_eq!((spans.len(), spans[0].parent.as_str(), spans[0].kind), (3, PARENT, SpanKind::Server), "{spans:#?}");
    assert!(collector.trace(other).is_empty());
    assert_eq!(collector.spans().len(), 3 * 7);
    collector.stop().await;
}

#[tokio::test]
async fn a_ratio_counts_for_requests_that_bring_no_trace() {
    let collector = Collector::start().await;
    let t = TestGateway::with(|config| {
        collector.configure(config);
        config.telemetry.trace_sample = Some(0.0);
    })
    .await;
    let reply = t.openai().chat("hello").await;
    assert!(reply.header("traceresponse").ends_with("-00"), "{reply:?}");
    Reply::to(t.openai().request().json(&chat("hello")).header("traceparent", traceparent("01"))).await;
    t.finish().await;
    let spans = collector.spans();
    assert_eq!((spans.len(), collector.trace(TRACE).len()), (3, 3), "{spans:#?}");
    collector.stop().await;
}

#[tokio::test]
async fn without_a_collector_nothing_is_traced_told_or_passed_on() {
    let t = TestGateway::tapped(|_| {}).await;
    let request = t.openai().request().json(&chat("hello")).header("traceparent", traceparent("01"));
    let reply = Reply::to(request.header("tracestate", "a=1")).await;
    assert!(reply.header("traceresponse").is_empty());
    let sent = t.tap.only_exchange().request_headers;
    assert!(!sent.contains_key("traceparent") && !sent.contains_key("tracestate"), "{sent:?}");
    assert!(log::access_lines(reply.header("x-request-id"))[0].get("trace_id").is_none());
    t.finish().await;
}

#[tokio::test]
async fn a_collector_that_is_away_costs_spans_and_nothing_else() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let t = TestGateway::with(|config| config.telemetry.otlp_endpoint = format!("http://{nobody}")).await;
    for _ in 0..3 {
        assert_eq!(t.openai().chat("hello").await.status(), 200);
    }
    let metrics = t.gateway().metrics().clone();
    t.finish().await;
    let scrape = Scrape::parse(&metrics.render());
    assert_eq!(scrape.count("gateway_spans_dropped_total", &[("reason", "export")]), 9);
}

#[tokio::test]
async fn a_collector_that_does_not_answer_holds_up_neither_requests_nor_the_drain() {
    let collector = Collector::slow().await;
    let t = TestGateway::with(|config| collector.configure(config)).await;
    let began = Instant::now();
    // More than one export, and more than the first waits for.
    for _ in 0..20 {
        assert_eq!(t.openai().chat("hello").await.status(), 200);
    }
    let metrics = t.gateway().metrics().clone();
    t.finish().await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let scrape = Scrape::parse(&metrics.render());
    assert_eq!(scrape.count("gateway_spans_dropped_total", &[("reason", "export")]), 60);
    collector.stop().await;
}

#[tokio::test]
async fn spans_say_what_is_documented_and_nothing_that_is_secret() {
    let collector = Collector::start().await;
    let id = "abcdefghijkl";
    let believe = |settings: &mut Settings| settings.provisioned_models.extend([(id.to_owned(), MODEL_ID.to_owned())]);
    let t = TestGateway::with_simulated(|config: &mut Config| collector.configure(config), believe).await;
    let text = format!("{} and my card", log::PRIVATE);
    let arn = format!("arn:aws:bedrock:{FIRST}:000000000000:provisioned-model/{id}");
    t.openai().chat(&text).await;
    t.openai().stream(&text).await.rest().await;
    t.bedrock().model(&arn.replace(':', "%3A").replace('/', "%2F")).send("converse", turn(&text).to_string()).await;
    t.openai().send(&with(chat(&text), json!({"model": arn}))).await;
    t.sim.region("*").reject(1, "ValidationException", 400, &format!("hunter2 on {arn} by 111122223333"));
    t.openai().chat(&text).await;
    let key = t.key().to_owned();
    t.finish().await;

    let exported: Vec<u8> = collector.exports().into_iter().flat_map(|(_, body)| body).collect();
    let exported = String::from_utf8_lossy(&exported).to_ascii_lowercase();
    for secret in
        [log::PRIVATE, key.rsplit('_').next().unwrap(), "arn:", "arn%3a", "111122223333", "hunter2", "my card"]
    {
        assert!(!exported.contains(&secret.to_ascii_lowercase()), "{secret} was exported");
    }
    let spans = collector.spans();
    assert!(spans.len() > 12 && exported.contains("provisioned-model"), "{spans:#?}");
    for span in &spans {
        let sort = match span.kind {
            SpanKind::Server => "request",
            _ if span.name.starts_with("attempt") => "attempt",
            _ => "call",
        };
        for name in span.attributes.keys() {
            let listed = ATTRIBUTES.iter().find(|listed| listed.name == name);
            assert!(listed.is_some_and(|listed| listed.spans.contains(sort)), "{name} of {span:#?} is not documented");
        }
        assert!(span.events.iter().all(|event| EVENTS.iter().any(|(name, of, _)| name == event && *of == sort)));
    }
    collector.stop().await;
}
