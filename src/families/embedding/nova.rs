//! Nova: one input for each call; purpose, dimension and truncation have to be said.
//! <https://docs.aws.amazon.com/nova/latest/userguide/embeddings-schema.html>

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Fields, Input, Settings, Vectors};
use crate::converse::Object;

pub(super) const FIELDS: Fields = Fields {
    written: &["schemaVersion", "taskType", "singleEmbeddingParams", "text", "image", "truncationMode"],
    dimensions: Some("embeddingDimension"),
    input_type: Some("embeddingPurpose"),
    truncate: Some("truncationMode"),
    number_types: None,
};

/// What the model makes when nobody says.
const DIMENSION: u32 = 3072;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    schema_version: &'static str,
    task_type: &'static str,
    single_embedding_params: Params<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Params<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_purpose: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_dimension: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Image<'a>>,
    /// The caller's further fields: every setting of this model is among these.
    #[serde(flatten)]
    extra: &'a Object,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Text<'a> {
    truncation_mode: &'a str,
    value: &'a str,
}

#[derive(Serialize)]
struct Image<'a> {
    format: &'a str,
    source: Source<'a>,
}

#[derive(Serialize)]
struct Source<'a> {
    bytes: &'a str,
}

pub(super) fn body(input: &Input, settings: &Settings) -> serde_json::Result<Vec<u8>> {
    let extra = &settings.extra;
    let unless_given = |key: &str| !extra.contains_key(key);
    let (mut text, mut image) = (None, None);
    match input {
        Input::Text(value) => {
            text = Some(Text { truncation_mode: settings.truncate.as_deref().unwrap_or("NONE"), value });
        }
        Input::Image(picture) | Input::Both(_, picture) => {
            image = Some(Image { format: picture.format(), source: Source { bytes: picture.base64() } });
        }
    }
    serde_json::to_vec(&Body {
        schema_version: "nova-multimodal-embed-v1",
        task_type: "SINGLE_EMBEDDING",
        single_embedding_params: Params {
            embedding_purpose: unless_given("embeddingPurpose").then(|| purpose(settings.input_type.as_deref())),
            embedding_dimension: unless_given("embeddingDimension").then(|| settings.dimensions.unwrap_or(DIMENSION)),
            text,
            image,
            extra,
        },
    })
}

/// Nova's word for one of Cohere's; its own words are taken as they are.
fn purpose(input_type: Option<&str>) -> Cow<'_, str> {
    match input_type {
        None | Some("search_document") => "GENERIC_INDEX".into(),
        Some("search_query") => "GENERIC_RETRIEVAL".into(),
        Some(other) => other.to_uppercase().into(),
    }
}

pub(super) fn read(body: &[u8]) -> serde_json::Result<Vectors<'_>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        embeddings: Vec<One<'a>>,
    }
    #[derive(Deserialize)]
    struct One<'a> {
        #[serde(borrow)]
        embedding: &'a RawValue,
    }
    let answer: Answer<'_> = serde_json::from_slice(body)?;
    Ok(Vectors { numbers: answer.embeddings.iter().map(|one| one.embedding).collect(), input_tokens: None })
}
