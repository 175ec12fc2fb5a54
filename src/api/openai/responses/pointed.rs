//! What the items of a request only point to: found before the translation, which needs the content itself, and before
//! anything is kept, so that a conversation does not change with what stands elsewhere.

use super::super::pointed;
use super::wire::{Item, Part};
use crate::api::conversation::At;
use crate::api::openai::wire::{TextOrList, Url};
use crate::error::Result;
use crate::fetch::Fetcher;

/// Puts what `items` point to in its place. A URL that is not of http stays, for the translation to refuse.
pub(super) async fn fetch(fetcher: &Fetcher, items: &mut [(At, Item)]) -> Result<()> {
    pointed::fill(fetcher, places(items)).await
}

/// Whether there is something to fetch.
pub(super) fn is_elsewhere(items: &mut [(At, Item)]) -> bool {
    places(items).into_iter().any(|(_, url)| pointed::is_to_fetch(url))
}

/// The URLs of `items`, each with its path.
fn places(items: &mut [(At, Item)]) -> Vec<(At, &mut Url)> {
    let mut places = Vec::new();
    for (at, item) in items {
        for (field, content) in [("content", &mut item.content), ("output", &mut item.output)] {
            let Some(TextOrList::List(parts)) = content else { continue };
            for (j, part) in parts.iter_mut().enumerate() {
                let at = at.at(field, j);
                places.extend(urls(part).into_iter().filter_map(|(field, url)| Some((at.dot(field), url.as_mut()?))));
            }
        }
    }
    places
}

fn urls(part: &mut Part) -> [(&'static str, &mut Option<Url>); 3] {
    [("image_url", &mut part.image_url), ("file_data", &mut part.file_data), ("file_url", &mut part.file_url)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::openai::responses::state;

    #[test]
    fn a_url_is_found_wherever_an_item_may_have_one() {
        let input = json!([
            {"role": "user", "content": "https://a/"},
            {"role": "user", "content": [
                {"type": "input_text", "text": "https://b/"},
                {"type": "input_image", "image_url": "https://c/"},
                {"type": "input_file", "file_data": "https://d/", "file_url": "https://e/"},
            ]},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file", "file_url": "https://f/"}]},
        ]);
        let mut items = state::items(serde_json::from_value(input).unwrap());
        let found: Vec<_> = places(&mut items).iter().map(|(at, _)| at.to_string()).collect();
        let expected = [
            "input[1].content[1].image_url",
            "input[1].content[2].file_data",
            "input[1].content[2].file_url",
            "input[2].output[0].file_url",
        ];
        assert_eq!(found, expected);
    }
}
