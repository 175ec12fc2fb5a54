//! What goes into a call, and what is said of it, for each way that a call can carry it.

use bytes::Bytes;

use super::*;
use crate::tenancy::Guardrail;

fn guarded(metadata: &[(&str, &str)]) -> (Option<Guardrail>, BTreeMap<String, String>) {
    let guardrail = Guardrail { id: "own1".into(), version: "3".into() };
    (Some(guardrail), metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

fn call(operation: Operation, body: &str, headers: &[(&'static str, &str)]) -> Call {
    let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
    Call { operation, headers, body: Bytes::from(body.to_owned()) }
}

/// What becomes of a call, and what is reported.
fn carried(mut call: Call, (guardrail, metadata): (Option<Guardrail>, BTreeMap<String, String>)) -> (Call, String) {
    let mut changes = Report::default();
    let team = Carried { guardrail: guardrail.as_ref(), metadata: &metadata };
    team.put(&mut call, &mut changes).unwrap();
    (call, changes.to_string())
}

fn body(call: &Call) -> Value {
    serde_json::from_slice(&call.body).unwrap()
}

#[test]
fn the_guardrail_of_the_team_takes_the_place_of_the_callers_and_leaves_it_the_trace() {
    let of = |text: &str| carried(call(Operation::ConverseStream, text, &[]), guarded(&[]));
    let own = |more: Value| {
        let mut own = json!({"guardrailIdentifier": "own1", "guardrailVersion": "3"});
        own.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        own
    };
    for (asked, sent, told) in [
        ("null", own(json!({})), "inserted:guardrailConfig"),
        (r#"{"trace":"enabled"}"#, own(json!({"trace": "enabled"})), "inserted:guardrailConfig"),
        (
            r#"{"guardrailIdentifier":"other","guardrailVersion":"3","trace":"enabled_full","streamProcessingMode":"sync"}"#,
            own(json!({"trace": "enabled_full"})),
            "dropped:guardrailConfig,inserted:guardrailConfig",
        ),
        (r#"{"guardrailIdentifier":"own1","guardrailVersion":"3"}"#, own(json!({})), ""),
        (
            r#"{"guardrailIdentifier":"own1","guardrailVersion":"3","streamProcessingMode":"async"}"#,
            own(json!({})),
            "filtered:guardrailConfig.streamProcessingMode",
        ),
    ] {
        let (call, changes) = of(&format!(r#"{{"messages":[ 1.0 ],"guardrailConfig":{asked}}}"#));
        assert_eq!((&body(&call)["guardrailConfig"], &*changes), (&sent, told), "{asked}");
        assert!(call.body.starts_with(br#"{"messages":[ 1.0 ]"#), "what is not replaced keeps its bytes");
    }
}

#[test]
fn a_member_that_is_given_twice_does_not_get_past_the_guardrail() {
    let own = r#"{"guardrailIdentifier":"own1","guardrailVersion":"3"}"#;
    let other = r#"{"guardrailIdentifier":"other","guardrailVersion":"1"}"#;
    let text = format!(r#"{{"guardrailConfig":{own},"guardr\u0061ilConfig":{other},"messages":[]}}"#);
    let (call, _) = carried(call(Operation::Converse, &text, &[]), guarded(&[]));
    let text = String::from_utf8(call.body.to_vec()).unwrap();
    assert!(!text.contains("other") && text.matches("guardrailIdentifier").count() == 1, "{text}");
}

#[test]
fn a_native_body_keeps_its_tags_and_is_judged_before_it_is_sent() {
    let other = [(IDENTIFIER, "other"), (VERSION, "1"), ("x-amzn-bedrock-trace", "ENABLED")];
    let text = r#"{"a":1,"amazon-bedrock-guardrailConfig":{"tagSuffix":"x","streamProcessingMode":"ASYNCHRONOUS"}}"#;
    let (call, changes) = carried(call(Operation::InvokeModel, text, &other), guarded(&[]));
    assert_eq!(body(&call), json!({"a": 1, "amazon-bedrock-guardrailConfig": {"tagSuffix": "x"}}));
    let header = |name: &str| call.headers[name].to_str().unwrap().to_owned();
    assert_eq!(
        (header(IDENTIFIER), header(VERSION), header("x-amzn-bedrock-trace").as_str()),
        ("own1".into(), "3".into(), "ENABLED")
    );
    assert_eq!(changes, "filtered:amazon-bedrock-guardrailConfig,dropped:guardrailConfig,inserted:guardrailConfig");
}

#[test]
fn metadata_of_both_travels_the_teams_first() {
    let own = (None, guarded(&[("team", "blue"), ("a", "1")]).1);
    let text = r#"{"requestMetadata":{"a":"2","b":"3"}}"#;
    let (sent, changes) = carried(call(Operation::Converse, text, &[]), own.clone());
    assert_eq!(body(&sent), json!({"requestMetadata": {"a": "1", "b": "3", "team": "blue"}}));
    assert_eq!(changes, "merged:requestMetadata,filtered:requestMetadata");

    let (sent, changes) = carried(call(Operation::InvokeModel, "{}", &[]), own.clone());
    assert_eq!(sent.headers[METADATA_HEADER], r#"{"a":"1","team":"blue"}"#);
    assert_eq!((&sent.body[..], &*changes), (&b"{}"[..], "inserted:requestMetadata"));

    let many: BTreeMap<String, String> = (10..26).map(|n| (n.to_string(), String::new())).collect();
    let many = serde_json::to_string(&many).unwrap();
    let (sent, _) = carried(call(Operation::InvokeModel, "{}", &[(METADATA_HEADER, &many)]), own);
    let pairs: BTreeMap<String, String> = serde_json::from_slice(sent.headers[METADATA_HEADER].as_bytes()).unwrap();
    assert!(pairs.len() == MAX_PAIRS && pairs["team"] == "blue" && pairs.contains_key("10"), "{pairs:?}");
}

#[test]
fn what_cannot_be_read_is_refused_by_its_name() {
    let refused = |mut call: Call| {
        let (guardrail, metadata) = guarded(&[("team", "blue")]);
        let team = Carried { guardrail: guardrail.as_ref(), metadata: &metadata };
        let error = team.put(&mut call, &mut Report::default()).unwrap_err();
        (error.kind(), error.blamed().unwrap().to_owned())
    };
    for (operation, text, headers, blamed) in [
        (Operation::Converse, r#"{"guardrailConfig":[]}"#, &[][..], GUARDRAIL),
        (Operation::Converse, r#"{"requestMetadata":{"a":1}}"#, &[], METADATA),
        (Operation::Converse, "[]", &[], "body"),
        (Operation::InvokeModel, "nonsense", &[], "body"),
        (Operation::InvokeModel, r#"{"amazon-bedrock-guardrailConfig":7}"#, &[], NATIVE_CONFIG),
        (Operation::InvokeModel, "{}", &[(METADATA_HEADER, "[]")], METADATA_HEADER),
        (Operation::InvokeModel, "{}", &[(METADATA_HEADER, "{}"), (METADATA_HEADER, "{}")], METADATA_HEADER),
    ] {
        let mut call = call(operation, text, &[]);
        for (name, value) in headers {
            call.headers.append(*name, value.parse().unwrap());
        }
        assert_eq!(refused(call), (Kind::Invalid, blamed.to_owned()), "{text}");
    }
    for operation in [Operation::Messages, Operation::Responses] {
        assert_eq!(refused(call(operation, "{}", &[])), (Kind::Forbidden, MODEL.to_owned()));
    }
}

#[test]
fn counting_carries_nothing() {
    let (sent, changes) = carried(call(Operation::CountTokens, "{}", &[]), guarded(&[("team", "blue")]));
    assert!(sent.headers.is_empty() && sent.body == "{}" && changes.is_empty());
}
