//! Files that a request points to by URL, fetched over https, and notices that are posted to a team's webhook: the only
//! place where a caller decides whom the gateway connects to.
//!
//! No connection is made to an address that `guard.rs` does not permit, wherever a redirect leads and whatever a name
//! resolves to at that moment. Nothing of the caller or of the gateway is sent but the URL itself: no cookie, no
//! credential, no referrer, and no proxy of the environment comes between. Size and time are bounded; what arrives is
//! never decompressed. What a surface does with a file is not decided here. Notices leave by `notice.rs`. What the operator
//! named is fetched in `document.rs`, by rules of its own.

mod document;
mod failure;
mod guard;
mod names;
mod notice;
mod target;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, StatusCode};
use reqwest::dns::Resolve;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Response};
use url::Url;

pub use document::{Document, Documents};
pub use guard::Guard;

use crate::config;
use crate::error::{Error, Kind, Result};
use failure::Failure;
use names::{Guarded, System};

/// Redirects that are followed for one file.
const MAX_REDIRECTS: usize = 3;

/// How long a connection may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Some servers answer nobody who does not say who he is.
const USER_AGENT: &str = concat!("bedrock-gateway/", env!("CARGO_PKG_VERSION"));

/// Fetches files.
pub struct Fetcher {
    enabled: bool,
    max_bytes: usize,
    max_total_bytes: usize,
    timeout: Duration,
    guard: Arc<Guard>,
    lookup: Arc<dyn Resolve>,
    authorities: Vec<Certificate>,
    /// Built when it is first needed: that reads the system's root certificates, some 10 ms.
    client: OnceLock<Client>,
    /// Likewise: what notices are posted with.
    poster: OnceLock<Client>,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Schemes {
    /// https alone.
    Https,
    /// http too: to whom is judged before.
    Both,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// All of it.
    pub bytes: Bytes,
    /// What the server says it is, in lower case and without parameters, such as `image/png`; not to be trusted.
    pub media_type: Option<String>,
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher(..)")
    }
}

impl Fetcher {
    /// By the settings; all files of one request may have `max_total_bytes`.
    ///
    /// # Errors
    /// [`Kind::Invalid`], blaming `fetch.extra_ca`, when its certificates cannot be used.
    pub fn new(settings: &config::Fetch, max_total_bytes: usize) -> Result<Self> {
        let fetcher = Self {
            enabled: settings.enabled,
            max_bytes: settings.max_bytes(),
            max_total_bytes,
            timeout: Duration::from_secs(settings.timeout_s),
            guard: Arc::new(Guard::new(settings.networks())),
            lookup: Arc::new(System),
            authorities: authorities(&settings.extra_ca)?,
            client: OnceLock::new(),
            poster: OnceLock::new(),
        };
        if !fetcher.authorities.is_empty() {
            let blame = |error| {
                let path = &settings.extra_ca;
                blame_extra_ca(format!("{path} holds a certificate that cannot be used")).source(error)
            };
            fetcher.build(Schemes::Https).map_err(blame)?;
        }
        Ok(fetcher)
    }

    /// What all files of one request may have together, in bytes.
    pub fn max_total_bytes(&self) -> usize {
        self.max_total_bytes
    }

    /// The file at `url`: an answer of 200, at most `fetch.max_mb` long, whole within `fetch.timeout_s`.
    ///
    /// # Errors
    /// [`Kind::Invalid`] with the reason in words for the caller, which tell neither internal addresses nor what the
    /// server answered; [`Kind::Unsupported`] when fetching is switched off. No field is blamed: the caller of this
    /// knows which it was.
    pub async fn fetch(&self, url: &str) -> Result<Fetched> {
        if !self.enabled {
            let message = "This gateway does not fetch URLs (fetch.enabled): send the file itself, as a data URL.";
            return Err(Error::new(Kind::Unsupported, message));
        }
        let client = self.client()?;
        match tokio::time::timeout(self.timeout, self.follow(client, url)).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(Failure::TooSlow(self.timeout).into()),
        }
    }

    async fn follow(&self, client: &Client, url: &str) -> Result<Fetched, Failure> {
        let mut url = target::parse(url, &self.guard)?;
        for redirects in 0..=MAX_REDIRECTS {
            let response = get(client, url.clone()).await.map_err(|failure| failure.after(redirects))?;
            match location(&response) {
                Some(location) => {
                    url = target::join(&url, location, &self.guard).map_err(|failure| failure.after(redirects + 1))?;
                }
                None => return self.read(response).await.map_err(|failure| failure.after(redirects)),
            }
        }
        Err(Failure::Redirects(MAX_REDIRECTS))
    }

    /// The body of the last answer. A length that is announced is not believed, only held against the limit.
    async fn read(&self, mut response: Response) -> Result<Fetched, Failure> {
        if response.status() != StatusCode::OK {
            return Err(Failure::Status(response.status().as_u16()));
        }
        if is_compressed(response.headers()) {
            return Err(Failure::Compressed);
        }
        let announced = response.content_length().map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
        if announced > self.max_bytes {
            return Err(Failure::TooLarge(self.max_bytes));
        }
        let mut bytes = Vec::with_capacity(announced);
        while let Some(piece) = response.chunk().await.map_err(|error| Failure::BrokeOff(error.without_url()))? {
            if bytes.len() + piece.len() > self.max_bytes {
                return Err(Failure::TooLarge(self.max_bytes));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Fetched { bytes: bytes.into(), media_type: media_type(response.headers()) })
    }

    fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // Fails on a machine without root certificates, which can do everything else.
        let client = self.build(Schemes::Https).map_err(Error::internal)?;
        Ok(self.client.get_or_init(|| client))
    }

    fn build(&self, schemes: Schemes) -> Result<Client, reqwest::Error> {
        let guarded = Guarded { guard: Arc::clone(&self.guard), lookup: Arc::clone(&self.lookup) };
        Client::builder()
            .dns_resolver(Arc::new(guarded))
            .redirect(Policy::none())
            .no_proxy()
            .https_only(schemes == Schemes::Https)
            .http1_only()
            .referer(false)
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            // Hosts are many and seldom the same twice; and each file has its addresses looked up and judged anew.
            .pool_max_idle_per_host(0)
            .tls_certs_merge(self.authorities.iter().cloned())
            .build()
    }
}

async fn get(client: &Client, url: Url) -> Result<Response, Failure> {
    client.get(url).header(ACCEPT_ENCODING, "identity").send().await.map_err(Failure::unanswered)
}

/// Where a redirect leads.
fn location(response: &Response) -> Option<&str> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    redirects.then(|| response.headers().get(LOCATION)?.to_str().ok()).flatten()
}

/// Whether the body is not what `accept-encoding: identity` asked for: a model could not read it, and unpacked it may be
/// of any size.
fn is_compressed(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    (!media_type.is_empty()).then_some(media_type)
}

/// The certificates in the PEM file at `path`; none without a path.
fn authorities(path: &str) -> Result<Vec<Certificate>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    let pem =
        std::fs::read(path).map_err(|error| blame_extra_ca(format!("{path} cannot be read: {error}")).source(error))?;
    let found = Certificate::from_pem_bundle(&pem)
        .map_err(|error| blame_extra_ca(format!("{path} is not a PEM file of certificates")).source(error))?;
    if found.is_empty() {
        return Err(blame_extra_ca(format!("{path} holds no certificate in PEM")));
    }
    Ok(found)
}

fn blame_extra_ca(message: String) -> Error {
    Error::invalid("fetch.extra_ca", message)
}
