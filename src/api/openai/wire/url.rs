//! URLs in requests: those that hold what they point at, and those that only point.

use std::fmt;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

/// A URL, taken apart while it is read: a picture of many megabytes is copied once.
#[derive(Debug, PartialEq)]
pub enum Url {
    /// `data:<head>,<payload>`.
    Data {
        /// The media type and `;base64`.
        head: String,
        /// The content.
        payload: String,
    },
    /// Any other, or none at all.
    Other(String),
    /// What was found at another URL; never read from a request.
    Fetched {
        /// What the server says it is.
        media_type: Option<String>,
        /// The content in base64.
        payload: String,
    },
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Url;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL")
            }

            fn visit_str<E>(self, text: &str) -> Result<Url, E> {
                let Some((scheme, rest)) = text.split_at_checked(5) else { return Ok(Url::Other(text.to_owned())) };
                if !scheme.eq_ignore_ascii_case("data:") {
                    return Ok(Url::Other(text.to_owned()));
                }
                let (head, payload) = rest.split_once(',').unwrap_or((rest, ""));
                Ok(Url::Data { head: head.to_owned(), payload: payload.to_owned() })
            }
        }
        deserializer.deserialize_str(Reader)
    }
}
