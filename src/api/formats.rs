//! Which routes take a model, and whether its body travels as it is or is translated: the same decisions that the surfaces
//! take, for who wants to know beforehand.

use super::anthropic::{Lane, of_model};
use super::openai::{speaks_chat, speaks_responses};
use super::purpose;
use crate::catalog::{Kind, Model};
use crate::families::embedding::Embedding;
use crate::families::image::ImageModel;
use crate::families::rerank::Rerank;

/// How a body gets to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Format {
    /// As the caller wrote it: the model speaks the route's dialect.
    Native,
    /// Translated into what the model speaks.
    Translated,
}

/// The routes that take `model`, in the order of the documents, and how. Where the catalog does not say that one of AWS's
/// APIs refuses a model, the route is there: AWS may take it.
pub fn of(model: &Model) -> Vec<(&'static str, Format)> {
    let converses = purpose::takes_converse(model);
    let or_translated = |is_native: bool| match (is_native, converses) {
        (true, _) => Some(Format::Native),
        (false, true) => Some(Format::Translated),
        (false, false) => None,
    };
    let native = |takes: bool| takes.then_some(Format::Native);
    let written_here = |is_known: bool| is_known.then_some(Format::Translated);
    // Where the native body is written here, it is sent by that API.
    let is_written = Embedding::of(model).is_some() || ImageModel::of(model).is_some() || Rerank::of(model).is_some();
    let is_invoked =
        is_written || (!matches!(model.kind, Kind::Video | Kind::Realtime) && model.apis.invoke != Some(false));
    let routes = [
        ("POST /v1/chat/completions", or_translated(speaks_chat(model))),
        ("POST /v1/responses", or_translated(speaks_responses(model))),
        ("POST /v1/messages", or_translated(of_model(model) != Lane::Converse)),
        ("POST /model/{id}/converse", native(converses)),
        ("POST /model/{id}/invoke", native(is_invoked)),
        ("POST /async-invoke", native(model.kind == Kind::Video)),
        ("POST /v1/embeddings", written_here(Embedding::of(model).is_some())),
        ("POST /v1/images/generations", written_here(ImageModel::of(model).is_some())),
        ("POST /v1/rerank", written_here(Rerank::of(model).is_some())),
    ];
    routes.into_iter().filter_map(|(route, format)| Some((route, format?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;

    #[test]
    fn each_kind_of_model_has_the_routes_that_serve_it() {
        let catalog = Catalog::embedded(&[]).unwrap();
        let told = |name: &str| of(&catalog.resolve(name).unwrap().model.unwrap());
        let way =
            |name: &str, route: &str| told(name).into_iter().find(|(known, _)| *known == route).map(|told| told.1);
        assert_eq!(way("claude-haiku-4-5", "POST /v1/messages"), Some(Format::Native));
        assert_eq!(way("claude-haiku-4-5", "POST /v1/chat/completions"), Some(Format::Translated));
        assert_eq!(way("gpt-oss-120b", "POST /v1/chat/completions"), Some(Format::Native));
        assert_eq!(way("gpt-oss-120b", "POST /v1/messages"), Some(Format::Translated));
        assert_eq!(way("nova-lite", "POST /v1/responses"), Some(Format::Translated));
        assert_eq!(way("nova-lite", "POST /model/{id}/converse"), Some(Format::Native));
        assert_eq!(way("titan-embed-text-v2", "POST /v1/embeddings"), Some(Format::Translated));
        assert_eq!(way("titan-embed-text-v2", "POST /v1/chat/completions"), None);
        assert_eq!(told("nova-reel-v1:1"), [("POST /async-invoke", Format::Native)]);
        assert_eq!(way("rerank-v3-5", "POST /v1/rerank"), Some(Format::Translated));
        assert_eq!(way("stable-image-core", "POST /v1/images/generations"), Some(Format::Translated));
    }
}
