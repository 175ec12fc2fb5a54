//! What passes between gateway and Bedrock, seen from the outside, and a hand on it: a stream can be held and let go.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use reqwest::header::HeaderMap;
use tokio_util::sync::CancellationToken;

/// A tap. Clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Tap {
    passed: Arc<Mutex<Vec<Exchange>>>,
    hold: Arc<Mutex<Option<Hold>>>,
}

/// One call of Bedrock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchange {
    /// The path, as it came.
    pub(crate) path: String,
    /// What the gateway sent.
    pub(crate) request_headers: HeaderMap,
    /// What the gateway sent.
    pub(crate) request: Bytes,
    /// What Bedrock answered.
    pub(crate) response_headers: HeaderMap,
    /// What Bedrock answered so far.
    pub(crate) response: Vec<u8>,
}

#[derive(Clone)]
struct Hold {
    after: usize,
    released: CancellationToken,
}

impl Tap {
    /// Holds every answer that begins from now on after so many pieces (a stream's are its frames) until the token is
    /// cancelled.
    pub(crate) fn hold_after(&self, pieces: usize) -> CancellationToken {
        let released = CancellationToken::new();
        *self.hold.lock().unwrap() = Some(Hold { after: pieces, released: released.clone() });
        released
    }

    /// How many calls have arrived.
    pub(crate) fn count(&self) -> usize {
        self.passed.lock().unwrap().len()
    }

    /// The one call that passed.
    pub(crate) fn only_exchange(&self) -> Exchange {
        let passed = self.passed.lock().unwrap();
        assert_eq!(passed.len(), 1, "{passed:?}");
        passed[0].clone()
    }

    /// The calls that passed, in the order they came.
    pub(crate) fn exchanges(&self) -> Vec<Exchange> {
        self.passed.lock().unwrap().clone()
    }

    pub(super) fn between(&self, bedrock: Router) -> Router {
        bedrock.layer(from_fn_with_state(self.clone(), pass))
    }

    fn note(&self, index: usize, change: impl FnOnce(&mut Exchange)) {
        change(&mut self.passed.lock().unwrap()[index]);
    }
}

async fn pass(State(tap): State<Tap>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let index = {
        let mut passed = tap.passed.lock().unwrap();
        passed.push(Exchange {
            path: parts.uri.path().to_owned(),
            request_headers: parts.headers.clone(),
            request: body.clone(),
            ..Exchange::default()
        });
        passed.len() - 1
    };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = response.into_parts();
    tap.note(index, |exchange| exchange.response_headers = parts.headers.clone());
    let hold = tap.hold.lock().unwrap().clone();
    let pieces = stream::unfold((body.into_data_stream(), 0), move |(mut pieces, count)| {
        let (tap, hold) = (tap.clone(), hold.clone());
        async move {
            if let Some(hold) = hold.filter(|hold| hold.after == count) {
                hold.released.cancelled().await;
            }
            let piece = pieces.next().await?;
            if let Ok(bytes) = &piece {
                tap.note(index, |exchange| exchange.response.extend_from_slice(bytes));
            }
            Some((piece, (pieces, count + 1)))
        }
    });
    Response::from_parts(parts, Body::from_stream(pieces))
}
