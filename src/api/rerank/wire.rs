//! What a client may send and gets.

use std::fmt;

use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::converse::Object;

/// A request for an order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(expecting = "an object")]
#[schema(as = RerankRequest)]
pub(super) struct Request {
    /// The model, by any name the gateway knows.
    pub(super) model: String,
    /// What the documents are to answer.
    pub(super) query: String,
    /// 1 to 1000 strings, or objects with a `text`.
    #[schema(value_type = Vec<Value>)]
    pub(super) documents: Vec<Document>,
    /// How many places to tell; all if absent.
    pub(super) top_n: Option<usize>,
    /// Whether each result shows its document; false if absent.
    pub(super) return_documents: Option<bool>,
    /// Which fields of a document that is an object are looked at; `text` if absent.
    pub(super) rank_fields: Option<Vec<String>>,
    /// Who is behind the request.
    pub(super) user: Option<String>,
    /// Everything else, such as `max_tokens_per_doc`, for the model itself.
    #[serde(flatten)]
    #[schema(value_type = HashMap<String, Value>)]
    pub(super) extra: Object,
}

/// A document. Read by hand: a fault is found with its index.
#[derive(Debug)]
pub(super) enum Document {
    /// A string.
    Text(String),
    /// An object.
    Fields(Object),
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or an object")
            }

            fn visit_str<E>(self, text: &str) -> Result<Document, E> {
                Ok(Document::Text(text.to_owned()))
            }

            fn visit_string<E>(self, text: String) -> Result<Document, E> {
                Ok(Document::Text(text))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Document, A::Error> {
                Object::deserialize(MapAccessDeserializer::new(map)).map(Document::Fields)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

/// As it came; a string as `{"text": ...}`.
impl Serialize for Document {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => {
                use serde::ser::SerializeMap as _;
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("text", text)?;
                map.end()
            }
            Self::Fields(fields) => fields.serialize(serializer),
        }
    }
}

/// The order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Reranked<'a> {
    /// Starts with `rerank-`.
    pub(super) id: String,
    /// The model as the request named it.
    pub(super) model: &'a str,
    /// Best first.
    #[schema(value_type = Vec<RerankResult>)]
    pub(super) results: Vec<RerankResult<'a>>,
    /// What it used.
    pub(super) usage: Usage,
}

/// A document's place.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RerankResult<'a> {
    /// Which document, counted from 0.
    pub(super) index: usize,
    /// How well it answers, 0 to 1.
    #[schema(value_type = f64)]
    pub(super) relevance_score: &'a RawValue,
    /// The document, when `return_documents` asks for it; a string as `{"text": ...}`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub(super) document: Option<&'a Document>,
}

/// Tokens used.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RerankUsage)]
pub(super) struct Usage {
    /// Query and documents.
    pub(super) prompt_tokens: u64,
    /// The same.
    pub(super) total_tokens: u64,
}
