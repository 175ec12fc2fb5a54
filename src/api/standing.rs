//! How far the caller's limits are used, in each dialect's own headers, on answers and refusals alike: what is left with
//! this call counted in.
//!
//! OpenAI: <https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers>. Anthropic:
//! <https://platform.claude.com/docs/en/api/rate-limits#response-headers>; its headers for input and output alone are left
//! out, because they are limited together here. AWS has none.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::surface::Surface;
use crate::clock::Timestamp;
use crate::tenancy::{Gauge, Standing};

/// The names for a gauge: its limit, what is left of it, and when all of it is there again.
struct Names {
    limit: HeaderName,
    remaining: HeaderName,
    reset: HeaderName,
}

impl Names {
    fn new(limit: &'static str, remaining: &'static str, reset: &'static str) -> Self {
        Self {
            limit: HeaderName::from_static(limit),
            remaining: HeaderName::from_static(remaining),
            reset: HeaderName::from_static(reset),
        }
    }
}

/// Of requests and of tokens.
fn of_openai() -> [Names; 2] {
    [
        Names::new("x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        Names::new("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ]
}

fn of_anthropic() -> [Names; 2] {
    [
        Names::new(
            "anthropic-ratelimit-requests-limit",
            "anthropic-ratelimit-requests-remaining",
            "anthropic-ratelimit-requests-reset",
        ),
        Names::new(
            "anthropic-ratelimit-tokens-limit",
            "anthropic-ratelimit-tokens-remaining",
            "anthropic-ratelimit-tokens-reset",
        ),
    ]
}

/// Adds what `surface` tells of `standing` at `now`.
pub(super) fn tell(surface: Surface, standing: &Standing, now: Timestamp, headers: &mut HeaderMap) {
    let (names, reset): (_, fn(Duration, Timestamp) -> String) = match surface {
        Surface::OpenAi => (of_openai(), |reset, _| go_duration(reset)),
        Surface::Anthropic => (of_anthropic(), |reset, now| moment(now.plus(reset))),
        Surface::Bedrock => return,
    };
    for (names, gauge) in names.into_iter().zip([standing.requests, standing.tokens]) {
        let Some(Gauge { limit, remaining, reset: after }) = gauge else { continue };
        headers.insert(names.limit, HeaderValue::from(limit));
        headers.insert(names.remaining, HeaderValue::from(remaining));
        if let Ok(reset) = HeaderValue::from_str(&reset(after, now)) {
            headers.insert(names.reset, reset);
        }
    }
}

/// As OpenAI writes it, and Go: `120ms`, `1s`, `1.5s`, `6m0s`.
fn go_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if (1..1000).contains(&millis) {
        return format!("{millis}ms");
    }
    let (minutes, millis) = (millis / 60_000, millis % 60_000);
    let mut text = String::new();
    if minutes >= 60 {
        write!(text, "{}h", minutes / 60).ok();
    }
    if minutes > 0 {
        write!(text, "{}m", minutes % 60).ok();
    }
    write!(text, "{}", millis / 1000).ok();
    if millis % 1000 > 0 {
        write!(text, ".{}", format!("{:03}", millis % 1000).trim_end_matches('0')).ok();
    }
    text.push('s');
    text
}

/// In RFC 3339 and whole seconds, not sooner than it is.
fn moment(at: Timestamp) -> String {
    let seconds = at.plus(Duration::from_millis(999)).seconds();
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_openai_does() {
        let of = |millis| go_duration(Duration::from_millis(millis));
        assert_eq!([0, 120, 1000, 1500, 8640].map(of), ["0s", "120ms", "1s", "1.5s", "8.64s"]);
        assert_eq!([360_000, 61_001, 3_600_000].map(of), ["6m0s", "1m1.001s", "1h0m0s"]);
    }

    #[test]
    fn each_dialect_tells_it_in_its_own_words() {
        let gauge = |limit, reset| Gauge { limit, remaining: 7, reset: Duration::from_millis(reset) };
        let standing = Standing { requests: Some(gauge(60, 1200)), tokens: Some(gauge(1000, 0)) };
        let told = |surface, standing: &Standing| {
            let mut headers = HeaderMap::new();
            tell(surface, standing, Timestamp::from_millis(1_700_000_000_500), &mut headers);
            let mut told: Vec<String> =
                headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
            told.sort();
            told
        };
        assert_eq!(
            told(Surface::OpenAi, &standing),
            [
                "x-ratelimit-limit-requests: 60",
                "x-ratelimit-limit-tokens: 1000",
                "x-ratelimit-remaining-requests: 7",
                "x-ratelimit-remaining-tokens: 7",
                "x-ratelimit-reset-requests: 1.2s",
                "x-ratelimit-reset-tokens: 0s",
            ]
        );
        assert_eq!(
            told(Surface::Anthropic, &Standing { tokens: None, ..standing }),
            [
                "anthropic-ratelimit-requests-limit: 60",
                "anthropic-ratelimit-requests-remaining: 7",
                "anthropic-ratelimit-requests-reset: 2023-11-14T22:13:22Z",
            ]
        );
        assert!(told(Surface::Bedrock, &standing).is_empty());
    }
}
