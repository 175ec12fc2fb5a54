//! IAM and the enforcement of policies, over the router.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::probe::{Keys, element, post, signed};
use super::{Role, Settings, Simulator};

const HAIKU: &str = "anthropic.claude-haiku-4-5-20251001-v1:0";
const NOVA: &str = "amazon.nova-lite-v1:0";

fn allow(actions: &[&str], resources: &[String]) -> Value {
    json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "bedrock:CallWithBearerToken", "Resource": "*"},
        {"Effect": "Allow", "Action": actions, "Resource": resources},
    ]})
}

fn model(region: &str, id: &str) -> String {
    format!("arn:aws:bedrock:{region}::foundation-model/{id}")
}

fn own(resource: &str) -> String {
    format!("arn:aws:bedrock:us-east-1:000000000000:{resource}")
}

async fn converse(simulator: &Simulator, id: &str, operation: &str) -> (u16, String) {
    let id = id.replace(':', "%3A").replace('/', "%2F");
    let body = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}]});
    super::probe::send(simulator, "POST", &format!("/model/{id}/{operation}"), &body).await
}

#[tokio::test]
async fn a_geo_profile_needs_itself_and_the_model_wherever_it_may_go() {
    let simulator = Simulator::new(Settings::default());
    let profile = format!("us.{HAIKU}");
    let all: Vec<String> = std::iter::once(own(&format!("inference-profile/{profile}")))
        .chain(["us-east-1", "us-east-2", "us-west-2"].map(|region| model(region, HAIKU)))
        .collect();
    simulator.set_policy(Some(allow(&["bedrock:InvokeModel"], &all)));
    assert_eq!(converse(&simulator, &profile, "converse").await.0, 200);
    let (status, text) = converse(&simulator, &profile, "converse-stream").await;
    assert!(
        status == 403
            && text
                .contains("because no identity-based policy allows the bedrock:InvokeModelWithResponseStream action"),
        "{text}"
    );
    for missing in 0..all.len() {
        let mut fewer = all.clone();
        let gone = fewer.remove(missing);
        simulator.set_policy(Some(allow(&["bedrock:InvokeModel"], &fewer)));
        let (status, text) = converse(&simulator, &profile, "converse").await;
        assert!(status == 403 && text.contains(&format!("on resource: {gone} ")), "{text}");
    }
    simulator.set_policy(None);
    assert_eq!(converse(&simulator, &profile, "converse-stream").await.0, 200);
}

#[tokio::test]
async fn a_global_profile_needs_three_arns() {
    let simulator = Simulator::new(Settings::default());
    let profile = format!("global.{HAIKU}");
    let all = [own(&format!("inference-profile/{profile}")), model("us-east-1", HAIKU), model("", HAIKU)];
    simulator.set_policy(Some(allow(&["bedrock:InvokeModel"], &all)));
    assert_eq!(converse(&simulator, &profile, "converse").await.0, 200);
    let mut fenced = allow(&["bedrock:InvokeModel"], &all);
    let condition = json!({"StringNotEquals": {"aws:RequestedRegion": "us-east-1"}});
    let statements = fenced["Statement"].as_array_mut().unwrap();
    statements.push(json!({"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": condition}));
    simulator.set_policy(Some(fenced));
    let (status, text) = converse(&simulator, &profile, "converse").await;
    assert!(status == 403 && text.contains("with an explicit deny"), "{text}");
    simulator.set_policy(Some(allow(&["bedrock:InvokeModel"], &all[..2])));
    assert_eq!(converse(&simulator, &profile, "converse").await.0, 403);
}

#[tokio::test]
async fn a_model_may_be_allowed_through_one_profile_alone() {
    let simulator = Simulator::new(Settings {
        application_profiles: BTreeMap::from([("abcdefghijkl".to_owned(), NOVA.to_owned())]),
        ..Settings::default()
    });
    let arn = own("application-inference-profile/abcdefghijkl");
    let through = json!({"StringLike": {"bedrock:InferenceProfileArn": arn}});
    let mut policy = allow(&["bedrock:InvokeModel"], std::slice::from_ref(&arn));
    policy["Statement"].as_array_mut().unwrap().push(
        json!({"Effect": "Allow", "Action": "bedrock:InvokeModel", "Resource": model("us-east-1", NOVA), "Condition": through}),
    );
    simulator.set_policy(Some(policy));
    assert_eq!(converse(&simulator, &arn, "converse").await.0, 200);
    assert_eq!(converse(&simulator, NOVA, "converse").await.0, 403);
}

#[tokio::test]
async fn a_session_may_do_what_its_role_may_and_tags_count() {
    let arn = "arn:aws:iam::000000000000:role/blue";
    let simulator = Simulator::new(Settings::default());
    let policy = json!({"Statement": [{
        "Effect": "Allow", "Action": "bedrock:ListFoundationModels", "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalTag/team": "blue"}}}]});
    simulator.set_role(arn, Role { policies: vec![policy], ..Role::default() });
    for (team, status) in [("blue", 200), ("red", 403)] {
        let form = format!(
            "Version=2011-06-15&Action=AssumeRole&RoleArn={arn}&RoleSessionName=gateway&Tags.member.1.Key=team&Tags.member.1.Value={team}"
        );
        let root = Keys::of(&simulator);
        let (_, xml) = signed(&simulator, &root, ("sts", "us-east-1"), ("POST", "/", form.as_bytes()), &[]).await;
        let keys = Keys {
            access_key: element(&xml, "AccessKeyId").to_owned(),
            secret_key: element(&xml, "SecretAccessKey").to_owned(),
            token: Some(element(&xml, "SessionToken").to_owned()),
        };
        let (got, text) =
            signed(&simulator, &keys, ("bedrock", "us-east-1"), ("GET", "/foundation-models", b""), &[]).await;
        assert_eq!(got, status, "{text}");
    }
}

#[tokio::test]
async fn the_control_plane_and_guardrails_need_their_own_permissions() {
    let simulator = Simulator::new(Settings::default());
    simulator.set_policy(Some(allow(&["bedrock:InvokeModel", "bedrock:ListFoundationModels"], &["*".to_owned()])));
    let get = async |path: &str| super::probe::send(&simulator, "GET", path, &Value::Null).await.0;
    assert_eq!(get("/foundation-models").await, 200);
    assert_eq!(get("/inference-profiles").await, 403);
    assert_eq!(get(&format!("/foundation-model-availability/{NOVA}")).await, 403);
    let body = json!({"messages": [{"role": "user", "content": [{"text": "hello"}]}],
        "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1"}});
    let path = format!("/model/{}/converse", NOVA.replace(':', "%3A"));
    let (status, body) = post(&simulator, &path, &body).await;
    assert!(status == 403 && body["message"].as_str().unwrap().contains("bedrock:ApplyGuardrail"), "{body}");
    simulator
        .set_policy(Some(json!({"Statement": {"Effect": "Allow", "Action": "bedrock:InvokeModel", "Resource": "*"}})));
    assert!(converse(&simulator, NOVA, "converse").await.1.contains("bedrock:CallWithBearerToken"));
}

async fn iam(simulator: &Simulator, keys: &Keys, form: &str) -> (u16, String) {
    let body = format!("Version=2010-05-08&{form}");
    signed(simulator, keys, ("iam", "us-east-1"), ("POST", "/", body.as_bytes()), &[]).await
}

#[tokio::test]
async fn a_role_and_what_it_may_do_are_told() {
    let arn = "arn:aws:iam::000000000000:role/service/batch";
    let role = Role {
        trust_policy: Some(json!({"Version": "2012-10-17", "Statement": []})),
        policies: vec![json!({"Statement": [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::files/*"},
            {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*"},
        ]})],
        ..Role::default()
    };
    let settings = Settings { roles: BTreeMap::from([(arn.to_owned(), role)]), ..Settings::default() };
    let simulator = Simulator::new(settings);
    let keys = Keys::of(&simulator);
    let (status, xml) = iam(&simulator, &keys, "Action=GetRole&RoleName=batch").await;
    assert_eq!((status, element(&xml, "Arn"), element(&xml, "Path")), (200, arn, "/service/"));
    let document =
        percent_encoding::percent_decode_str(element(&xml, "AssumeRolePolicyDocument")).decode_utf8().unwrap();
    assert_eq!(document, r#"{"Version":"2012-10-17","Statement":[]}"#);
    let (status, xml) = iam(&simulator, &keys, "Action=GetRole&RoleName=other").await;
    assert_eq!((status, element(&xml, "Code")), (404, "NoSuchEntity"));

    let form = format!(
        "Action=SimulatePrincipalPolicy&PolicySourceArn={arn}&ActionNames.member.1=s3:GetObject&ActionNames.member.2=s3:PutObject\
         &ActionNames.member.3=kms:Decrypt&ResourceArns.member.1=arn:aws:s3:::files/a"
    );
    let (_, xml) = iam(&simulator, &keys, &form).await;
    let decisions: Vec<&str> =
        xml.split("<EvalDecision>").skip(1).map(|rest| rest.split('<').next().unwrap()).collect();
    assert_eq!(decisions, ["allowed", "explicitDeny", "implicitDeny"], "{xml}");
    let (status, xml) = iam(
        &simulator,
        &keys,
        "Action=SimulatePrincipalPolicy&PolicySourceArn=no-arn-but-long-enough-for-one&ActionNames.member.1=a:B",
    )
    .await;
    assert_eq!((status, element(&xml, "Code")), (400, "InvalidInput"));
    let wrong = signed(
        &simulator,
        &keys,
        ("iam", "eu-west-1"),
        ("POST", "/", b"Version=2010-05-08&Action=GetRole&RoleName=batch"),
        &[],
    )
    .await;
    assert_eq!((wrong.0, element(&wrong.1, "Code")), (403, "SignatureDoesNotMatch"));
    simulator.set_policy(Some(json!({"Statement": {"Effect": "Allow", "Action": "sts:*", "Resource": "*"}})));
    assert_eq!(iam(&simulator, &keys, "Action=GetRole&RoleName=batch").await.0, 403);
}
