//! `docs/ERRORS.md` says what follows a failed attempt.

use std::fmt::Write as _;
use std::time::Duration;

use strum::VariantArray as _;

use super::classify::{Failure, Reason, classify};
use super::health::{Condition, Health};
use super::retry::{Allowance, Left, Next, Retry};
use crate::clock::Timestamp;
use crate::error::{Error, Kind};

/// What AWS may say, and the reason it stands for: status, exception, message, and how the table calls it. A reason
/// that is not AWS's own word has no line.
const SAID: [(u16, &str, &str, &str, Reason); 16] = [
    (429, "ThrottlingException", "Too many requests", "429 `ThrottlingException`", Reason::Throttled),
    (429, "ThrottlingException", "Too many tokens per day", "a 429 that says \"per day\"", Reason::Quota),
    (400, "ServiceQuotaExceededException", "", "400 `ServiceQuotaExceededException`", Reason::Quota),
    (429, "ModelNotReadyException", "", "429 `ModelNotReadyException`", Reason::NotReady),
    (500, "InternalServerException", "", "500 `InternalServerException`", Reason::Unavailable),
    (503, "ServiceUnavailableException", "", "503 `ServiceUnavailableException`", Reason::Unavailable),
    (529, "", "Overloaded", "529", Reason::Unavailable),
    (408, "ModelTimeoutException", "", "408 `ModelTimeoutException`", Reason::Timeout),
    (424, "ModelErrorException", "", "424 `ModelErrorException`", Reason::ModelError),
    (400, "ValidationException", "The field is wrong", "400 `ValidationException`", Reason::Rejected),
    (403, "AccessDeniedException", "", "403 `AccessDeniedException`", Reason::Denied),
    (404, "ResourceNotFoundException", "", "404 `ResourceNotFoundException`", Reason::Missing),
    (
        400,
        "ValidationException",
        "Invocation with on-demand throughput isn't supported",
        "a 400 that blames the pair of model and Region",
        Reason::Missing,
    ),
    (403, "ExpiredTokenException", "", "403 `ExpiredTokenException`", Reason::Credentials),
    (403, "UnrecognizedClientException", "", "403 `UnrecognizedClientException`", Reason::Credentials),
    (403, "InvalidSignatureException", "", "403 `InvalidSignatureException`", Reason::Credentials),
];

fn failure(reason: Reason) -> Failure {
    Failure { reason, error: Error::new(Kind::UpstreamUnavailable, "Why."), retry_after: None, sent: false }
}

fn said(reason: Reason) -> String {
    let own = match reason {
        Reason::Timeout => Some("no answer within `aws.first_byte_timeout_s`"),
        Reason::Connection => Some("no connection, or one that broke before an answer"),
        Reason::Cut => Some("an answer that breaks off or stays silent for `aws.idle_timeout_s`"),
        _ => None,
    };
    let by_aws = SAID.iter().filter(|said| said.4 == reason).map(|said| said.3);
    by_aws.chain(own).collect::<Vec<_>>().join("; ")
}

fn step(reason: Reason, others: usize) -> &'static str {
    let left = Left { others, time: Duration::from_hours(1), allowance: &Allowance::default() };
    match Retry::new(4, 1).after(&failure(reason), left) {
        Next::SameRegionAfter(_) => "the same after a pause",
        Next::NextCandidate => "the next at once",
        Next::GiveUp => "stop",
    }
}

/// How long the model rests in the Region after one such failure.
fn rest(reason: Reason) -> String {
    let health = Health::default();
    let now = Timestamp::from_millis(1_000_000);
    health.begin(&"model".into(), None, now).failed(&failure(reason), now);
    match health.condition("model", now) {
        Condition::Ready => "-".into(),
        Condition::Resting { until } => format!("{} s", until.since(now).as_secs()),
    }
}

#[test]
fn the_table_of_attempts_is_what_the_code_does() {
    for (status, name, message, _, reason) in SAID {
        assert_eq!(classify(status, name, message).0, reason, "{status} {name} {message}");
    }
    let mut table = String::from(
        "| reason | what AWS said | with candidates left | with none left | rest | `outcome` |\n|---|---|---|---|---|---|\n",
    );
    for &reason in Reason::VARIANTS {
        let name: &'static str = reason.into();
        let (left, alone, rest) = (step(reason, 2), step(reason, 0), rest(reason));
        writeln!(table, "| `{name}` | {} | {left} | {alone} | {rest} | `{}` |", said(reason), reason.outcome())
            .unwrap();
    }
    let document = include_str!("../../docs/ERRORS.md");
    assert!(document.contains(&table), "docs/ERRORS.md does not hold this table:\n{table}");
}
