//! Batches whose gateway is killed at each thing that it does outside: before it takes effect, and before it hears of it.
//!
//! A run without a kill tells what there is to do. Then each of it (of what is done often: the first, the last and some in
//! between) is held in a run of its own, the gateway is killed and started again, and everything has to be as without.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use bedrock_gateway::clock::{Clock, Timestamp};
use bedrock_gateway::money::MicroUsd;
use bedrock_gateway::simulator::{
    Bucket, Gate, JobPace, JobState, Outcome as Ended, Records, Settings, Simulator, When,
};
use bedrock_gateway::tenancy::Period;
use bedrock_gateway::tenancy::admin::{self, Actor, Precondition, SetBudget, Whose};
use bedrock_gateway::tenancy::ledger::{self, Entry, Outcome};
use futures_util::future::join_all;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::processes::{Gateway, Installation, eventually, postgres, within};

/// Runs as jobs, and records of it are enough for one.
const IN_JOBS: &str = "claude-haiku-4-5";
/// Runs online, there being too few records of it.
const ONLINE: &str = "nova-lite";
const BUCKET: &str = "batches";
/// Runs at a time: most of one is waiting.
const AT_ONCE: usize = 6;
/// Places of an operation at which a gateway is killed.
const PLACES: u64 = 4;
/// Records that run online at once.
const UNDER_WAY: usize = 8;

/// What batches consist of.
#[derive(Clone, Copy, Debug)]
struct Shape {
    in_jobs: usize,
    online: usize,
    /// Letters of each prompt.
    letters: usize,
    max_records: usize,
    /// Every so-many-th record of a job fails when it is run for the first time.
    failing: u64,
    budget: MicroUsd,
}

/// Two jobs, a retry of each that is a job again, and a few records that run online.
const MIXED: Shape =
    Shape { in_jobs: 400, online: 5, letters: 0, max_records: 200, failing: 2, budget: MicroUsd(300_000) };
/// Input that takes more than one part.
const LARGE: Shape =
    Shape { in_jobs: 100, online: 0, letters: 90_000, max_records: 100, failing: 0, budget: MicroUsd(100_000_000) };
/// Ten jobs.
const MANY: Shape =
    Shape { in_jobs: 1000, online: 0, letters: 0, max_records: 100, failing: 0, budget: MicroUsd(1_000_000) };

/// A gateway to be killed, and the Bedrock and S3 that it calls, which go on.
struct Site {
    sim: Simulator,
    installation: Installation,
    shape: Shape,
    http: reqwest::Client,
    _serving: DropGuard,
}

impl Site {
    async fn prepare(shape: Shape, url: Option<&str>) -> Self {
        let settings = Settings {
            job_pace: JobPace::Automatic(Duration::from_millis(10)),
            buckets: BTreeMap::from([(BUCKET.to_owned(), Bucket::default())]),
            ..Settings::default()
        };
        let role = format!("arn:aws:iam::{}:role/batch", settings.account);
        let sim = Simulator::new(settings);
        if shape.failing > 0 {
            sim.region("*").jobs().record_errors(Records::Every(shape.failing), 503, 1);
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = (sim.clone(), stop.clone().cancelled_owned());
        TaskTracker::new().spawn(async move { serving.0.serve(listener, serving.1).await });
        let installation = Installation::prepare(address, url, None).await;
        installation.configure(&format!(
            "[batch]\nrole_arn = \"{role}\"\npoll_seconds = 1\nbucket = {{ us-east-1 = \"{BUCKET}\" }}\n\
             [batch.limits]\nmax_records_per_job = {}\n",
            shape.max_records
        ));
        let whose = Whose { team: Some("testers".into()), key: None };
        let set = SetBudget { whose, period: Period::Total.to_string(), limit_usd: shape.budget.to_string() };
        let clock = Clock::system();
        admin::set_budget(&installation.store, &clock, Actor::CommandLine, &Precondition::Any, set).await.unwrap();
        Self { sim, installation, shape, http: reqwest::Client::new(), _serving: stop.drop_guard() }
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> (u16, String) {
        let answer = request.bearer_auth(&self.installation.key).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn good(&self, request: reqwest::RequestBuilder) -> Value {
        let (status, text) = self.answer(request).await;
        assert_eq!(status, 200, "{text}: {}", self.installation.log());
        serde_json::from_str(&text).unwrap()
    }

    fn ids(&self) -> BTreeSet<String> {
        (0..self.shape.in_jobs + self.shape.online).map(|at| format!("r{at}")).collect()
    }

    async fn upload(&self, address: SocketAddr) -> String {
        let padding = "word ".repeat(self.shape.letters / 5);
        let mut lines = String::new();
        for at in 0..self.shape.in_jobs + self.shape.online {
            let model = if at < self.shape.in_jobs { IN_JOBS } else { ONLINE };
            let messages = json!([{"role": "user", "content": format!("say {at} {padding}")}]);
            let body = json!({"model": model, "max_tokens": 50, "messages": messages});
            let id = format!("r{at}");
            let line = json!({"custom_id": id, "method": "POST", "url": "/v1/chat/completions", "body": body});
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
        let part = Part::bytes(lines.into_bytes()).file_name("requests.jsonl");
        let form = Form::new().text("purpose", "batch").part("file", part);
        let file = self.good(self.http.post(format!("http://{address}/v1/files")).multipart(form)).await;
        file["id"].as_str().unwrap().to_owned()
    }

    async fn submit(&self, address: SocketAddr, file: &str) -> String {
        let body = json!({"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"});
        let batch = self.good(self.http.post(format!("http://{address}/v1/batches")).json(&body)).await;
        batch["id"].as_str().unwrap().to_owned()
    }

    /// The batch, once it is over.
    async fn end(&self, address: SocketAddr, batch: &str) -> Value {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        let over = async {
            loop {
                tick.tick().await;
                let batch = self.good(self.http.get(format!("http://{address}/v1/batches/{batch}"))).await;
                if ["completed", "failed", "expired", "cancelled"].contains(&batch["status"].as_str().unwrap()) {
                    return batch;
                }
            }
        };
        let over = tokio::time::timeout(Duration::from_mins(1), over).await;
        over.unwrap_or_else(|_| panic!("the batch does not end: {:#?} {}", self.sim.jobs(), self.installation.log()))
    }

    /// The lines of a result file, by `custom_id`; fails when one is there twice.
    async fn lines(&self, address: SocketAddr, file: &Value) -> BTreeMap<String, Value> {
        let Some(file) = file.as_str() else { return BTreeMap::new() };
        let (status, text) = self.answer(self.http.get(format!("http://{address}/v1/files/{file}/content"))).await;
        assert_eq!(status, 200, "{text}");
        let mut lines = BTreeMap::new();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let id = line["custom_id"].as_str().unwrap().to_owned();
            assert_eq!(lines.insert(id, line), None, "twice");
        }
        lines
    }

    /// How often each thing was done outside since `from`.
    fn done(&self, from: usize) -> BTreeMap<&'static str, u64> {
        let parts = ["Object", "Upload", "ModelInvocationJob", "Converse"];
        let mut done = BTreeMap::new();
        for call in &self.sim.calls()[from..] {
            if parts.iter().any(|part| call.operation.contains(part)) {
                *done.entry(call.operation).or_default() += 1;
            }
        }
        done
    }

    /// Every record has ended once, well; each shard has one job, and the books say what was used.
    async fn is_whole(&self, gateway: &Gateway, batch: &Value) {
        let address = gateway.address;
        assert_eq!(batch["status"], "completed", "{batch}: {}", self.installation.log());
        let total = self.ids().len();
        assert_eq!(batch["request_counts"], json!({"total": total, "completed": total, "failed": 0}));
        assert_eq!(batch["error_file_id"], Value::Null);
        let lines = self.lines(address, &batch["output_file_id"]).await;
        assert_eq!(lines.keys().cloned().collect::<BTreeSet<_>>(), self.ids());
        assert!(lines.values().all(|line| line["response"]["status_code"] == 200), "{lines:?}");
        let of_first = self.shape.in_jobs.div_ceil(self.shape.max_records);
        let of_retry = if self.shape.failing > 0 { of_first } else { 0 };
        self.has_jobs(of_first + of_retry);
        assert!(self.sim.jobs().iter().all(|job| job.state == JobState::Completed), "{:?}", self.sim.jobs());
        self.has_books(gateway).await;
    }

    /// So many jobs, no two for the same.
    fn has_jobs(&self, count: usize) {
        let jobs = self.sim.jobs();
        let names: BTreeSet<_> = jobs.iter().map(|job| &job.name).collect();
        assert_eq!((jobs.len(), names.len()), (count, count), "{jobs:#?}");
        let is_good = jobs.iter().all(|job| job.creates == 1 && job.token.as_ref() == Some(&job.name));
        assert!(is_good, "{jobs:#?}");
    }

    /// The ledger has each job once with what it used, and each call; budgets have paid for that, and hold nothing.
    async fn has_books(&self, gateway: &Gateway) {
        let rows = self.rows().await;
        let (jobs, calls): (Vec<&Entry>, Vec<&Entry>) = rows.iter().partition(|row| row.operation == "batch");
        let totals = self.sim.job_totals();
        assert_eq!(jobs.len() as u64, totals.jobs, "{jobs:#?}");
        let sum = |of: fn(&Entry) -> u64| jobs.iter().map(|row| of(row)).sum::<u64>();
        let booked = (sum(|row| row.input_tokens), sum(|row| row.output_tokens));
        assert_eq!(booked, (totals.tokens.input, totals.tokens.output), "{jobs:#?}");
        let is_answered = |row: &&&Entry| row.outcome == Outcome::OK;
        let answered = calls.iter().filter(is_answered).count();
        let online = self.shape.online;
        assert!(answered >= online && calls.len() <= online + UNDER_WAY, "{calls:#?}");
        let asked = self.sim.invocations().len();
        assert!(
            asked <= calls.len() && asked + UNDER_WAY >= calls.len(),
            "Bedrock was asked {asked} times: {calls:#?}"
        );
        let told = self.sim.calls();
        let told = told.iter().filter(|call| call.operation == "Converse" && call.outcome == Ended::Completed);
        assert!(told.count() >= answered);
        // What is left pays for a call that may cost nearly all of it: 5.5 US dollars a million tokens.
        let spent: MicroUsd = rows.iter().filter_map(|row| row.cost).sum();
        let left = self.shape.budget.0 - spent.0;
        assert!(left > 1000, "{left}");
        let most = ((left - 500) * 10 / 55).min(60_000);
        let body = json!({"model": IN_JOBS, "max_tokens": most, "messages": [{"role": "user", "content": "hi"}]});
        let url = format!("http://{}/v1/chat/completions", gateway.address);
        let mut said = String::new();
        let admitted = async {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            loop {
                tick.tick().await;
                let (status, text) = self.answer(self.http.post(&url).json(&body)).await;
                if status == 200 {
                    break;
                }
                assert_eq!(status, 429, "{text}");
                said = text;
            }
        };
        let is_admitted = tokio::time::timeout(Duration::from_secs(10), admitted).await.is_ok();
        assert!(is_admitted, "held, or paid twice: {said}; the ledger has {spent}: {rows:#?}");
        eventually("budgets have paid what the ledger says", async || {
            let rows = self.rows().await;
            let spent: MicroUsd = rows.iter().filter_map(|row| row.cost).sum();
            let left = gateway.metric_of("gateway_budget_remaining_usd").await * 1e6;
            format!("{left:.0}") == (self.shape.budget.0 - spent.0).to_string()
        })
        .await;
    }

    async fn rows(&self) -> Vec<Entry> {
        ledger::list(&self.installation.store, Timestamp::default(), 1_000_000).await.unwrap()
    }
}

/// Where a gateway is killed.
#[derive(Clone, Copy, Debug)]
struct Place {
    operation: &'static str,
    /// Counted from 1.
    occurrence: u64,
    when: When,
}

/// The gates that lead to a place: all but the last let their call pass.
struct Path {
    gates: Vec<Gate>,
}

impl Path {
    fn to(sim: &Simulator, place: Place) -> Self {
        Self { gates: (0..place.occurrence).map(|_| sim.gate(place.operation, place.when)).collect() }
    }

    /// The gate at the end, once a call is held at it. It stays shut as long as it is kept.
    async fn walk(self) -> Gate {
        let mut gates = self.gates.into_iter();
        let last = gates.next_back().unwrap();
        for gate in gates {
            gate.reached().await;
            gate.release();
        }
        last.reached().await;
        last
    }
}

/// All places, and of what is done often some.
fn places(done: &BTreeMap<&'static str, u64>) -> Vec<Place> {
    let mut places = Vec::new();
    for (operation, times) in done {
        let chosen: BTreeSet<u64> = if *times <= PLACES {
            (1..=*times).collect()
        } else {
            (0..PLACES).map(|at| 1 + at * (times - 1) / (PLACES - 1)).collect()
        };
        for occurrence in chosen {
            places.extend([When::Before, When::After].map(|when| Place { operation, occurrence, when }));
        }
    }
    places
}

/// A run without a kill: what was done outside.
async fn undisturbed(shape: Shape) -> BTreeMap<&'static str, u64> {
    let site = Site::prepare(shape, None).await;
    let gateway = site.installation.start().await;
    let file = site.upload(gateway.address).await;
    let from = site.sim.calls().len();
    let batch = site.submit(gateway.address, &file).await;
    let over = site.end(gateway.address, &batch).await;
    let done = site.done(from);
    site.is_whole(&gateway, &over).await;
    done
}

/// A run that is killed there. False when the batch ended without coming there.
async fn killed_at(shape: Shape, place: Place) -> bool {
    let site = Site::prepare(shape, None).await;
    let gateway = site.installation.start().await;
    let file = site.upload(gateway.address).await;
    let path = Path::to(&site.sim, place);
    let batch = site.submit(gateway.address, &file).await;
    let shut = tokio::select! {
        gate = path.walk() => gate,
        _ = site.end(gateway.address, &batch) => return false,
    };
    gateway.process.kill();
    let gateway = site.installation.start().await;
    let over = site.end(gateway.address, &batch).await;
    site.is_whole(&gateway, &over).await;
    drop(shut);
    true
}

/// Kills a gateway at each place: how often a place was not come to, by operation.
async fn walk(shape: Shape, places: Vec<Place>) -> BTreeMap<&'static str, u64> {
    let run = async |place: Place| (place, AssertUnwindSafe(killed_at(shape, place)).catch_unwind().await);
    let mut runs = stream::iter(places).map(run).buffer_unordered(AT_ONCE);
    let (mut missed, mut failed) = (BTreeMap::new(), Vec::new());
    while let Some((place, run)) = runs.next().await {
        match run {
            Ok(true) => {}
            Ok(false) => *missed.entry(place.operation).or_default() += 1,
            Err(_) => failed.push(place),
        }
    }
    assert!(failed.is_empty(), "killed there, something is wrong: {failed:#?}");
    missed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_gateway_is_killed_at_anything_it_does_ends_as_without() {
    let done = undisturbed(MIXED).await;
    for operation in [
        "PutObject",
        "GetObject",
        "ListObjectsV2",
        "CreateModelInvocationJob",
        "GetModelInvocationJob",
        "ListModelInvocationJobs",
        "Converse",
    ] {
        assert!(done.contains_key(operation), "nothing did {operation}: {done:?}");
    }
    assert_eq!((done["CreateModelInvocationJob"], done["Converse"]), (4, 5));
    let missed = walk(MIXED, places(&done)).await;
    // How often jobs are looked at depends on how fast they are.
    let looks = ["GetModelInvocationJob", "ListModelInvocationJobs"];
    assert!(missed.keys().all(|operation| looks.contains(operation)), "never came there: {missed:?}, of {done:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_gateway_is_killed_within_an_upload_in_parts_ends_as_without() {
    let done: BTreeMap<_, _> =
        undisturbed(LARGE).await.into_iter().filter(|(name, _)| name.contains("Upload")).collect();
    for operation in ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] {
        assert!(done.contains_key(operation), "nothing did {operation}: {done:?}");
    }
    assert_eq!(walk(LARGE, places(&done)).await, BTreeMap::new());
}

/// No call to the outside is between the two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_was_booked_by_a_process_that_died_before_it_settled_it_is_paid_for_once() {
    let site = Site::prepare(Shape { failing: 0, online: 0, ..MIXED }, None).await;
    let gateway = site.installation.start().await;
    let file = site.upload(gateway.address).await;
    let batch = site.submit(gateway.address, &file).await;
    site.end(gateway.address, &batch).await;
    gateway.process.kill();
    let rewind = [
        "UPDATE batch_shards SET state = 'collecting', settled_at = NULL",
        "UPDATE batches SET state = 'in_progress', finalizing_at = NULL, ended_at = NULL, cost_micro_usd = 0",
        "DELETE FROM files WHERE purpose = 'batch_output'",
    ];
    site.installation.rewind(&rewind).await;
    let gateway = site.installation.start().await;
    let over = site.end(gateway.address, &batch).await;
    site.is_whole(&gateway, &over).await;
}

/// A batch deletes nothing that matters; its files are deleted by who owns them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_deletion_is_killed_is_gone_and_its_objects_are_deleted() {
    for when in [When::Before, When::After] {
        let site = Site::prepare(MIXED, None).await;
        let gateway = site.installation.start().await;
        let file = site.upload(gateway.address).await;
        let place = Place { operation: "DeleteObjects", occurrence: 1, when };
        let path = Path::to(&site.sim, place);
        let delete = site.http.delete(format!("http://{}/v1/files/{file}", gateway.address));
        let mut deletion = Box::pin(delete.bearer_auth(&site.installation.key).send());
        let shut = tokio::select! {
            gate = path.walk() => gate,
            answer = &mut deletion => panic!("nothing was deleted in S3: {answer:?}"),
        };
        gateway.process.kill();
        assert!(deletion.await.is_err(), "the gateway was killed");
        let from = site.sim.calls().len();
        let gateway = site.installation.start().await;
        eventually("the objects are deleted by who starts next", async || {
            let calls = site.sim.calls();
            calls[from..].iter().any(|call| call.operation == "DeleteObjects" && call.outcome == Ended::Completed)
        })
        .await;
        let (status, text) = site.answer(site.http.get(format!("http://{}/v1/files/{file}", gateway.address))).await;
        assert_eq!(status, 404, "{text}");
        drop(shut);
    }
}

/// The answer to a call that a budget pays for only if nothing is held of it.
async fn all_or_nothing(site: &Site, gateway: &Gateway) -> u16 {
    let most = (site.shape.budget.0 - 500) * 10 / 55;
    let body = json!({"model": IN_JOBS, "max_tokens": most, "messages": [{"role": "user", "content": "hi"}]});
    site.answer(site.http.post(format!("http://{}/v1/chat/completions", gateway.address)).json(&body)).await.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_batch_holds_is_held_again_before_a_gateway_that_was_killed_admits_a_call() {
    let site = Site::prepare(Shape { failing: 0, online: 0, ..MIXED }, None).await;
    site.sim.region("*").jobs().hold_at(JobState::Scheduled);
    let gateway = site.installation.start().await;
    assert_eq!(all_or_nothing(&site, &gateway).await, 200);
    let file = site.upload(gateway.address).await;
    site.submit(gateway.address, &file).await;
    assert!(site.sim.region("*").jobs().reached(JobState::Scheduled, 2).await);
    assert_eq!(all_or_nothing(&site, &gateway).await, 429);
    gateway.process.kill();
    let gateway = site.installation.start().await;
    assert_eq!(all_or_nothing(&site, &gateway).await, 429, "the very first call");
    gateway.process.kill();

    // As if it had been a process whose journal is on another disk: whether it is dead nobody knows before its lease ends.
    site.installation
        .rewind(&[
            "INSERT INTO batch_workers (id, lease_until) VALUES ('worker_silent', 9000000000000)",
            "UPDATE batches SET lease_owner = 'worker_silent'",
        ])
        .await;
    let gateway = site.installation.start().await;
    assert_eq!(all_or_nothing(&site, &gateway).await, 429, "held until it is heard of");
    site.installation
        .rewind(&["UPDATE batch_workers SET lease_until = lease_until + 1 WHERE id = 'worker_silent'"])
        .await;
    let is_heard = async || all_or_nothing(&site, &gateway).await == 200;
    eventually("what a worker that lives holds is held by that one alone", is_heard).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_batch_whose_gateway_is_killed_as_it_stops_jobs_ends_each_record_once() {
    let places = places(&BTreeMap::from([("StopModelInvocationJob", 2)]));
    join_all(places.into_iter().map(killed_at_stop)).await;
}

async fn killed_at_stop(place: Place) {
    let site = Site::prepare(MIXED, None).await;
    site.sim.region("*").jobs().hold_at(JobState::Scheduled);
    let gateway = site.installation.start().await;
    let file = site.upload(gateway.address).await;
    let path = Path::to(&site.sim, place);
    let batch = site.submit(gateway.address, &file).await;
    assert!(site.sim.region("*").jobs().reached(JobState::Scheduled, 2).await);
    let cancel = |gateway: &Gateway| site.http.post(format!("http://{}/v1/batches/{batch}/cancel", gateway.address));
    assert_eq!(site.good(cancel(&gateway)).await["status"], "cancelling");
    let shut = within(path.walk()).await;
    gateway.process.kill();
    let gateway = site.installation.start().await;
    let over = site.end(gateway.address, &batch).await;
    assert_eq!(over["status"], "cancelled", "{place:?}: {over}");
    let mut lines = site.lines(gateway.address, &over["output_file_id"]).await;
    for (id, line) in site.lines(gateway.address, &over["error_file_id"]).await {
        assert_eq!(line["error"]["code"], "batch_cancelled", "{line}");
        assert_eq!(lines.insert(id, line), None, "{place:?}");
    }
    assert_eq!(lines.into_keys().collect::<BTreeSet<_>>(), site.ids(), "{place:?}");
    site.has_jobs(2);
    assert!(site.sim.jobs().iter().all(|job| job.state == JobState::Stopped), "{:?}", site.sim.jobs());
    drop(shut);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_gateway_completes_the_batch_of_one_that_was_killed_in_the_middle_on_postgres() {
    let Some(url) = postgres().await else { return };
    let site = Site::prepare(MANY, Some(&url)).await;
    let (first, second) = (site.installation.start().await, site.installation.start().await);
    let file = site.upload(first.address).await;
    let path = Path::to(&site.sim, Place { operation: "CreateModelInvocationJob", occurrence: 5, when: When::After });
    let batch = site.submit(first.address, &file).await;
    let shut = within(path.walk()).await;
    first.process.kill();
    let over = site.end(second.address, &batch).await;
    site.is_whole(&second, &over).await;
    drop(shut);
}
