//! What a text goes back to, in Anthropic's words
//! (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CitationsContentBlock.html>).

use serde_json::Value;

use crate::api::anthropic::wire::{Citation, OutBlock};

/// A block of text with its citations; `None` if it is another kind of block.
pub(super) fn cited(block: &Value) -> Option<OutBlock> {
    let cited = block.get("citationsContent")?;
    let texts = cited["content"].as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
    let citations = cited["citations"].as_array().into_iter().flatten().filter_map(citation).collect();
    Some(OutBlock::Text { text: texts.collect(), citations: Some(citations) })
}

/// A citation; `None` if it says nowhere where the words stand.
pub(super) fn citation(value: &Value) -> Option<Citation> {
    let words = value["sourceContent"].as_array().into_iter().flatten().filter_map(|part| part["text"].as_str());
    let text = |field: &str| value[field].as_str().map(str::to_owned);
    let mut citation = Citation { cited_text: words.collect(), ..Citation::default() };
    let (kind, place) = value["location"].as_object()?.iter().next()?;
    let number = |field: &str| place[field].as_u64();
    match kind.as_str() {
        "documentChar" => {
            citation.kind = "char_location";
            citation.start_char_index = number("start");
            citation.end_char_index = number("end");
        }
        "documentPage" => {
            citation.kind = "page_location";
            citation.start_page_number = number("start");
            citation.end_page_number = number("end");
        }
        "documentChunk" => {
            citation.kind = "content_block_location";
            citation.start_block_index = number("start");
            citation.end_block_index = number("end");
        }
        "searchResultLocation" => {
            citation.kind = "search_result_location";
            citation.search_result_index = number("searchResultIndex");
            citation.start_block_index = number("start");
            citation.end_block_index = number("end");
            citation.source = text("source");
            citation.title = text("title");
            return Some(citation);
        }
        _ => return None,
    }
    citation.document_index = number("documentIndex");
    citation.document_title = text("title");
    Some(citation)
}
