//! What the items of a request only point to: found before the translation, which needs the content itself, and before
//! anything is kept, so that a conversation does not change with what stands elsewhere.

use super::wire::{Item, Part};
use crate::api::conversation::At;
use crate::api::openai::wire::{TextOrList, Url};
use crate::api::remote::{Remote, fetch_all};
use crate::error::Result;
use crate::fetch::Fetcher;

/// Puts what `items` point to in its place. A URL that is not of http stays, for the translation to refuse.
pub(super) async fn fetch(fetcher: &Fetcher, items: &mut [(At, Item)]) -> Result<()> {
    let places = places(items);
    if places.is_empty() {
        return Ok(());
    }
    let wanted = places.iter().map(|(at, url)| Remote { path: at.to_string(), url: text(url).to_owned() }).collect();
    let found = fetch_all(fetcher, wanted).await?;
    for ((_, url), found) in places.into_iter().zip(found) {
        *url = Url::Fetched { media_type: found.media_type, payload: found.base64 };
    }
    Ok(())
}

/// The URLs to fetch, each with its path.
fn places(items: &mut [(At, Item)]) -> Vec<(At, &mut Url)> {
    let mut places = Vec::new();
    for (at, item) in items {
        for (field, content) in [("content", &mut item.content), ("output", &mut item.output)] {
            let Some(TextOrList::List(parts)) = content else { continue };
            for (j, part) in parts.iter_mut().enumerate() {
                let at = at.at(field, j);
                let urls = urls(part).into_iter().filter_map(|(field, url)| Some((at.dot(field), url.as_mut()?)));
                places.extend(urls.filter(|(_, url)| is_http(text(url))));
            }
        }
    }
    places
}

fn urls(part: &mut Part) -> [(&'static str, &mut Option<Url>); 3] {
    [("image_url", &mut part.image_url), ("file_data", &mut part.file_data), ("file_url", &mut part.file_url)]
}

/// The URL, unless it holds its content itself.
fn text(url: &Url) -> &str {
    match url {
        Url::Other(url) => url,
        Url::Data { .. } | Url::Fetched { .. } => "",
    }
}

fn is_http(url: &str) -> bool {
    let has = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    has("https://") || has("http://")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::openai::responses::state;

    #[test]
    fn only_what_is_elsewhere_is_to_be_fetched() {
        let input = json!([
            {"role": "user", "content": "https://a/"},
            {"role": "user", "content": [
                {"type": "input_text", "text": "https://b/"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
                {"type": "input_image", "image_url": "HTTPS://c/"},
                {"type": "input_image", "image_url": "s3://d/"},
                {"type": "input_file", "file_data": "aHR0cDovL2E="},
            ]},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_file", "file_url": "http://e/"}]},
        ]);
        let mut items = state::items(serde_json::from_value(input).unwrap());
        let found: Vec<_> = places(&mut items).iter().map(|(at, url)| (at.to_string(), text(url).to_owned())).collect();
        let expected = [("input[1].content[2].image_url", "HTTPS://c/"), ("input[2].output[0].file_url", "http://e/")];
        assert_eq!(found, expected.map(|(at, url)| (at.to_owned(), url.to_owned())));
    }
}
