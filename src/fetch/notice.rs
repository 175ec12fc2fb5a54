//! Notices: small JSON bodies that are posted to a URL that a team chose, under the guard that files are fetched under. No
//! redirect is followed and nothing of an answer is read but its status.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use reqwest::Client;

use super::failure::Failure;
use super::{Fetcher, Schemes, target};
use crate::error::{Error, Kind, Result};

/// How long a receiver may take, connection included; Standard Webhooks asks for 15 to 30 seconds.
const TIMEOUT: Duration = Duration::from_secs(20);

impl Fetcher {
    /// Whether notices may be posted to `url`, as far as can be told before its name is looked up: over https, or over http
    /// to this machine where `fetch.allow_networks` lets that.
    ///
    /// # Errors
    /// [`Kind::Invalid`], `field` to blame.
    pub fn check_receiver(&self, field: &str, url: &str) -> Result<()> {
        let judged = target::receiver(url, &self.guard);
        judged.map(drop).map_err(|failure| Error::invalid(field, format!("`{field}` cannot be called: {failure}.")))
    }

    /// Whether callers may name URLs at all (`fetch.enabled`).
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Posts a JSON body with these headers to `url`, and returns the status of the answer, whatever it is, within 20
    /// seconds.
    ///
    /// # Errors
    /// [`Kind::UpstreamUnavailable`] with the reason in words that tell no internal address.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: Bytes) -> Result<u16> {
        match tokio::time::timeout(TIMEOUT, self.send(url, headers, body)).await {
            Ok(status) => status,
            Err(_) => Err(undelivered(&Failure::TooSlow(TIMEOUT))),
        }
    }

    async fn send(&self, url: &str, headers: HeaderMap, body: Bytes) -> Result<u16> {
        let url = target::receiver(url, &self.guard).map_err(|failure| undelivered(&failure))?;
        let request = self.poster()?.post(url).headers(headers).body(body);
        let request = request.header(CONTENT_TYPE, "application/json").header(ACCEPT_ENCODING, "identity");
        let answer = request.send().await.map_err(|error| undelivered(&Failure::unanswered(error)))?;
        Ok(answer.status().as_u16())
    }

    fn poster(&self) -> Result<&Client> {
        if let Some(client) = self.poster.get() {
            return Ok(client);
        }
        let client = self.build(Schemes::Both).map_err(Error::internal)?;
        Ok(self.poster.get_or_init(|| client))
    }
}

fn undelivered(failure: &Failure) -> Error {
    Error::new(Kind::UpstreamUnavailable, format!("{failure}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Answer, Site, Trap, file, status};
    use super::*;
    use crate::config;

    #[tokio::test]
    async fn a_notice_arrives_with_its_headers_and_the_answer_is_its_status_alone() {
        let site = Site::start(|path, _| async move {
            match path.as_str() {
                "/moved" => status(307, "location: /hook"),
                "/gone" => status(410, "x: y"),
                "/endless" => Answer::Unfinished(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc".to_vec()),
                _ => file("thanks"),
            }
        })
        .await;
        let fetcher = site.fetcher();
        let headers =
            || HeaderMap::from_iter([(http::HeaderName::from_static("webhook-id"), "evt_1".parse().unwrap())]);
        for (path, expected) in [("/hook", 200), ("/moved", 307), ("/gone", 410), ("/endless", 200)] {
            let told = fetcher.post(&site.url(path), headers(), Bytes::from_static(b"{}")).await.unwrap();
            assert_eq!(told, expected, "{path}");
        }
        let asked = site.asked();
        assert_eq!(asked.len(), 4, "no redirect is followed");
        assert!(asked[0].starts_with("POST /hook ") && asked[0].contains("webhook-id: evt_1"), "{}", asked[0]);
        assert!(asked[0].contains("content-type: application/json"), "{}", asked[0]);
        assert_eq!(site.bodies()[0], b"{}");
    }

    #[tokio::test]
    async fn no_notice_is_posted_to_an_address_that_is_not_public() {
        let trap = Trap::set().await;
        let fetcher = Fetcher::new(&config::Fetch::default(), 1).unwrap();
        for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "2130706433"] {
            for scheme in ["https", "http"] {
                let url = format!("{scheme}://{host}:{}/", trap.port());
                let error = fetcher.post(&url, HeaderMap::new(), Bytes::new()).await.unwrap_err();
                assert_eq!(error.kind(), Kind::UpstreamUnavailable, "{url}");
                assert_eq!(fetcher.check_receiver("webhook_url", &url).unwrap_err().blamed(), Some("webhook_url"));
            }
        }
        assert!(!trap.caught());
    }

    #[tokio::test]
    async fn a_receiver_that_hangs_up_or_is_not_there_is_told_as_such() {
        let site = Site::start(|_, _| async { Answer::Whole(Vec::new()) }).await;
        let told = site.fetcher().post(&site.url("/"), HeaderMap::new(), Bytes::new()).await.unwrap_err();
        assert_eq!(told.message(), "the server gave no answer that can be read");
        let port = Trap::set().await.port();
        let nobody = format!("https://localhost:{port}/");
        let told = site.fetcher().post(&nobody, HeaderMap::new(), Bytes::new()).await.unwrap_err();
        assert_eq!(told.message(), "the server could not be reached over https");
    }
}
