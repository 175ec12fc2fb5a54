//! Embedding bodies that take more than text: Titan's image model, Nova's multimodal one, Marengo 2.7 and 3.0. What
//! only `StartAsyncInvoke` takes (video, audio, segments) is refused on InvokeModel and the other way round.

use serde_json::{Value, json};

use super::embeddings::{dimensions, native, vector};
use super::{Native, refuse_keys};
use crate::simulator::catalog::{Family, Model};
use crate::simulator::errors::Failure;
use crate::simulator::tokens;
use crate::simulator::validate::images::sniff;

const PURPOSES: &[&str] = &[
    "GENERIC_INDEX",
    "GENERIC_RETRIEVAL",
    "TEXT_RETRIEVAL",
    "IMAGE_RETRIEVAL",
    "VIDEO_RETRIEVAL",
    "DOCUMENT_RETRIEVAL",
    "AUDIO_RETRIEVAL",
    "CLASSIFICATION",
    "CLUSTERING",
];
const MEDIA: [&str; 4] = ["text", "image", "video", "audio"];
/// What an image counts as input.
const IMAGE_TOKENS: u64 = 256;
const TITAN_IMAGE_TOKENS: u64 = 256;
const NOVA_TOKENS: u64 = 8_172;

/// Which operation brings the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Invoke,
    Async,
}

fn required<'a>(object: &'a Value, key: &str, at: &str) -> Result<&'a Value, Failure> {
    match &object[key] {
        Value::Null => Err(Failure::malformed(format!("{at}: required key [{key}] not found"))),
        value => Ok(value),
    }
}

fn text<'a>(object: &'a Value, key: &str, at: &str) -> Result<&'a str, Failure> {
    let value = required(object, key, at)?;
    value.as_str().ok_or_else(|| Failure::malformed(format!("{at}/{key}: expected type: String")))
}

fn one_of<'a>(object: &'a Value, key: &str, known: &[&str], at: &str) -> Result<&'a str, Failure> {
    let value = text(object, key, at)?;
    if known.contains(&value) {
        return Ok(value);
    }
    Err(Failure::malformed(format!("{at}/{key}: {value} is not a valid enum value")))
}

fn keys(object: &Value, known: &[&str], at: &str) -> Result<(), Failure> {
    let mut keys = object.as_object().into_iter().flat_map(|object| object.keys());
    match keys.find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Failure::malformed(format!("{at}: extraneous key [{key}] is not permitted"))),
        None => Ok(()),
    }
}

/// Titan's image model: a text, an image, or one vector of both.
pub(super) fn titan(body: &Value) -> Result<Native, Failure> {
    refuse_keys(body, &["inputText", "inputImage", "embeddingConfig"])?;
    keys(&body["embeddingConfig"], &["outputEmbeddingLength"], "#/embeddingConfig")?;
    let (text, image) = (body["inputText"].as_str(), body["inputImage"].as_str());
    if text.is_none() && image.is_none() {
        return Err(Failure::validation("Bad Request: Provide at least one of inputText or inputImage."));
    }
    if image.is_some_and(|image| sniff(image).is_none()) {
        return Err(Failure::validation("Bad Request: The input image could not be decoded."));
    }
    let size = dimensions(
        &body["embeddingConfig"]["outputEmbeddingLength"],
        &[256, 384, 1024],
        1024,
        "embeddingConfig/outputEmbeddingLength",
    )?;
    let count = text.map_or(0, tokens::count);
    if count > TITAN_IMAGE_TOKENS {
        return Err(Failure::validation(format!(
            "400 Bad Request: Too many input tokens. Max input tokens: {TITAN_IMAGE_TOKENS}, request input token count: {count} "
        )));
    }
    let both = format!("{}\u{0}{}", text.unwrap_or_default(), image.unwrap_or_default());
    Ok(native(json!({"embedding": vector(&both, size), "inputTextTokenCount": count, "message": null}), count))
}

/// Nova's multimodal model, on InvokeModel.
pub(super) fn nova(body: &Value) -> Result<Native, Failure> {
    let (kind, value, size) = nova_input(body, Way::Invoke)?;
    let embedding = json!({"embeddingType": kind.to_uppercase(), "embedding": vector(&value, size)});
    let count = if kind == "text" { tokens::count(&value) } else { IMAGE_TOKENS };
    Ok(native(json!({"embeddings": [embedding]}), count))
}

/// The modality, content and dimension of a Nova body.
fn nova_input(body: &Value, way: Way) -> Result<(&'static str, String, u64), Failure> {
    keys(body, &["schemaVersion", "taskType", "singleEmbeddingParams", "segmentedEmbeddingParams"], "#")?;
    if !body["schemaVersion"].is_null() {
        one_of(body, "schemaVersion", &["nova-multimodal-embed-v1"], "#")?;
    }
    let tasks: &[&str] =
        if way == Way::Async { &["SINGLE_EMBEDDING", "SEGMENTED_EMBEDDING"] } else { &["SINGLE_EMBEDDING"] };
    let (name, other) = match one_of(body, "taskType", tasks, "#")? {
        "SINGLE_EMBEDDING" => ("singleEmbeddingParams", "segmentedEmbeddingParams"),
        _ => ("segmentedEmbeddingParams", "singleEmbeddingParams"),
    };
    if !body[other].is_null() {
        return Err(Failure::malformed(format!("#: extraneous key [{other}] is not permitted")));
    }
    let (params, at) = (required(body, name, "#")?, format!("#/{name}"));
    keys(params, &["embeddingPurpose", "embeddingDimension", "text", "image", "video", "audio"], &at)?;
    one_of(params, "embeddingPurpose", PURPOSES, &at)?;
    required(params, "embeddingDimension", &at)?;
    let size = dimensions(
        &params["embeddingDimension"],
        &[256, 384, 1024, 3072],
        3072,
        &format!("{name}/embeddingDimension"),
    )?;
    let given: Vec<&'static str> = MEDIA.into_iter().filter(|kind| params[*kind].is_object()).collect();
    let [kind] = given[..] else {
        return Err(Failure::malformed(format!("{at}: exactly one of [text, image, video, audio] is required")));
    };
    let (input, at) = (&params[kind], format!("{at}/{kind}"));
    let value = if kind == "text" { nova_text(input, &at)? } else { nova_media(kind, input, &at)? };
    Ok((kind, value, size))
}

fn nova_text(input: &Value, at: &str) -> Result<String, Failure> {
    keys(input, &["truncationMode", "value", "source", "segmentationConfig"], at)?;
    let mode = one_of(input, "truncationMode", &["START", "END", "NONE"], at)?;
    if input["value"].is_null() && input["source"].is_object() {
        return Ok(input["source"].to_string());
    }
    let value = text(input, "value", at)?;
    if value.is_empty() {
        return Err(Failure::malformed(format!("{at}/value: expected minLength: 1, actual: 0")));
    }
    if mode == "NONE" && tokens::count(value) > NOVA_TOKENS {
        return Err(Failure::validation(format!("The input text exceeds the maximum of {NOVA_TOKENS} tokens.")));
    }
    Ok(value.to_owned())
}

fn nova_media(kind: &str, input: &Value, at: &str) -> Result<String, Failure> {
    let (known, formats): (&[&str], &[&str]) = match kind {
        "image" => (&["detailLevel", "format", "source"], &["png", "jpeg", "gif", "webp"]),
        "audio" => (&["format", "source", "segmentationConfig"], &["mp3", "wav", "ogg"]),
        _ => (
            &["format", "source", "embeddingMode", "segmentationConfig"],
            &["mp4", "mov", "mkv", "webm", "flv", "mpeg", "mpg", "wmv", "3gp"],
        ),
    };
    keys(input, known, at)?;
    let format = one_of(input, "format", formats, at)?;
    if kind == "video" {
        one_of(input, "embeddingMode", &["AUDIO_VIDEO_COMBINED", "AUDIO_VIDEO_SEPARATE"], at)?;
    }
    let (source, at) = (required(input, "source", at)?, format!("{at}/source"));
    keys(source, &["bytes", "s3Location"], &at)?;
    match source["bytes"].as_str() {
        Some(bytes) if kind == "image" && sniff(bytes) != Some(format) => {
            Err(Failure::malformed(format!("{at}/bytes: the image is not of format {format}")))
        }
        Some(bytes) => Ok(bytes.to_owned()),
        None => s3(&source["s3Location"], &at),
    }
}

fn s3(location: &Value, at: &str) -> Result<String, Failure> {
    let uri = text(location, "uri", &format!("{at}/s3Location"))?;
    if uri.starts_with("s3://") {
        return Ok(uri.to_owned());
    }
    Err(Failure::malformed(format!("{at}/s3Location/uri: string [{uri}] does not match pattern s3://")))
}

/// Marengo, on InvokeModel.
pub(super) fn marengo(model: &Model, body: &Value) -> Result<Native, Failure> {
    let value = marengo_input(model, body, Way::Invoke)?;
    let size = if is_marengo_3(model) { 512 } else { 1024 };
    let count = if body["inputType"] == "text" { tokens::count(&value) } else { IMAGE_TOKENS };
    Ok(native(json!({"data": [{"embedding": vector(&value, size)}]}), count))
}

fn is_marengo_3(model: &Model) -> bool {
    model.is_any(&["marengo-embed-3"])
}

fn marengo_input(model: &Model, body: &Value, way: Way) -> Result<String, Failure> {
    let newer = is_marengo_3(model);
    let kinds: &[&str] = match (newer, way) {
        (true, Way::Invoke) => &["text", "image", "text_image"],
        (true, Way::Async) => &["text", "image", "text_image", "video", "audio"],
        (false, Way::Invoke) => &["text", "image"],
        (false, Way::Async) => &["text", "image", "video", "audio"],
    };
    let kind = one_of(body, "inputType", kinds, "#")?;
    if newer {
        keys(body, &["inputType", kind], "#")?;
        let (input, at) = (required(body, kind, "#")?, format!("#/{kind}"));
        return match kind {
            "text" => {
                keys(input, &["inputText"], &at)?;
                words(text(input, "inputText", &at)?, 500, &at)
            }
            "text_image" => {
                keys(input, &["inputText", "mediaSource"], &at)?;
                let words = words(text(input, "inputText", &at)?, 500, &at)?;
                Ok(format!("{words}\u{0}{}", media(input, kind, &at)?))
            }
            _ => media(input, kind, &at),
        };
    }
    if kind == "text" {
        keys(body, &["inputType", "inputText", "textTruncate"], "#")?;
        let truncates = body["textTruncate"].is_null() || one_of(body, "textTruncate", &["end", "none"], "#")? == "end";
        let input = text(body, "inputText", "#")?;
        return if truncates { Ok(tokens::truncate(input, 77).0.to_owned()) } else { words(input, 77, "#") };
    }
    let timed = ["startSec", "lengthSec", "useFixedLengthSec", "minClipSec", "embeddingOption"];
    let known: Vec<&str> =
        ["inputType", "mediaSource"].into_iter().chain(timed.into_iter().filter(|_| kind != "image")).collect();
    keys(body, &known, "#")?;
    media(body, kind, "#")
}

fn words(text: &str, most: u64, at: &str) -> Result<String, Failure> {
    if text.is_empty() {
        return Err(Failure::malformed(format!("{at}/inputText: expected minLength: 1, actual: 0")));
    }
    let count = tokens::count(text);
    if count > most {
        return Err(Failure::validation(format!(
            "The input text has {count} tokens, more than the maximum of {most}."
        )));
    }
    Ok(text.to_owned())
}

fn media(input: &Value, kind: &str, at: &str) -> Result<String, Failure> {
    let (source, at) = (required(input, "mediaSource", at)?, format!("{at}/mediaSource"));
    keys(source, &["base64String", "s3Location"], &at)?;
    match source["base64String"].as_str() {
        Some(bytes) if kind.contains("image") && sniff(bytes).is_none() => {
            Err(Failure::malformed(format!("{at}/base64String: the image could not be decoded")))
        }
        Some(bytes) => Ok(bytes.to_owned()),
        None => s3(&source["s3Location"], &at),
    }
}

/// Checks the `modelInput` of an asynchronous call.
pub(crate) fn check_async(model: &Model, input: &Value) -> Result<(), Failure> {
    match model.family() {
        Family::Marengo => marengo_input(model, input, Way::Async).map(|_| ()),
        _ => nova_input(input, Way::Async).map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::catalog;
    use crate::simulator::invoke::NativeBody;

    fn body(native: Result<Native, Failure>) -> Result<Value, String> {
        native.map_err(|failure| failure.message).map(|native| match native.body {
            NativeBody::Whole(body) => body,
            NativeBody::Stream(_) => Value::Null,
        })
    }

    #[test]
    fn nova_takes_one_modality_with_purpose_dimension_and_truncation() {
        let ask = |fields: Value| {
            let params = crate::simulator::probe::with(
                json!({"embeddingPurpose": "GENERIC_INDEX", "embeddingDimension": 256}),
                &fields,
            );
            body(nova(&json!({"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": params})))
        };
        let words = json!({"truncationMode": "END", "value": "hello"});
        let answer = ask(json!({"text": words})).unwrap();
        assert_eq!(
            (&answer["embeddings"][0]["embeddingType"], answer["embeddings"][0]["embedding"].as_array().unwrap().len()),
            (&json!("TEXT"), 256)
        );
        for (fields, expected) in [
            (json!({"text": {"value": "hello"}}), "required key [truncationMode] not found"),
            (json!({"text": words, "image": {}}), "exactly one of"),
            (json!({"text": words, "embeddingDimension": 5}), "embeddingDimension: 5 is not a valid enum value"),
            (json!({"text": words, "embeddingPurpose": "FUN"}), "embeddingPurpose: FUN is not a valid enum value"),
            (json!({"text": words, "surprise": 1}), "extraneous key [surprise]"),
            (json!({"image": {"format": "png", "source": {"bytes": "aGVsbG8="}}}), "not of format png"),
        ] {
            let message = ask(fields).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
        assert!(
            body(nova(&json!({"taskType": "SEGMENTED_EMBEDDING"}))).unwrap_err().contains("not a valid enum value")
        );
    }

    #[test]
    fn marengo_nests_its_input_since_3_and_is_flat_before() {
        let model = |id: &str| catalog::model(id).unwrap();
        let (old, new) = (model("twelvelabs.marengo-embed-2-7-v1:0"), model("twelvelabs.marengo-embed-3-0-v1:0"));
        let (flat, nested) = (
            json!({"inputType": "text", "inputText": "hi"}),
            json!({"inputType": "text", "text": {"inputText": "hi"}}),
        );
        let size = |answer: Result<Value, String>| {
            answer.map(|body| body["data"][0]["embedding"].as_array().map_or(0, Vec::len))
        };
        assert_eq!((size(body(marengo(old, &flat))), size(body(marengo(new, &nested)))), (Ok(1024), Ok(512)));
        assert!(body(marengo(old, &nested)).unwrap_err().contains("extraneous key [text]"));
        assert!(body(marengo(new, &flat)).unwrap_err().contains("extraneous key [inputText]"));
        let video =
            json!({"inputType": "video", "video": {"mediaSource": {"s3Location": {"uri": "s3://bucket/a.mp4"}}}});
        assert!(body(marengo(new, &video)).unwrap_err().contains("video is not a valid enum value"));
        assert!(check_async(new, &video).is_ok());
    }
}
