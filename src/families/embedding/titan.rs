//! Titan: one input for each call, and the tokens told in the body.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html>
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-mm.html>

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Fields, Input, Settings, Vectors, only_type};
use crate::converse::Object;

pub(super) const V1: Fields =
    Fields { written: &["inputText"], dimensions: None, input_type: None, truncate: None, number_types: None };
pub(super) const V2: Fields = Fields { dimensions: Some("dimensions"), number_types: Some("embeddingTypes"), ..V1 };
pub(super) const IMAGE: Fields =
    Fields { written: &["inputText", "inputImage"], dimensions: Some("embeddingConfig"), ..V1 };

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    input_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_image: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_config: Option<Config>,
    #[serde(flatten)]
    extra: &'a Object,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    output_embedding_length: u32,
}

pub(super) fn text_body(input: &Input, settings: &Settings) -> serde_json::Result<Vec<u8>> {
    let (input_text, input_image) = parts(input);
    // The first version has one length, and no field for it.
    let dimensions = settings.dimensions.filter(|asked| *asked != 1536);
    let extra = &settings.extra;
    serde_json::to_vec(&Body { input_text, input_image, dimensions, embedding_config: None, extra })
}

pub(super) fn image_body(input: &Input, settings: &Settings) -> serde_json::Result<Vec<u8>> {
    let (input_text, input_image) = parts(input);
    let embedding_config = settings.dimensions.map(|length| Config { output_embedding_length: length });
    let extra = &settings.extra;
    serde_json::to_vec(&Body { input_text, input_image, dimensions: None, embedding_config, extra })
}

fn parts(input: &Input) -> (Option<&str>, Option<&str>) {
    match input {
        Input::Text(text) => (Some(text), None),
        Input::Image(picture) => (None, Some(picture.base64())),
        Input::Both(text, picture) => (Some(text), Some(picture.base64())),
    }
}

pub(super) fn read(body: &[u8]) -> serde_json::Result<Vectors<'_>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer<'a> {
        #[serde(borrow)]
        embedding: Option<&'a RawValue>,
        #[serde(borrow)]
        embeddings_by_type: Option<&'a RawValue>,
        input_text_token_count: Option<u64>,
    }
    let answer: Answer<'_> = serde_json::from_slice(body)?;
    let numbers = match (answer.embedding, answer.embeddings_by_type) {
        (Some(numbers), _) => numbers,
        (None, Some(by_type)) => only_type(by_type)?,
        (None, None) => return Err(serde::de::Error::missing_field("embedding")),
    };
    Ok(Vectors { numbers: vec![numbers], input_tokens: answer.input_text_token_count })
}
