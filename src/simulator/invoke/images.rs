//! Stability's text-to-image bodies: Stable Image Core and Ultra, and Stable Diffusion 3.5, which also starts from an image. A
//! prompt with `[[blocked]]` is filtered: HTTP 200, a reason, no image. The image itself is one pixel, valid in its format.
//! AWS's pages "Stable Image Core request and response" and "Stable Diffusion 3.5 Large". The edit services are not here.

use serde_json::{Value, json};

use super::{Native, refuse_keys};
use crate::simulator::errors::Failure;
use crate::simulator::prompt_cache::Input;
use crate::simulator::resolve::Target;
use crate::simulator::validate::images::sniff;

const ASPECT_RATIOS: &[&str] = &["16:9", "1:1", "21:9", "2:3", "3:2", "4:5", "5:4", "9:16", "9:21"];
const MAX_PROMPT: usize = 10_000;
const MAX_SEED: u64 = 4_294_967_295;

/// One pixel.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";
/// One grey pixel, baseline.
const JPEG: &str = "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQH/wAALCAABAAEBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAAAP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AP//Z";

/// Answers a text-to-image body.
pub(crate) fn answer(target: &Target, body: &Value) -> Result<Native, Failure> {
    let from_image = target.model.is_any(&["sd3"]);
    let common = ["prompt", "mode", "aspect_ratio", "negative_prompt", "seed", "output_format"];
    let known: Vec<&str> = common.into_iter().chain(["image", "strength"].into_iter().filter(|_| from_image)).collect();
    refuse_keys(body, &known)?;
    let prompt = text(body, "prompt")?.ok_or_else(|| Failure::malformed("#: required key [prompt] not found"))?;
    if prompt.is_empty() {
        return Err(Failure::malformed("#/prompt: expected minLength: 1, actual: 0"));
    }
    text(body, "negative_prompt")?;
    let modes: &[&str] = if from_image { &["text-to-image", "image-to-image"] } else { &["text-to-image"] };
    let mode = one_of(body, "mode", modes)?.unwrap_or("text-to-image");
    let ratio = one_of(body, "aspect_ratio", ASPECT_RATIOS)?;
    let format = one_of(body, "output_format", &["jpeg", "png", "JPEG", "PNG"])?.unwrap_or("png");
    let seed = match &body["seed"] {
        Value::Null => 0,
        seed => seed
            .as_u64()
            .filter(|seed| *seed <= MAX_SEED)
            .ok_or_else(|| Failure::malformed(format!("#/seed: {seed} is not a whole number from 0 to {MAX_SEED}")))?,
    };
    if mode == "image-to-image" {
        start(body, ratio)?;
    } else if let Some(key) = ["image", "strength"].into_iter().find(|key| !body[*key].is_null()) {
        return Err(Failure::malformed(format!("#: extraneous key [{key}] is not permitted")));
    }
    if prompt.contains("[[blocked]]") {
        return Ok(native(json!({"finish_reasons": ["Filter reason: prompt"]})));
    }
    let seed = if seed == 0 { crc32fast::hash(prompt.as_bytes()).max(1).into() } else { seed };
    let image = if format.eq_ignore_ascii_case("png") { PNG } else { JPEG };
    Ok(native(json!({"seeds": [seed], "finish_reasons": [null], "images": [image]})))
}

fn native(body: Value) -> Native {
    Native::whole(body, Input::default(), 0)
}

fn text<'a>(body: &'a Value, key: &str) -> Result<Option<&'a str>, Failure> {
    match &body[key] {
        Value::Null => Ok(None),
        Value::String(text) if text.chars().count() > MAX_PROMPT => Err(Failure::malformed(format!(
            "#/{key}: expected maxLength: {MAX_PROMPT}, actual: {}",
            text.chars().count()
        ))),
        Value::String(text) => Ok(Some(text)),
        _ => Err(Failure::malformed(format!("#/{key}: expected type: String"))),
    }
}

fn one_of<'a>(body: &'a Value, key: &str, known: &[&str]) -> Result<Option<&'a str>, Failure> {
    match text(body, key)? {
        Some(value) if !known.contains(&value) => {
            Err(Failure::malformed(format!("#/{key}: {value} is not a valid enum value")))
        }
        value => Ok(value),
    }
}

/// The image to start from, and how far to go from it.
fn start(body: &Value, ratio: Option<&str>) -> Result<(), Failure> {
    let image = body["image"].as_str().ok_or_else(|| Failure::malformed("#: required key [image] not found"))?;
    if !matches!(sniff(image), Some("png" | "jpeg" | "webp")) {
        return Err(Failure::malformed("#/image: the image could not be decoded"));
    }
    if ratio.is_some() {
        return Err(Failure::malformed("#: extraneous key [aspect_ratio] is not permitted"));
    }
    match body["strength"].as_f64() {
        Some(strength) if (0.0..=1.0).contains(&strength) => Ok(()),
        Some(strength) => Err(Failure::malformed(format!("#/strength: {strength} is not between 0 and 1"))),
        None => Err(Failure::malformed("#: required key [strength] not found")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulator::catalog;
    use crate::simulator::invoke::NativeBody;

    fn told(id: &str, body: &Value) -> Result<Value, String> {
        let target = Target {
            model: std::sync::Arc::new(catalog::model(id).unwrap().clone()),
            region: "us-west-2".to_owned(),
            routing: None,
            resource: None,
        };
        answer(&target, body).map_err(|failure| failure.message).map(|native| match native.body {
            NativeBody::Whole(body) => body,
            NativeBody::Stream(_) => Value::Null,
        })
    }

    const CORE: &str = "stability.stable-image-core-v1:1";
    const SD: &str = "stability.sd3-5-large-v1:0";

    #[test]
    fn images_come_in_the_format_that_was_asked_for() {
        for (format, expected) in [("png", "png"), ("jpeg", "jpeg")] {
            let body = told(CORE, &json!({"prompt": "a panda", "output_format": format, "seed": 7})).unwrap();
            assert_eq!((sniff(body["images"][0].as_str().unwrap()), &body["seeds"]), (Some(expected), &json!([7])));
            assert_eq!(body["finish_reasons"], json!([null]));
        }
        let filtered = told(CORE, &json!({"prompt": "[[blocked]]"})).unwrap();
        assert_eq!(filtered, json!({"finish_reasons": ["Filter reason: prompt"]}));
    }

    #[test]
    fn bodies_outside_the_schema_are_refused() {
        let from = json!({"prompt": "a", "mode": "image-to-image", "image": PNG, "strength": 0.5});
        assert!(told(SD, &from).is_ok());
        for (model, body, expected) in [
            (CORE, json!({}), "required key [prompt] not found"),
            (CORE, json!({"prompt": "a".repeat(10_001)}), "expected maxLength: 10000, actual: 10001"),
            (CORE, json!({"prompt": "a", "aspect_ratio": "7:3"}), "#/aspect_ratio: 7:3 is not a valid enum value"),
            (CORE, json!({"prompt": "a", "n": 2}), "extraneous key [n] is not permitted"),
            (CORE, json!({"prompt": "a", "seed": 4_294_967_296_u64}), "#/seed"),
            (CORE, from, "extraneous key [image]"),
            (SD, json!({"prompt": "a", "mode": "image-to-image", "image": PNG}), "required key [strength] not found"),
            (SD, json!({"prompt": "a", "image": PNG}), "extraneous key [image]"),
        ] {
            let message = told(model, &body).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
