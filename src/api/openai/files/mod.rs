//! `/v1/files`: <https://platform.openai.com/docs/api-reference/files>. The bytes of a file are never held, in neither
//! direction. Another team's file does not exist.

mod form;
mod range;
mod wire;

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::range::Wanted;
use self::wire::{FileDeleted, FileList, FileObject, FileUpload};
use super::error::{ErrorBody, ErrorObject};
use crate::api::batch::Configured;
use crate::api::caller::{Parameters, Segment};
use crate::api::idempotency;
use crate::batch::files::{Files, Filter, Order};
use crate::error::{Error, Result};
use crate::gateway::Gateway;
use crate::tenancy::{Caller, Scope};

/// The most files of a page, and as many as there are if nothing is said.
const PAGE: u32 = 10_000;
/// What stands in a name as it is: RFC 8187.
const NAME: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The routes of files.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(create, list)).routes(routes!(retrieve, delete)).routes(routes!(content))
}

/// Upload a file
///
/// For batches: one JSON object a line. Lines that cannot be part of a batch do not keep the file from being taken; a batch
/// over it fails and names them.
#[utoipa::path(
    post,
    path = "/v1/files",
    operation_id = "create_file",
    tag = "OpenAI",
    request_body(content = inline(FileUpload), content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The file.", body = FileObject),
        (status = "4XX", description = "The upload cannot be taken as it is.", body = ErrorBody),
        (status = "5XX", description = "The gateway, or S3 behind it, failed.", body = ErrorBody),
    ),
    security(("key" = ["batch"]))
)]
pub(super) async fn create(
    caller: Caller,
    Configured(files): Configured<Files>,
    request: Request,
) -> Result<Json<FileObject>> {
    caller.require(Scope::Batch)?;
    if request.headers().contains_key(idempotency::NAME) {
        let message = "An upload is not looked at before it is taken, so none can be known as a repeat: send it without \
                       Idempotency-Key. A file that was sent twice costs nothing and can be deleted.";
        return Err(Error::unsupported("Idempotency-Key", message));
    }
    let file = Box::pin(form::receive(&files, &caller, request)).await?;
    Ok(Json(file.into()))
}

/// What a list is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    after: Option<String>,
    limit: Option<String>,
    order: Option<String>,
    purpose: Option<String>,
}

impl Asked {
    fn filter(self) -> Result<Filter> {
        let limit = match self.limit.as_deref() {
            None => PAGE,
            Some(limit) => limit
                .parse()
                .ok()
                .filter(|limit| (1..=PAGE).contains(limit))
                .ok_or_else(|| Error::invalid("limit", format!("`limit` has to be a number from 1 to {PAGE}.")))?,
        };
        let order = match self.order.as_deref() {
            None | Some("desc") => Order::Descending,
            Some("asc") => Order::Ascending,
            Some(_) => return Err(Error::invalid("order", "`order` has to be `asc` or `desc`.")),
        };
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ok(Filter { purpose: given(self.purpose), order, after: given(self.after), limit })
    }
}

/// List the files
///
/// Those of the team; the newest first, unless asked otherwise.
#[utoipa::path(
    get,
    path = "/v1/files",
    operation_id = "list_files",
    tag = "OpenAI",
    params(
        ("after" = Option<String>, Query, description = "The id of the file before the page."),
        ("limit" = Option<u32>, Query, description = "1 to 10000, which is the default."),
        ("order" = Option<String>, Query, description = "`asc`, or `desc` (the default)."),
        ("purpose" = Option<String>, Query, description = "`batch` or `batch_output`."),
    ),
    responses((status = 200, description = "A page of files.", body = FileList), (status = "4XX", description = "Refused.", body = ErrorBody)),
    security(("key" = ["batch"]))
)]
pub(super) async fn list(
    caller: Caller,
    Configured(files): Configured<Files>,
    Parameters(asked): Parameters<Asked>,
) -> Result<Json<FileList>> {
    caller.require(Scope::Batch)?;
    let page = files.list(&caller, &asked.filter()?).await?;
    Ok(Json(FileList::of(page.files, page.has_more)))
}

/// Look a file up
#[utoipa::path(
    get,
    path = "/v1/files/{file_id}",
    operation_id = "retrieve_file",
    tag = "OpenAI",
    params(("file_id" = String, Path, description = "`file-...`")),
    responses((status = 200, description = "The file.", body = FileObject), (status = "4XX", description = "Refused, or not there.", body = ErrorBody)),
    security(("key" = ["batch"]))
)]
pub(super) async fn retrieve(
    caller: Caller,
    Configured(files): Configured<Files>,
    Segment(id): Segment,
) -> Result<Json<FileObject>> {
    caller.require(Scope::Batch)?;
    Ok(Json(files.file(&caller, &id).await?.into()))
}

/// Delete a file
///
/// Not while a batch that has not ended reads it.
#[utoipa::path(
    delete,
    path = "/v1/files/{file_id}",
    operation_id = "delete_file",
    tag = "OpenAI",
    params(("file_id" = String, Path, description = "`file-...`")),
    responses((status = 200, description = "It is gone.", body = FileDeleted), (status = "4XX", description = "Refused, or not there.", body = ErrorBody)),
    security(("key" = ["batch"]))
)]
pub(super) async fn delete(
    caller: Caller,
    Configured(files): Configured<Files>,
    Segment(id): Segment,
) -> Result<Json<FileDeleted>> {
    caller.require(Scope::Batch)?;
    files.delete(&caller, &id).await?;
    Ok(Json(FileDeleted { id, object: "file", deleted: true }))
}

/// Read a file
///
/// The bytes of an upload, or of a batch's results. A range of them can be asked for, to go on with a download that broke.
#[utoipa::path(
    get,
    path = "/v1/files/{file_id}/content",
    operation_id = "download_file",
    tag = "OpenAI",
    params(
        ("file_id" = String, Path, description = "`file-...`"),
        ("Range" = Option<String>, Header, description = "`bytes=first-last`; one range."),
    ),
    responses(
        (status = 200, description = "The bytes.", body = String, content_type = "application/jsonl"),
        (status = 206, description = "The part that was asked for.", body = String, content_type = "application/jsonl"),
        (status = "4XX", description = "Refused, or not there.", body = ErrorBody),
    ),
    security(("key" = ["batch"]))
)]
pub(super) async fn content(
    caller: Caller,
    Configured(files): Configured<Files>,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Result<Response> {
    caller.require(Scope::Batch)?;
    let file = files.file(&caller, &id).await?;
    // Bytes never change under an id.
    let tag = format!("\"{}\"", file.id);
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let is_current = text(IF_RANGE).is_none_or(|given| given == tag);
    let (status, range) = match range::wanted(text(RANGE).filter(|_| is_current), file.bytes) {
        Wanted::Whole => (StatusCode::OK, 0..file.bytes),
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Beyond => return Ok(beyond(file.bytes)),
    };
    let stream = files.open_range(&file, range.clone()).await?;
    let mut response = (status, Body::from_stream(stream)).into_response();
    let answered = response.headers_mut();
    answered.insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    answered.insert(CONTENT_LENGTH, (range.end - range.start).into());
    answered.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    answered.insert(ETAG, HeaderValue::from_str(&tag).map_err(Error::internal)?);
    answered.insert(CONTENT_DISPOSITION, disposition(&file.filename)?);
    if status == StatusCode::PARTIAL_CONTENT {
        let told = format!("bytes {}-{}/{}", range.start, range.end - 1, file.bytes);
        answered.insert(CONTENT_RANGE, HeaderValue::try_from(told).map_err(Error::internal)?);
    }
    Ok(response)
}

/// A 416, which says how long the file is.
fn beyond(length: u64) -> Response {
    let error = ErrorObject {
        message: format!("The file has {length} bytes, and none of those that `Range` asks for."),
        kind: "invalid_request_error",
        param: Some("Range".to_owned()),
        code: Some("range_not_satisfiable"),
    };
    let told = [(CONTENT_RANGE, format!("bytes */{length}"))];
    (StatusCode::RANGE_NOT_SATISFIABLE, told, Json(ErrorBody { error })).into_response()
}

/// To be saved under its name: in ASCII for the oldest clients, and as it is.
fn disposition(name: &str) -> Result<HeaderValue> {
    let is_plain = |c: char| c.is_ascii_graphic() && !"\"\\%/".contains(c) || c == ' ';
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let exact = utf8_percent_encode(name, NAME);
    HeaderValue::try_from(format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{exact}"))
        .map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_saved_under_its_name_whatever_that_is() {
        for (name, expected) in [
            ("in.jsonl", "attachment; filename=\"in.jsonl\"; filename*=UTF-8''in.jsonl"),
            ("a \"b\"\r\n.jsonl", "attachment; filename=\"a _b___.jsonl\"; filename*=UTF-8''a%20%22b%22%0D%0A.jsonl"),
            ("Übung", "attachment; filename=\"_bung\"; filename*=UTF-8''%C3%9Cbung"),
        ] {
            assert_eq!(disposition(name).unwrap(), expected);
        }
    }

    #[test]
    fn a_bad_parameter_of_a_list_is_named() {
        let asked = |limit: Option<&str>, order: Option<&str>| Asked {
            limit: limit.map(str::to_owned),
            order: order.map(str::to_owned),
            ..Asked::default()
        };
        for (limit, order, name) in [
            (Some("0"), None, "limit"),
            (Some("10001"), None, "limit"),
            (Some("x"), None, "limit"),
            (None, Some("up"), "order"),
        ] {
            assert_eq!(asked(limit, order).filter().unwrap_err().blamed(), Some(name));
        }
        let filter = asked(None, None).filter().unwrap();
        assert_eq!((filter.limit, filter.order), (PAGE, Order::Descending));
    }
}
