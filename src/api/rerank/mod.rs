//! `POST /v1/rerank`, in the shape that Cohere's second API (<https://docs.cohere.com/reference/rerank>) and Jina's
//! (<https://api.jina.ai/redoc#tag/rerank>) have in common; fields of either that the other lacks are taken, too.
//!
//! There is no error shape that both share: failures look as on the OpenAI surface, which every other route under `/v1`
//! of this base URL has and which Jina's clients show as it is.

mod documents;
mod wire;

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::wire::{Document, Request, RerankResult, Reranked, Usage};
use super::answer::{annotate, of_json};
use super::body;
use super::caller::{Body, Strictness};
use super::fan_out::{self, Answered};
use super::openai::error::{self, ErrorBody};
use super::purpose;
use crate::error::{Error, Kind, Result};
use crate::families::rerank::{self, Rerank};
use crate::gateway::{Gateway, Origin, Trail};
use crate::ids;
use crate::report::{Action, Report};
use crate::tenancy::Caller;

/// The routes of this surface.
pub(super) fn router() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(create))
}

/// Rerank documents
///
/// Cohere's and Amazon's models: orders documents by how well they answer the query. Fields that are not known here go
/// to the model itself.
#[utoipa::path(
    post,
    path = "/v1/rerank",
    tag = "Rerank",
    request_body = Request,
    responses(
        (status = 200, description = "The documents' places, best first.", body = Reranked),
        (status = "4XX", description = "The request cannot be served as it is.", body = ErrorBody),
        (status = "5XX", description = "Bedrock or the gateway failed.", body = ErrorBody),
    ),
    security(("key" = ["inference"]))
)]
async fn create(
    State(gateway): State<Gateway>,
    caller: Caller,
    trail: Trail,
    strictness: Strictness,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response> {
    let mut request: Request = body::read(&body)?;
    drop(body);
    let top_n = check(&request)?;
    request.extra.retain(|_, value| !value.is_null());
    let mut report = Report::default();
    let texts = documents::texts(&request.documents, request.rank_fields.as_deref(), &mut report)?;
    let model = trail.wait_for(gateway.model(&caller, request.model)).await?;
    let family = purpose::family(&model, "reranking", Rerank::of)?;
    if family == Rerank::Amazon && request.extra.remove("max_tokens_per_doc").is_some() {
        report.add(Action::Dropped, "max_tokens_per_doc");
    }
    strictness.judge(&report)?;
    let texts: Vec<&str> = texts.iter().map(AsRef::as_ref).collect();
    let native = family.body(&request.query, &texts, top_n, &request.extra)?;
    let origin =
        Origin { surface: "rerank", operation: "rerank", trail, end_user: request.user, status: error::status };

    let (answer, served) = fan_out::invoke_one(&gateway, &caller, origin, (&model, &headers), native).await?;
    let documents = request.return_documents.unwrap_or(false).then_some(&*request.documents);
    let answer = render(&answer, request.documents.len(), documents, &model.name)?;
    Ok(annotate(of_json(answer.into()), &served, &report))
}

/// Checks what does not depend on the model; how many places to tell, at most one for each document.
fn check(request: &Request) -> Result<Option<usize>> {
    if request.query.is_empty() {
        return Err(Error::invalid("query", "`query` is empty: say what the documents are to answer."));
    }
    if request.documents.is_empty() {
        return Err(Error::invalid("documents", "`documents` is empty: there is nothing to order."));
    }
    if request.documents.len() > Rerank::MOST {
        return Err(Error::invalid("documents", format!("`documents` takes at most {}.", Rerank::MOST)));
    }
    match request.top_n {
        Some(0) => Err(Error::invalid("top_n", "`top_n` has to be at least 1.")),
        top_n => Ok(top_n.map(|top| top.min(request.documents.len()))),
    }
}

/// The answer's body; with `documents`, each result shows its own.
fn render(answer: &Answered, count: usize, documents: Option<&[Document]>, model: &str) -> Result<Vec<u8>> {
    let unreadable = || Error::new(Kind::UpstreamUnavailable, "Bedrock sent an answer that could not be read.");
    let ranked = rerank::read(&answer.body).map_err(|cause| unreadable().source(cause))?;
    if ranked.iter().any(|one| one.index >= count) {
        return Err(unreadable().source("an index without document"));
    }
    let results = ranked
        .iter()
        .map(|one| RerankResult {
            index: one.index,
            relevance_score: one.relevance_score,
            document: documents.and_then(|documents| documents.get(one.index)),
        })
        .collect();
    let usage = Usage { prompt_tokens: answer.input_tokens, total_tokens: answer.input_tokens };
    let body = Reranked { id: ids::fresh("rerank-"), model, results, usage };
    serde_json::to_vec(&body).map_err(Error::internal)
}
