//! S3 as far as files need it: what a bucket is like, objects and multipart uploads, path-style or by host, with S3's answers for
//! buckets that are missing, somewhere else or somebody else's. There are no versions, tags, locks or access lists.
//!
//! Objects pass from the wire to files and back piece by piece: none is ever in memory as a whole.

mod answer;
mod attributes;
mod auth;
mod bucket;
mod checksums;
mod chunks;
mod documents;
mod faults;
pub(crate) mod files;
mod incoming;
mod listing;
mod multipart;
pub(crate) mod objects;
mod read;
mod request;
mod uploads;
mod write;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use serde_json::json;

use super::calls::Recording;
use super::errors::{Failure, Surface};
use super::faults::{Fault, Outage};
use super::gates::{Held, When};
use super::handler::{self, Door};
use super::operations::{Context, Lane, Operation};
use super::server::Switch;
use super::sessions::Identity;
use super::settings::Bucket;
use super::{Simulator, catalog, permission};

pub use faults::S3Faults;
pub(crate) use request::Request;

use answer::Answer;
use checksums::Stated;
use incoming::Incoming;
use request::Ask;

const NAMESPACE: &str = " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";
/// So much of the body of a refused request is still read, in bytes, so that its sender reads the answer.
const MOST_UNREAD: usize = 64 << 20;

/// A call as the operations of S3 see it.
struct Scene<'a> {
    simulator: &'a Simulator,
    region: &'a str,
    headers: &'a HeaderMap,
    request: &'a Request,
    operation: &'a Operation,
    identity: &'a Identity,
    request_id: &'a str,
    bucket: Bucket,
    now: Timestamp,
}

impl Scene<'_> {
    fn partition(&self) -> &'static str {
        catalog::partition(self.region).unwrap_or("aws")
    }

    fn context(&self) -> Context<'_> {
        Context {
            simulator: self.simulator,
            region: self.region,
            headers: self.headers,
            query: "",
            request_id: self.request_id,
            identity: self.identity,
            body: b"",
            prefixes: std::cell::RefCell::default(),
            catalog: self.simulator.offered(),
            lane: Lane::Online,
        }
    }

    /// Refuses a caller whose policies do not allow an action on a resource.
    fn require(&self, action: &'static str, resource: &str) -> Result<(), Failure> {
        permission::require(&self.context(), self.operation, action, resource)
    }

    /// Refuses a caller who may not do what is asked, and a bucket that is somewhere else or somebody else's.
    fn allowed(&self) -> Result<(), Failure> {
        let request = self.request;
        if let Some(failure) = self.elsewhere() {
            return Err(failure);
        }
        permission::check(&self.context(), self.operation)?;
        let account = self.simulator.settings().account.as_str();
        let owner = self.bucket.owner.as_deref().unwrap_or(account);
        if owner != account || request.owner.as_deref().is_some_and(|expected| expected != owner) {
            return Err(Failure::new(403, "AccessDenied", "Access Denied").of_bucket_in(&self.bucket.region));
        }
        if request.ask == Ask::Other {
            let message = "A header you provided implies functionality that is not implemented.";
            return Err(Failure::new(501, "NotImplemented", message));
        }
        if request.key.len() > 1024 {
            return Err(Failure::new(400, "KeyTooLongError", "Your key is too long"));
        }
        Ok(())
    }

    fn elsewhere(&self) -> Option<Failure> {
        // us-east-1 tells where any bucket is.
        let may_ask_here = self.request.ask == Ask::Location && self.region == "us-east-1";
        if self.bucket.region == self.region || may_ask_here {
            return None;
        }
        let message = "The bucket you are attempting to access must be addressed using the specified endpoint. Please send all \
                       future requests to this endpoint.";
        let endpoint = format!("{}.s3.{}.amazonaws.com", self.request.bucket, self.bucket.region);
        let members = json!({"Endpoint": endpoint, "Bucket": self.request.bucket}).as_object().cloned().map(Box::new);
        let failure = Failure::new(301, "PermanentRedirect", message).with(members);
        Some(failure.of_bucket_in(&self.bucket.region))
    }

    /// Does what is asked.
    async fn perform(&self, body: &mut Incoming) -> Result<Answer, Failure> {
        if self.request.has_bytes() {
            return match self.request.ask {
                Ask::UploadPart => multipart::put_part(self, body).await,
                _ => write::put(self, body).await,
            };
        }
        if self.request.ask == Ask::DeleteObjects {
            return write::delete_many(self, body).await;
        }
        let body = body.document().await?;
        let objects = self.simulator.objects();
        match self.request.ask {
            Ask::GetObject | Ask::HeadObject => read::read(self),
            Ask::ListObjects => listing::objects(self.request, objects).map(Answer::xml),
            Ask::ListUploads => listing::uploads(self.request, objects).map(Answer::xml),
            Ask::CopyObject => write::copy(self).await,
            Ask::DeleteObject => write::delete(self),
            Ask::CreateUpload => multipart::create(self),
            Ask::UploadPartCopy => multipart::copy_part(self).await,
            Ask::CompleteUpload => multipart::complete(self, &body),
            Ask::AbortUpload => multipart::abort(self),
            Ask::ListParts => multipart::list_parts(self),
            ask => bucket::tell(ask, &self.bucket),
        }
    }
}

/// Whether a request is one of S3's.
pub(crate) fn is_meant(parts: &Parts) -> bool {
    super::auth::claimed_scope(parts).is_some_and(|(service, _)| service == "s3")
}

/// Answers a request of S3.
pub(crate) async fn answer(
    door: &Door,
    parts: Parts,
    body: Body,
    switch: Option<Switch>,
    mut recording: Recording,
) -> Response<Body> {
    let simulator = &door.simulator;
    let request = Request::read(&parts, &simulator.inner.account);
    let operation = Operation::S3(request);
    recording.note(|call| {
        call.operation = operation.name();
        call.subject = operation.subject();
    });
    // A sender that waits to be told to go on is told otherwise.
    let waits = parts.headers.contains_key("expect");
    let mut body = Some(body);
    let faced = match face(door, &parts, &operation, &mut body, &mut recording).await {
        Ok(faced) => faced,
        Err(Refusal::Reset) => return handler::reset(switch.as_ref()),
        Err(Refusal::Told(failure)) => {
            let mut refused = handler::refuse(&failure, Surface::S3, &mut recording);
            if waits {
                // What follows on the connection could be the body or another request: as S3 does, it ends, and says so.
                refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            } else if let Some(body) = body {
                // Whether it came whole changes nothing.
                let _ = Limited::new(body, MOST_UNREAD).collect().await;
            }
            return refused;
        }
    };
    faced.answer.response(faced.cut, recording)
}

/// An answer, and after how many bytes it breaks off.
struct Faced {
    answer: Answer,
    cut: Option<u64>,
}

enum Refusal {
    Reset,
    Told(Failure),
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Told(failure)
    }
}

/// Outages, signature, faults, gates, permission, operation.
async fn face(
    door: &Door,
    parts: &Parts,
    operation: &Operation,
    body: &mut Option<Body>,
    recording: &mut Recording,
) -> Result<Faced, Refusal> {
    let (simulator, fixed) = (&door.simulator, door.region());
    let faults = &simulator.inner.faults;
    let claimed = super::auth::claimed_region(simulator.settings(), fixed, parts);
    recording.note(|call| call.region.clone_from(&claimed));
    match faults.outage(&claimed).or_else(|| faults.s3_outage(&claimed)) {
        Some(Outage::Reset) => return Err(Refusal::Reset),
        Some(Outage::Unavailable) => {
            let failure = Failure::new(503, "ServiceUnavailable", "Service is unable to handle request.");
            return Err(failure.into());
        }
        None => {}
    }
    let (caller, payload) = auth::caller(simulator, fixed, parts).inspect_err(|_| {
        // Nobody was believed.
        recording.note(|call| call.region.clear());
    })?;
    recording.note(|call| caller.identity.label().clone_into(&mut call.identity));
    let mut cut = None;
    match faults.take(&caller.region, operation) {
        Some(Fault::Reject(failure)) => return Err(failure.into()),
        Some(Fault::ResetConnection) => return Err(Refusal::Reset),
        Some(Fault::SlowFirstByte(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::CutBody { after }) => cut = Some(after),
        _ => {}
    }
    let Operation::S3(request) = operation else { return Err(Failure::unknown_operation().into()) };
    let bucket = simulator.inner.account.bucket(&request.bucket);
    let bucket = bucket.ok_or_else(|| {
        let failure = Failure::new(404, "NoSuchBucket", "The specified bucket does not exist");
        failure.with(json!({"BucketName": request.bucket}).as_object().cloned().map(Box::new))
    })?;
    let id = recording.request_id().to_owned();
    let scene = Scene {
        simulator,
        region: &caller.region,
        headers: &parts.headers,
        request,
        operation,
        identity: &caller.identity,
        request_id: &id,
        bucket,
        now: simulator.now(),
    };
    scene.allowed()?;
    if let Some(action) = faults.denied_action(scene.region, request) {
        let message = format!("User is not authorized to perform: {action}");
        return Err(Failure::new(403, "AccessDenied", message).into());
    }
    let held = Held::of(&id, operation, scene.region);
    simulator.inner.gates.pass(&held, When::Before).await;
    // What a completion states is of the object.
    let is_of_body = request.ask != Ask::CompleteUpload;
    let stated = if is_of_body { Stated::read(&parts.headers)? } else { Stated::Nothing };
    let mut incoming = Incoming::new(&parts.headers, payload, stated, body)?;
    let answer = scene.perform(&mut incoming).await;
    *body = Some(incoming.rest());
    let answer = answer?;
    simulator.inner.gates.pass(&held, When::After).await;
    Ok(Faced { answer, cut })
}

/// As S3's documents write a time.
fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// As HTTP's headers write a time.
fn http_time(at: Timestamp) -> String {
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}
