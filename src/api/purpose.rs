//! Which route a model is for: a model of another kind is a 400 that names the right one.

use crate::catalog::{Hosting, Kind, Model};
use crate::error::{Error, Result};
use crate::gateway::Asked;

/// The family that `of` finds for the model, when its native body is written here; `wanted` is what the route is for,
/// such as `embeddings`.
pub(super) fn family<F>(asked: &Asked, wanted: &str, of: impl Fn(&Model) -> Option<F>) -> Result<F> {
    let Some(model) = asked.resolved.model.as_deref() else {
        let message = "This ARN does not tell which model is behind it, and the native body depends on that: name the \
                       model or an inference profile by its id.";
        return Err(Error::invalid("model", message));
    };
    of(model).ok_or_else(|| {
        let name = &asked.name;
        let message = match purpose(model.kind) {
            Some((kind, route)) if kind != wanted => format!("`{name}` is a model for {kind}: use {route}."),
            _ => format!("The native body of `{name}` is not known here: use POST /model/{{id}}/invoke."),
        };
        Error::invalid("model", message)
    })
}

/// Refuses what hides its model and cannot be called by Converse, whatever the model.
pub(super) fn hosting_converses(asked: &Asked) -> Result<()> {
    if asked.resolved.hosting().is_none_or(Hosting::converses) {
        return Ok(());
    }
    let message = "Bedrock takes an imported model by InvokeModel alone, in the model's own words: use \
                   POST /model/{arn}/invoke or /invoke-with-response-stream.";
    Err(Error::invalid("model", message))
}

/// Refuses, on `route`, a model that Converse does not take: AWS would, without a word on what to do.
pub(super) fn converses(asked: &Asked, route: &str) -> Result<()> {
    hosting_converses(asked)?;
    let Some(model) = asked.resolved.model.as_deref() else { return Ok(()) };
    let name = &asked.name;
    let message = match purpose(model.kind) {
        _ if takes_converse(model) => return Ok(()),
        // An unknown kind is AWS's to judge.
        None => return Ok(()),
        Some(("chat", _)) => {
            let apis = &model.apis;
            let others = [
                (apis.messages, "POST /v1/messages"),
                (apis.responses, "POST /v1/responses"),
                (apis.chat_completions, "POST /v1/chat/completions"),
                (apis.invoke, "POST /model/{id}/invoke"),
            ];
            let other = others.into_iter().find(|(takes, other)| *takes == Some(true) && *other != route);
            let advice = other.map_or("name another model".to_owned(), |(_, other)| format!("use {other}"));
            format!("Bedrock does not offer `{name}` to {route}: {advice}.")
        }
        Some((kind, other)) => format!("`{name}` is a model for {kind}: use {other}."),
    };
    Err(Error::invalid("model", message))
}

/// Whether Converse takes the model, as far as that is known.
pub(super) fn takes_converse(model: &Model) -> bool {
    model.kind == Kind::Chat && model.apis.converse != Some(false)
}

/// What a kind of model is for, and where it is called.
fn purpose(kind: Kind) -> Option<(&'static str, &'static str)> {
    match kind {
        Kind::Chat => Some(("chat", "POST /v1/chat/completions")),
        Kind::Embedding => Some(("embeddings", "POST /v1/embeddings")),
        Kind::Image => Some(("images", "POST /v1/images/generations")),
        Kind::ImageEdit => Some(("changing images", "POST /model/{id}/invoke")),
        Kind::Rerank => Some(("reranking", "POST /v1/rerank")),
        Kind::Video => Some(("making films", "POST /async-invoke")),
        Kind::Realtime => Some(("speech both ways at once", "an SDK of AWS's, because it is not offered here")),
        Kind::Other => None,
    }
}
