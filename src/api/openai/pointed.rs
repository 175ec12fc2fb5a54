//! What a chat request only points to: found before the translation, which needs the content itself.

use super::wire::{ChatRequest, Part, TextOrList, Url};
use crate::api::conversation::At;
use crate::api::remote::{Remote, fetch_all};
use crate::error::Result;
use crate::fetch::Fetcher;

/// Puts what `request` points to in its place. A URL that is not of http stays, for the translation to refuse.
pub(super) async fn fetch(fetcher: &Fetcher, request: &mut ChatRequest) -> Result<()> {
    fill(fetcher, places(request)).await
}

/// Whether there is something to fetch.
pub(super) fn is_elsewhere(request: &mut ChatRequest) -> bool {
    places(request).into_iter().any(|(_, url)| is_to_fetch(url))
}

/// Whether what is at `url` is to be fetched.
pub(super) fn is_to_fetch(url: &Url) -> bool {
    is_http(text(url))
}

/// Puts what is elsewhere in the place of those of the URLs that are of http.
pub(super) async fn fill(fetcher: &Fetcher, mut places: Vec<(At, &mut Url)>) -> Result<()> {
    places.retain(|(_, url)| is_to_fetch(url));
    if places.is_empty() {
        return Ok(());
    }
    let wanted = places.iter().map(|(at, url)| Remote { path: at.to_string(), url: text(url).to_owned() }).collect();
    let found = Box::pin(fetch_all(fetcher, wanted)).await?;
    for ((_, url), found) in places.into_iter().zip(found) {
        *url = Url::Fetched { media_type: found.media_type, payload: found.base64 };
    }
    Ok(())
}

/// The URLs of `request`, each with its path.
fn places(request: &mut ChatRequest) -> Vec<(At, &mut Url)> {
    let mut places = Vec::new();
    for (i, message) in request.messages.iter_mut().enumerate() {
        let Some(TextOrList::List(parts)) = &mut message.content else { continue };
        for (j, part) in parts.iter_mut().enumerate() {
            let at = At::item("messages", i).at("content", j);
            places.extend(urls(part).into_iter().filter_map(|(field, url)| Some((at.dot(field), url?))));
        }
    }
    places
}

fn urls(part: &mut Part) -> [(&'static str, Option<&mut Url>); 4] {
    let (data, url) = match &mut part.file {
        Some(file) => (file.file_data.as_mut(), file.file_url.as_mut()),
        None => (None, None),
    };
    [
        ("image_url.url", part.image_url.as_mut().map(|image| &mut image.url)),
        ("video_url.url", part.video_url.as_mut().map(|video| &mut video.url)),
        ("file.file_data", data),
        ("file.file_url", url),
    ]
}

/// The URL, unless it holds its content itself.
fn text(url: &Url) -> &str {
    match url {
        Url::Other(url) => url,
        Url::Data { .. } | Url::Fetched { .. } => "",
    }
}

/// Whether a URL is one that can be fetched.
pub(super) fn is_http(url: &str) -> bool {
    let has = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    has("https://") || has("http://")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openai::{translate, wire};
    use crate::families::Traits;
    use crate::fetch::testing::{Site, file, status};

    #[tokio::test]
    async fn what_is_fetched_goes_to_the_model_and_is_reported() {
        let site = Site::start(|path, _| async move {
            match path.as_str() {
                "/a.gif" => file(b"GIF89a and more"),
                "/a.pdf" => file(b"%PDF-1.7, whatever the server says"),
                _ => status(404, "x: y"),
            }
        })
        .await;
        let request = |picture: &str| {
            let parts = serde_json::json!([
                {"type": "text", "text": "Look."},
                {"type": "image_url", "image_url": {"url": site.url(picture)}},
                {"type": "file", "file": {"file_url": site.url("/a.pdf")}},
            ]);
            let body = serde_json::json!({"model": "m", "messages": [{"role": "user", "content": parts}]});
            wire::parse(body.to_string().as_bytes()).unwrap()
        };
        let mut found = request("/a.gif");
        fetch(&site.fetcher(), &mut found).await.unwrap();
        let translated = translate::request(found, &Traits::default()).unwrap();
        let content = serde_json::to_value(&translated.request.messages[0].content).unwrap();
        assert_eq!((&content[1]["image"]["format"], &content[2]["document"]["format"]), (&"gif".into(), &"pdf".into()));
        let report = "fetched:messages[0].content[1].image_url.url,fetched:messages[0].content[2].file.file_url";
        assert_eq!(translated.report.to_string(), report);
        let error = fetch(&site.fetcher(), &mut request("/gone")).await.unwrap_err();
        assert_eq!(error.blamed(), Some("messages[0].content[1].image_url.url"));
    }

    #[test]
    fn only_what_is_elsewhere_is_to_be_fetched() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":"https://a/"},{"role":"user","content":[
            {"type":"text","text":"https://b/"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}},
            {"type":"image_url","image_url":{"url":"HTTPS://c/"}},
            {"type":"video_url","video_url":{"url":"s3://d/"}},
            {"type":"file","file":{"file_data":"aHR0cDovL2E="}},
            {"type":"file","file":{"file_url":"http://e/"}}]}]}"#;
        let mut request = wire::parse(body).unwrap();
        let elsewhere = places(&mut request).into_iter().filter(|(_, url)| is_http(text(url)));
        let found: Vec<_> = elsewhere.map(|(at, url)| (at.to_string(), text(url).to_owned())).collect();
        let expected = [
            ("messages[1].content[2].image_url.url", "HTTPS://c/"),
            ("messages[1].content[5].file.file_url", "http://e/"),
        ];
        assert_eq!(found, expected.map(|(at, url)| (at.to_owned(), url.to_owned())));
    }
}
