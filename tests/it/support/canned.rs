//! A Bedrock that answers InvokeModel with what a test says, for native bodies that the simulator does not speak. It
//! counts no tokens, so what it answers is booked by estimate.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use bedrock_gateway::config::{Config, Endpoints};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The answer to a body.
type Answer = fn(&Value) -> Value;

/// Serves until it is stopped.
pub(crate) struct Canned {
    url: String,
    asked: Asked,
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// Ids and bodies, in the order they came.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

impl Canned {
    pub(crate) async fn start(answer: Answer) -> Self {
        let asked = Asked::default();
        let router = Router::new().route("/model/{id}/invoke", post(invoke)).with_state((answer, asked.clone()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let stopped = stop.clone().cancelled_owned();
        tracker.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap() });
        Self { url, asked, stop, tracker }
    }

    /// Makes every Region of the gateway this one.
    pub(crate) fn configure(&self, config: &mut Config) {
        for region in config.aws.regions.clone() {
            let endpoints = Endpoints { runtime: Some(self.url.clone()), ..Endpoints::default() };
            config.aws.endpoints.insert(region, endpoints);
        }
    }

    /// The bodies that came so far.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.asked.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }

    /// Stops serving; how many calls came.
    pub(crate) async fn stop(self) -> u64 {
        self.stop.cancel();
        self.tracker.close();
        super::within(self.tracker.wait()).await;
        self.asked.lock().unwrap().len() as u64
    }
}

async fn invoke(
    State((answer, asked)): State<(Answer, Asked)>,
    Path(id): Path<String>,
    Json(body): Json<Value>,
) -> Json<Value> {
    let answer = answer(&body);
    asked.lock().unwrap().push((id, body));
    Json(answer)
}
