//! `[shared]`: the Redis or Valkey that replicas share their limits and budgets through.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Problems, shape};

/// `[shared]`.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Shared {
    /// The Redis or Valkey that replicas share their limits and budgets through:
    /// `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `rediss://...` for TLS, or `unix:///PATH`. Empty: this process counts
    /// alone.
    pub url: String,
    /// What admission does while it cannot be reached.
    pub on_failure: OnFailure,
    /// Seconds that what a process's calls held stays held after the process has died: 1 to 3600. Leases are renewed at a
    /// third of it.
    pub lease_seconds: u64,
}

impl Default for Shared {
    fn default() -> Self {
        Self { url: String::new(), on_failure: OnFailure::default(), lease_seconds: 30 }
    }
}

/// What admission does while the shared store is unreachable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Calls that a limit or a budget counts get a 503.
    #[default]
    Deny,
    /// Each process counts alone.
    Allow,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = shape::masked(&self.url);
        let mut shared = f.debug_struct("Shared");
        shared.field("url", &url).field("on_failure", &self.on_failure).field("lease_seconds", &self.lease_seconds);
        shared.finish()
    }
}

impl Shared {
    pub(super) fn validate(&self, problems: &mut Problems) {
        if !self.url.is_empty() && !is_url(&self.url) {
            problems.add(
                "shared.url",
                "must be redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://... for TLS, or unix:///PATH",
            );
        }
        if !(1..=3600).contains(&self.lease_seconds) {
            problems.add("shared.lease_seconds", "must be from 1 to 3600");
        }
    }
}

/// The schemes of both makers. The text is not repeated anywhere: it may hold a password.
fn is_url(text: &str) -> bool {
    let Ok(url) = url::Url::parse(text) else { return false };
    let path = url.path().trim_matches('/');
    match url.scheme() {
        "redis" | "rediss" | "valkey" | "valkeys" => {
            url.has_host() && url.fragment().is_none() && (path.is_empty() || path.parse::<u32>().is_ok())
        }
        "unix" | "redis+unix" | "valkey+unix" => !url.has_host() && !path.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_both_makers_are_taken_and_others_are_not() {
        for url in [
            "redis://cache",
            "redis://:p@cache:6380/2",
            "rediss://u:p@cache/",
            "valkey://cache",
            "valkeys://[::1]:6379",
            "unix:///run/redis.sock?db=1",
            "redis+unix:///run/redis.sock",
        ] {
            assert!(is_url(url), "{url}");
        }
        for url in
            ["cache", "http://cache", "redis://", "redis://cache/x", "rediss://cache/#insecure", "unix://host/path"]
        {
            assert!(!is_url(url), "{url}");
        }
    }
}
