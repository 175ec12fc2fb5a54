//! Documents of servers that the operator named, such as an issuer's keys: https, or http on this machine. The guard of
//! addresses does not judge them, because no caller chose them; no redirect is followed, so nobody else does, either.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL};
use http::{HeaderValue, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};
use url::Url;

use super::{CONNECT_TIMEOUT, USER_AGENT, authorities, is_compressed};
use crate::config::{self, travels_safely};
use crate::error::{Error, Kind, Result};

/// The largest document, in bytes: the keys of the largest issuers are a few kB.
const MAX_BYTES: usize = 1024 * 1024;

/// How long one document may take, connection included.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches documents.
pub struct Documents {
    authorities: Vec<Certificate>,
    /// Built when it is first needed: that reads the system's root certificates, some 10 ms.
    client: OnceLock<Client>,
}

/// A document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// All of it.
    pub bytes: Bytes,
    /// How long the server lets it be kept; `None`: nothing is said.
    pub max_age: Option<Duration>,
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Documents(..)")
    }
}

impl Documents {
    /// Trusts the authorities of `fetch.extra_ca` besides the system's.
    ///
    /// # Errors
    /// [`Kind::Invalid`], blaming `fetch.extra_ca`, when its certificates cannot be read.
    pub fn new(settings: &config::Fetch) -> Result<Self> {
        Ok(Self { authorities: authorities(&settings.extra_ca)?, client: OnceLock::new() })
    }

    /// The document at `url`: an answer of 200, at most 1 MiB long, whole within 10 seconds.
    ///
    /// # Errors
    /// [`Kind::UpstreamUnavailable`], in words for the log.
    pub async fn read(&self, url: &str) -> Result<Document> {
        let url = Url::parse(url).map_err(|_| failed("it is not a URL"))?;
        if !travels_safely(&url) {
            return Err(failed("only https:// is fetched, and http:// on this machine"));
        }
        match tokio::time::timeout(TIMEOUT, self.get(url)).await {
            Ok(document) => document,
            Err(_) => Err(failed(format!("it took longer than {} s", TIMEOUT.as_secs()))),
        }
    }

    async fn get(&self, url: Url) -> Result<Document> {
        let request = self.client()?.get(url).header(ACCEPT_ENCODING, "identity").header(ACCEPT, "application/json");
        let mut response = request.send().await.map_err(|error| failed("there was no answer").source(error))?;
        if response.status() != StatusCode::OK {
            return Err(failed(format!("the server answered {}", response.status().as_u16())));
        }
        if is_compressed(response.headers()) {
            return Err(failed("the answer is compressed, which was not asked for"));
        }
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| failed("the answer broke off").source(error))? {
            if bytes.len() + piece.len() > MAX_BYTES {
                return Err(failed(format!("it is larger than {MAX_BYTES} bytes")));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Document { bytes: bytes.into(), max_age: max_age(&response) })
    }

    fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = Client::builder()
            .redirect(Policy::none())
            .no_proxy()
            .http1_only()
            .referer(false)
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            // Documents are fetched minutes or hours apart.
            .pool_max_idle_per_host(0)
            .tls_certs_merge(self.authorities.iter().cloned())
            .build()
            .map_err(Error::internal)?;
        Ok(self.client.get_or_init(|| client))
    }
}

fn failed(why: impl Into<String>) -> Error {
    Error::new(Kind::UpstreamUnavailable, format!("The document could not be fetched: {}.", why.into()))
}

/// How long `cache-control` lets a client keep it: <https://www.rfc-editor.org/rfc/rfc9111#section-5.2.2>.
fn max_age(response: &Response) -> Option<Duration> {
    let values = response.headers().get_all(CACHE_CONTROL).iter().map(HeaderValue::to_str);
    let text: Vec<&str> = values.filter_map(Result::ok).collect();
    age_told(&text.join(","))
}

fn age_told(cache_control: &str) -> Option<Duration> {
    let mut age = None;
    for directive in cache_control.split(',').map(|directive| directive.trim().to_ascii_lowercase()) {
        if matches!(&*directive, "no-store" | "no-cache") {
            return Some(Duration::ZERO);
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            age = seconds.trim_matches('"').parse().ok().map(Duration::from_secs);
        }
    }
    age
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Answer, Site, file, status};
    use super::*;

    #[tokio::test]
    async fn a_document_comes_with_its_age_and_anything_else_is_a_failure() {
        let site = Site::start(|path, _| async move {
            match path.as_str() {
                "/keys" => Answer::Whole(
                    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncache-control: public, max-age=600\r\n\r\n{}".to_vec(),
                ),
                "/moved" => status(302, "location: /keys"),
                "/large" => file(vec![b' '; MAX_BYTES + 1]),
                _ => status(404, "x: y"),
            }
        })
        .await;
        let documents = Documents::new(&site.settings()).unwrap();
        let found = documents.read(&site.url("/keys")).await.unwrap();
        assert_eq!((&*found.bytes, found.max_age), (&b"{}"[..], Some(Duration::from_mins(10))));
        for (path, why) in [("/moved", "answered 302"), ("/large", "larger than"), ("/none", "answered 404")] {
            let error = documents.read(&site.url(path)).await.unwrap_err();
            assert!(error.message().contains(why), "{error}");
        }
        assert!(
            Documents::new(&config::Fetch::default()).unwrap().read(&site.url("/keys")).await.is_err(),
            "untrusted"
        );
    }

    #[tokio::test]
    async fn http_is_spoken_on_this_machine_alone() {
        let documents = Documents::new(&config::Fetch::default()).unwrap();
        for url in ["http://a.example/keys", "file:///etc/passwd", "keys"] {
            assert_eq!(documents.read(url).await.unwrap_err().kind(), Kind::UpstreamUnavailable, "{url}");
        }
    }

    #[test]
    fn what_may_not_be_kept_has_no_age() {
        let seconds = |text: &str| age_told(text).map(|age| age.as_secs());
        assert_eq!(seconds("public, Max-Age=60"), Some(60));
        assert_eq!(seconds("max-age=60, no-store"), Some(0));
        assert_eq!(seconds("private"), None);
        assert_eq!(seconds("max-age=soon"), None);
    }
}
