//! `doctor` and `iam-policy`, the program itself, against the simulator on one port.

use std::net::Ipv4Addr;
use std::process::Command;

use bedrock_gateway::simulator::{Bucket, Encryption, Role, Settings, Simulator};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::support::within;

/// All of AWS on one port, and a folder for settings.
struct Aws {
    sim: Simulator,
    url: String,
    settings: Settings,
    folder: TempDir,
    stop: CancellationToken,
    tracker: TaskTracker,
}

/// What the program said.
struct Said {
    code: Option<i32>,
    text: String,
    errors: String,
}

impl Aws {
    async fn start(settings: Settings) -> Self {
        let sim = Simulator::new(settings.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let (router, stopped) = (sim.router(), stop.clone().cancelled_owned());
        tracker.spawn(async move { axum::serve(listener, router).with_graceful_shutdown(stopped).await.unwrap() });
        let folder = TempDir::with_prefix("bedrock-gateway-doctor-").unwrap();
        Self { sim, url, settings, folder, stop, tracker }
    }

    /// Runs the program with this configuration, the store in the test's folder.
    async fn run(&self, config: &str, arguments: &[&str]) -> Said {
        self.run_at(&self.url, config, arguments).await
    }

    async fn run_at(&self, url: &str, config: &str, arguments: &[&str]) -> Said {
        let file = self.folder.path().join("gateway.toml");
        let store = self.folder.path().join("doctor.db");
        std::fs::write(&file, format!("{config}\n[store]\nurl = \"sqlite://{}\"\n", store.display())).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
        command.args(arguments).arg("--config").arg(&file).env_clear();
        command.env("AWS_ENDPOINT_URL", url).env("AWS_ACCESS_KEY_ID", &self.settings.access_key);
        command.env("AWS_SECRET_ACCESS_KEY", &self.settings.secret_key);
        let output = within(tokio::task::spawn_blocking(move || command.output())).await.unwrap().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Said { code: output.status.code(), text: text(output.stdout), errors: text(output.stderr) }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.tracker.close();
        within(self.tracker.wait()).await;
    }
}

impl Said {
    /// The line about `subject`, and what to do about it.
    fn line(&self, subject: &str) -> String {
        let mut lines = self.text.lines().skip_while(|line| !line.contains(subject));
        let line = lines.next().unwrap_or_else(|| panic!("no line about {subject} in\n{}{}", self.text, self.errors));
        let remedy = lines.next().filter(|line| line.trim_start().starts_with("->"));
        format!("{}\n{}", line.trim(), remedy.unwrap_or_default().trim())
    }

    #[track_caller]
    fn assert_line(&self, subject: &str, outcome: &str, parts: &[&str]) {
        let line = self.line(subject);
        assert!(line.starts_with(outcome), "{line}");
        for part in parts {
            assert!(line.contains(part), "`{part}` is not in\n{line}");
        }
    }
}

const ALIASES: &str = "[[models]]\nalias = \"fast\"\nmodel = \"claude-haiku-4-5\"\n[[models]]\nalias = \"vectors\"\nmodel = \"titan-embed-text-v2\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_configuration_is_found_healthy_without_costs_and_without_the_account() {
    let aws = Aws::start(Settings::default()).await;
    let said = aws.run(ALIASES, &["doctor"]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    said.assert_line("credentials", "ok", &["account ..0000"]);
    // AWS tells whole seconds.
    said.assert_line("clock", "ok", &[" s from"]);
    said.assert_line("us-west-2 control", "ok", &["models"]);
    said.assert_line("fast in us-east-1", "ok", &["us.anthropic.claude-haiku-4-5", "us-east-1, us-east-2, us-west-2"]);
    said.assert_line("vectors in us-west-2", "ok", &["may be called"]);
    assert!(said.text.ends_with(", 0 failed, 1 skipped\n"), "{}", said.text);
    assert!(!said.text.contains("000000000000") && !said.text.contains("arn:") && !said.text.contains('\u{1b}'));
    assert!(!aws.folder.path().join("doctor.db").exists(), "a look makes no store");
    let ran = aws.sim.totals().into_iter().filter(|total| !total.model_id.is_empty() && total.completed > 0);
    assert_eq!(ran.map(|total| total.model_id).collect::<Vec<_>>(), Vec::<String>::new(), "no model ran");
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_is_denied_fails_with_what_to_grant() {
    let aws = Aws::start(Settings::default()).await;
    aws.sim.region("us-east-1").deny_model("claude-haiku-4-5");
    let said = aws.run(ALIASES, &["doctor"]).await;
    assert_eq!(said.code, Some(1));
    let grant =
        "bedrock:InvokeModel on the profile in us-east-1 and on the model in each of us-east-1, us-east-2, us-west-2";
    said.assert_line("fast in us-east-1", "failed", &["denies", grant, "iam-policy --models fast", "service control"]);
    said.assert_line("fast in us-west-2", "ok", &[]);
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_every_check_and_the_same_exit_code() {
    let aws = Aws::start(Settings::default()).await;
    aws.sim.region("us-west-2").deny_model("titan-embed");
    let said = aws.run(ALIASES, &["doctor", "--json", "--show-account"]).await;
    assert_eq!(said.code, Some(1));
    let report: Value = serde_json::from_str(&said.text).unwrap();
    assert_eq!((&report["ok"], &report["counts"]["failed"]), (&Value::Bool(false), &Value::from(1)));
    let checks = report["checks"].as_array().unwrap();
    let failed = checks.iter().find(|check| check["outcome"] == "failed").unwrap();
    assert_eq!((&failed["group"], &failed["subject"]), (&"models".into(), &"vectors in us-west-2".into()));
    assert!(failed["remedy"].as_str().unwrap().contains("Grant bedrock:InvokeModel on the model in us-west-2"));
    let credentials = checks.iter().find(|check| check["subject"] == "credentials").unwrap();
    assert!(credentials["found"].as_str().unwrap().contains("000000000000"), "asked for: {credentials}");
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_leads_elsewhere_than_the_catalog_says_is_told() {
    let aws = Aws::start(Settings::default()).await;
    let id = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
    aws.sim.catalog().set_destinations(id, "us-east-1", &["us-east-1", "ca-central-1", "us-east-2", "us-west-2"]);
    aws.sim.catalog().set_destinations(id, "us-west-2", &["us-west-2"]);
    let said = aws.run(ALIASES, &["doctor"]).await;
    assert_eq!(said.code, Some(0));
    said.assert_line("fast in us-east-1", "warning", &["also leads to ca-central-1", "residency"]);
    said.assert_line("fast in us-west-2", "warning", &["no longer leads to us-east-1, us-east-2"]);
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_told_and_nothing_is_asked() {
    let aws = Aws::start(Settings::default()).await;
    let said = aws.run("[aws]\nregions = [\"us-est-1\"]\n", &["doctor"]).await;
    assert_eq!(said.code, Some(1));
    said.assert_line("aws.regions[0]", "failed", &["us-east-1"]);
    said.assert_line("everything else", "skipped", &[]);
    assert!(aws.sim.calls().is_empty());
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_aws_refuses_fail_once_and_the_rest_is_skipped() {
    let mut aws = Aws::start(Settings::default()).await;
    aws.settings.secret_key = "another-secret-that-is-not-the-key".into();
    let said = aws.run(ALIASES, &["doctor"]).await;
    assert_eq!(said.code, Some(1));
    said.assert_line("credentials", "failed", &["AWS refuses them", "AWS_PROFILE"]);
    said.assert_line("us-east-1 control", "skipped", &["needs credentials"]);
    said.assert_line("fast in us-east-1", "skipped", &["needs credentials"]);
    assert!(!said.text.contains("another-secret"));
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_nobody_serves_is_told_for_each_region() {
    let aws = Aws::start(Settings::default()).await;
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let said = aws.run_at(&format!("http://{free}"), ALIASES, &["doctor"]).await;
    assert_eq!(said.code, Some(1));
    said.assert_line("us-west-2 runtime", "failed", &["no connection", "Check the network"]);
    let said = aws.run_at("http://no-such-host.invalid", ALIASES, &["doctor"]).await;
    said.assert_line("us-east-1 runtime", "failed", &["has no address", "DNS"]);
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_not_bedrock_s_is_told() {
    let aws = Aws::start(Settings::default()).await;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let other = format!("http://{}", listener.local_addr().unwrap());
    let stopped = aws.stop.clone().cancelled_owned();
    let nothing = axum::Router::new();
    aws.tracker.spawn(async move { axum::serve(listener, nothing).with_graceful_shutdown(stopped).await.unwrap() });
    let endpoints = format!("[aws.endpoints.us-west-2]\nruntime = \"{other}\"\ncontrol = \"{other}\"\n");
    let said = aws.run(&format!("{ALIASES}\n{endpoints}"), &["doctor"]).await;
    for plane in ["runtime", "control"] {
        said.assert_line(&format!("us-east-1 {plane}"), "ok", &["answers"]);
        said.assert_line(&format!("us-west-2 {plane}"), "warning", &["not as Bedrock does", "aws.endpoints"]);
    }
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_cost_are_made_when_they_are_asked_for_and_announced() {
    let aws = Aws::start(Settings::default()).await;
    let said = aws.run(ALIASES, &["doctor", "--invoke", "--models", "nova-lite"]).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    assert!(said.errors.contains("AWS charges for it"), "{}", said.errors);
    said.assert_line("nova-lite in us-west-2, called", "ok", &["answered in"]);
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_whose_role_cannot_be_taken_is_told() {
    let aws = Aws::start(Settings::default()).await;
    let role = "arn:aws:iam::000000000000:role/blue";
    for (team, arn) in [("blue", role), ("green", "arn:aws:iam::000000000000:role/green")] {
        let made = aws.run("", &["teams", "create", team, "--role-arn", arn]).await;
        assert_eq!(made.code, Some(0), "{}", made.errors);
    }
    aws.sim.deny_role(role);
    let said = aws.run("", &["doctor"]).await;
    assert_eq!(said.code, Some(1));
    said.assert_line("store ", "ok", &["reachable and migrated"]);
    said.assert_line("  blue ", "failed", &["role blue of the account ..0000 cannot be taken", "sts:TagSession"]);
    said.assert_line("  green ", "ok", &["can be taken"]);
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_s_profiles_are_looked_at_with_its_identity() {
    let mut settings = Settings::default();
    settings.application_profiles.insert("abcdefghijkl".into(), "us.amazon.nova-lite-v1:0".into());
    let aws = Aws::start(settings).await;
    let arn =
        |region: &str, id: &str| format!("arn:aws:bedrock:{region}:000000000000:application-inference-profile/{id}");
    let good = format!("nova-lite={}", arn("us-east-1", "abcdefghijkl"));
    let other = format!("claude-haiku-4-5={}", arn("us-east-1", "abcdefghijkl"));
    let far = format!("nova-micro={}", arn("eu-west-1", "abcdefghijkl"));
    let gone = format!("nova-pro={}", arn("us-east-1", "mnopqrstuvwx"));
    let mut create = vec!["teams", "create", "blue"];
    for profile in [&good, &other, &far, &gone] {
        create.extend(["--profile", profile]);
    }
    let made = aws.run("", &create).await;
    assert_eq!(made.code, Some(0), "{}", made.errors);
    let said = aws.run("", &["doctor"]).await;
    assert_eq!(said.code, Some(1));
    said.assert_line("blue, nova-lite", "ok", &["us-east-1"]);
    said.assert_line("blue, claude-haiku-4-5", "failed", &["is not one of anthropic.claude-haiku-4-5"]);
    said.assert_line("blue, nova-micro", "failed", &["eu-west-1, which is not in aws.regions"]);
    said.assert_line("blue, nova-pro", "failed", &["AWS does not tell of the profile"]);
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_for_the_account_of_the_credentials_or_say_what_to_replace() {
    let mut aws = Aws::start(Settings::default()).await;
    let said = aws.run(ALIASES, &["iam-policy", "--aliases-only"]).await;
    let policies: Value = serde_json::from_str(&said.text).unwrap();
    assert_eq!((said.code, said.errors.as_str(), policies.get("replace")), (Some(0), "", None));
    assert!(said.text.contains(":000000000000:inference-profile/us.anthropic"));

    aws.settings.secret_key = "another-secret-that-is-not-the-key".into();
    let said = aws.run(ALIASES, &["iam-policy", "--aliases-only"]).await;
    let policies: Value = serde_json::from_str(&said.text).unwrap();
    assert!(policies["replace"]["${ACCOUNT}"].is_string() && said.errors.contains("${ACCOUNT}"), "{}", said.errors);
    assert!(said.text.contains(":${ACCOUNT}:inference-profile/us.anthropic"));
    let said = aws.run(ALIASES, &["iam-policy", "--account", "12"]).await;
    assert!(said.code == Some(2) && said.errors.contains("twelve digits"), "{}", said.errors);
    aws.stop().await;
}

const ROLE: &str = "arn:aws:iam::000000000000:role/bedrock-batch";
const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/00000000-0000-0000-0000-000000000000";
const BATCH: &str = "[batch]\nbucket = { us-east-1 = \"files-east\", us-west-2 = \"files-west\" }\n\
                     role_arn = \"arn:aws:iam::000000000000:role/bedrock-batch\"\n";

fn document<'p>(documents: impl IntoIterator<Item = &'p Value>) -> Value {
    let statements = |document: &Value| document["Statement"].as_array().unwrap().clone();
    let documents = documents.into_iter().flat_map(|named| named.as_object().unwrap().values());
    json!({"Version": "2012-10-17", "Statement": documents.flat_map(statements).collect::<Vec<_>>()})
}

/// An AWS that is set up as `iam-policy` says, both buckets there, the first encrypted with a key; then as changed.
async fn prepared(arguments: &[&str], change: impl FnOnce(&mut Settings, &mut Role)) -> Aws {
    let empty = Aws::start(Settings::default()).await;
    let config = format!("{BATCH}{ALIASES}");
    let said = empty.run(&config, &[&["iam-policy", "--aliases-only"], arguments].concat()).await;
    let policies: Value = serde_json::from_str(&said.text).unwrap();
    empty.stop().await;
    let mut role = Role {
        trust_policy: Some(policies["batch_role"]["trust"].clone()),
        policies: vec![document([&policies["batch_role"]["permissions"]])],
        ..Role::default()
    };
    let bucket = |region: &str, encryption| Bucket { region: region.into(), encryption, ..Bucket::default() };
    let mut settings = Settings {
        policy: Some(document([&policies["caller"], &policies["doctor"]])),
        buckets: [
            ("files-east".to_owned(), bucket("us-east-1", Encryption::Kms(KEY.into()))),
            ("files-west".to_owned(), bucket("us-west-2", Encryption::Aes256)),
        ]
        .into(),
        kms_keys: [(KEY.to_owned(), "Enabled".to_owned())].into(),
        ..Settings::default()
    };
    change(&mut settings, &mut role);
    settings.roles = [(ROLE.to_owned(), role)].into();
    Aws::start(settings).await
}

async fn examined(aws: &Aws) -> Said {
    aws.run(&format!("{BATCH}{ALIASES}"), &["doctor"]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_iam_policy_prints_is_all_that_doctor_asks_for() {
    let aws = prepared(&["--kms-key", KEY], |_, _| {}).await;
    let said = examined(&aws).await;
    assert!(said.code == Some(0) && said.text.contains(", 0 warnings, 0 failed"), "{}", said.text);
    said.assert_line("bucket files-east in us-east-1 ", "ok", &["encrypted with a KMS key"]);
    said.assert_line("files-west in us-west-2, public access", "ok", &["blocked"]);
    said.assert_line("files-west in us-west-2, files", "ok", &["may be listed and written"]);
    said.assert_line("jobs in us-east-1", "ok", &["may be listed"]);
    said.assert_line("role, trust", "ok", &["this account's jobs"]);
    said.assert_line("role, bucket files-east", "ok", &["may read and write"]);
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_in_another_region_fails_with_what_to_do() {
    let aws = prepared(&[], |settings, _| {
        settings.buckets.get_mut("files-west").unwrap().region = "eu-west-1".into();
        settings.buckets.remove("files-east");
    })
    .await;
    let said = examined(&aws).await;
    assert_eq!(said.code, Some(1));
    said.assert_line(
        "files-west in us-west-2",
        "failed",
        &["is in eu-west-1", "name one of us-west-2 in batch.bucket"],
    );
    said.assert_line("files-east in us-east-1", "failed", &["does not exist", "Make it in us-east-1"]);
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_public_or_somebody_else_s_fails() {
    let aws = prepared(&[], |settings, _| {
        settings.buckets.get_mut("files-west").unwrap().blocks_public_access = false;
        settings.buckets.get_mut("files-east").unwrap().owner = Some("111111111111".into());
    })
    .await;
    let said = examined(&aws).await;
    assert_eq!(said.code, Some(1));
    said.assert_line("files-west in us-west-2, public access", "failed", &["not blocked", "Block all public access"]);
    said.assert_line("files-east in us-east-1", "failed", &["may not be looked at", "s3:ListBucket"]);
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_the_key_of_its_bucket_fails_and_names_the_actions() {
    let aws = prepared(&[], |_, _| {}).await;
    let said = examined(&aws).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    let parts = ["may not kms:Decrypt, kms:GenerateDataKey", "--kms-key ARN", "batch_role.permissions"];
    said.assert_line("role, bucket files-east", "failed", &parts);
    said.assert_line("role, bucket files-west", "ok", &[]);
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_bedrock_may_not_take_or_that_is_not_there_fails() {
    let aws = prepared(&["--kms-key", KEY], |_, role| {
        role.trust_policy = Some(json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole",
        }]}));
        role.policies = vec![json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Action": "s3:GetObject", "Resource": "*",
        }]})];
    })
    .await;
    let said = examined(&aws).await;
    assert_eq!(said.code, Some(1));
    said.assert_line("role, trust", "failed", &["does not trust bedrock.amazonaws.com", "batch_role.trust"]);
    said.assert_line("role, bucket files-west", "failed", &["may not s3:PutObject, s3:ListBucket"]);
    aws.stop().await;

    let aws = prepared(&[], |settings, _| settings.policy = None).await;
    let other = BATCH.replace("role/bedrock-batch", "role/another");
    let said = aws.run(&other, &["doctor"]).await;
    said.assert_line("role, trust", "failed", &["the role another does not exist"]);
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_may_not_write_its_files_or_see_its_jobs_fails_and_names_the_actions() {
    let aws = prepared(&[], |settings, _| {
        let actions = ["bedrock:InvokeModel", "s3:List*", "s3:Get*", "s3:AbortMultipartUpload", "iam:*"];
        settings.policy = Some(json!({"Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]}));
    })
    .await;
    let said = examined(&aws).await;
    assert_eq!(said.code, Some(1), "{}", said.text);
    let parts = ["may not s3:PutObject below", "iam-policy"];
    said.assert_line("files-east in us-east-1, files", "failed", &parts);
    said.assert_line("jobs in us-west-2", "failed", &["bedrock:ListModelInvocationJobs"]);
    aws.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_looked_at_is_a_warning_with_what_to_grant() {
    let aws = prepared(&[], |settings, _| {
        let looks_only = ["bedrock:*", "s3:ListBucket", "s3:PutObject", "s3:AbortMultipartUpload"];
        settings.policy = Some(json!({"Statement": [{"Effect": "Allow", "Action": looks_only, "Resource": "*"}]}));
    })
    .await;
    let said = examined(&aws).await;
    assert_eq!(said.code, Some(0), "{}", said.text);
    said.assert_line("files-west in us-west-2, public access", "warning", &["s3:GetBucketPublicAccessBlock"]);
    said.assert_line("role, trust", "warning", &["could not be checked", "iam:GetRole"]);
    said.assert_line("role, bucket files-west", "warning", &["could not be checked", "iam:SimulatePrincipalPolicy"]);
    assert!(!said.text.contains("000000000000"), "{}", said.text);
    aws.stop().await;
}
