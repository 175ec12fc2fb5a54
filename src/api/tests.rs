//! `docs/ERRORS.md` says what the surfaces send.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http_body_util::BodyExt as _;
use serde_json::Value;
use strum::VariantArray as _;

use super::problem::Problem;
use super::{anthropic, bedrock, openai, route};
use crate::error::{Error, Exception, Kind};

/// When it happens, for the table. A kind that is new needs its line.
fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "The request is malformed, or a field has a value that cannot be",
        Kind::Unauthenticated => "No key, or one that is wrong, expired or revoked",
        Kind::Forbidden => "The key lacks the scope, or may use none of the Regions that serve the model",
        Kind::NotFound => "No such route, or nothing with this id that the caller may see",
        Kind::ModelNotFound => "The model is unknown, offered in none of the Regions, or not allowed to this key",
        Kind::MethodNotAllowed => "The route exists, but not with this method",
        Kind::Conflict => "The request contradicts the present state",
        Kind::Stale => "What is to be changed has another version than `If-Match` names",
        Kind::TooLarge => "The body is larger than `server.max_body_mb`",
        Kind::TooSlow => "The body came too slowly (`server.body_timeout_s`, `server.body_min_rate`)",
        Kind::RateLimited => "A limit of the gateway is reached",
        Kind::BudgetExhausted => "A budget is spent",
        Kind::Unsupported => "Understood, but this model or surface cannot do it; also strict mode",
        Kind::UpstreamRejected => "AWS refused the request",
        Kind::UpstreamThrottled => "AWS throttled every candidate",
        Kind::UpstreamUnavailable => "AWS could not be reached, failed, or broke off",
        Kind::Timeout => "AWS took longer than allowed",
        Kind::Unavailable => {
            "What the gateway needs itself, such as its store, does not answer; or there is no memory for the body"
        }
        Kind::Internal => "A fault of the gateway",
    }
}

/// One line of the table.
struct Case {
    kind: Kind,
    means: &'static str,
    /// AWS's own, behind a refusal that keeps its meaning.
    aws: Option<Exception>,
}

impl Case {
    fn name(&self) -> String {
        let name: &'static str = self.kind.into();
        self.aws.map_or_else(|| format!("`{name}`"), |aws| format!("`{name}` ({})", aws.status))
    }

    fn error(&self) -> Error {
        let error = Error::new(self.kind, "Why.");
        match (self.kind, self.aws) {
            (_, Some(exception)) => error.exception(exception),
            (Kind::RateLimited | Kind::UpstreamThrottled, None) => error.retry_after(Duration::from_secs(2)),
            (_, None) => error,
        }
    }
}

/// Every kind, and those of AWS's refusals that keep their own meaning.
fn cases() -> Vec<Case> {
    let refused = |name, status, means| {
        let aws = Some(Exception { name, status });
        Case { kind: Kind::UpstreamRejected, means, aws }
    };
    let mut cases = Vec::new();
    for &kind in Kind::VARIANTS {
        if kind == Kind::UpstreamRejected {
            cases.push(refused("ValidationException", 400, meaning(kind)));
            cases.push(refused("AccessDeniedException", 403, "AWS does not let this gateway call the model"));
            cases.push(refused("ResourceNotFoundException", 404, "AWS has no such model in any of the Regions"));
        } else {
            cases.push(Case { kind, means: meaning(kind), aws: None });
        }
    }
    cases
}

fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

async fn row(case: Case) -> String {
    let reason = route::refusal(&case.error()).map_or_else(|| "-".into(), |reason| format!("`{reason}`"));
    let problem = Problem(Arc::new(case.error()));
    let id = "req_1".into();
    let (aws, theirs) = (bedrock::shape(&problem), anthropic::shape(&problem, &id));
    let response = openai::shape(&problem, &id);

    let hint = match (header(&response, "retry-after"), header(&response, "x-should-retry")) {
        (Some(_), None) => "`retry-after`",
        (None, Some("false")) => "`x-should-retry: false`",
        (None, None) => "-",
        other => panic!("{:?}: {other:?}", case.kind),
    };
    for name in ["retry-after", "x-should-retry"] {
        let told = header(&response, name);
        assert_eq!((told, told), (header(&aws, name), header(&theirs, name)), "{:?}", case.kind);
    }
    let (status, body) = told(response).await;
    let code = body["error"]["code"].as_str().map_or_else(|| "null".into(), |code| format!("`{code}`"));
    let class = body["error"]["type"].as_str().unwrap();
    let (their_status, theirs) = told(theirs).await;
    let their_class = theirs["error"]["type"].as_str().unwrap();
    let exception = header(&aws, "x-amzn-errortype").unwrap();
    format!(
        "| {} | {} | {status} `{class}`, {code} | {their_status} `{their_class}` | {} `{exception}` | {hint} | {reason} |\n",
        case.name(),
        case.means,
        aws.status().as_u16()
    )
}

/// Status and body of an answer.
async fn told(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn the_table_of_errors_is_what_the_surfaces_send() {
    let mut table = String::from(
        "| kind | when | OpenAI: status `type`, `code` | Anthropic: status `type` | Bedrock: status, exception | header | \
         `reason` |\n|---|---|---|---|---|---|---|\n",
    );
    for case in cases() {
        write!(table, "{}", row(case).await).unwrap();
    }
    let document = include_str!("../../docs/ERRORS.md");
    assert!(document.contains(&table), "docs/ERRORS.md does not hold this table:\n{table}");
}
