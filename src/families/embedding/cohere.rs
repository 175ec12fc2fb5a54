//! Cohere: up to 96 inputs for each call.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v3.html>
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed-v4.html>

use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Fields, Input, Settings, Vectors, only_type};
use crate::converse::Object;

/// The input type of a picture, the only one that the third version takes for it.
pub(super) const IMAGE: &str = "image";

/// The most inputs of one call.
const MOST: usize = 96;

pub(super) const V3: Fields = Fields {
    written: &["texts", "images"],
    dimensions: None,
    input_type: Some("input_type"),
    truncate: Some("truncate"),
    number_types: Some("embedding_types"),
};
pub(super) const V4: Fields =
    Fields { written: &["texts", "images", "inputs"], dimensions: Some("output_dimension"), ..V3 };

/// Neighbours that may share a call do, up to the limit.
pub(super) fn runs(inputs: &[Input], may_share: impl Fn(&Input) -> bool) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if run.len() < MOST && may_share(&inputs[run.start]) && may_share(input) => run.end += 1,
            _ => runs.push(index..index + 1),
        }
    }
    runs
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    texts: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<Content<'a>>,
    input_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<u32>,
    #[serde(flatten)]
    extra: &'a Object,
}

#[derive(Serialize)]
struct Content<'a> {
    content: Vec<Part<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: Url<'a> },
}

#[derive(Serialize)]
struct Url<'a> {
    url: &'a str,
}

impl<'a> Body<'a> {
    /// Everything but the inputs. `input_type` is required by the model, and a text is most often a document.
    fn new(input_type: &'a str, settings: &'a Settings) -> Self {
        Self {
            texts: Vec::new(),
            images: Vec::new(),
            inputs: Vec::new(),
            input_type: settings.input_type.as_deref().unwrap_or(input_type),
            truncate: settings.truncate.as_deref(),
            output_dimension: None,
            extra: &settings.extra,
        }
    }
}

pub(super) fn body_v3(inputs: &[Input], settings: &Settings) -> serde_json::Result<Vec<u8>> {
    let body = match inputs {
        // A picture travels alone, and under an input type of its own.
        [Input::Image(picture)] => {
            Body { images: vec![picture.url()], input_type: IMAGE, ..Body::new(IMAGE, settings) }
        }
        _ => Body { texts: inputs.iter().filter_map(text).collect(), ..Body::new("search_document", settings) },
    };
    serde_json::to_vec(&body)
}

pub(super) fn body_v4(inputs: &[Input], settings: &Settings) -> serde_json::Result<Vec<u8>> {
    let mut body = Body { output_dimension: settings.dimensions, ..Body::new("search_document", settings) };
    if inputs.iter().all(|input| matches!(input, Input::Text(_))) {
        body.texts = inputs.iter().filter_map(text).collect();
    } else {
        body.inputs = inputs.iter().map(content).collect();
    }
    serde_json::to_vec(&body)
}

fn text(input: &Input) -> Option<&str> {
    match input {
        Input::Text(text) | Input::Both(text, _) => Some(text),
        Input::Image(_) => None,
    }
}

fn content(input: &Input) -> Content<'_> {
    let mut content = Vec::with_capacity(2);
    content.extend(text(input).map(|text| Part::Text { text }));
    if let Input::Image(picture) | Input::Both(_, picture) = input {
        content.push(Part::ImageUrl { image_url: Url { url: picture.url() } });
    }
    Content { content }
}

/// A list of vectors, or lists by number format: which of the two comes when one format was asked for differs.
pub(super) fn read(body: &[u8]) -> serde_json::Result<Vectors<'_>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        embeddings: &'a RawValue,
    }
    let answer: Answer<'_> = serde_json::from_slice(body)?;
    let numbers = if answer.embeddings.get().starts_with('{') {
        only_type(answer.embeddings)?
    } else {
        serde_json::from_str(answer.embeddings.get())?
    };
    Ok(Vectors { numbers, input_tokens: None })
}
