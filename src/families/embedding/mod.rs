//! Vectors: what each family of embedding models takes and answers, in its native body. Pure functions of their
//! arguments; nothing here knows a surface.
//!
//! The invariants: inputs are never cut short unless the caller says so, and the numbers of a vector are passed on as
//! the text that the model wrote.

mod cohere;
mod marengo;
mod nova;
mod titan;

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::catalog::Model;
use crate::converse::Object;
use crate::error::{Error, Result};
use crate::report::{Action, Report};

/// A family of embedding models: one native body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Embedding {
    /// Titan Text Embeddings G1.
    Titan1,
    /// Titan Text Embeddings V2.
    Titan2,
    /// Titan Multimodal Embeddings G1.
    TitanImage,
    /// Cohere Embed 3, English and multilingual.
    Cohere3,
    /// Cohere Embed 4.
    Cohere4,
    /// Nova Multimodal Embeddings.
    Nova,
    /// `TwelveLabs` Marengo Embed 2.7.
    Marengo2,
    /// `TwelveLabs` Marengo Embed 3.0.
    Marengo3,
}

/// One thing to make a vector of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A text.
    Text(String),
    /// A picture.
    Image(Picture),
    /// A text and a picture, together one vector.
    Both(String, Picture),
}

/// A picture as the data URL that it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    url: String,
    /// Where the base64 begins.
    payload: usize,
}

impl Picture {
    const START: &str = "data:image/";
    const END: &str = ";base64";

    /// The picture behind `data:image/png;base64,...`; `None` for any other text. The base64 is not looked at.
    pub fn parse(url: String) -> Option<Self> {
        let (head, _) = url.split_once(',')?;
        let is_picture = head.starts_with(Self::START) && head.ends_with(Self::END);
        let format = head.get(Self::START.len()..head.len().checked_sub(Self::END.len())?)?;
        let payload = head.len() + 1;
        (is_picture && !format.is_empty() && payload < url.len()).then_some(Self { url, payload })
    }

    /// The whole data URL.
    fn url(&self) -> &str {
        &self.url
    }

    /// Its base64.
    fn base64(&self) -> &str {
        &self.url[self.payload..]
    }

    /// Its format, such as `png`, by how its first bytes look in base64: labels are often wrong. The label, where these
    /// are of no picture that is known.
    fn format(&self) -> &str {
        const BY_START: [(&str, &str); 4] =
            [("iVBORw0KGgo", "png"), ("/9j/", "jpeg"), ("R0lGOD", "gif"), ("UklGR", "webp")];
        let known = BY_START.iter().find(|(start, _)| self.base64().starts_with(start)).map(|(_, format)| *format);
        known.unwrap_or(&self.url[Self::START.len()..self.payload - 1 - Self::END.len()])
    }
}

/// How the vectors are to be.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// How many numbers each has.
    pub dimensions: Option<u32>,
    /// What they are for, in Cohere's words or the model's own: `search_document`, `search_query`, ...
    pub input_type: Option<String>,
    /// What to do with a text that is too long, in Cohere's words: `NONE`, `START`, `END`.
    pub truncate: Option<String>,
    /// Further fields, for the model itself.
    pub extra: Object,
}

/// What one call answered.
#[derive(Debug)]
pub struct Vectors<'a> {
    /// A list of numbers for each input, in their order, as the model wrote them.
    pub numbers: Vec<&'a RawValue>,
    /// Tokens read, where the body tells.
    pub input_tokens: Option<u64>,
}

impl Embedding {
    /// The family of `model`; `None` when its native body is not known.
    pub fn of(model: &Model) -> Option<Self> {
        Self::of_id(&model.id)
    }

    /// The family of the model with this id of Bedrock's.
    pub fn of_id(id: &str) -> Option<Self> {
        const BY_START: [(&str, Embedding); 8] = [
            ("amazon.titan-embed-image", Embedding::TitanImage),
            ("amazon.titan-embed-text-v2", Embedding::Titan2),
            ("amazon.titan-embed-", Embedding::Titan1),
            ("amazon.nova-2-multimodal-embeddings", Embedding::Nova),
            ("cohere.embed-v4", Embedding::Cohere4),
            ("cohere.embed-", Embedding::Cohere3),
            ("twelvelabs.marengo-embed-2", Embedding::Marengo2),
            ("twelvelabs.marengo-embed-3", Embedding::Marengo3),
        ];
        BY_START.iter().find(|(start, _)| id.starts_with(start)).map(|(_, family)| *family)
    }

    /// The lengths of vector it offers; the only one when it takes no `dimensions` at all.
    pub fn dimensions(self) -> &'static [u32] {
        match self {
            Self::Titan1 => &[1536],
            Self::Titan2 => &[256, 512, 1024],
            Self::TitanImage => &[256, 384, 1024],
            Self::Cohere3 | Self::Marengo2 => &[1024],
            Self::Cohere4 => &[256, 512, 1024, 1536],
            Self::Nova => &[256, 384, 1024, 3072],
            Self::Marengo3 => &[512],
        }
    }

    /// Whether it can make a vector of `input`; else why not.
    pub fn takes(self, input: &Input) -> Result<(), &'static str> {
        match (self, input) {
            (Self::Titan1 | Self::Titan2, Input::Image(_) | Input::Both(..)) => Err("This model takes text only."),
            (Self::Cohere3 | Self::Nova | Self::Marengo2, Input::Both(..)) => {
                Err("This model makes a vector of a text or of a picture, not of both together.")
            }
            _ => Ok(()),
        }
    }

    /// Whether the model can do what `settings` ask for. What has no equivalent is taken out and named in `report`;
    /// what contradicts itself, or would give vectors that the caller does not expect, is refused.
    pub fn judge(self, inputs: &[Input], settings: &mut Settings, report: &mut Report) -> Result<()> {
        if let Some(asked) = settings.dimensions {
            let offered = self.dimensions();
            if !offered.contains(&asked) {
                let offered: Vec<String> = offered.iter().map(u32::to_string).collect();
                let message = format!("This model offers vectors of {} dimensions.", offered.join(", "));
                return Err(Error::invalid("dimensions", message));
            }
        }
        let fields = self.fields();
        let is_written = |key: &&str| fields.written.contains(key);
        if let Some(key) = settings.extra.keys().map(String::as_str).find(is_written) {
            return Err(Error::invalid(key, format!("`{key}` is written by the gateway: leave it out.")));
        }
        let twins = [
            ("dimensions", settings.dimensions.is_some(), fields.dimensions),
            ("input_type", settings.input_type.is_some(), fields.input_type),
            ("truncate", settings.truncate.is_some(), fields.truncate),
        ];
        for (field, is_set, native) in twins {
            if let Some(native) = native.filter(|native| is_set && settings.extra.contains_key(*native)) {
                let message = format!("`{native}` and `{field}` say the same: send one of them.");
                return Err(Error::invalid(native, message));
            }
        }
        if let Some(key) = fields.number_types
            && let Some(types) = settings.extra.get(key)
            && types.as_array().is_none_or(|types| types.len() != 1)
        {
            let message = format!("There is one vector for each input: `{key}` takes a list of one type.");
            return Err(Error::invalid(key, message));
        }
        if settings.input_type.is_some() && fields.input_type.is_none() {
            settings.input_type = None;
            report.add(Action::Dropped, "input_type");
        }
        if let Some(mode) = &settings.truncate
            && fields.truncate.is_none()
        {
            // Too long a text is an error of these models anyway.
            if !mode.eq_ignore_ascii_case("none") {
                report.add(Action::Dropped, "truncate");
            }
            settings.truncate = None;
        }
        let is_picture = |input: &Input| matches!(input, Input::Image(_));
        if self == Self::Cohere3
            && settings.input_type.as_deref().is_some_and(|asked| asked != cohere::IMAGE)
            && inputs.iter().any(is_picture)
        {
            report.add(Action::Clamped, "input_type");
        }
        Ok(())
    }

    fn fields(self) -> Fields {
        match self {
            Self::Titan1 => titan::V1,
            Self::Titan2 => titan::V2,
            Self::TitanImage => titan::IMAGE,
            Self::Cohere3 => cohere::V3,
            Self::Cohere4 => cohere::V4,
            Self::Nova => nova::FIELDS,
            Self::Marengo2 => marengo::V2,
            Self::Marengo3 => marengo::V3,
        }
    }

    /// Which inputs go into which call, in their order.
    pub fn calls(self, inputs: &[Input]) -> Vec<Range<usize>> {
        match self {
            Self::Cohere3 => cohere::runs(inputs, |input| matches!(input, Input::Text(_))),
            Self::Cohere4 => cohere::runs(inputs, |_| true),
            _ => (0..inputs.len()).map(|index| index..index + 1).collect(),
        }
    }

    /// The native body for the inputs of one call.
    pub fn body(self, inputs: &[Input], settings: &Settings) -> Result<Vec<u8>> {
        let body = match (self, inputs) {
            (Self::Cohere3, _) => cohere::body_v3(inputs, settings),
            (Self::Cohere4, _) => cohere::body_v4(inputs, settings),
            (Self::Titan1 | Self::Titan2, [input]) => titan::text_body(input, settings),
            (Self::TitanImage, [input]) => titan::image_body(input, settings),
            (Self::Nova, [input]) => nova::body(input, settings),
            (Self::Marengo2, [input]) => marengo::body_v2(input, settings),
            (Self::Marengo3, [input]) => marengo::body_v3(input, settings),
            (_, _) => return Err(Error::internal("a call of this model holds one input")),
        };
        body.map_err(Error::internal)
    }

    /// The vectors in the model's answer.
    pub fn read(self, body: &[u8]) -> serde_json::Result<Vectors<'_>> {
        match self {
            Self::Titan1 | Self::Titan2 | Self::TitanImage => titan::read(body),
            Self::Cohere3 | Self::Cohere4 => cohere::read(body),
            Self::Nova => nova::read(body),
            Self::Marengo2 | Self::Marengo3 => marengo::read(body),
        }
    }
}

/// What the settings are called in a native body; `None`: it has no such field.
struct Fields {
    /// What the gateway writes itself, and a caller must not.
    written: &'static [&'static str],
    dimensions: Option<&'static str>,
    input_type: Option<&'static str>,
    truncate: Option<&'static str>,
    /// The list of number formats to answer in.
    number_types: Option<&'static str>,
}

/// Vectors by number format: there is one, because one was asked for.
fn only_type<'a, T: Deserialize<'a>>(by_type: &'a RawValue) -> serde_json::Result<T> {
    let by_type: BTreeMap<&str, T> = serde_json::from_str(by_type.get())?;
    by_type.into_values().next().ok_or_else(|| serde::de::Error::custom("no vectors of any type"))
}

#[cfg(test)]
mod tests;
