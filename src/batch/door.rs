//! The way to the gateway's own routes, for records that run through the completion path. What is behind it is handed in:
//! this module knows of no surface.

use bytes::Bytes;
use tower::util::BoxCloneSyncService;

use crate::error::Error;

/// Answers a request as the gateway would answer one that came by a connection, its limits, its line in the log and its
/// count in the metrics included; but who calls is the [`Caller`](crate::tenancy::Caller) in the request's extensions, and
/// no budget is asked to hold for it: the batch holds.
///
/// The answer comes whole; it fails only where the answer breaks off.
pub type Door = BoxCloneSyncService<http::Request<Bytes>, http::Response<Bytes>, Error>;
