//! What a URL in a request led to. Nothing is fetched here: what is elsewhere was fetched before (`pointed.rs`).

use super::wire::Url;
use crate::api::conversation::At;
use crate::error::{Error, Result};
use crate::report::{Action, Report};

/// What a URL led to.
pub(super) struct Found {
    /// What it is said to be.
    pub(super) media_type: Option<String>,
    /// In base64.
    pub(super) payload: String,
}

impl Found {
    /// What is at `url`, which stands at `at`.
    pub(super) fn by(url: Url, at: At, report: &mut Report) -> Result<Self> {
        match url {
            Url::Data { head, payload } => {
                let (media_type, base64) = head.rsplit_once(';').unwrap_or(("", &head));
                if !base64.trim().eq_ignore_ascii_case("base64") {
                    return Err(Error::invalid(at, "A data URL has to be in base64: data:image/png;base64,..."));
                }
                let media_type = Some(media_type.to_owned()).filter(|media_type| !media_type.is_empty());
                Ok(Self { media_type, payload })
            }
            Url::Fetched { media_type, payload } => {
                report.add(Action::Fetched, at);
                Ok(Self { media_type, payload })
            }
            Url::Other(url) if url.contains("://") => {
                Err(Error::unsupported(at, "Only data URLs (data:image/png;base64,...) and https URLs are taken."))
            }
            Url::Other(_) => Err(Error::invalid(at, "This is not a URL: use data:image/png;base64,...")),
        }
    }
}
