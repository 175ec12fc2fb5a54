//! The betas that a caller asks for, and those that Bedrock has.
//!
//! Bedrock refuses a whole request for one beta that it does not know ("invalid beta flag"), and clients made for
//! Anthropic's own service name many. So what is not in [`KNOWN`] is left out, and said in the report.

use http::{HeaderMap, HeaderValue};

use crate::error::{Error, Result};
use crate::report::{Action, Report};
use crate::splice::quoted;

/// The header, and where it is in the body on Bedrock.
pub(super) const HEADER: &str = "anthropic-beta";
/// The member of a native body.
pub(super) const MEMBER: &str = "anthropic_beta";

/// What `InvokeModel` takes
/// (<https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages-request-response.html>,
/// and what users of other gateways report). One that a certain model does not know is between the caller and AWS.
const KNOWN: [&str; 20] = [
    "compact-2026-01-12",
    "compact-2026-09-04",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "dangerous-tool-use-2026-09-03",
    "dev-full-thinking-2025-05-14",
    "effort-2025-11-24",
    "fine-grained-tool-streaming-2025-05-14",
    "interleaved-thinking-2025-05-14",
    "mid-conversation-output-config-2026-07-01",
    "mid-conversation-tool-changes-2026-07-01",
    "output-128k-2025-02-19",
    "thinking-binding-controls-2026-08-01",
    "thinking-display-updates-2026-08-18",
    "token-efficient-tools-2025-02-19",
    "tool-examples-2025-10-29",
    "tool-search-tool-2025-10-19",
];

/// Betas of Anthropic's own service that Bedrock has under other names: what they switch on is there.
const RENAMED: [(&str, &[&str]); 1] =
    [("advanced-tool-use-2025-11-20", &["tool-search-tool-2025-10-19", "tool-examples-2025-10-29"])];

/// What has long been part of the API everywhere, or only says who calls: leaving it out changes nothing.
const SETTLED: [&str; 9] = [
    "claude-code-20250219",
    "extended-cache-ttl-2025-04-11",
    "max-tokens-3-5-sonnet-2024-07-15",
    "message-batches-2024-09-24",
    "model-context-window-exceeded-2025-08-26",
    "pdfs-2024-09-25",
    "prompt-caching-2024-07-31",
    "structured-outputs-2025-11-13",
    "token-counting-2024-11-01",
];

/// The betas that are to be asked of Bedrock, each once, in order: those of the headers, which may repeat and hold
/// several each, and those of the body.
pub(super) fn collect(headers: &HeaderMap, body: Option<&str>, report: &mut Report) -> Result<Vec<String>> {
    let mut asked: Vec<String> = Vec::new();
    for value in headers.get_all(HEADER) {
        let text = value.to_str().map_err(|_| Error::invalid(HEADER, "The header has to be plain text."))?;
        asked.extend(text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned));
    }
    if let Some(list) = body {
        let message = "`anthropic_beta` has to be a list of strings.";
        let list: Option<Vec<String>> = serde_json::from_str(list).map_err(|_| Error::invalid(MEMBER, message))?;
        asked.extend(list.unwrap_or_default());
    }
    let mut kept: Vec<String> = Vec::new();
    let mut keep = |name: &str| {
        if !kept.iter().any(|other| other == name) {
            kept.push(name.to_owned());
        }
    };
    for name in &asked {
        if KNOWN.contains(&name.as_str()) {
            keep(name);
        } else if let Some((_, names)) = RENAMED.iter().find(|(other, _)| other == name) {
            names.iter().for_each(|name| keep(name));
        } else if !SETTLED.contains(&name.as_str()) {
            report.add(Action::Filtered, HEADER);
        }
    }
    Ok(kept)
}

/// The list as a header; `None` when it is empty.
pub(super) fn header(betas: &[String]) -> Option<HeaderValue> {
    if betas.is_empty() {
        return None;
    }
    HeaderValue::from_str(&betas.join(",")).ok()
}

/// The list as JSON.
pub(super) fn json(betas: &[String]) -> String {
    let names: Vec<String> = betas.iter().map(|name| quoted(name)).collect();
    format!("[{}]", names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(values: &[&str], body: Option<&str>) -> (Vec<String>, String) {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, value.parse().unwrap());
        }
        let mut report = Report::default();
        (collect(&headers, body, &mut report).unwrap(), report.to_string())
    }

    #[test]
    fn betas_of_headers_and_body_are_joined_and_each_is_named_once() {
        let (betas, report) = collected(
            &["context-1m-2025-08-07, effort-2025-11-24", "context-1m-2025-08-07"],
            Some(r#"["interleaved-thinking-2025-05-14"]"#),
        );
        assert_eq!(json(&betas), r#"["context-1m-2025-08-07","effort-2025-11-24","interleaved-thinking-2025-05-14"]"#);
        assert_eq!(report, "");
    }

    #[test]
    fn an_unknown_beta_is_left_out_and_said_so_once() {
        let (betas, report) = collected(&["fast-mode-2026-02-01,made-up-2030-01-01,context-1m-2025-08-07"], None);
        assert_eq!((betas, report.as_str()), (vec!["context-1m-2025-08-07".to_owned()], "filtered:anthropic-beta"));
    }

    #[test]
    fn what_is_part_of_the_api_by_now_goes_without_a_word_and_new_names_are_used() {
        let (betas, report) = collected(&["prompt-caching-2024-07-31,advanced-tool-use-2025-11-20"], Some("null"));
        assert_eq!(betas, ["tool-search-tool-2025-10-19", "tool-examples-2025-10-29"]);
        assert_eq!(report, "");
    }

    #[test]
    fn a_list_that_is_none_is_refused() {
        let error = collect(&HeaderMap::new(), Some("7"), &mut Report::default()).unwrap_err();
        assert_eq!(error.blamed(), Some("anthropic_beta"));
    }
}
