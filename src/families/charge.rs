//! What a call of a model is charged by that has a price for something else than its tokens: how much of it there was,
//! read from the native bodies. What cannot be told is not guessed: such a call's cost is unknown.
//! <https://aws.amazon.com/bedrock/pricing/>

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::catalog::{Charged, Kind, Model};

/// How many documents make a query to a rerank model.
const DOCUMENTS_PER_QUERY: u64 = 100;

/// What a call is charged by whose bodies are `request` and `answer`, if that can be told.
pub fn charged(model: &Model, request: &[u8], answer: &[u8]) -> Option<Charged> {
    match model.kind {
        Kind::Image | Kind::ImageEdit => {
            let made: Made = serde_json::from_slice(answer).ok()?;
            Some(Charged::Images(made.images.map_or(0, |images| images.len() as u64)))
        }
        Kind::Rerank => {
            let ranked: Ranked = serde_json::from_slice(request).ok()?;
            Some(Charged::Queries((ranked.documents.len() as u64).div_ceil(DOCUMENTS_PER_QUERY)))
        }
        Kind::Embedding => embedded(model, request),
        _ => None,
    }
}

/// The most that a call is charged by whose body is `request`, if that can be told before there is an answer.
pub fn charged_at_most(model: &Model, request: &[u8]) -> Option<Charged> {
    if !matches!(model.kind, Kind::Image | Kind::ImageEdit) {
        return charged(model, request, &[]);
    }
    let wanted: Wanted = serde_json::from_slice(request).ok()?;
    Some(Charged::Images(wanted.config.and_then(|config| config.images).unwrap_or(1)))
}

/// How many images are asked for; one where nothing is said.
#[derive(Deserialize)]
struct Wanted {
    #[serde(rename = "imageGenerationConfig")]
    config: Option<ImageConfig>,
}

#[derive(Deserialize)]
struct ImageConfig {
    #[serde(rename = "numberOfImages")]
    images: Option<u64>,
}

/// A filter may have stopped them all.
#[derive(Deserialize)]
struct Made {
    images: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Ranked {
    documents: Vec<IgnoredAny>,
}

fn embedded(model: &Model, request: &[u8]) -> Option<Charged> {
    if model.id.starts_with("twelvelabs.") {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow, rename = "inputType")]
            input_type: Cow<'a, str>,
        }
        let body: Body<'_> = serde_json::from_slice(request).ok()?;
        return match &*body.input_type {
            "text" => Some(Charged::Queries(1)),
            "image" => Some(Charged::Picture),
            _ => None,
        };
    }
    let what: What = if model.id.starts_with("amazon.nova-") {
        #[derive(Deserialize)]
        struct Body {
            #[serde(rename = "singleEmbeddingParams")]
            what: What,
        }
        serde_json::from_slice::<Body>(request).ok()?.what
    } else {
        serde_json::from_slice(request).ok()?
    };
    match (what.text, what.image, what.audio.or(what.video)) {
        (Some(_), None, None) => Some(Charged::Text),
        (None, Some(_), None) => Some(Charged::Picture),
        _ => None,
    }
}

/// What there is a vector of: Nova's names, or Titan's.
#[derive(Deserialize)]
struct What {
    #[serde(alias = "inputText")]
    text: Option<IgnoredAny>,
    #[serde(alias = "inputImage")]
    image: Option<IgnoredAny>,
    audio: Option<IgnoredAny>,
    video: Option<IgnoredAny>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::catalog::Catalog;

    fn told(name: &str, request: &Value, answer: &Value) -> Option<Charged> {
        let catalog = Catalog::embedded(&[]).unwrap();
        let model = catalog.resolve(name).unwrap().model.unwrap();
        charged(&model, request.to_string().as_bytes(), answer.to_string().as_bytes())
    }

    #[test]
    fn images_are_counted_in_the_answer_and_documents_in_the_request() {
        let images = |answer: Value| told("stability.stable-image-core-v1:1", &json!({}), &answer);
        assert_eq!(images(json!({"images": ["a", "b"], "finish_reasons": [null]})), Some(Charged::Images(2)));
        assert_eq!(images(json!({"finish_reasons": ["Filter reason: prompt"]})), Some(Charged::Images(0)));
        assert_eq!(images(json!([])), None);
        let queries = |count: usize| told("cohere.rerank-v3-5:0", &json!({"documents": vec!["a"; count]}), &json!({}));
        for (count, wanted) in [(1, 1), (100, 1), (101, 2), (1000, 10)] {
            assert_eq!(queries(count), Some(Charged::Queries(wanted)));
        }
    }

    #[test]
    fn a_vector_is_charged_by_what_it_is_of_if_that_is_one_thing() {
        let of = |name: &str, request: Value| told(name, &request, &json!({}));
        let nova = |what: Value| of("nova-2-multimodal-embeddings", json!({"singleEmbeddingParams": what}));
        assert_eq!(nova(json!({"text": {"value": "a"}})), Some(Charged::Text));
        assert_eq!(nova(json!({"image": {}})), Some(Charged::Picture));
        assert_eq!(nova(json!({"video": {}})), None);
        let titan = |request| of("titan-embed-image", request);
        assert_eq!(titan(json!({"inputText": "a", "inputImage": null})), Some(Charged::Text));
        assert_eq!(titan(json!({"inputImage": "a"})), Some(Charged::Picture));
        assert_eq!(titan(json!({"inputText": "a", "inputImage": "a"})), None);
        let marengo = |kind: &str| of("marengo-embed-3-0", json!({"inputType": kind}));
        assert_eq!(marengo("text"), Some(Charged::Queries(1)));
        assert_eq!(marengo("image"), Some(Charged::Picture));
        assert_eq!(marengo("text_image"), None);
    }
}
