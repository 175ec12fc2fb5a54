//! Jobs over the router, with their files in the simulator's S3.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::simulator::probe::{send, with};
use crate::simulator::{Bucket, Role, Settings, Simulator};

const NOVA: &str = "amazon.nova-lite-v1:0";
const HAIKU: &str = "us.anthropic.claude-haiku-4-5-20251001-v1:0";
const ROLE: &str = "arn:aws:iam::000000000000:role/batch";

fn simulator() -> Simulator {
    let simulator = Simulator::new(Settings { job_pace: JobPace::Manual, ..Settings::default() });
    simulator.set_bucket("files", Bucket::default());
    simulator
}

fn put(simulator: &Simulator, key: &str, text: &str) {
    let mut writer = simulator.objects().write("files", key).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    writer.finish(simulator.now());
}

fn read(simulator: &Simulator, key: &str) -> Option<String> {
    let (mut reader, _) = simulator.objects().open("files", key)?;
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    Some(text)
}

/// Records `r0` to ..., each a body of Converse.
fn records(count: usize) -> String {
    let record = |at: usize| json!({"recordId": format!("r{at}"), "modelInput": asks(&format!("say {at}"))});
    let lines: Vec<String> = (0..count).map(|at| record(at).to_string() + "\n").collect();
    lines.concat()
}

fn asks(text: &str) -> Value {
    json!({"messages": [{"role": "user", "content": [{"text": text}]}]})
}

fn job(name: &str) -> Value {
    json!({
        "jobName": name, "roleArn": ROLE, "modelId": NOVA, "modelInvocationType": "Converse",
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://files/in/a.jsonl"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://files/out/"}},
    })
}

async fn create(simulator: &Simulator, body: &Value) -> (u16, String) {
    send(simulator, "POST", "/model-invocation-job", body).await
}

/// The id of a new job.
async fn created(simulator: &Simulator, body: &Value) -> String {
    let (status, text) = create(simulator, body).await;
    assert_eq!(status, 200, "{text}");
    let arn: Value = serde_json::from_str(&text).unwrap();
    arn["jobArn"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
}

async fn told(simulator: &Simulator, id: &str) -> Value {
    let (status, text) = send(simulator, "GET", &format!("/model-invocation-job/{id}"), &Value::Null).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Output lines by record, and the order in which they were.
fn output(simulator: &Simulator, key: &str) -> (BTreeMap<String, Value>, Vec<String>) {
    let text = read(simulator, key).unwrap_or_else(|| panic!("{key} is not there"));
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let order: Vec<String> = lines.iter().map(|line| line["recordId"].as_str().unwrap().to_owned()).collect();
    (order.iter().cloned().zip(lines).collect(), order)
}

/// The state and message of a job over these records that went its whole way.
async fn ended(simulator: &Simulator, text: &str, body: &Value) -> (JobRecord, String) {
    put(simulator, "in/a.jsonl", text);
    let id = created(simulator, body).await;
    simulator.region("*").jobs().complete().await;
    (simulator.jobs().pop().unwrap(), id)
}

#[tokio::test]
async fn a_job_goes_through_awss_states_and_leaves_an_answer_or_an_error_of_each_record_and_a_manifest() {
    let simulator = simulator();
    let bad = json!({"modelInput": {"messages": "no"}});
    put(&simulator, "in/a.jsonl", &format!("{}{bad}\n", records(120)));
    let id = created(&simulator, &job("first")).await;
    let mut states = Vec::new();
    for _ in 0..4 {
        states.push(told(&simulator, &id).await["status"].as_str().unwrap().to_owned());
        assert_eq!(simulator.region("us-east-1").jobs().advance().await, 1);
    }
    assert_eq!(states, ["Submitted", "Validating", "Scheduled", "InProgress"]);
    let job = told(&simulator, &id).await;
    assert_eq!(
        (&job["status"], &job["modelInvocationType"], &job["jobName"]),
        (&json!("Completed"), &json!("Converse"), &json!("first"))
    );
    let counts = ["totalRecordCount", "processedRecordCount", "successRecordCount", "errorRecordCount"]
        .map(|member| job[member].as_u64().unwrap());
    assert_eq!(counts, [121, 121, 120, 1]);
    assert!(job["endTime"].is_string() && job["jobExpirationTime"].is_string() && job["message"].is_null());

    let (lines, order) = output(&simulator, &format!("out/{id}/a.jsonl.out"));
    assert_eq!(lines.len(), 121);
    assert_ne!(order[..5], ["r0", "r1", "r2", "r3", "r4"], "shuffled");
    assert_eq!(lines["r7"]["modelOutput"]["output"]["message"]["content"][0]["text"], "You said: say 7");
    assert_eq!(lines["r7"]["modelInput"], asks("say 7"));
    let refused = &lines["CALL0000120"];
    assert!(
        refused["error"]["errorCode"] == 400
            && refused["error"]["errorMessage"].is_string()
            && refused["modelOutput"].is_null()
    );
    let manifest: Value =
        serde_json::from_str(&read(&simulator, &format!("out/{id}/manifest.json.out")).unwrap()).unwrap();
    let answered = lines.values().filter_map(|line| line["modelOutput"]["usage"]["outputTokens"].as_u64());
    assert_eq!(manifest["outputTokenCount"].as_u64().unwrap(), answered.sum::<u64>());
    assert_eq!((&manifest["totalRecordCount"], &manifest["errorRecordCount"]), (&json!(121), &json!(1)));

    let totals = simulator.job_totals();
    assert_eq!((totals.jobs, totals.creates, totals.open, totals.records), (1, 1, 0, 121));
    assert_eq!(totals.tokens.output, manifest["outputTokenCount"].as_u64().unwrap());
    assert!(simulator.invocations().is_empty(), "no record is a call");
    assert!(simulator.totals().iter().all(|total| total.tokens == Tokens::default()));
}

#[tokio::test]
async fn jobs_go_on_by_themselves_after_a_delay_and_stay_where_they_are_held() {
    let simulator = simulator();
    put(&simulator, "in/a.jsonl", &records(100));
    let jobs = simulator.region("us-east-1").jobs();
    jobs.automatic(Duration::ZERO).hold_at(JobState::Scheduled);
    created(&simulator, &job("one")).await;
    created(&simulator, &job("two")).await;
    assert!(jobs.reached(JobState::Scheduled, 2).await);
    jobs.release();
    assert!(jobs.reached(JobState::Completed, 2).await);
    assert_eq!(simulator.job_totals().succeeded, 200);
}

#[tokio::test]
async fn bodies_of_a_model_may_have_tools_and_those_of_converse_only_when_the_simulator_believes_so() {
    let tools = json!({"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}]});
    let converse = with(asks("weather"), &json!({"toolConfig": tools}));
    let claude = json!({
        "anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": [{"role": "user", "content": "weather"}],
        "tools": [{"name": "weather", "input_schema": {"type": "object"}}],
    });
    let lines = |input: &Value| format!("{}\n", json!({"modelInput": input})).repeat(100);
    for (believes, model, kind, input, failed) in [
        (false, NOVA, "Converse", &converse, 100),
        (true, NOVA, "Converse", &converse, 0),
        (false, HAIKU, "InvokeModel", &claude, 0),
        (false, HAIKU, "Converse", &claude, 100),
    ] {
        let settings = Settings { job_pace: JobPace::Manual, tools_in_jobs: believes, ..Settings::default() };
        let simulator = Simulator::new(settings);
        simulator.set_bucket("files", Bucket::default());
        let body = with(job("tools"), &json!({"modelId": model, "modelInvocationType": kind}));
        let (record, _) = ended(&simulator, &lines(input), &body).await;
        assert_eq!(
            (record.state, record.failed, record.processed),
            (JobState::Completed, failed, 100),
            "{believes} {model} {kind}"
        );
    }
}

#[tokio::test]
async fn what_aws_refuses_at_once_is_refused_in_its_words() {
    let simulator = simulator();
    simulator.set_bucket("west", Bucket { region: "us-west-2".to_owned(), ..Bucket::default() });
    let place = |uri: &str| json!({"inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri}}});
    for (change, name, message) in [
        (
            json!({"jobName": "a_b"}),
            "ValidationException",
            "at 'jobName' failed to satisfy constraint: Member must satisfy regular expression pattern",
        ),
        (json!({"jobName": null}), "ValidationException", "Value null at 'jobName'"),
        (json!({"timeoutDurationInHours": 23}), "ValidationException", "greater than or equal to 24"),
        (json!({"timeoutDurationInHours": 169}), "ValidationException", "less than or equal to 168"),
        (json!({"modelInvocationType": "Chat"}), "ValidationException", "[InvokeModel, Converse]"),
        (
            json!({"inputDataConfig": {}}),
            "ValidationException",
            "ModelInvocationJobInputDataConfig object at inputDataConfig must set one of",
        ),
        (place("s3://files/a b.jsonl"), "ValidationException", "at 'inputDataConfig.s3InputDataConfig.s3Uri'"),
        (place("s3://nothing-here/a.jsonl"), "ValidationException", "does not exist"),
        (place("s3://west/a.jsonl"), "ValidationException", "us-west-2"),
        (
            json!({"vpcConfig": {"subnetIds": [], "securityGroupIds": ["sg-1"]}}),
            "ValidationException",
            "vpcConfig.subnetIds",
        ),
        (json!({"tags": [{"key": "a"}]}), "ValidationException", "tags.1.member.value"),
        (json!({"roleArn": "role/batch"}), "ValidationException", "at 'roleArn'"),
        (
            json!({"roleArn": "arn:aws:iam::111111111111:role/batch"}),
            "ValidationException",
            "Could not assume provided IAM role",
        ),
        (json!({"modelId": "no.such-model"}), "ValidationException", "identifier is invalid"),
        (json!({"modelId": HAIKU.trim_start_matches("us.")}), "ValidationException", "inference profile"),
        (
            json!({"modelId": "us.anthropic.claude-opus-4-8"}),
            "ValidationException",
            "doesn't support batch inference in us-east-1",
        ),
        (json!({"modelId": "amazon.titan-embed-text-v2:0"}), "ValidationException", "doesn't support the model"),
    ] {
        let (status, text) = create(&simulator, &with(job("refused"), &change)).await;
        assert!(status == 400 && text.contains(message), "{change}: {status} {text} instead of {name}");
    }
    assert!(simulator.jobs().is_empty());
    simulator.region("us-east-1").deny_model("nova-lite");
    assert_eq!(create(&simulator, &job("denied")).await.0, 403);
}

#[tokio::test]
async fn a_token_makes_one_job_and_a_name_is_taken_once() {
    let simulator = simulator();
    let first = with(job("same"), &json!({"clientRequestToken": "token-1"}));
    let id = created(&simulator, &first).await;
    assert_eq!(created(&simulator, &first).await, id);
    let (status, text) = create(&simulator, &with(first.clone(), &json!({"jobName": "other"}))).await;
    assert!(status == 400 && text.contains("different parameters"), "{text}");
    let (status, text) = create(&simulator, &with(first, &json!({"clientRequestToken": "token-2"}))).await;
    assert!(status == 400 && text.contains("job name is currently in use"), "{text}");
    assert_eq!((simulator.jobs().len(), simulator.jobs()[0].creates), (1, 2));
}

#[tokio::test]
async fn an_answer_can_be_lost_while_the_job_is_made() {
    let simulator = simulator();
    simulator.region("us-east-1").control().on("CreateModelInvocationJob").lose_answer(1);
    let request = Request::post("/model-invocation-job").header("authorization", "Bearer sim-bearer-token");
    let body = with(job("lost"), &json!({"clientRequestToken": "token"}));
    let response = simulator.router().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
    assert!(axum::body::to_bytes(response.into_body(), 1000).await.is_err(), "no byte of an answer");
    assert_eq!(simulator.jobs().len(), 1);
    created(&simulator, &body).await;
    assert_eq!(simulator.job_totals().jobs, 1);
}

#[tokio::test]
async fn the_control_plane_is_throttled_until_that_is_lifted() {
    let simulator = simulator();
    let control = simulator.region("us-east-1").control();
    control.on("CreateModelInvocationJob").throttle_until_lifted();
    for _ in 0..3 {
        assert_eq!(create(&simulator, &job("throttled")).await.0, 429);
    }
    assert_eq!(send(&simulator, "GET", "/model-invocation-jobs", &Value::Null).await.0, 200);
    control.lift();
    assert_eq!(create(&simulator, &job("throttled")).await.0, 200);
    control.on("GetModelInvocationJob").deny_until_lifted();
    assert_eq!(send(&simulator, "GET", "/model-invocation-job/abcdefghijkl", &Value::Null).await.0, 403);
}

#[tokio::test]
async fn sizes_and_numbers_beyond_the_quotas_fail_a_job_or_keep_it_from_being_made() {
    let simulator = simulator();
    let (fewer, _) = ended(&simulator, &records(99), &job("fewer")).await;
    let message = fewer.message.unwrap();
    assert!(
        fewer.state == JobState::Failed
            && message.ends_with("contains less records (99) than the required minimum of: 100"),
        "{message}"
    );
    let small = JobQuota { min_records: Some(1), max_records: Some(3), max_jobs: Some(2), ..JobQuota::default() };
    simulator.set_job_quota("us-east-1", NOVA, small);
    assert_eq!(ended(&simulator, &records(3), &job("right")).await.0.state, JobState::Completed);
    assert!(ended(&simulator, &records(4), &job("more")).await.0.message.unwrap().contains("more records (4)"));
    simulator.set_job_quota("us-east-1", NOVA, JobQuota { max_file_bytes: Some(10), ..small });
    assert!(
        ended(&simulator, &records(1), &job("long")).await.0.message.unwrap().contains("more than the maximum of: 10")
    );
    simulator.set_job_quota("us-east-1", NOVA, JobQuota { max_file_records: Some(1), ..small });
    assert!(ended(&simulator, &records(2), &job("many")).await.0.message.unwrap().contains("maximum of: 1"));
    created(&simulator, &job("slot-1")).await;
    created(&simulator, &job("slot-2")).await;
    let (status, text) = create(&simulator, &job("slot-3")).await;
    assert!(status == 400 && text.contains("limit of 2 submitted and in-progress"), "{text}");
    let other = with(job("slot-4"), &json!({"modelId": "amazon.nova-micro-v1:0"}));
    assert_eq!(create(&simulator, &other).await.0, 200, "another model has slots of its own");
    simulator.region("*").jobs().complete().await;
    assert_eq!(create(&simulator, &job("slot-5")).await.0, 200);
    simulator.clear_job_quotas();
    assert!(simulator.job_quotas().is_empty());
}

#[tokio::test]
async fn a_role_needs_its_trust_and_what_it_reads_and_writes() {
    let simulator = simulator();
    let allow = |actions: &[&str], resource: &str| json!({"Effect": "Allow", "Action": actions, "Resource": resource});
    let statements = [
        allow(&["s3:ListBucket"], "arn:aws:s3:::files"),
        allow(&["s3:GetObject"], "arn:aws:s3:::files/in/*"),
        allow(&["s3:PutObject"], "arn:aws:s3:::files/out/*"),
        allow(&["bedrock:InvokeModel"], "arn:aws:bedrock:*:*:inference-profile/us.*"),
        allow(&["bedrock:InvokeModel"], "arn:aws:bedrock:*::foundation-model/*"),
    ];
    let trust = json!({"Statement": [{
        "Effect": "Allow", "Principal": {"Service": "bedrock.amazonaws.com"}, "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"aws:SourceAccount": "000000000000"},
                      "ArnLike": {"aws:SourceArn": "arn:aws:bedrock:us-east-1:000000000000:model-invocation-job/*"}},
    }]});
    let role = |trust: &Value, without: Option<usize>| {
        let kept = statements.iter().enumerate().filter(|(at, _)| Some(*at) != without).map(|(_, statement)| statement);
        let policy = json!({"Statement": kept.collect::<Vec<_>>()});
        Role { trust_policy: Some(trust.clone()), policies: vec![policy], ..Role::default() }
    };
    let haiku = |name: &str| with(job(name), &json!({"modelId": HAIKU}));
    simulator.set_role(ROLE, role(&trust, None));
    let (record, _) = ended(&simulator, &records(100), &haiku("all")).await;
    assert_eq!((record.state, record.message), (JobState::Completed, None));
    for (without, message) in
        ["ListBucket", "GetObject", "PutObject", "inference-profile/us.", "foundation-model/"].into_iter().enumerate()
    {
        simulator.set_role(ROLE, role(&trust, Some(without)));
        let (record, _) = ended(&simulator, &records(100), &haiku(&format!("without-{without}"))).await;
        let told = record.message.unwrap_or_default();
        assert!(
            record.state == JobState::Failed && told.starts_with("Could not validate") && told.contains(message),
            "{told}"
        );
    }
    let stranger = json!({"Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}]});
    simulator.set_role(ROLE, role(&stranger, None));
    assert!(create(&simulator, &haiku("untrusted")).await.1.contains("Could not assume provided IAM role"));
}

#[tokio::test]
async fn a_caller_has_to_be_allowed_to_make_jobs_of_the_model_and_to_pass_the_role_on() {
    let simulator = simulator();
    let needs = [
        ("bedrock:CreateModelInvocationJob", "arn:aws:bedrock:us-east-1:000000000000:model-invocation-job/*"),
        ("bedrock:CreateModelInvocationJob", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0"),
        ("iam:PassRole", ROLE),
    ];
    for missing in 0..=needs.len() {
        let mut statements = vec![json!({"Effect": "Allow", "Action": "bedrock:CallWithBearerToken", "Resource": "*"})];
        for (at, (action, resource)) in needs.into_iter().enumerate().filter(|(at, _)| *at != missing) {
            let condition = if at == 2 {
                json!({"StringEquals": {"iam:PassedToService": "bedrock.amazonaws.com"}})
            } else {
                json!({})
            };
            statements.push(json!({"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}));
        }
        simulator.set_policy(Some(json!({"Statement": statements})));
        let (status, text) = create(&simulator, &job("allowed")).await;
        match needs.get(missing) {
            Some((action, resource)) => assert!(
                status == 403 && text.contains(&format!("perform: {action} on resource: {resource} ")),
                "{text}"
            ),
            None => assert_eq!(status, 200, "{text}"),
        }
    }
}

#[tokio::test]
async fn every_jsonl_of_a_folder_is_run_and_keeps_its_place() {
    let simulator = simulator();
    put(&simulator, "in/b.jsonl", &records(60));
    put(&simulator, "in/deep/c.jsonl", &records(60));
    put(&simulator, "in/notes.txt", "not a record");
    put(&simulator, "in/deep/empty.jsonl", "");
    let body = with(job("folder"), &json!({"inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://files/in/"}}}));
    let id = created(&simulator, &body).await;
    simulator.region("us-east-1").jobs().complete().await;
    let keys: Vec<String> = simulator.objects().list("files", "out/").into_iter().map(|(key, _)| key).collect();
    let expected = ["b.jsonl.out", "deep/c.jsonl.out", "deep/empty.jsonl.out", "manifest.json.out"];
    assert_eq!(keys, expected.map(|name| format!("out/{id}/{name}")));
    assert_eq!(output(&simulator, &keys[1]).0.len(), 60);
}

#[tokio::test]
async fn input_that_is_no_list_of_records_fails_in_validation() {
    let simulator = simulator();
    let good = records(100);
    for (at, (text, message)) in [
        (format!("{good}not json\n"), "line 101"),
        (format!("{good}\n{good}"), "line 101"),
        (format!("\u{feff}{good}"), "line 1 "),
        (format!("{good}{{\"recordId\": \"a\"}}\n"), "modelInput"),
    ]
    .into_iter()
    .enumerate()
    {
        let (record, id) = ended(&simulator, &text, &job(&format!("bad-{at}"))).await;
        let told = record.message.unwrap_or_default();
        assert!(record.state == JobState::Failed && told.contains(message), "{told}");
        assert!(simulator.objects().list("files", &format!("out/{id}")).is_empty());
    }
    for (uri, message) in [("s3://files/nothing/", "No .jsonl files"), ("s3://files/in/a.txt", "must end with .jsonl")]
    {
        put(&simulator, "in/a.txt", &good);
        let name = uri.replace(['/', ':'], "");
        let body = with(job(&name), &json!({"inputDataConfig": {"s3InputDataConfig": {"s3Uri": uri}}}));
        let (record, _) = ended(&simulator, &good, &body).await;
        assert!(record.message.unwrap().contains(message), "{uri}");
    }
}

#[tokio::test]
async fn a_job_stops_in_every_state_and_keeps_what_it_has_done() {
    let simulator = simulator();
    put(&simulator, "in/a.jsonl", &records(100));
    let jobs = simulator.region("us-east-1").jobs();
    for steps in 0..4 {
        let id = created(&simulator, &job(&format!("stopped-{steps}"))).await;
        for _ in 0..steps {
            jobs.advance().await;
        }
        jobs.process(30).await;
        let stop = format!("/model-invocation-job/{id}/stop");
        assert_eq!(send(&simulator, "POST", &stop, &Value::Null).await, (200, "{}".to_owned()));
        assert_eq!(told(&simulator, &id).await["status"], "Stopping");
        jobs.advance().await;
        let job = told(&simulator, &id).await;
        assert_eq!(job["status"], "Stopped");
        let (status, text) = send(&simulator, "POST", &stop, &Value::Null).await;
        assert!(status == 400 && text.contains("Stopped"), "{text}");
        if steps == 3 {
            assert_eq!((&job["processedRecordCount"], &job["totalRecordCount"]), (&json!(30), &json!(100)));
            assert_eq!(output(&simulator, &format!("out/{id}/a.jsonl.out")).0.len(), 30);
        } else {
            assert!(simulator.objects().list("files", &format!("out/{id}")).is_empty());
        }
    }
    assert_eq!(send(&simulator, "POST", "/model-invocation-job/abcdefghijkl/stop", &Value::Null).await.0, 404);
    assert_eq!(send(&simulator, "GET", "/model-invocation-job/short", &Value::Null).await.0, 400);
}

#[tokio::test]
async fn a_job_whose_time_is_up_has_expired_or_has_part_of_its_output() {
    let simulator = simulator();
    put(&simulator, "in/a.jsonl", &records(100));
    let jobs = simulator.region("us-east-1").jobs();
    jobs.stick(1);
    let stuck = created(&simulator, &job("stuck")).await;
    let half = created(&simulator, &with(job("half"), &json!({"timeoutDurationInHours": 24}))).await;
    for _ in 0..3 {
        jobs.advance().await;
    }
    jobs.process(40).await;
    assert_eq!(told(&simulator, &stuck).await["status"], "Scheduled");
    simulator.advance_clock(Duration::from_hours(25));
    assert!(jobs.reached(JobState::Expired, 1).await && jobs.reached(JobState::PartiallyCompleted, 1).await);
    assert_eq!(output(&simulator, &format!("out/{half}/a.jsonl.out")).0.len(), 40);
    assert!(read(&simulator, &format!("out/{half}/manifest.json.out")).is_some());
}

#[tokio::test]
async fn jobs_go_wrong_as_they_are_told() {
    let simulator = simulator();
    let jobs = simulator.region("us-east-1").jobs();
    let text = records(100);
    let key = |id: &str| format!("out/{id}/a.jsonl.out");

    jobs.fail(1, "An internal error occurred.");
    let (record, id) = ended(&simulator, &text, &job("fail")).await;
    assert_eq!(
        (record.state, record.message.as_deref(), record.processed),
        (JobState::Failed, Some("An internal error occurred."), 0)
    );
    assert!(read(&simulator, &key(&id)).is_none());

    for (name, partial, lines) in [("kept", Partial::Kept, Some(20)), ("gone", Partial::Lost, None)] {
        jobs.fail_after(1, 20, "half-way", partial);
        let (record, id) = ended(&simulator, &text, &job(name)).await;
        assert_eq!((record.state, record.processed), (JobState::Failed, 20));
        assert_eq!(read(&simulator, &key(&id)).map(|text| text.lines().count()), lines);
        assert!(read(&simulator, &format!("out/{id}/manifest.json.out")).is_none());
    }

    jobs.partially_complete_after(1, 60).drop_manifest(1).in_order(1);
    let (record, id) = ended(&simulator, &text, &job("partial")).await;
    let (_, order) = output(&simulator, &key(&id));
    assert_eq!((record.state, order.len(), order[59].as_str()), (JobState::PartiallyCompleted, 60, "r59"));
    assert!(read(&simulator, &format!("out/{id}/manifest.json.out")).is_none());

    jobs.expire(1);
    assert_eq!(ended(&simulator, &text, &job("expired")).await.0.state, JobState::Expired);

    jobs.lose_records(1, Records::Every(10)).add_records(1, 2).repeat_records(1, Records::Named(vec!["r5".to_owned()]));
    let (record, id) = ended(&simulator, &text, &job("odd")).await;
    let (lines, order) = output(&simulator, &key(&id));
    assert_eq!((record.state, record.succeeded, order.len()), (JobState::Completed, 100, 100 - 10 + 2 + 1));
    assert!(!lines.contains_key("r9") && lines.contains_key("r8"));
    assert_eq!(order.iter().filter(|id| *id == "r5").count(), 2);
    assert_eq!(order.iter().filter(|id| id.starts_with("stranger")).count(), 2);

    let (clean, _) = ended(&simulator, &text, &job("clean")).await;
    assert_eq!((clean.state, clean.succeeded, simulator.waiting_faults()), (JobState::Completed, 100, 0));
}

#[tokio::test]
async fn records_end_in_errors_for_so_many_attempts() {
    let simulator = simulator();
    let jobs = simulator.region("us-east-1").jobs();
    jobs.record_errors(Records::Every(4), 429, 1).record_errors(Records::Named(vec!["r0".to_owned()]), 400, 9);
    let (first, id) = ended(&simulator, &records(100), &job("first")).await;
    assert_eq!((first.state, first.failed), (JobState::Completed, 26));
    let (lines, _) = output(&simulator, &format!("out/{id}/a.jsonl.out"));
    assert_eq!((&lines["r3"]["error"]["errorCode"], &lines["r0"]["error"]["errorCode"]), (&json!(429), &json!(400)));
    let (again, _) = ended(&simulator, &records(100), &job("again")).await;
    assert_eq!(again.failed, 1, "a second attempt");
    simulator.clear_faults();
    assert_eq!(ended(&simulator, &records(100), &job("cleared")).await.0.failed, 0);
}

#[tokio::test]
async fn jobs_are_listed_by_state_name_and_time_in_pages() {
    let simulator = simulator();
    for at in 0..5 {
        created(&simulator, &job(&format!("job-{at}"))).await;
    }
    let list = async |query: &str| {
        let (status, text) = send(&simulator, "GET", &format!("/model-invocation-jobs?{query}"), &Value::Null).await;
        (status, serde_json::from_str::<Value>(&text).unwrap())
    };
    let names = |body: &Value| -> Vec<String> {
        let jobs = body["invocationJobSummaries"].as_array().unwrap().iter();
        jobs.map(|job| job["jobName"].as_str().unwrap().to_owned()).collect()
    };
    let (_, page) = list("maxResults=2").await;
    assert_eq!(names(&page), ["job-4", "job-3"]);
    created(&simulator, &job("job-5")).await;
    let (_, page) = list(&format!("maxResults=2&nextToken={}", page["nextToken"].as_str().unwrap())).await;
    assert_eq!(names(&page), ["job-2", "job-1"], "what came meanwhile shifts nothing");
    let (_, page) = list(&format!("nextToken={}", page["nextToken"].as_str().unwrap())).await;
    assert_eq!((names(&page), &page["nextToken"]), (vec!["job-0".to_owned()], &Value::Null));
    assert_eq!(names(&list("sortOrder=Ascending&nameContains=b-3").await.1), ["job-3"]);
    assert_eq!(names(&list("statusEquals=Completed").await.1), [""; 0]);
    assert_eq!(names(&list("statusEquals=Submitted&submitTimeBefore=2020-01-01T00:00:00Z").await.1), [""; 0]);
    for query in [
        "maxResults=0",
        "maxResults=1001",
        "maxResults=x",
        "statusEquals=Gone",
        "sortBy=Name",
        "nextToken=abc",
        "submitTimeAfter=now",
    ] {
        assert_eq!(list(query).await.0, 400, "{query}");
    }
    let here = send(&simulator, "GET", "/_sim/jobs", &Value::Null).await.1;
    let here: Value = serde_json::from_str(&here).unwrap();
    assert_eq!((here["jobs"].as_array().unwrap().len(), &here["totals"]["jobs"]), (6, &json!(6)));
}
