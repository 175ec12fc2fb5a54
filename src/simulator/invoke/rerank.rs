//! Rerank bodies of Cohere and Amazon: a document scores by the words it shares with the query.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::Native;
use crate::simulator::errors::Failure;
use crate::simulator::prompt_cache::Input;
use crate::simulator::tokens;

/// Answers a rerank body.
pub(crate) fn answer(body: &Value) -> Result<Native, Failure> {
    let query = body["query"].as_str().ok_or_else(|| Failure::malformed("#: required key [query] not found"))?;
    let documents =
        body["documents"].as_array().ok_or_else(|| Failure::malformed("#: required key [documents] not found"))?;
    if documents.is_empty() || documents.len() > 1000 {
        return Err(Failure::malformed(format!(
            "#/documents: expected item count: 1 to 1000, found: {}",
            documents.len()
        )));
    }
    let words = |text: &str| -> HashSet<String> { text.split_whitespace().map(str::to_lowercase).collect() };
    let wanted = words(query);
    let text = |document: &Value| document.as_str().map_or_else(|| document["text"].to_string(), str::to_owned);
    let mut scored: Vec<(usize, f64)> = documents
        .iter()
        .map(|document| {
            let shared = u32::try_from(words(&text(document)).intersection(&wanted).count()).unwrap_or(u32::MAX);
            let all = u32::try_from(wanted.len().max(1)).unwrap_or(u32::MAX);
            0.01 + 0.98 * f64::from(shared) / f64::from(all)
        })
        .enumerate()
        .collect();
    scored.sort_by(|one, other| other.1.total_cmp(&one.1));
    let top = body["top_n"].as_u64().and_then(|top| usize::try_from(top).ok()).unwrap_or(scored.len());
    let results: Vec<Value> =
        scored.iter().take(top).map(|(index, score)| json!({"index": index, "relevance_score": score})).collect();
    let count = tokens::count(query) + documents.iter().map(|document| tokens::count(&text(document))).sum::<u64>();
    Ok(Native::whole(json!({"results": results}), Input { fresh: count, ..Input::default() }, 0))
}
