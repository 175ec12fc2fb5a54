//! STS and its credentials, over the router.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;

use super::probe::{Keys, element, signed};
use super::{Role, Settings, Simulator};

const ROLE: &str = "arn:aws:iam::000000000000:role/team/blue";
const MODELS: (&str, &str, &[u8]) = ("GET", "/foundation-models", b"");

async fn sts(simulator: &Simulator, keys: &Keys, form: &str) -> (u16, String) {
    let body = format!("Version=2011-06-15&{form}");
    signed(simulator, keys, ("sts", "eu-west-1"), ("POST", "/", body.as_bytes()), &[]).await
}

async fn assume(simulator: &Simulator, keys: &Keys, more: &str) -> (u16, String) {
    sts(simulator, keys, &format!("Action=AssumeRole&RoleArn={ROLE}&RoleSessionName=gateway{more}")).await
}

fn credentials(xml: &str) -> Keys {
    Keys {
        access_key: element(xml, "AccessKeyId").to_owned(),
        secret_key: element(xml, "SecretAccessKey").to_owned(),
        token: Some(element(xml, "SessionToken").to_owned()),
    }
}

async fn models(simulator: &Simulator, keys: &Keys) -> (u16, String) {
    signed(simulator, keys, ("bedrock", "us-east-1"), MODELS, &[]).await
}

#[tokio::test]
async fn a_session_calls_until_it_expires_or_is_revoked() {
    let simulator = Simulator::new(Settings::default());
    let root = Keys::of(&simulator);
    let (status, xml) =
        assume(&simulator, &root, "&DurationSeconds=900&Tags.member.1.Key=team&Tags.member.1.Value=blue").await;
    assert_eq!(status, 200, "{xml}");
    let keys = credentials(&xml);
    assert_eq!(models(&simulator, &keys).await.0, 200);
    assert_eq!(simulator.calls().last().unwrap().identity, ROLE);
    let (_, caller) = sts(&simulator, &keys, "Action=GetCallerIdentity").await;
    assert_eq!(element(&caller, "Arn"), "arn:aws:sts::000000000000:assumed-role/blue/gateway");

    for wrong in [Keys { token: None, ..keys.clone() }, Keys { token: Some("other".to_owned()), ..keys.clone() }] {
        let (status, text) = models(&simulator, &wrong).await;
        assert_eq!(status, 403);
        assert!(text.contains("The security token included in the request is invalid."), "{text}");
    }
    simulator.advance_clock(Duration::from_secs(901));
    let (status, text) = models(&simulator, &keys).await;
    assert!(status == 403 && text.contains("expired"), "{text}");
    assert_eq!(simulator.calls().last().unwrap().exception.as_deref(), Some("ExpiredTokenException"));

    let keys = credentials(&assume(&simulator, &root, "").await.1);
    simulator.revoke_sessions();
    assert_eq!(models(&simulator, &keys).await.0, 403);
    assert_eq!(simulator.calls().last().unwrap().exception.as_deref(), Some("UnrecognizedClientException"));
    let sessions = simulator.sessions();
    assert_eq!(sessions.len(), 2);
    assert_eq!((sessions[0].tags["team"].as_str(), sessions[0].duration_seconds), ("blue", 900));
    assert_eq!((sessions[1].times, sessions[1].assumed_by.as_str()), (1, "root key"));
}

#[tokio::test]
async fn how_long_a_session_lasts_can_be_set() {
    let settings = Settings { session_lifetime: Some(Duration::from_secs(2)), ..Settings::default() };
    let simulator = Simulator::new(settings);
    let keys = credentials(&assume(&simulator, &Keys::of(&simulator), "").await.1);
    assert_eq!(models(&simulator, &keys).await.0, 200);
    simulator.advance_clock(Duration::from_secs(3));
    assert_eq!(models(&simulator, &keys).await.0, 403);
}

#[tokio::test]
async fn what_sts_refuses_is_told_in_xml() {
    let simulator = Simulator::new(Settings::default());
    let root = Keys::of(&simulator);
    for (status, code, told, more) in [
        (400, "ValidationError", "greater than or equal to 900", "&DurationSeconds=899"),
        (400, "ValidationError", "less than or equal to 43200", "&DurationSeconds=43201"),
        (400, "ValidationError", "MaxSessionDuration", "&DurationSeconds=3601"),
        (400, "ValidationError", "externalId", "&ExternalId=x"),
        (400, "ValidationError", "tags.1.member.value", "&Tags.member.1.Key=a&Tags.member.1.Value=%7B"),
        (
            400,
            "InvalidParameterValue",
            "Duplicate",
            "&Tags.member.1.Key=a&Tags.member.1.Value=1&Tags.member.2.Key=A&Tags.member.2.Value=2",
        ),
        (400, "ValidationError", "transitive", "&TransitiveTagKeys.member.1=a"),
    ] {
        let (got, xml) = assume(&simulator, &root, more).await;
        assert_eq!((got, element(&xml, "Code")), (status, code), "{xml}");
        assert!(element(&xml, "Message").contains(told), "{xml}");
    }
    let (_, xml) = sts(&simulator, &root, &format!("Action=AssumeRole&RoleArn={ROLE}&RoleSessionName=a%20b")).await;
    assert!(xml.contains("regular expression pattern"), "{xml}");
    let stranger = Keys { access_key: "AKIDOTHER".to_owned(), ..root.clone() };
    let (status, xml) = assume(&simulator, &stranger, "").await;
    assert_eq!((status, element(&xml, "Code")), (403, "InvalidClientTokenId"));
    let (status, xml) = assume(&simulator, &Keys { secret_key: "wrong".to_owned(), ..root.clone() }, "").await;
    assert_eq!((status, element(&xml, "Code")), (403, "SignatureDoesNotMatch"));
    simulator.deny_role(ROLE);
    let (status, xml) = assume(&simulator, &root, "").await;
    assert_eq!((status, element(&xml, "Code")), (403, "AccessDenied"));
    assert!(
        xml.contains(
            "is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::000000000000:role/team/blue"
        ),
        "{xml}"
    );
    assert!(!element(&xml, "RequestId").is_empty());
    simulator.allow_role(ROLE);
    assert_eq!(assume(&simulator, &root, "").await.0, 200);
    simulator.region("eu-west-1").control().on("AssumeRole").throttle(1);
    let (status, xml) = assume(&simulator, &root, "").await;
    assert_eq!((status, element(&xml, "Code")), (400, "Throttling"));
}

#[tokio::test]
async fn a_trust_policy_says_who_may_assume_a_role_and_how() {
    let trust = |action: serde_json::Value, condition: serde_json::Value| {
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::000000000000:user/simulator"}, "Action": action, "Condition": condition}]})
    };
    let external = json!({"StringEquals": {"sts:ExternalId": "secret-id"}});
    let role = |trust_policy| Role { trust_policy: Some(trust_policy), ..Role::default() };
    let settings = Settings {
        roles: BTreeMap::from([(ROLE.to_owned(), role(trust(json!("sts:AssumeRole"), external)))]),
        ..Settings::default()
    };
    let simulator = Simulator::new(settings);
    let root = Keys::of(&simulator);
    assert_eq!(assume(&simulator, &root, "").await.0, 403);
    assert_eq!(assume(&simulator, &root, "&ExternalId=secret-id").await.0, 200);
    let (status, xml) =
        assume(&simulator, &root, "&ExternalId=secret-id&Tags.member.1.Key=a&Tags.member.1.Value=b").await;
    assert!(status == 403 && xml.contains("sts:TagSession"), "{xml}");
    let other = format!("Action=AssumeRole&RoleArn={ROLE}2&RoleSessionName=gateway");
    assert_eq!(sts(&simulator, &root, &other).await.0, 403, "no such role");
}

#[tokio::test]
async fn a_session_assumes_further_roles_for_an_hour_and_passes_tags_on() {
    let roles = BTreeMap::from([
        (ROLE.to_owned(), Role { max_session_seconds: 43_200, ..Role::default() }),
        (format!("{ROLE}2"), Role { max_session_seconds: 43_200, ..Role::default() }),
    ]);
    let simulator = Simulator::new(Settings { roles, ..Settings::default() });
    let tags = "&Tags.member.1.Key=team&Tags.member.1.Value=blue&TransitiveTagKeys.member.1=team";
    let keys = credentials(&assume(&simulator, &Keys::of(&simulator), tags).await.1);
    let next = format!("Action=AssumeRole&RoleArn={ROLE}2&RoleSessionName=next");
    assert_eq!(sts(&simulator, &keys, &format!("{next}&DurationSeconds=7200")).await.0, 400);
    assert_eq!(sts(&simulator, &keys, &format!("{next}&Tags.member.1.Key=team&Tags.member.1.Value=red")).await.0, 400);
    assert_eq!(sts(&simulator, &keys, &next).await.0, 200);
    let last = simulator.sessions().pop().unwrap();
    assert_eq!((last.tags["team"].as_str(), last.assumed_by.as_str()), ("blue", ROLE));
}

#[tokio::test]
async fn a_web_identity_needs_the_token_and_no_signature() {
    let simulator = Simulator::new(Settings::default());
    let ask = async |token: &str| {
        let form = format!(
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn={ROLE}&RoleSessionName=gateway&WebIdentityToken={token}"
        );
        let response = simulator.router().oneshot(Request::post("/").body(Body::from(form)).unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let (status, xml) = ask("sim-web-identity-token").await;
    assert_eq!(status, 200, "{xml}");
    assert_eq!(models(&simulator, &credentials(&xml)).await.0, 200);
    simulator.set_web_identity_token("rotated");
    let (status, xml) = ask("sim-web-identity-token").await;
    assert_eq!((status, element(&xml, "Code")), (400, "InvalidIdentityToken"));
    assert_eq!(ask("rotated").await.0, 200);
}
