//! The files that one request points to.

use crate::error::{Error, Result};

/// A file that a request points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// The field that holds the URL, such as `messages[0].content[1].image_url.url`.
    pub path: String,
    /// Where it is.
    pub url: String,
}

/// A file as it goes into a request to a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// All of it, in standard base64 with padding.
    pub base64: String,
    /// What the server says it is, such as `image/png`; the bytes know better.
    pub media_type: Option<String>,
}

/// Refuses the first file that is wanted.
pub fn refuse_all(wanted: &[Remote]) -> Result<Vec<Payload>> {
    match wanted.first() {
        None => Ok(Vec::new()),
        Some(remote) => {
            Err(Error::unsupported(remote.path.clone(), "URLs are not fetched: send the content as base64."))
        }
    }
}
