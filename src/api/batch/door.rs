//! The routes as a service within the process, for the records of batches that run through the completion path.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::Response;
use http_body_util::BodyExt as _;
use tower::util::{BoxCloneSyncService, ServiceExt as _, service_fn};

use crate::batch::Door;
use crate::error::{Error, Kind};

/// The way in for whom the gateway itself sends. A request is handled as one that came by a connection, but its caller is
/// taken from its extensions, which nothing from outside can set, before any header.
pub fn door(routes: &Router) -> Door {
    let routes = routes.clone();
    BoxCloneSyncService::new(service_fn(move |request: http::Request<Bytes>| {
        // Boxed: what handles a request is large, and its callers hold many of them.
        Box::pin(answer(routes.clone(), request.map(Body::from)))
    }))
}

async fn answer(routes: Router, request: Request) -> Result<Response<Bytes>, Error> {
    let (parts, body) = match routes.oneshot(request).await {
        Ok(response) => response.into_parts(),
        Err(never) => match never {},
    };
    let body = body
        .collect()
        .await
        .map_err(|cause| Error::new(Kind::UpstreamUnavailable, "The answer broke off before its end.").source(cause))?;
    Ok(Response::from_parts(parts, body.to_bytes()))
}
