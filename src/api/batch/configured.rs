//! What is there only where a bucket and a role are configured.

use axum::Router;
use axum::extract::{Extension, FromRequestParts};
use http::request::Parts;

use crate::error::{Error, Kind};

/// Batches, or files: what a handler takes that cannot do without. Where they are not configured the answer says so.
#[derive(Clone)]
pub(in crate::api) struct Configured<T>(pub(in crate::api) T);

impl<T: Clone + Send + Sync + 'static, S: Sync> FromRequestParts<S> for Configured<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get::<T>().cloned().map(Self).ok_or_else(not_configured)
    }
}

/// The routes, where `configured` is to be had.
pub fn with<T: Clone + Send + Sync + 'static>(routes: Router, configured: T) -> Router {
    routes.layer(Extension(configured))
}

fn not_configured() -> Error {
    let message = "This gateway keeps no files and runs no batches: its operator has to set batch.bucket (a bucket for each \
                   Region) and batch.role_arn (the role that Bedrock takes to read and write it).";
    Error::new(Kind::Unavailable, message)
}
