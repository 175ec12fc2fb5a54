//! Pictures from text: Stability's native body, one picture for each call.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-stability-diffusion.html>

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::catalog::Model;
use crate::converse::Object;
use crate::error::{Error, Result};

/// A model that makes pictures, as far as they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageModel {
    /// Stable Diffusion 3 and Stable Image Ultra: about a megapixel.
    OneMegapixel,
    /// Stable Image Core: about one and a half.
    Core,
}

/// Width, height and the word for it: every ratio that the models take.
const RATIOS: [(u32, u32, &str); 9] = [
    (1, 1, "1:1"),
    (16, 9, "16:9"),
    (21, 9, "21:9"),
    (2, 3, "2:3"),
    (3, 2, "3:2"),
    (4, 5, "4:5"),
    (5, 4, "5:4"),
    (9, 16, "9:16"),
    (9, 21, "9:21"),
];

/// What a picture's size comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// The model's word for the nearest ratio it takes.
    pub name: &'static str,
    /// Whether the picture has the very pixels that were asked for, as far as is known.
    pub is_exact: bool,
}

impl ImageModel {
    /// The kind of `model`; `None` when its native body is not known.
    pub fn of(model: &Model) -> Option<Self> {
        if model.id.starts_with("stability.stable-image-core") {
            return Some(Self::Core);
        }
        let starts = ["stability.sd3", "stability.stable-image-ultra"];
        starts.iter().any(|start| model.id.starts_with(start)).then_some(Self::OneMegapixel)
    }

    /// The ratio nearest to `width` by `height`, which are not 0. The models take a ratio and choose the pixels; which
    /// these are is documented for none but the square.
    pub fn ratio(self, width: u32, height: u32) -> Ratio {
        let asked = (f64::from(width) / f64::from(height)).ln();
        let distance =
            |(width, height, _): &(u32, u32, &str)| ((f64::from(*width) / f64::from(*height)).ln() - asked).abs();
        let nearest = RATIOS.iter().min_by(|one, other| distance(one).total_cmp(&distance(other)));
        let square = match self {
            Self::OneMegapixel => 1024,
            Self::Core => 1536,
        };
        Ratio { name: nearest.map_or("1:1", |(_, _, name)| name), is_exact: (width, height) == (square, square) }
    }
}

/// The native body of one picture; `extra` goes to the model as it is.
pub fn body(prompt: &str, ratio: Option<&str>, format: Option<&str>, extra: &Object) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Body<'a> {
        prompt: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        aspect_ratio: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        output_format: Option<&'a str>,
        #[serde(flatten)]
        extra: &'a Object,
    }
    serde_json::to_vec(&Body { prompt, aspect_ratio: ratio, output_format: format, extra }).map_err(Error::internal)
}

/// What one call answered, with status 200 whichever it is.
#[derive(Debug)]
pub enum Answer<'a> {
    /// The pictures: JSON strings of base64, as the model wrote them.
    Images(Vec<&'a RawValue>),
    /// Prompt or picture did not pass the model's filter; its words for why.
    Filtered(String),
    /// The model failed; its words.
    Failed(String),
}

/// Reads the model's answer.
pub fn read(body: &[u8]) -> serde_json::Result<Answer<'_>> {
    #[derive(Deserialize)]
    struct Native<'a> {
        #[serde(borrow, default)]
        images: Vec<&'a RawValue>,
        #[serde(default)]
        finish_reasons: Vec<Option<String>>,
    }
    let native: Native<'_> = serde_json::from_slice(body)?;
    if let Some(reason) = native.finish_reasons.into_iter().flatten().next() {
        let is_filter = reason.to_ascii_lowercase().starts_with("filter");
        return Ok(if is_filter { Answer::Filtered(reason) } else { Answer::Failed(reason) });
    }
    if native.images.is_empty() || native.images.iter().any(|image| !image.get().starts_with('"')) {
        return Err(serde::de::Error::custom("no images"));
    }
    Ok(Answer::Images(native.images))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_size_becomes_the_nearest_ratio() {
        let told = |model: ImageModel, width, height| {
            let ratio = model.ratio(width, height);
            (ratio.name, ratio.is_exact)
        };
        let model = ImageModel::OneMegapixel;
        assert_eq!(told(model, 1024, 1024), ("1:1", true));
        assert_eq!(told(model, 512, 512), ("1:1", false));
        assert_eq!(told(model, 1536, 1024), ("3:2", false));
        assert_eq!(told(model, 1024, 1536), ("2:3", false));
        assert_eq!(told(model, 1792, 1024), ("16:9", false));
        assert_eq!(told(model, 1, u32::MAX), ("9:21", false));
        assert_eq!(told(ImageModel::Core, 1024, 1024), ("1:1", false));
        assert_eq!(told(ImageModel::Core, 1536, 1536), ("1:1", true));
    }

    #[test]
    fn the_body_holds_what_was_asked_and_no_more() {
        let Value::Object(extra) = json!({"seed": 7, "negative_prompt": "rain"}) else { panic!() };
        let sent = |ratio, format, extra: &Object| -> Value {
            serde_json::from_slice(&body("a cat", ratio, format, extra).unwrap()).unwrap()
        };
        assert_eq!(sent(None, None, &Object::new()), json!({"prompt": "a cat"}));
        assert_eq!(
            sent(Some("3:2"), Some("png"), &extra),
            json!({"prompt": "a cat", "aspect_ratio": "3:2", "output_format": "png", "seed": 7, "negative_prompt": "rain"})
        );
    }

    #[test]
    fn a_refusal_with_status_200_is_told_from_a_picture() {
        let good = br#"{"seeds":[1],"finish_reasons":[null],"images":["iVBORw0KGgo="]}"#;
        assert!(matches!(read(good).unwrap(), Answer::Images(images) if images[0].get() == "\"iVBORw0KGgo=\""));
        let filtered = br#"{"finish_reasons":["Filter reason: prompt"]}"#;
        assert!(matches!(read(filtered).unwrap(), Answer::Filtered(reason) if reason == "Filter reason: prompt"));
        assert!(matches!(read(br#"{"finish_reasons":["Inference error"]}"#).unwrap(), Answer::Failed(_)));
        for bad in [&b"{}"[..], b"[]", br#"{"images":[7],"finish_reasons":[null]}"#] {
            assert!(read(bad).is_err());
        }
    }

    #[test]
    fn every_model_of_the_catalog_that_makes_pictures_has_a_body() {
        let catalog = crate::catalog::Catalog::configured(&crate::config::Config::default()).unwrap();
        let regions: Vec<_> = catalog.regions().iter().map(|region| region.code.clone()).collect();
        let open = crate::catalog::Fence::default();
        let models: Vec<_> =
            catalog.models(&regions, &open).filter(|model| model.kind == crate::catalog::Kind::Image).collect();
        assert!(models.len() >= 3, "{models:?}");
        for model in models {
            assert!(ImageModel::of(model).is_some(), "{}", model.id);
        }
    }
}
