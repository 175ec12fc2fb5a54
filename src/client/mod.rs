//! A gateway's own API over HTTP, as far as the command line calls it from elsewhere: files and batches in OpenAI's dialect.
//!
//! What a gateway answers is handed on as the JSON that it is. No address is guarded here, unlike in `fetch`: who types a
//! URL at a terminal means it. The key is in no error and follows no redirect. Errors say what to do: is the URL wrong,
//! the key, or is the gateway away for now ([`is_passing`] tells the last apart).

mod download;
mod health;
#[cfg(test)]
mod tests;
mod upload;

use std::fmt;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use url::Url;

pub use self::download::{Piece, Sink, Unfinished};
pub use self::health::answers;
use crate::config::Secret;
use crate::error::{Error, Kind, Result};
use crate::ids;

/// How long a connection may take, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nothing may arrive; a gateway that takes in a large file is silent for a while at its end.
const READ_TIMEOUT: Duration = Duration::from_mins(5);
/// Tries at what may be repeated.
const TRIES: u32 = 5;
/// The most that is read of an answer that is no file.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// A gateway, and the key to it. A cheap clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    key: Secret,
}

/// What a new batch is to be.
#[derive(Clone, Debug)]
pub struct NewBatch {
    /// The uploaded file.
    pub file: String,
    /// Such as `/v1/chat/completions`.
    pub endpoint: String,
    /// Such as `24h`.
    pub window: String,
    /// The caller's own.
    pub metadata: Vec<(String, String)>,
    /// Who is told when it is over.
    pub webhook_url: Option<String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// The gateway at `url`, with or without `/v1` at its end; `ca` is a PEM file of authorities to trust besides the
    /// system's. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Kind::Invalid`] for a URL that is none, a file that cannot be read, or a key that no header can hold.
    pub fn new(url: &str, key: Secret, ca: Option<&Path>) -> Result<Self> {
        if key.expose().is_empty() || !key.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Error::new(Kind::Invalid, "The key is empty or has characters that no key has."));
        }
        let authorities = ca.map(authorities).transpose()?.unwrap_or_default();
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .user_agent(concat!("bedrock-gateway/", env!("CARGO_PKG_VERSION")))
            .tls_certs_merge(authorities)
            .build()
            .map_err(Error::internal)?;
        Ok(Self { http, base: base(url)?, key })
    }

    /// Whether there is a gateway, and takes the key for batches.
    ///
    /// # Errors
    /// As every call here: [`Kind::Invalid`], [`Kind::Unauthenticated`], [`Kind::Forbidden`], [`Kind::NotFound`] and so on
    /// by what the gateway answered, in its words; [`Kind::UpstreamUnavailable`] and [`Kind::RateLimited`] for what passes.
    pub async fn check(&self) -> Result<()> {
        self.ask(Method::GET, "v1/batches?limit=1").await.map(drop)
    }

    /// Makes a batch, once however often the connection breaks.
    pub async fn submit(&self, new: &NewBatch) -> Result<Value> {
        let mut body = json!({
            "input_file_id": new.file,
            "endpoint": new.endpoint,
            "completion_window": new.window,
        });
        if !new.metadata.is_empty() {
            body["metadata"] = new.metadata.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        }
        if let Some(url) = &new.webhook_url {
            body["webhook_url"] = json!(url);
        }
        let once = ids::fresh("cli_");
        self.patiently(|| {
            let request = self.request(Method::POST, "v1/batches").header("idempotency-key", &once);
            self.answer(request.header(CONTENT_TYPE, "application/json").body(body.to_string()))
        })
        .await
    }

    /// The batch with this id.
    pub async fn batch(&self, id: &str) -> Result<Value> {
        self.ask(Method::GET, &format!("v1/batches/{}", segment(id))).await
    }

    /// Has a batch cancelled.
    pub async fn cancel(&self, id: &str) -> Result<Value> {
        let path = format!("v1/batches/{}/cancel", segment(id));
        self.patiently(|| self.ask(Method::POST, &path)).await
    }

    /// Up to `limit` batches after the one with this id, the newest first, and whether there are more.
    pub async fn batches(&self, after: Option<&str>, limit: u32) -> Result<(Vec<Value>, bool)> {
        let after = after.map(|id| format!("&after={}", segment(id))).unwrap_or_default();
        let path = format!("v1/batches?limit={limit}{after}");
        let mut page = self.patiently(|| self.ask(Method::GET, &path)).await?;
        let Value::Array(data) = page["data"].take() else { return Err(self.no_gateway("its list is none")) };
        Ok((data, page["has_more"] == true))
    }

    /// Deletes a file.
    pub async fn delete_file(&self, id: &str) -> Result<()> {
        self.ask(Method::DELETE, &format!("v1/files/{}", segment(id))).await.map(drop)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(self.key.expose())
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Value> {
        self.answer(self.request(method, path)).await
    }

    /// The JSON that is answered with a good status.
    async fn answer(&self, request: RequestBuilder) -> Result<Value> {
        let response = self.sent(request).await?;
        let bytes = self.whole(response).await?;
        serde_json::from_slice(&bytes).map_err(|_| self.no_gateway("what it answers is no JSON"))
    }

    /// The answer, if its status is good.
    async fn sent(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.map_err(|error| self.unreached(error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    async fn whole(&self, mut response: Response) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreached(error))? {
            if bytes.len() + piece.len() > MAX_ANSWER {
                return Err(self.no_gateway("its answer has no end"));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    /// Asks again while what went wrong passes.
    async fn patiently<T>(&self, ask: impl AsyncFn() -> Result<T>) -> Result<T> {
        let mut tries = 1;
        loop {
            match ask().await {
                Err(error) if is_passing(&error) && tries < TRIES => {
                    tokio::time::sleep(pause(tries, &error)).await;
                    tries += 1;
                }
                other => return other,
            }
        }
    }

    /// The request had no answer.
    fn unreached(&self, error: reqwest::Error) -> Error {
        let error = error.without_url();
        let message = if error.is_connect() {
            format!("No gateway can be reached at {}: is the URL right, and does it run?", self.base)
        } else if error.is_timeout() {
            format!("The gateway at {} took too long to answer.", self.base)
        } else {
            format!("The connection to the gateway at {} broke off.", self.base)
        };
        Error::new(Kind::UpstreamUnavailable, message).source(error)
    }

    /// What the gateway said instead of doing it.
    async fn refusal(&self, response: Response) -> Error {
        let status = response.status().as_u16();
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = self.whole(response).await.unwrap_or_default();
        let told: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let word = &told["error"];
        let error = match word["message"].as_str() {
            Some(message) => Error::new(kind_of(status, word["code"].as_str()), message.to_owned()),
            None if status >= 500 => {
                let message = format!("The gateway at {}, or what is in front of it, answered {status}.", self.base);
                Error::new(Kind::UpstreamUnavailable, message)
            }
            None => self.no_gateway(&format!("it answered {status}")),
        };
        let error = match word["param"].as_str() {
            Some(param) => error.param(param),
            None => error,
        };
        match seconds {
            Some(seconds) => error.retry_after(Duration::from_secs(seconds)),
            None => error,
        }
    }

    fn no_gateway(&self, why: &str) -> Error {
        let message = format!("What is at {} is no gateway: {why}. Is the URL right?", self.base);
        Error::new(Kind::NotFound, message)
    }
}

/// Whether the same may succeed a little later.
pub fn is_passing(error: &Error) -> bool {
    matches!(error.kind(), Kind::UpstreamUnavailable | Kind::RateLimited | Kind::Unavailable)
}

/// How long to wait after the try with this number, from 1.
pub fn pause(tries: u32, error: &Error) -> Duration {
    let own = Duration::from_millis(500) * 2_u32.saturating_pow(tries.saturating_sub(1).min(6));
    let jittered = own.mul_f64(0.5 + 0.5 * fastrand::f64());
    error.wait().map_or(jittered, |asked| asked.clamp(jittered, Duration::from_mins(1)))
}

fn kind_of(status: u16, code: Option<&str>) -> Kind {
    match (status, code) {
        (429, Some("insufficient_quota")) => Kind::BudgetExhausted,
        (429, _) => Kind::RateLimited,
        (401, _) => Kind::Unauthenticated,
        (403, _) => Kind::Forbidden,
        (404, _) => Kind::NotFound,
        (409, _) => Kind::Conflict,
        (413, _) => Kind::TooLarge,
        (500.., _) => Kind::UpstreamUnavailable,
        _ => Kind::Invalid,
    }
}

/// The URL that paths are put after.
fn base(text: &str) -> Result<Url> {
    let wrong = |why: &str| Error::invalid("--url", format!("`{text}` {why}, such as https://gateway.example.com"));
    let whole = text.trim_end_matches('/');
    let whole = whole.strip_suffix("/v1").unwrap_or(whole);
    let url = Url::parse(&format!("{whole}/")).map_err(|_| wrong("is not a URL"))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err(wrong("is not a URL that begins with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("is not the URL of a gateway alone"));
    }
    Ok(url)
}

fn authorities(path: &Path) -> Result<Vec<Certificate>> {
    let blame = |what: String| Error::invalid("--ca", format!("{} {what}", path.display()));
    let pem = std::fs::read(path).map_err(|error| blame(format!("cannot be read: {error}")))?;
    let found = Certificate::from_pem_bundle(&pem).map_err(|_| blame("is not a PEM file of certificates".into()))?;
    if found.is_empty() { Err(blame("holds no certificate in PEM".into())) } else { Ok(found) }
}

/// An id as one segment of a path, or a value of a query.
fn segment(id: &str) -> String {
    percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string().replace("%5F", "_")
}
