//! The files that one request points to, fetched together before it goes to a model.
//!
//! Every surface fetches through here, so that the bounds hold for a request whatever its dialect: how many files, how
//! many at a time, how large together. Who may be connected to is decided in `crate::fetch`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt as _, stream};

use crate::error::{Error, Result};
use crate::fetch::Fetcher;

/// Files of one request.
const MAX_FILES: usize = 20;

/// Files that are fetched at the same time for one request.
const AT_ONCE: usize = 4;

/// A file that a request points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Remote {
    /// The field that holds the URL, such as `messages[0].content[1].image_url.url`.
    pub(super) path: String,
    /// Where it is.
    pub(super) url: String,
}

/// A file as it goes into a request to a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Payload {
    /// All of it, in standard base64 with padding.
    pub(super) base64: String,
    /// What the server says it is, such as `image/png`; the bytes know better.
    pub(super) media_type: Option<String>,
}

/// Fetches all files of one request: one payload for each of `wanted`, in their order. A URL that is wanted twice is
/// fetched once. At most 20 files, 4 at a time, and `server.max_body_mb` together, a file counting as often as it is
/// wanted. The first failure ends it.
///
/// # Errors
/// A 400 that blames the field; see [`Fetcher::fetch`].
pub(super) async fn fetch_all(fetcher: &Fetcher, wanted: Vec<Remote>) -> Result<Vec<Payload>> {
    if let Some(excess) = wanted.get(MAX_FILES) {
        let message = format!("A request may point to at most {MAX_FILES} URLs.");
        return Err(Error::invalid(excess.path.clone(), message));
    }
    let (mut files, places) = distinct(wanted);
    // Made before they run: a closure inside the stream would bind the future to one lifetime, and no handler could await it.
    let pending: Vec<_> = files.iter().map(|file| fetcher.fetch(&file.remote.url)).collect();
    let mut fetching = stream::iter(pending).buffered(AT_ONCE);
    let mut payloads = Vec::with_capacity(files.len());
    let mut total: usize = 0;
    while let Some(answer) = fetching.next().await {
        let file = &files[payloads.len()];
        let found = answer.map_err(|error| error.param(file.remote.path.clone()))?;
        total = total.saturating_add(found.bytes.len().saturating_mul(file.times));
        if total > fetcher.max_total_bytes() {
            let limit = fetcher.max_total_bytes() / (1024 * 1024);
            let message = format!("The files that this request points to are larger than {limit} MB together.");
            return Err(Error::invalid(file.remote.path.clone(), message));
        }
        payloads.push(Payload { base64: STANDARD.encode(&found.bytes), media_type: found.media_type });
    }
    drop(fetching);
    // The last place takes the payload itself: most files are wanted once.
    let mut take = |index: usize| {
        files[index].times -= 1;
        if files[index].times == 0 { std::mem::take(&mut payloads[index]) } else { payloads[index].clone() }
    };
    Ok(places.into_iter().map(&mut take).collect())
}

/// A URL, the first field that holds it, and how many do.
struct File {
    remote: Remote,
    times: usize,
}

/// The files without repeats, and for each that is wanted which of them it is.
fn distinct(wanted: Vec<Remote>) -> (Vec<File>, Vec<usize>) {
    let mut files: Vec<File> = Vec::new();
    let mut places = Vec::with_capacity(wanted.len());
    for remote in wanted {
        let known = files.iter().position(|file| file.remote.url == remote.url);
        let place = known.unwrap_or_else(|| {
            files.push(File { remote, times: 0 });
            files.len() - 1
        });
        files[place].times += 1;
        places.push(place);
    }
    (files, places)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Barrier;

    use super::*;
    use crate::error::Kind;
    use crate::fetch::testing::{Answer, Site, file, status};

    const MB: usize = 1024 * 1024;

    fn wanted(site: &Site, paths: &[&str]) -> Vec<Remote> {
        let remote = |(index, path): (usize, &&str)| Remote { path: format!("input[{index}]"), url: site.url(path) };
        paths.iter().enumerate().map(remote).collect()
    }

    async fn refusal(fetcher: &Fetcher, wanted: Vec<Remote>) -> (String, String) {
        let error = fetch_all(fetcher, wanted).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        (error.blamed().unwrap_or_default().to_owned(), error.message().to_owned())
    }

    #[tokio::test]
    async fn files_come_in_the_order_asked_and_each_url_is_fetched_once() {
        let site = Site::start(|path, _| async move { file(path) }).await;
        let payloads = fetch_all(&site.fetcher(), wanted(&site, &["/b", "/a", "/b", "/b", "/c"])).await.unwrap();
        let texts: Vec<_> = payloads.iter().map(|payload| STANDARD.decode(&payload.base64).unwrap()).collect();
        assert_eq!(texts, [b"/b", b"/a", b"/b", b"/b", b"/c"]);
        assert!(payloads.iter().all(|payload| payload.media_type.as_deref() == Some("image/png")));
        assert_eq!(site.asked().len(), 3);
        assert_eq!(fetch_all(&site.fetcher(), Vec::new()).await.unwrap(), []);
    }

    #[tokio::test]
    async fn four_are_fetched_at_a_time() {
        let (barrier, open, most) = (Arc::new(Barrier::new(4)), Arc::new(AtomicUsize::new(0)), Arc::default());
        let seen: Arc<AtomicUsize> = Arc::clone(&most);
        let site = Site::start(move |path, _| {
            let (barrier, open, most) = (Arc::clone(&barrier), Arc::clone(&open), Arc::clone(&most));
            async move {
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Passes only when four are here.
                barrier.wait().await;
                open.fetch_sub(1, Ordering::SeqCst);
                file(path)
            }
        })
        .await;
        let paths = ["/1", "/2", "/3", "/4", "/5", "/6", "/7", "/8"];
        let payloads = fetch_all(&site.fetcher(), wanted(&site, &paths)).await.unwrap();
        assert_eq!((payloads.len(), seen.load(Ordering::SeqCst)), (8, 4));
    }

    #[tokio::test]
    async fn a_failure_blames_its_field_and_waits_for_nobody() {
        let site = Site::start(|path, _| async move {
            match path.as_str() {
                "/missing" => status(404, "x: y"),
                "/never" => Answer::Unfinished(Vec::new()),
                _ => file(path),
            }
        })
        .await;
        let told = refusal(&site.fetcher(), wanted(&site, &["/a", "/missing", "/never", "/missing"])).await;
        let message = "This URL could not be fetched: the server answered 404.";
        assert_eq!(told, ("input[1]".to_owned(), message.to_owned()));
    }

    #[tokio::test]
    async fn more_than_twenty_are_refused_before_any_is_fetched() {
        let site = Site::start(|path, _| async move { file(path) }).await;
        let told = refusal(&site.fetcher(), wanted(&site, &["/a"; 21])).await;
        assert_eq!(told, ("input[20]".to_owned(), "A request may point to at most 20 URLs.".to_owned()));
        assert_eq!(site.asked().len(), 0);
        assert_eq!(fetch_all(&site.fetcher(), wanted(&site, &["/a"; 20])).await.unwrap().len(), 20);
    }

    #[tokio::test]
    async fn all_together_are_bounded_and_a_file_counts_as_often_as_it_is_wanted() {
        let site = Site::start(|_, _| async { file(vec![7; MB / 2]) }).await;
        let fetcher = Fetcher::new(&site.settings(), MB).unwrap();
        assert!(fetch_all(&fetcher, wanted(&site, &["/a", "/b"])).await.is_ok());
        assert!(fetch_all(&fetcher, wanted(&site, &["/a", "/a"])).await.is_ok());
        let message = "The files that this request points to are larger than 1 MB together.";
        for (paths, blamed) in [(["/a", "/b", "/c"], "input[2]"), (["/a", "/b", "/a"], "input[1]")] {
            assert_eq!(refusal(&fetcher, wanted(&site, &paths)).await, (blamed.to_owned(), message.to_owned()));
        }
    }
}
