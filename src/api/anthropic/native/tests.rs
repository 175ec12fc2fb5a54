//! What becomes of a body on its way to Claude.

use bytes::Bytes;
use http::HeaderMap;

use super::{Draft, Purpose, refuse_impossible};
use crate::api::anthropic::lane::Lane;
use crate::api::remote::Payload;
use crate::error::Result;
use crate::report::Report;
use crate::splice::Members;
use crate::upstream::{Call, Operation};

fn called(body: &str, lane: Lane, purpose: Purpose, headers: &HeaderMap) -> Result<(Call, String)> {
    let text = Bytes::copy_from_slice(body.as_bytes());
    let members = Members::read(&text).unwrap();
    refuse_impossible(&members)?;
    let draft = Draft::read(&text, &members, purpose)?;
    let payload = || Payload { base64: PNG.to_owned(), media_type: None };
    let fetched = draft.remotes().iter().map(|_| payload()).collect();
    let mut report = Report::default();
    let call = draft.call(lane, headers, fetched, &mut report)?;
    Ok((call, report.to_string()))
}

fn invoked(body: &str) -> (String, String) {
    let (call, report) = called(body, Lane::Invoke, Purpose::Whole, &HeaderMap::new()).unwrap();
    assert_eq!(call.operation, Operation::InvokeModel);
    (String::from_utf8(call.body.to_vec()).unwrap(), report)
}

/// The first bytes of a picture.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUg==";

#[test]
fn all_but_what_names_model_and_stream_goes_through_byte_for_byte() {
    let body = r#"{"model":"claude-x", "max_tokens" : 1e2,"new":{"a":[ 1,"\u00e9"]}, "messages": [ ],"stream":false}"#;
    let sent =
        r#"{ "max_tokens" : 1e2,"new":{"a":[ 1,"\u00e9"]}, "messages": [ ],"anthropic_version":"bedrock-2023-05-31"}"#;
    assert_eq!(invoked(body), (sent.to_owned(), String::new()));
}

#[test]
fn the_messages_path_gets_version_and_betas_as_headers_and_is_told_to_stream() {
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-version", "2026-10-21".parse().unwrap());
    headers.append("anthropic-beta", "effort-2025-11-24".parse().unwrap());
    headers.append("anthropic-beta", "context-1m-2025-08-07".parse().unwrap());
    let body = r#"{"model":"m","max_tokens":1,"stream":true}"#;
    let (call, _) = called(body, Lane::Messages, Purpose::Stream, &headers).unwrap();
    assert_eq!(call.operation, Operation::Messages);
    assert_eq!(call.headers["anthropic-version"], "2023-06-01", "newer ones are refused there");
    assert_eq!(call.headers["anthropic-beta"], "effort-2025-11-24,context-1m-2025-08-07");
    assert_eq!(&call.body[..], br#"{"max_tokens":1,"stream":true}"#);
    let (call, _) = called(body, Lane::Messages, Purpose::Whole, &HeaderMap::new()).unwrap();
    assert_eq!(call.headers["anthropic-version"], "2023-06-01");
    assert_eq!(&call.body[..], br#"{"max_tokens":1}"#);
}

#[test]
fn betas_move_into_the_body_of_an_invocation() {
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-beta", "effort-2025-11-24,unknown-2030-01-01".parse().unwrap());
    let body = r#"{"model":"m","anthropic_beta":["context-1m-2025-08-07"],"max_tokens":1,"stream":true}"#;
    let (call, report) = called(body, Lane::Invoke, Purpose::Stream, &headers).unwrap();
    assert_eq!(call.operation, Operation::InvokeModelWithResponseStream);
    let sent = r#"{"max_tokens":1,"anthropic_version":"bedrock-2023-05-31","anthropic_beta":["effort-2025-11-24","context-1m-2025-08-07"]}"#;
    assert_eq!((&call.body[..], report.as_str()), (sent.as_bytes(), "filtered:anthropic-beta"));
    assert!(call.headers.is_empty());
}

#[test]
fn what_is_elsewhere_is_put_in_its_place_and_the_rest_stays() {
    let body = r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image" ,"source": {"url":"https://a/b","type":"url"} },{"type":"text","text":"\u0041"}]}]}"#;
    let (sent, report) = invoked(body);
    let inlined = format!(
        r#""content":[{{"type":"image" ,"source": {{"type":"base64","media_type":"image/png","data":"{PNG}"}} }},{{"type":"text","text":"\u0041"}}]"#
    );
    assert!(sent.contains(&inlined), "{sent}");
    assert_eq!(report, "fetched:messages[0].content[0].source");
}

#[test]
fn a_url_that_does_not_lead_to_a_pdf_is_no_document() {
    let body =
        r#"{"model":"m","messages":[{"content":[{"type":"document","source":{"type":"url","url":"https://a"}}]}]}"#;
    let error = called(body, Lane::Invoke, Purpose::Whole, &HeaderMap::new()).unwrap_err();
    assert_eq!(error.blamed(), Some("messages[0].content[0].source.url"));
}

#[test]
fn members_of_anthropics_own_service_are_left_out_and_named_if_they_say_something() {
    let body = r#"{"model":"m","speed":"fast","diagnostics":null,"max_tokens":1,"service_tier":"standard_only"}"#;
    let (sent, report) = invoked(body);
    assert_eq!(sent, r#"{"max_tokens":1,"anthropic_version":"bedrock-2023-05-31"}"#);
    assert_eq!(report, "dropped:speed");
    let scoped = r#"{"model":"m","system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","scope":"global","ttl":"1h"}}]}"#;
    let (sent, report) = invoked(scoped);
    assert!(sent.contains(r#""cache_control":{"type":"ephemeral","ttl":"1h"}"#), "{sent}");
    assert_eq!(report, "dropped:system[0].cache_control.scope");
}

#[test]
fn the_form_of_the_answer_is_sent_by_its_present_name() {
    let (sent, report) = invoked(r#"{"model":"m","output_format":{"type":"json_schema","schema":{}}}"#);
    assert!(sent.contains(r#""output_config":{"format":{"type":"json_schema","schema":{}}}"#), "{sent}");
    assert_eq!(report, "renamed:output_format");
    for (config, sent_config, report) in [
        (r#"{"effort":"low"}"#, r#"{"effort":"low","format":{"type":"json_schema"}}"#, "renamed:output_format"),
        (r#"{"format":null}"#, r#"{"format":{"type":"json_schema"}}"#, "renamed:output_format"),
        ("null", r#"{"format":{"type":"json_schema"}}"#, "renamed:output_format"),
        (r#"{"format":{}}"#, r#"{"format":{}}"#, "dropped:output_format"),
    ] {
        let body = format!(r#"{{"model":"m","output_config":{config},"output_format":{{"type":"json_schema"}}}}"#);
        let (sent, reported) = invoked(&body);
        assert!(sent.starts_with(&format!(r#"{{"output_config":{sent_config},"anthropic_version""#)), "{sent}");
        assert_eq!(reported, report, "{config}");
    }
}

#[test]
fn a_tier_becomes_the_header_that_bedrock_reads() {
    let tier = |tier: &str| {
        let body = format!(r#"{{"model":"m","service_tier":"{tier}"}}"#);
        called(&body, Lane::Invoke, Purpose::Whole, &HeaderMap::new())
    };
    assert_eq!(tier("priority").unwrap().0.headers["x-amzn-bedrock-service-tier"], "priority");
    assert_eq!(tier("standard_only").unwrap().0.headers["x-amzn-bedrock-service-tier"], "default");
    assert!(tier("auto").unwrap().0.headers.is_empty());
    let flex: HeaderMap =
        [(http::HeaderName::from_static("x-amzn-bedrock-service-tier"), "flex".parse().unwrap())].into_iter().collect();
    let with_header = |tier: &str| {
        called(&format!(r#"{{"model":"m","service_tier":"{tier}"}}"#), Lane::Invoke, Purpose::Whole, &flex)
    };
    assert_eq!(with_header("auto").unwrap().0.headers["x-amzn-bedrock-service-tier"], "flex");
    assert!(with_header("flex").is_ok());
    assert_eq!(with_header("priority").unwrap_err().blamed(), Some("x-amzn-bedrock-service-tier"));
    assert_eq!(tier("warp").unwrap_err().blamed(), Some("service_tier"));
}

#[test]
fn what_bedrock_cannot_do_is_refused_by_name() {
    for (body, field) in [
        (r#"{"container":"c"}"#, "container"),
        (r#"{"mcp_servers":[{"type":"url"}]}"#, "mcp_servers"),
        (r#"{"inference_geo":"us"}"#, "inference_geo"),
        (
            r#"{"tools":[{"name":"a","input_schema":{}},{"type":"web_search_20250305","name":"web_search"}]}"#,
            "tools[1].type",
        ),
        (r#"{"anthropic_beta":7}"#, "anthropic_beta"),
    ] {
        let error = called(body, Lane::Invoke, Purpose::Whole, &HeaderMap::new()).unwrap_err();
        assert_eq!(error.blamed(), Some(field), "{body}");
    }
    for body in [r#"{"container":null,"mcp_servers":[]}"#, r#"{"inference_geo":"global"}"#] {
        assert_eq!(called(body, Lane::Invoke, Purpose::Whole, &HeaderMap::new()).unwrap().1, "", "{body}");
    }
}

#[test]
fn a_body_to_be_counted_gets_the_length_that_a_body_must_have() {
    let counted = |body: &str| {
        let (call, _) = called(body, Lane::Messages, Purpose::Count, &HeaderMap::new()).unwrap();
        String::from_utf8(call.body.to_vec()).unwrap()
    };
    let version = r#""anthropic_version":"bedrock-2023-05-31""#;
    assert_eq!(counted(r#"{"model":"m","messages":[]}"#), format!(r#"{{"messages":[],{version},"max_tokens":1}}"#));
    assert!(counted(r#"{"thinking":{"type":"enabled","budget_tokens":2000}}"#).ends_with(r#""max_tokens":2001}"#));
    assert_eq!(counted(r#"{"max_tokens":5}"#), format!(r#"{{"max_tokens":5,{version}}}"#));
}
