//! Marengo: one input for each call; version 3 nests what version 2 has at the top.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-marengo.html>
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-marengo-3.html>

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Fields, Input, Settings, Vectors};
use crate::converse::Object;

pub(super) const V2: Fields = Fields {
    written: &["inputType", "inputText", "mediaSource"],
    dimensions: None,
    input_type: None,
    truncate: Some("textTruncate"),
    number_types: None,
};
pub(super) const V3: Fields = Fields { written: &["inputType", "text", "image", "text_image"], truncate: None, ..V2 };

/// What is told of the input: at the top of the body in version 2, under the name of its type in version 3.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct What<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    input_text: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_source: Option<MediaSource<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MediaSource<'a> {
    base64_string: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Flat<'a> {
    input_type: &'static str,
    #[serde(flatten)]
    what: What<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_truncate: Option<String>,
    #[serde(flatten)]
    extra: &'a Object,
}

#[derive(Serialize)]
struct Nested<'a> {
    #[serde(rename = "inputType")]
    input_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<What<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<What<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text_image: Option<What<'a>>,
    #[serde(flatten)]
    extra: &'a Object,
}

fn describe(input: &Input) -> (&'static str, What<'_>) {
    let media = |base64_string| Some(MediaSource { base64_string });
    match input {
        Input::Text(text) => ("text", What { input_text: Some(text), media_source: None }),
        Input::Image(picture) => ("image", What { input_text: None, media_source: media(picture.base64()) }),
        Input::Both(text, picture) => {
            ("text_image", What { input_text: Some(text), media_source: media(picture.base64()) })
        }
    }
}

pub(super) fn body_v2(input: &Input, settings: &Settings) -> serde_json::Result<Vec<u8>> {
    let (input_type, what) = describe(input);
    // The model would cut a long text short by itself; that is for the caller to say.
    let is_open = input_type == "text" && !settings.extra.contains_key("textTruncate");
    let text_truncate = is_open.then(|| settings.truncate.as_deref().unwrap_or("none").to_lowercase());
    serde_json::to_vec(&Flat { input_type, what, text_truncate, extra: &settings.extra })
}

pub(super) fn body_v3(input: &Input, settings: &Settings) -> serde_json::Result<Vec<u8>> {
    let (input_type, what) = describe(input);
    let mut body = Nested { input_type, text: None, image: None, text_image: None, extra: &settings.extra };
    match input {
        Input::Text(_) => body.text = Some(what),
        Input::Image(_) => body.image = Some(what),
        Input::Both(..) => body.text_image = Some(what),
    }
    serde_json::to_vec(&body)
}

pub(super) fn read(body: &[u8]) -> serde_json::Result<Vectors<'_>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        data: Vec<One<'a>>,
    }
    #[derive(Deserialize)]
    struct One<'a> {
        #[serde(borrow)]
        embedding: &'a RawValue,
    }
    let answer: Answer<'_> = serde_json::from_slice(body)?;
    Ok(Vectors { numbers: answer.data.iter().map(|one| one.embedding).collect(), input_tokens: None })
}
