//! What requests are served by: one value, replaced whole when the configuration is read again. A request is served to its
//! end by what it found at its beginning.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use tower::{Service, ServiceExt as _};

use crate::api;
use crate::batch::{Batches, Files};
use crate::config::Config;
use crate::gateway::{Gateway, Present};

/// What a request is served by.
pub(super) struct Serving {
    /// The settings that count.
    pub(super) config: Config,
    pub(super) gateway: Gateway,
    pub(super) routes: Router,
}

/// What requests are served by from now on. Clones share it.
#[derive(Clone)]
pub(super) struct Switch(Arc<ArcSwap<Serving>>);

impl Switch {
    pub(super) fn new(serving: Serving) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(serving)))
    }

    pub(super) fn now(&self) -> Arc<Serving> {
        self.0.load_full()
    }

    pub(super) fn replace(&self, serving: Serving) {
        self.0.store(Arc::new(serving));
    }

    /// The gateway, for what does not come with a request.
    pub(super) fn gateway(&self) -> Present {
        let switch = self.clone();
        Present::new(move || switch.0.load().gateway.clone())
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Switch(..)")
    }
}

impl Service<Request> for Switch {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        Box::pin(self.0.load().routes.clone().oneshot(request))
    }
}

/// What routes need besides the gateway and the settings.
pub(super) struct Extras {
    pub(super) files: Option<Files>,
    pub(super) batches: Option<Batches>,
}

impl Extras {
    /// All routes of the client port.
    pub(super) fn routes(&self, gateway: &Gateway, config: &Config) -> Router {
        let mut routes = api::router(gateway, &config.server);
        if let Some(files) = &self.files {
            routes = api::batch::with(routes, files.clone());
        }
        if let Some(batches) = &self.batches {
            routes = api::batch::with(routes, batches.clone());
        }
        routes
    }
}
