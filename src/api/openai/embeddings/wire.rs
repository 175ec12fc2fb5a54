//! What a client may send and gets (<https://platform.openai.com/docs/api-reference/embeddings/create>). The fields of
//! Cohere's API that have no equivalent in OpenAI's are taken by Cohere's names; others are kept in `extra`.

use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::converse::Object;

/// A request for vectors.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = EmbeddingRequest)]
pub(super) struct Request {
    /// The model, by any name the gateway knows.
    pub(super) model: String,
    /// What to make vectors of: a string, or a list of up to 2048 strings. Models that take pictures also take
    /// `{"text", "image"}`, either or both, the image as a data URL. Tokens are not taken.
    #[schema(value_type = Value)]
    pub(super) input: Inputs,
    /// How many numbers each vector has; the model's default if absent.
    pub(super) dimensions: Option<u32>,
    /// `float`, also if absent, or `base64`: little-endian floats of four bytes.
    pub(super) encoding_format: Option<String>,
    /// Who is behind the request.
    pub(super) user: Option<String>,
    /// What the vectors are for: `search_document` (also if absent), `search_query`, `classification`, `clustering`.
    pub(super) input_type: Option<String>,
    /// What to do with a text that is too long: `NONE` (also if absent) is an error, `START` and `END` cut it there.
    pub(super) truncate: Option<String>,
    /// Everything else, for the model itself.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub(super) extra: Object,
}

/// What to make vectors of. Read by hand: nothing is buffered, and a fault is found with its index.
#[derive(Debug)]
pub(super) enum Inputs {
    /// A string.
    One(String),
    /// A list.
    Many(Vec<Item>),
}

/// One of a list.
#[derive(Debug)]
pub(super) enum Item {
    /// A string.
    Text(String),
    /// Text, image, or both.
    Parts(Parts),
    /// One token, or a list of them.
    Tokens,
}

/// Text, image, or both.
#[derive(Debug, Deserialize)]
#[serde(expecting = "an object", deny_unknown_fields)]
pub(super) struct Parts {
    /// The text.
    pub(super) text: Option<String>,
    /// The image as a data URL.
    pub(super) image: Option<String>,
}

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Inputs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an array of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<Inputs, E> {
                Ok(Inputs::One(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Inputs, E> {
                Ok(Inputs::One(text))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Inputs, A::Error> {
                let mut many = Vec::new();
                while let Some(item) = items.next_element()? {
                    many.push(item);
                }
                Ok(Inputs::Many(many))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Item, E> {
                Ok(Item::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Item, E> {
                Ok(Item::Text(text))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Item, E> {
                Ok(Item::Tokens)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut tokens: A) -> Result<Item, A::Error> {
                while tokens.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Item::Tokens)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
                let parts = Parts::deserialize(MapAccessDeserializer::new(map))?;
                if parts.text.is_none() && parts.image.is_none() {
                    return Err(A::Error::custom("neither text nor image, expected a text, an image, or both"));
                }
                Ok(Item::Parts(parts))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// The vectors.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EmbeddingList<'a> {
    /// Always `list`.
    pub(super) object: &'static str,
    /// One for each input, in their order.
    #[schema(value_type = Vec<Embedding>)]
    pub(super) data: Vec<Embedding<'a>>,
    /// The model as the request named it.
    pub(super) model: &'a str,
    /// What it used.
    pub(super) usage: Usage,
}

/// One vector.
#[expect(clippy::struct_field_names, reason = "the names are the wire's")]
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Embedding<'a> {
    /// Always `embedding`.
    pub(super) object: &'static str,
    /// Which input, counted from 0.
    pub(super) index: usize,
    /// A list of numbers; with `encoding_format` `base64`, a string.
    #[schema(value_type = Vec<f32>)]
    pub(super) embedding: Vector<'a>,
}

/// The numbers of a vector.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Vector<'a> {
    /// A list, as the model wrote it.
    Numbers(&'a RawValue),
    /// Base64 of little-endian floats of four bytes.
    Base64(String),
}

/// Tokens used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EmbeddingUsage)]
pub(super) struct Usage {
    /// All inputs.
    pub(super) prompt_tokens: u64,
    /// The same.
    pub(super) total_tokens: u64,
}
