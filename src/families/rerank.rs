//! Ordering texts by how well they answer: the native bodies of Cohere and Amazon, which are alike.
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/rerank-supported.html>

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::catalog::Model;
use crate::converse::Object;
use crate::error::{Error, Result};

/// A family of rerank models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rerank {
    /// Cohere Rerank.
    Cohere,
    /// Amazon Rerank.
    Amazon,
}

/// One document's place, best first.
#[derive(Debug, Deserialize)]
pub struct Ranked<'a> {
    /// Which document, counted from 0 as they were sent.
    pub index: usize,
    /// How well it answers, as the model wrote it.
    #[serde(borrow)]
    pub relevance_score: &'a RawValue,
}

impl Rerank {
    /// The most documents of one call.
    pub const MOST: usize = 1000;

    /// The family of `model`; `None` when its native body is not known.
    pub fn of(model: &Model) -> Option<Self> {
        match () {
            () if model.id.starts_with("cohere.rerank") => Some(Self::Cohere),
            () if model.id.starts_with("amazon.rerank") => Some(Self::Amazon),
            () => None,
        }
    }

    /// The native body. `top_n` is at most the number of documents; `extra` goes to the model as it is, except what the
    /// gateway writes itself, which is refused.
    pub fn body(self, query: &str, documents: &[&str], top_n: Option<usize>, extra: &Object) -> Result<Vec<u8>> {
        #[derive(Serialize)]
        struct Body<'a> {
            query: &'a str,
            documents: &'a [&'a str],
            #[serde(skip_serializing_if = "Option::is_none")]
            top_n: Option<usize>,
            /// Cohere's dialect: in the second, documents are texts.
            #[serde(skip_serializing_if = "Option::is_none")]
            api_version: Option<u8>,
            #[serde(flatten)]
            extra: &'a Object,
        }
        if extra.contains_key("api_version") {
            return Err(Error::invalid("api_version", "`api_version` is written by the gateway: leave it out."));
        }
        let api_version = (self == Self::Cohere).then_some(2);
        serde_json::to_vec(&Body { query, documents, top_n, api_version, extra }).map_err(Error::internal)
    }
}

/// The places in the model's answer.
pub fn read(body: &[u8]) -> serde_json::Result<Vec<Ranked<'_>>> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        results: Vec<Ranked<'a>>,
    }
    Ok(serde_json::from_slice::<Answer<'_>>(body)?.results)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn cohere_is_told_its_dialect_and_amazon_has_none() {
        let Value::Object(extra) = json!({"max_tokens_per_doc": 100}) else { panic!() };
        let body = |family: Rerank, top_n| -> Value {
            serde_json::from_slice(&family.body("q", &["a", "b"], top_n, &extra).unwrap()).unwrap()
        };
        assert_eq!(
            body(Rerank::Cohere, Some(1)),
            json!({"query": "q", "documents": ["a", "b"], "top_n": 1, "api_version": 2, "max_tokens_per_doc": 100})
        );
        assert_eq!(
            body(Rerank::Amazon, None),
            json!({"query": "q", "documents": ["a", "b"], "max_tokens_per_doc": 100})
        );
        let Value::Object(extra) = json!({"api_version": 1}) else { panic!() };
        assert_eq!(Rerank::Cohere.body("q", &["a"], None, &extra).unwrap_err().blamed(), Some("api_version"));
    }

    #[test]
    fn scores_are_passed_on_as_they_are_written() {
        let body =
            br#"{"results":[{"index":1,"relevance_score":0.98700000000001},{"index":0,"relevance_score":1e-7}]}"#;
        let ranked = read(body).unwrap();
        let told: Vec<_> = ranked.iter().map(|one| (one.index, one.relevance_score.get())).collect();
        assert_eq!(told, [(1, "0.98700000000001"), (0, "1e-7")]);
        assert!(read(b"{}").is_err());
    }
}
