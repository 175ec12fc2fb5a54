//! Citations of Claude's answers: when documents ask for them, the text of the answer cites the first words of the first.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// How much of a document is cited.
const CITED: usize = 40;

/// The documents of a conversation, in order.
pub(super) fn documents(messages: &[Value]) -> impl Iterator<Item = &Value> {
    let blocks = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
    blocks.filter(|block| block["type"] == "document")
}

/// What the answer to `messages` cites; nothing when no document asks.
pub(super) fn of(messages: &[Value]) -> Option<Value> {
    let document = documents(messages).next().filter(|document| document["citations"]["enabled"] == true)?;
    let source = &document["source"];
    let mut citation = json!({"type": "", "cited_text": "", "document_index": 0, "document_title": document["title"]});
    let cut = |text: &str| -> String { text.chars().take(CITED).collect() };
    let (kind, text) = match source["type"].as_str() {
        Some("text") => {
            let text = cut(source["data"].as_str().unwrap_or_default());
            citation["start_char_index"] = json!(0);
            citation["end_char_index"] = json!(text.chars().count());
            ("char_location", text)
        }
        Some("content") => {
            citation["start_block_index"] = json!(0);
            citation["end_block_index"] = json!(1);
            let text = source["content"].as_str().or_else(|| source["content"][0]["text"].as_str());
            ("content_block_location", text.unwrap_or_default().to_owned())
        }
        _ => {
            citation["start_page_number"] = json!(1);
            citation["end_page_number"] = json!(2);
            let start = source["data"].as_str().and_then(|data| data.get(..48));
            let bytes = start.and_then(|start| BASE64_STANDARD.decode(start).ok()).unwrap_or_default();
            ("page_location", cut(&String::from_utf8_lossy(&bytes)))
        }
    };
    citation["type"] = Value::from(kind);
    citation["cited_text"] = Value::from(text);
    Some(citation)
}
