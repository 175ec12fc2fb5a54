//! How the simulator's own tests call it: over its router, with a bearer token.

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use super::Simulator;

/// The status and text of an answer.
pub(crate) async fn send(simulator: &Simulator, method: &str, path: &str, body: &Value) -> (u16, String) {
    send_with(simulator, method, path, body, &[]).await
}

/// As [`send`], with further headers.
pub(crate) async fn send_with(
    simulator: &Simulator,
    method: &str,
    path: &str,
    body: &Value,
    headers: &[(&str, &str)],
) -> (u16, String) {
    let mut request = Request::builder().method(method).uri(path).header("authorization", "Bearer sim-bearer-token");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = simulator.router().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// The status and JSON of a POST.
pub(crate) async fn post(simulator: &Simulator, path: &str, body: &Value) -> (u16, Value) {
    let (status, text) = send(simulator, "POST", path, body).await;
    (status, serde_json::from_str(&text).unwrap())
}

/// The server-sent events of a stream: names (empty without one) and data, JSON or text.
pub(crate) fn events(text: &str) -> Vec<(String, Value)> {
    let frames = text.trim_end().split("\n\n");
    frames
        .map(|frame| {
            let (name, data) = frame.split_once('\n').unwrap_or(("", frame));
            let data = data.strip_prefix("data: ").unwrap();
            let data = serde_json::from_str(data).unwrap_or_else(|_| Value::from(data));
            (name.strip_prefix("event: ").unwrap_or_default().to_owned(), data)
        })
        .collect()
}

/// `base` with the members of `fields`.
pub(crate) fn with(mut base: Value, fields: &Value) -> Value {
    base.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    base
}
