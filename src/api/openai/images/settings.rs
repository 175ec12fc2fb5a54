//! From OpenAI's settings of an image to those of a model, pure: what has no equivalent is left out and reported.

use super::wire::Request;
use crate::error::{Error, Result};
use crate::families::image::ImageModel;
use crate::report::{Action, Report};

/// How the images are to be.
#[derive(Debug)]
pub(super) struct Settings {
    /// How many.
    pub(super) count: usize,
    /// The model's word for width to height; its default if absent.
    pub(super) ratio: Option<String>,
    /// The format of the file; the model's default if absent.
    pub(super) format: Option<String>,
}

/// Refuses what no model here can do.
pub(super) fn refuse_impossible(request: &Request) -> Result<()> {
    if request.model.trim().is_empty() {
        return Err(Error::invalid("model", "Name a model. GET /v1/models lists them."));
    }
    if request.prompt.trim().is_empty() {
        return Err(Error::invalid("prompt", "`prompt` is empty: say what the image shows."));
    }
    if request.stream == Some(true) {
        return Err(Error::unsupported("stream", "An image comes whole: leave `stream` out."));
    }
    if request.partial_images.is_some_and(|count| count > 0) {
        return Err(Error::unsupported("partial_images", "An image comes whole: leave `partial_images` out."));
    }
    match request.response_format.as_deref() {
        None | Some("b64_json") => Ok(()),
        Some("url") => {
            let message =
                "Images come as base64 only, because nothing here keeps them: set `response_format` to b64_json.";
            Err(Error::unsupported("response_format", message))
        }
        Some(_) => Err(Error::invalid("response_format", "`response_format` takes b64_json.")),
    }
}

/// The settings for a model.
pub(super) fn read(request: &Request, model: ImageModel, report: &mut Report) -> Result<Settings> {
    let count = match request.n {
        None => 1,
        Some(count @ 1..=10) => count as usize,
        Some(_) => return Err(Error::invalid("n", "`n` has to lie between 1 and 10.")),
    };
    if count > 1 && request.seed.is_some_and(|seed| seed > 0) {
        let message = "With a seed every image is the same: ask for one image, or leave the seed out.";
        return Err(Error::unsupported("seed", message));
    }
    for (field, is_default) in [
        ("quality", is_one_of(request.quality.as_deref(), &["auto", "standard"])),
        ("style", is_one_of(request.style.as_deref(), &["vivid"])),
        ("background", is_one_of(request.background.as_deref(), &["auto", "opaque"])),
        ("moderation", is_one_of(request.moderation.as_deref(), &["auto"])),
        ("output_compression", request.output_compression.is_none_or(|quality| quality == 100)),
    ] {
        if !is_default {
            report.add(Action::Dropped, field);
        }
    }
    Ok(Settings { count, ratio: ratio(request, model, report)?, format: format(request.output_format.as_deref())? })
}

fn is_one_of(asked: Option<&str>, defaults: &[&str]) -> bool {
    asked.is_none_or(|asked| defaults.contains(&asked))
}

fn ratio(request: &Request, model: ImageModel, report: &mut Report) -> Result<Option<String>> {
    let size = match request.size.as_deref() {
        None | Some("auto") => None,
        Some(size) => Some(pixels(size).ok_or_else(|| {
            Error::invalid("size", "`size` takes width and height in pixels, such as 1024x1024, or auto.")
        })?),
    };
    match (&request.aspect_ratio, size) {
        (Some(ratio), size) => {
            if size.is_some() {
                report.add(Action::Dropped, "size");
            }
            Ok(Some(ratio.clone()))
        }
        (None, None) => Ok(None),
        (None, Some((width, height))) => {
            let ratio = model.ratio(width, height);
            if !ratio.is_exact {
                report.add(Action::Clamped, "size");
            }
            Ok(Some(ratio.name.to_owned()))
        }
    }
}

/// `1024x768`.
fn pixels(size: &str) -> Option<(u32, u32)> {
    let (width, height) = size.split_once('x')?;
    let (width, height) = (width.parse().ok()?, height.parse().ok()?);
    (width > 0 && height > 0).then_some((width, height))
}

fn format(asked: Option<&str>) -> Result<Option<String>> {
    match asked {
        None => Ok(None),
        Some(format @ ("png" | "jpeg" | "webp")) => Ok(Some(format.to_owned())),
        Some(_) => Err(Error::invalid("output_format", "`output_format` takes png, jpeg or webp.")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error::Kind;

    fn settings(more: &Value) -> Result<(Settings, String)> {
        let mut body = json!({"model": "m", "prompt": "a cat"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let request: Request = crate::api::body::read(body.to_string().as_bytes())?;
        refuse_impossible(&request)?;
        let mut report = Report::default();
        let settings = read(&request, ImageModel::OneMegapixel, &mut report)?;
        Ok((settings, report.to_string()))
    }

    #[test]
    fn nothing_is_asked_of_the_model_that_the_client_did_not_ask() {
        let (settings, report) = settings(&json!({
            "size": "auto", "n": null, "quality": "standard", "style": "vivid", "background": "auto", "moderation": "auto",
            "response_format": "b64_json", "stream": false, "partial_images": 0, "output_compression": 100,
        }))
        .unwrap();
        assert_eq!((settings.count, settings.ratio, settings.format, &*report), (1, None, None, ""));
    }

    #[test]
    fn a_size_is_a_ratio_and_reported_unless_it_is_exact() {
        let told = |more| settings(&more).map(|(settings, report)| (settings.ratio.unwrap(), report)).unwrap();
        assert_eq!(told(json!({"size": "1024x1024"})), ("1:1".into(), String::new()));
        assert_eq!(told(json!({"size": "1536x1024"})), ("3:2".into(), "clamped:size".into()));
        assert_eq!(told(json!({"size": "256x256", "aspect_ratio": "21:9"})), ("21:9".into(), "dropped:size".into()));
    }

    #[test]
    fn what_has_no_equivalent_is_reported() {
        let asked = json!({
            "quality": "hd", "style": "natural", "background": "transparent", "moderation": "low", "output_compression": 50,
        });
        let expected = "dropped:quality,dropped:style,dropped:background,dropped:moderation,dropped:output_compression";
        assert_eq!(settings(&asked).unwrap().1, expected);
    }

    #[test]
    fn what_cannot_be_names_its_field() {
        let cases = [
            (json!({"n": 0}), Kind::Invalid, "n"),
            (json!({"n": 11}), Kind::Invalid, "n"),
            (json!({"n": "two"}), Kind::Invalid, "n"),
            (json!({"n": 2, "seed": 7}), Kind::Unsupported, "seed"),
            (json!({"model": " "}), Kind::Invalid, "model"),
            (json!({"prompt": ""}), Kind::Invalid, "prompt"),
            (json!({"prompt": null}), Kind::Invalid, "prompt"),
            (json!({"size": "big"}), Kind::Invalid, "size"),
            (json!({"size": "0x10"}), Kind::Invalid, "size"),
            (json!({"size": "10x10x10"}), Kind::Invalid, "size"),
            (json!({"response_format": "url"}), Kind::Unsupported, "response_format"),
            (json!({"response_format": "gif"}), Kind::Invalid, "response_format"),
            (json!({"output_format": "gif"}), Kind::Invalid, "output_format"),
            (json!({"stream": true}), Kind::Unsupported, "stream"),
            (json!({"partial_images": 2}), Kind::Unsupported, "partial_images"),
        ];
        for (more, kind, param) in cases {
            let error = settings(&more).unwrap_err();
            assert_eq!((error.kind(), error.blamed()), (kind, Some(param)), "{more}");
        }
    }
}
