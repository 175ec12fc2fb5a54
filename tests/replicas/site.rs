//! A simulated Bedrock in this process, and around it as processes: gateways, and a Redis or Valkey on a socket.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bedrock_gateway::app::Local;
use bedrock_gateway::clock::{Clock, Timestamp};
use bedrock_gateway::config::Config;
use bedrock_gateway::simulator::Settings;
use bedrock_gateway::store::Store;
use bedrock_gateway::tenancy::admin::{self, Actor, Precondition, SetBudget, SetLimit, Whose};
use bedrock_gateway::tenancy::{NewKey, NewTeam, Period, ledger};
use serde_json::{Value, json};
use sqlx::Connection as _;
use tempfile::TempDir;

/// What an answer was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Status(u16),
    /// The connection ended, as that of a killed process does.
    Broken,
}

impl Answer {
    pub(crate) fn is_ok(self) -> bool {
        self == Self::Status(200)
    }
}

pub(crate) struct Site {
    local: Local,
    store: Store,
    clock: Clock,
    key: (String, String),
    budget: Option<String>,
    gateways: Vec<Gateway>,
    shared: Option<Ended>,
    file: PathBuf,
    identity: (String, String),
    http: reqwest::Client,
    folder: TempDir,
}

struct Gateway {
    process: Ended,
    address: String,
    ops: String,
}

/// A process that does not outlive the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Site {
    /// So many gateways. `None`, with a loud line, where there is no server to share things through.
    pub(crate) async fn start(gateways: usize, on_failure: &str) -> Option<Self> {
        if variable("TEST_REDIS_URL").is_none() {
            #[expect(clippy::print_stderr, reason = "a test that tests nothing says so")]
            let () = eprintln!("SKIPPED: TEST_REDIS_URL is not set; NOTHING THAT REPLICAS SHARE WAS TESTED");
            return None;
        }
        let folder = TempDir::with_prefix("bg-replicas-").unwrap();
        let mut config = Config::default();
        let local = Local::start(&mut config, Settings::default()).await.unwrap();
        let url = match variable("TEST_POSTGRES_URL") {
            Some(base) => schema(&base).await,
            None => format!("sqlite://{}", folder.path().join("store.db").display()),
        };
        let (store, clock) = (Store::open(&url).await.unwrap(), Clock::system());
        admin::create_team(&store, &clock, Actor::Gateway, NewTeam::new("acme")).await.unwrap();
        let (key, text) = admin::create_key(&store, &clock, Actor::Gateway, NewKey::new("acme", "ci")).await.unwrap();
        let key = (key.id.as_str().to_owned(), text.expose().to_owned());
        let http = reqwest::Client::builder().timeout(Duration::from_secs(30)).build().unwrap();
        let settings = local.simulator.settings();
        let identity = (settings.access_key.clone(), settings.secret_key.clone());
        let file = folder.path().join("gateway.toml");
        let (budget, gateways_of, shared) = (None, (0..gateways), None);
        let mut site =
            Self { local, store, clock, key, budget, gateways: Vec::new(), shared, file, identity, http, folder };
        site.start_shared().await;
        site.configure(&config, &url, on_failure);
        site.gateways = gateways_of.map(|_| Gateway::start(&site.file, &site.identity)).collect();
        Some(site)
    }

    fn configure(&self, config: &Config, store: &str, on_failure: &str) {
        let mut text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nops_listen = \"127.0.0.1:0\"\n[store]\nurl = {}\njournal = {}\n[shared]\n\
             url = \"unix://{}\"\non_failure = \"{on_failure}\"\nlease_seconds = 3\n[aws]\ncatalog_refresh_minutes = 0\n",
            json!(store),
            json!(self.folder.path().join("journal")),
            self.socket().display(),
        );
        for (region, endpoints) in &config.aws.endpoints {
            let url = json!(endpoints.runtime.as_ref().unwrap());
            write!(text, "[aws.endpoints.{region}]\nruntime = {url}\ncontrol = {url}\ns3 = {url}\nsts = {url}\n")
                .unwrap();
        }
        std::fs::write(&self.file, text).unwrap();
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    pub(crate) async fn start_shared(&mut self) {
        let socket = self.socket();
        let _ = std::fs::remove_file(&socket);
        let start = |program: &str| {
            let mut command = Command::new(program);
            command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
            command.current_dir(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()
        };
        let child = start("valkey-server").or_else(|_| start("redis-server")).unwrap();
        self.shared = Some(Ended(child));
        until("the shared store answers", async || UnixStream::connect(&socket).is_ok()).await;
    }

    /// Ends the shared store while calls are under way.
    pub(crate) async fn stop_shared_soon(&self) {
        tokio::time::sleep(Duration::from_millis(40)).await;
        let id = self.shared.as_ref().unwrap().0.id();
        assert!(Command::new("kill").args(["-9", &id.to_string()]).status().unwrap().success());
        until("it is gone", async || UnixStream::connect(self.socket()).is_err()).await;
    }

    pub(crate) async fn forget_soon(&self) {
        tokio::time::sleep(Duration::from_millis(40)).await;
        assert_eq!(self.ask("FLUSHALL"), "+OK\r\n");
    }

    /// Ends a gateway while calls are under way.
    pub(crate) async fn kill_soon(&self, which: usize) {
        tokio::time::sleep(Duration::from_millis(40)).await;
        let id = self.gateways[which].process.0.id();
        assert!(Command::new("kill").args(["-9", &id.to_string()]).status().unwrap().success());
    }

    /// Starts another one in the place of one that was killed.
    pub(crate) fn replace(&mut self, which: usize) {
        self.gateways[which] = Gateway::start(&self.file, &self.identity);
    }

    /// One word to the shared store, and its whole answer.
    fn ask(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(self.socket()).unwrap();
        socket.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).unwrap();
        let mut told = String::new();
        socket.read_to_string(&mut told).unwrap();
        told.strip_suffix("+OK\r\n").unwrap().to_owned()
    }

    fn number(&self, command: &str) -> i64 {
        let told = self.ask(command);
        told.lines().nth(1).map_or(0, |line| line.parse().unwrap())
    }

    /// What is held of the budget, in micro-dollars.
    pub(crate) fn held(&self) -> i64 {
        self.number(&format!("GET {{bedrock-gateway}}:held:{}", self.budget.as_ref().unwrap()))
    }

    /// What is spent of it.
    pub(crate) fn spent(&self) -> i64 {
        let start = Period::Month.window(self.clock.now()).start.millis();
        self.number(&format!("HGET {{bedrock-gateway}}:spent:{}:{start} spent", self.budget.as_ref().unwrap()))
    }

    /// What the ledger says was spent.
    pub(crate) async fn booked(&self) -> i64 {
        let rows = ledger::list(&self.store, Timestamp::default(), 100_000).await.unwrap();
        rows.iter().filter_map(|row| row.cost).map(|cost| cost.0).sum()
    }

    /// How many calls reached Bedrock.
    pub(crate) fn asked(&self) -> i64 {
        i64::try_from(self.local.simulator.calls().len()).unwrap()
    }

    /// Has Bedrock be silent to so many calls.
    pub(crate) fn hold_answers(&self, calls: u64) {
        self.local.simulator.region("us-east-1").slow_first_byte(calls, Duration::from_hours(1));
    }

    /// To how many calls it is still to be silent that have not come.
    pub(crate) fn answers_held(&self) -> u64 {
        self.local.simulator.waiting_faults()
    }

    /// Waits for the writers of the ledger.
    pub(crate) async fn flushed(&self) {
        let mut before = -1;
        until("the ledger rests", async || {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let now = self.booked().await;
            std::mem::replace(&mut before, now) == now
        })
        .await;
    }

    /// How many calls the ledger has.
    pub(crate) async fn rows(&self) -> i64 {
        i64::try_from(ledger::list(&self.store, Timestamp::default(), 100_000).await.unwrap().len()).unwrap()
    }

    /// Waits until the shared store and the ledger tell the same, and what.
    pub(crate) async fn agree(&self) -> i64 {
        until("nothing is held", async || self.held() == 0).await;
        self.flushed().await;
        let mut told = (0, 0);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(20) {
            told = (self.spent(), self.booked().await);
            if told.0 == told.1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(told.0, told.1, "spent by the shared store, and by the ledger");
        told.0
    }

    /// What one call costs, made before there is any rule.
    pub(crate) async fn cost_of_a_call(&self) -> i64 {
        assert_eq!(self.call(0).await, Answer::Status(200));
        until("it is booked", async || self.booked().await > 0).await;
        self.booked().await
    }

    /// A short chat at one of the gateways.
    pub(crate) async fn call(&self, which: usize) -> Answer {
        let gateway = &self.gateways[which];
        let body = json!({
            "model": "claude-haiku-4-5",
            "max_tokens": 50,
            "messages": [{"role": "user", "content": "hello"}],
        });
        let url = format!("http://{}/v1/chat/completions", gateway.address);
        let answer = self.http.post(url).bearer_auth(&self.key.1).json(&body).send().await;
        let Ok(answer) = answer else { return Answer::Broken };
        let status = answer.status().as_u16();
        if answer.bytes().await.is_err() {
            return Answer::Broken;
        }
        Answer::Status(status)
    }

    pub(crate) async fn ops(&self, which: usize, path: &str) -> String {
        let ops = &self.gateways[which].ops;
        self.http.get(format!("http://{ops}{path}")).send().await.unwrap().text().await.unwrap()
    }

    pub(crate) async fn limit(&self, requests: Option<u64>, tokens: Option<u64>, concurrent: Option<u32>) {
        let set = SetLimit {
            whose: Whose { team: None, key: Some(self.key.0.clone()) },
            model: None,
            requests_per_minute: requests,
            tokens_per_minute: tokens,
            concurrent_requests: concurrent,
        };
        admin::set_limit(&self.store, &self.clock, Actor::Gateway, &Precondition::Any, set).await.unwrap();
        self.seen().await;
    }

    /// A budget of so many micro-dollars.
    pub(crate) async fn budget(&mut self, micros: i64) {
        let set = SetBudget {
            whose: Whose { team: Some("acme".to_owned()), key: None },
            period: "month".to_owned(),
            limit_usd: bedrock_gateway::money::MicroUsd(micros).to_string(),
        };
        let set = admin::set_budget(&self.store, &self.clock, Actor::Gateway, &Precondition::Any, set).await.unwrap();
        self.budget = Some(set.id);
        self.seen().await;
    }

    /// Gateways look for changes once a second; a key that is unknown makes them look at once.
    async fn seen(&self) {
        for gateway in &self.gateways {
            let url = format!("http://{}/v1/models", gateway.address);
            let stranger = format!("bgw_{}_{}", "0".repeat(32), "0".repeat(64));
            let answer = self.http.get(url).bearer_auth(stranger).send().await.unwrap();
            assert_eq!(answer.status(), 401);
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
    }

    pub(crate) async fn finish(self) {
        let Self { local, gateways, shared, .. } = self;
        drop((gateways, shared));
        local.stop().await;
    }
}

impl Gateway {
    fn start(file: &PathBuf, (access_key, secret_key): &(String, String)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
        command.args(["serve", "--config"]).arg(file).env("AWS_EC2_METADATA_DISABLED", "true");
        command.env("AWS_ACCESS_KEY_ID", access_key).env("AWS_SECRET_ACCESS_KEY", secret_key);
        let mut process = Ended(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        let log = BufReader::new(process.0.stderr.take().unwrap());
        let (tell, told) = mpsc::channel();
        // Read to the end, so that the gateway never waits for who reads its log.
        std::thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str::<Value>(&line) else { continue };
                if line["message"] == "ready" {
                    let text = |name: &str| line[name].as_str().unwrap().to_owned();
                    tell.send((text("address"), text("ops_address"))).unwrap();
                }
            }
        });
        let (address, ops) = told.recv_timeout(Duration::from_mins(1)).unwrap();
        Self { process, address, ops }
    }
}

fn variable(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration file")]
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A schema that nobody else uses.
async fn schema(base: &str) -> String {
    sqlx::any::install_default_drivers();
    let name = bedrock_gateway::ids::fresh("replicas_");
    let mut connection = sqlx::AnyConnection::connect(base).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {name}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    let separator = if base.contains('?') { '&' } else { '?' };
    format!("{base}{separator}options[search_path]={name}")
}

/// Looks again and again until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(30), "not within 30 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
