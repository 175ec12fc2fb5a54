//! The way of a request: size, route, signature, fault, operation, answer, and one record of it all.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, Uri, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Caller;
use super::calls::{Invocation, Outcome, Recording};
use super::errors::{self, Failure, Surface};
use super::faults::{Fault, Outage};
use super::gates::{Held, When};
use super::operations::{Context, Lane, Operation};
use super::orders::Order;
use super::quota::Reservation;
use super::reply::{Payload, Reply};
use super::server::Switch;
use super::sessions::Identity;
use super::stream::Frames;
use super::validate::places;
use super::{Simulator, account, auth, gates, jobs, permission, s3};

/// More than any operation takes; InvokeModel's own limit is checked there.
const MAX_BODY: usize = 32 << 20;

/// Where requests come in: a simulator, and the one Region of the listener, if it has one.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) simulator: Simulator,
    region: Option<Arc<str>>,
}

impl Door {
    /// The Region of the listener.
    pub(crate) fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }
}

pub(crate) fn router(simulator: Simulator, region: Option<&str>) -> Router {
    Router::new()
        .route("/_sim/faults", get(list_faults).post(add_fault).delete(clear_faults))
        .route("/_sim/calls", get(list_calls).delete(clear_calls))
        .route("/_sim/invocations", get(list_invocations))
        .route("/_sim/async-invokes/complete", post(complete_async_invokes))
        .merge(account::routes())
        .merge(gates::routes())
        .merge(jobs::routes())
        .fallback(answer)
        .with_state(Door { simulator, region: region.map(Arc::from) })
}

async fn list_faults(State(door): State<Door>) -> Json<Value> {
    Json(json!({"waiting": door.simulator.inner.faults.waiting()}))
}

async fn add_fault(State(door): State<Door>, body: Bytes) -> (StatusCode, Json<Value>) {
    let faults = &door.simulator.inner.faults;
    let order = serde_json::from_slice::<Order>(&body).map_err(|error| error.to_string());
    match order.and_then(|order| order.place(faults)) {
        Ok(()) => (StatusCode::CREATED, Json(json!({"waiting": faults.waiting()}))),
        Err(message) => (StatusCode::BAD_REQUEST, Json(json!({"message": message}))),
    }
}

async fn clear_faults(State(door): State<Door>) -> StatusCode {
    door.simulator.clear_faults();
    StatusCode::NO_CONTENT
}

async fn list_calls(State(door): State<Door>) -> Json<Value> {
    Json(json!({"calls": door.simulator.calls(), "totals": door.simulator.totals()}))
}

async fn list_invocations(State(door): State<Door>) -> Json<Value> {
    Json(json!({"invocations": door.simulator.invocations()}))
}

async fn clear_calls(State(door): State<Door>) -> StatusCode {
    door.simulator.clear_calls();
    StatusCode::NO_CONTENT
}

async fn complete_async_invokes(State(door): State<Door>) -> StatusCode {
    door.simulator.complete_async_invokes();
    StatusCode::NO_CONTENT
}

async fn answer(State(door): State<Door>, request: Request) -> Response<Body> {
    let id = uuid::Uuid::new_v4().to_string();
    let now = door.simulator.now();
    let recording = Recording::start(Arc::clone(&door.simulator.inner.calls), id.clone());
    let mut response = perform(&door, request, recording).await;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert("x-amzn-requestid", value);
    }
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
    if let Some(value) = date.ok().and_then(|date| HeaderValue::from_str(&date).ok()) {
        headers.insert(header::DATE, value);
    }
    response
}

async fn perform(door: &Door, request: Request, mut recording: Recording) -> Response<Body> {
    let switch = request.extensions().get::<ConnectInfo<Switch>>().map(|info| info.0.clone());
    let (parts, body) = request.into_parts();
    let parts = with_host(parts);
    if s3::is_meant(&parts) {
        return s3::answer(door, parts, body, switch, recording).await;
    }
    let body = match Limited::new(body, MAX_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            return refuse(
                &Failure::new(413, "RequestEntityTooLargeException", "Request size exceeded."),
                Surface::Aws,
                &mut recording,
            );
        }
        // The client went away while it sent.
        Err(_) => {
            return refuse(
                &Failure::serialization("The request body could not be read."),
                Surface::Aws,
                &mut recording,
            );
        }
    };
    let simulator = &door.simulator;
    let Some(operation) = Operation::route(&parts, &body) else {
        recording.forget();
        return Failure::unknown_operation().response(Surface::Aws, "");
    };
    let surface = operation.surface();
    recording.note(|call| {
        call.operation = operation.name();
        operation.model_id().unwrap_or_default().clone_into(&mut call.model_id);
        call.subject = operation.subject();
    });
    let claimed = auth::claimed_region(simulator.settings(), door.region.as_deref(), &parts);
    if let Some(outage) = simulator.inner.faults.outage(&claimed) {
        recording.note(|call| call.region = claimed);
        return match outage {
            Outage::Reset => reset(switch.as_ref()),
            Outage::Unavailable => {
                let (status, message) = errors::known("ServiceUnavailableException");
                refuse(&Failure::new(status, "ServiceUnavailableException", message), surface, &mut recording)
            }
        };
    }
    let caller = match believe(door, &operation, &parts, &body) {
        Ok(caller) => caller,
        Err(failure) => return refuse(&failure, surface, &mut recording),
    };
    let region = caller.region;
    recording.note(|call| {
        call.region.clone_from(&region);
        caller.identity.label().clone_into(&mut call.identity);
    });
    if let Some(id) = operation.model_id() {
        simulator.inner.calls.invoked(Invocation {
            request_id: recording.request_id().to_owned(),
            region: region.clone(),
            operation: operation.name(),
            model_id: id.to_owned(),
            request_metadata: request_metadata(&operation, &body),
        });
    }
    let mut fault = simulator.inner.faults.take(&region, &operation);
    match fault.take() {
        Some(Fault::Reject(failure)) => return refuse(&failure, surface, &mut recording),
        Some(Fault::ResetConnection) => return reset(switch.as_ref()),
        Some(Fault::SlowFirstByte(delay)) => tokio::time::sleep(delay).await,
        other => fault = other,
    }
    let held = Held::of(recording.request_id(), &operation, &region);
    simulator.inner.gates.pass(&held, When::Before).await;
    let answer = perform_as(simulator, &operation, &parts, &body, &held, &caller.identity);
    if answer.is_ok() {
        simulator.inner.gates.pass(&held, When::After).await;
    }
    if fault == Some(Fault::LoseAnswer) {
        return reset(switch.as_ref());
    }
    match answer {
        Ok((reservation, reply)) => {
            recording.hold(reservation);
            succeed(reply, fault, surface, simulator.settings().event_delay, recording)
        }
        Err(failure) => refuse(&failure, surface, &mut recording),
    }
}

/// Does what a believed caller asks, if it may.
fn perform_as(
    simulator: &Simulator,
    operation: &Operation,
    parts: &axum::http::request::Parts,
    body: &[u8],
    call: &Held,
    identity: &Identity,
) -> Result<(Option<Reservation>, Reply), Failure> {
    let context = Context {
        simulator,
        region: &call.region,
        headers: &parts.headers,
        query: parts.uri.query().unwrap_or_default(),
        request_id: &call.request_id,
        identity,
        body,
        prefixes: RefCell::default(),
        catalog: simulator.offered(),
        lane: Lane::Online,
    };
    if let Some(failure) = denied(&context, operation) {
        return Err(failure);
    }
    permission::check(&context, operation)?;
    places::check(operation.name(), parts)?;
    let reply = operation.perform(&context, body)?;
    Ok((context.admit(operation, reply.tokens)?, reply))
}

/// What a caller of Converse wants to find in the invocation log; of a body that cannot be read, nothing.
fn request_metadata(operation: &Operation, body: &[u8]) -> BTreeMap<String, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        #[serde(default)]
        request_metadata: BTreeMap<String, String>,
    }
    match operation {
        Operation::Converse(..) => {
            serde_json::from_slice::<Body>(body).map(|body| body.request_metadata).unwrap_or_default()
        }
        _ => BTreeMap::new(),
    }
}

/// The refusal of a model that this Region denies, under whatever name it is called.
fn denied(context: &Context<'_>, operation: &Operation) -> Option<Failure> {
    let id = operation.model_id()?;
    let faults = &context.simulator.inner.faults;
    let denies = |id: &str| faults.is_denied(context.region, id);
    let (status, message) = errors::known("AccessDeniedException");
    (denies(id) || context.resolve(id).is_ok_and(|target| denies(&target.model.id)))
        .then(|| Failure::new(status, "AccessDeniedException", message))
}

/// Who calls; the one operation that nobody signs is called by nobody.
fn believe(
    door: &Door,
    operation: &Operation,
    parts: &axum::http::request::Parts,
    body: &[u8],
) -> Result<Caller, Failure> {
    let fixed = door.region.as_deref();
    if operation.is_unsigned() {
        let region = auth::unsigned_region(door.simulator.settings(), fixed, parts);
        return Ok(Caller { region, identity: Identity::Nobody });
    }
    auth::caller(&door.simulator, operation.surface(), fixed, parts, body)
}

/// HTTP/2 has no Host header; the signature has.
fn with_host(mut parts: axum::http::request::Parts) -> axum::http::request::Parts {
    let authority = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(authority) = authority.filter(|_| !parts.headers.contains_key(header::HOST)) {
        parts.headers.insert(header::HOST, authority);
    }
    parts
}

/// Answers and records a refusal.
pub(crate) fn refuse(failure: &Failure, surface: Surface, recording: &mut Recording) -> Response<Body> {
    recording.note(|call| {
        call.status = failure.status;
        call.exception = Some(failure.name.to_string());
    });
    let response = failure.response(surface, recording.request_id());
    recording.end(Outcome::Refused);
    response
}

/// The connection closes without an answer.
pub(crate) fn reset(switch: Option<&Switch>) -> Response<Body> {
    match switch {
        Some(switch) => {
            switch.throw();
            Response::new(Body::empty())
        }
        None => Response::new(Body::from_stream(futures_util::stream::once(async {
            Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
        }))),
    }
}

fn succeed(
    reply: Reply,
    fault: Option<Fault>,
    surface: Surface,
    delay: Duration,
    mut recording: Recording,
) -> Response<Body> {
    recording.note(|call| {
        call.status = 200;
        call.tokens = reply.tokens;
    });
    let (content_type, body) = match reply.payload {
        Payload::Json(text) => {
            recording.end(Outcome::Completed);
            (if surface == Surface::Kms { "application/x-amz-json-1.1" } else { "application/json" }, Body::from(text))
        }
        Payload::Xml(text) => {
            recording.end(Outcome::Completed);
            ("text/xml", Body::from(text))
        }
        Payload::Events(items) => {
            recording.note(|call| call.tokens.output = 0);
            let content_type =
                if surface == Surface::Aws { "application/vnd.amazon.eventstream" } else { "text/event-stream" };
            (content_type, Body::from_stream(Frames::new(items, fault, delay, surface, recording)))
        }
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// The members of a query string, decoded.
pub(crate) fn query(text: &str) -> std::collections::BTreeMap<String, String> {
    let uri = Uri::try_from(format!("/?{text}")).unwrap_or_default();
    axum::extract::Query::try_from_uri(&uri).map(|query| query.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tower::ServiceExt;

    use super::*;
    use crate::simulator::Settings;

    const PATH: &str = "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0/converse";
    const BODY: &str = r#"{"messages": [{"role": "user", "content": [{"text": "hello"}]}]}"#;

    async fn send(router: Router, request: Request) -> (u16, String, String) {
        let response = router.oneshot(request).await.unwrap();
        let error = response.headers().get("x-amzn-errortype").map_or("", |value| value.to_str().unwrap()).to_owned();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, error, String::from_utf8_lossy(&body).into_owned())
    }

    fn call(path: &str, body: impl Into<Body>) -> Request {
        Request::post(path).header("authorization", "Bearer sim-bearer-token").body(body.into()).unwrap()
    }

    #[tokio::test]
    async fn a_call_is_answered_in_the_region_of_its_listener_and_recorded() {
        let simulator = Simulator::new(Settings::default());
        assert_eq!(send(simulator.router_for("us-west-2"), call(PATH, BODY)).await.0, 200);
        let (status, error, _) = send(simulator.router_for("eu-west-1"), call(PATH, BODY)).await;
        assert_eq!((status, error.split(':').next()), (400, Some("ValidationException")));
        let seen: Vec<_> = simulator.calls().into_iter().map(|call| (call.region, call.outcome)).collect();
        assert_eq!(seen, [("us-west-2".to_owned(), Outcome::Completed), ("eu-west-1".to_owned(), Outcome::Refused)]);
    }

    #[tokio::test]
    async fn the_invocation_log_has_every_call_on_a_model_with_the_callers_own_words() {
        let simulator = Simulator::new(Settings::default());
        let body =
            r#"{"messages": [{"role": "user", "content": [{"text": "hello"}]}], "requestMetadata": {"call": "a-1"}}"#;
        let clear = Request::post("/_sim/faults").body(Body::from(r#"{"fault": "throttle"}"#)).unwrap();
        assert_eq!(send(simulator.router(), clear).await.0, 201);
        assert_eq!(send(simulator.router_for("us-west-2"), call(PATH, body)).await.0, 429);
        assert_eq!(send(simulator.router_for("us-west-2"), call(PATH, BODY)).await.0, 200);
        let unsigned = Request::post(PATH).body(Body::from(body)).unwrap();
        assert_eq!(send(simulator.router(), unsigned).await.0, 403);
        let (_, _, log) =
            send(simulator.router(), Request::get("/_sim/invocations").body(Body::empty()).unwrap()).await;
        let log: Value = serde_json::from_str(&log).unwrap();
        let [refused, answered] = &log["invocations"].as_array().unwrap()[..] else { panic!("{log}") };
        assert_eq!((&refused["requestMetadata"], &answered["requestMetadata"]), (&json!({"call": "a-1"}), &json!({})));
        let told = (&answered["operation"], &answered["region"], &answered["modelId"]);
        assert_eq!(
            told,
            (&json!("Converse"), &json!("us-west-2"), &json!("us.anthropic.claude-haiku-4-5-20251001-v1:0"))
        );
        assert_eq!(answered["requestId"], simulator.calls()[1].request_id);
    }

    #[tokio::test]
    async fn faults_can_be_ordered_and_taken_back_over_http() {
        let simulator = Simulator::new(Settings::default());
        let order = |text: &'static str| Request::post("/_sim/faults").body(Body::from(text)).unwrap();
        assert_eq!(send(simulator.router(), order(r#"{"fault": "throttle", "times": 2}"#)).await.0, 201);
        assert_eq!(send(simulator.router(), order(r#"{"fault": "nonsense"}"#)).await.0, 400);
        assert_eq!(send(simulator.router(), call(PATH, BODY)).await.0, 429);
        let clear = Request::delete("/_sim/faults").body(Body::empty()).unwrap();
        assert_eq!(send(simulator.router(), clear).await.0, 204);
        assert_eq!(send(simulator.router(), call(PATH, BODY)).await.0, 200);
    }

    #[tokio::test]
    async fn a_moved_clock_shows_in_the_date_of_a_refusal() {
        let simulator = Simulator::new(Settings::default());
        let date = async || {
            let response = simulator.router().oneshot(Request::post(PATH).body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), 403);
            let text = response.headers()["date"].to_str().unwrap().to_owned();
            jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(&text).unwrap()
        };
        let before = date().await;
        simulator.set_clock_skew(3600);
        assert!(date().await.duration_since(before).as_secs() >= 3599);
    }

    #[tokio::test]
    async fn what_no_operation_takes_is_refused_as_aws_refuses_it() {
        let router = || Simulator::new(Settings::default()).router();
        let (status, error, _) = send(router(), call("/model/a/b/converse", BODY)).await;
        assert_eq!((status, error.as_str()), (404, "UnknownOperationException"));
        let (status, error, body) = send(router(), call(PATH, "{")).await;
        assert_eq!((status, error.split(':').next()), (400, Some("SerializationException")), "{body}");
        assert_eq!(send(router(), call(PATH, vec![b' '; MAX_BODY + 1])).await.0, 413);
    }
}
