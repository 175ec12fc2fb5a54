//! The processes: what plays Bedrock, and the gateway, which can be started as often as wanted.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bedrock_gateway::clock::Clock;
use bedrock_gateway::simulator::Settings;
use bedrock_gateway::store::Store;
use bedrock_gateway::tenancy::admin::{self, Actor};
use bedrock_gateway::tenancy::{NewKey, NewTeam};
use serde_json::Value;
use sqlx::Connection as _;
use tempfile::TempDir;

/// Nothing here takes this long; what does has failed.
const LIMIT: Duration = Duration::from_mins(1);

/// A process that ends with the test.
pub(crate) struct Process(Child);

impl Process {
    /// As the kernel ends a process that has no memory left: nothing of it runs any more.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// As an administrator ends it.
    pub(crate) async fn terminate(mut self) {
        Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        eventually("the gateway ends", async || self.0.try_wait().unwrap().is_some()).await;
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What plays Bedrock.
pub(crate) struct Bedrock {
    pub(crate) address: SocketAddr,
    _process: Process,
    /// It ends when nobody can read what it prints.
    _said: Lines<BufReader<ChildStdout>>,
}

impl Bedrock {
    pub(crate) fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"));
        command.args(["simulate", "--listen", "127.0.0.1:0"]).env_clear();
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = said.next().unwrap().unwrap();
        let address = first.split("http://").nth(1).and_then(|rest| rest.split(';').next()).unwrap().parse().unwrap();
        Self { address, _process: Process(child), _said: said }
    }

    /// The next calls meet this.
    pub(crate) async fn order(&self, fault: Value) {
        let url = format!("http://{}/_sim/faults", self.address);
        let answer = reqwest::Client::new().post(url).json(&fault).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{:?}", answer.text().await);
    }

    /// Its invocation log.
    pub(crate) async fn invocations(&self) -> Vec<Value> {
        let url = format!("http://{}/_sim/invocations", self.address);
        let mut answer: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        serde_json::from_value(answer["invocations"].take()).unwrap()
    }
}

/// Everything a gateway needs to be started.
pub(crate) struct Installation {
    /// With a team and a key.
    pub(crate) store: Store,
    pub(crate) key: String,
    /// How many gateways were started.
    started: AtomicUsize,
    url: String,
    folder: TempDir,
}

/// A gateway that is ready.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) process: Process,
}

impl Installation {
    /// In front of what plays Bedrock there, with the store at `url`; the gateway itself reaches it at `seen_url`.
    pub(crate) async fn prepare(upstream: SocketAddr, url: Option<&str>, seen_url: Option<&str>) -> Self {
        let folder = TempDir::with_prefix("bedrock-gateway-crash-").unwrap();
        let file = format!("sqlite://{}", folder.path().join("crash.db").display());
        let url = url.unwrap_or(&file);
        let seen_url = seen_url.unwrap_or(url);
        let endpoint = |region: &str| {
            format!(
                "[aws.endpoints.{region}]\nruntime = \"http://{upstream}\"\ncontrol = \"http://{upstream}\"\n\
                 s3 = \"http://{upstream}\"\n"
            )
        };
        let config = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nops_listen = \"127.0.0.1:0\"\nnotice_seconds = 1\n\
             [store]\nurl = \"{seen_url}\"\njournal = \"{}\"\n\
             [aws]\nregions = [\"us-east-1\", \"us-west-2\"]\ncatalog_refresh_minutes = 0\n\
             {}{}",
            folder.path().join("journal").display(),
            endpoint("us-east-1"),
            endpoint("us-west-2"),
        );
        std::fs::write(folder.path().join("gateway.toml"), config).unwrap();
        let (store, clock) = (Store::open(url).await.unwrap(), Clock::system());
        admin::create_team(&store, &clock, Actor::CommandLine, NewTeam::new("testers")).await.unwrap();
        let new = NewKey::new("testers", "crash");
        let (_, key) = admin::create_key(&store, &clock, Actor::CommandLine, new).await.unwrap();
        Self { store, key: key.expose().to_owned(), started: AtomicUsize::new(0), url: url.to_owned(), folder }
    }

    /// Tables that follow the configuration.
    pub(crate) fn configure(&self, tables: &str) {
        let mut file = File::options().append(true).open(self.folder.path().join("gateway.toml")).unwrap();
        file.write_all(tables.as_bytes()).unwrap();
    }

    /// Changes what the store has, while no gateway runs.
    pub(crate) async fn rewind(&self, statements: &[&'static str]) {
        let mut connection = sqlx::AnyConnection::connect(&self.url).await.unwrap();
        for statement in statements {
            sqlx::query(*statement).execute(&mut connection).await.unwrap();
        }
    }

    /// Starts a gateway and waits until it serves.
    pub(crate) async fn start(&self) -> Gateway {
        self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.last_log();
        let output = File::create(&log).unwrap();
        let settings = Settings::default();
        let child = Command::new(env!("CARGO_BIN_EXE_bedrock-gateway"))
            .args(["serve", "--config"])
            .arg(self.folder.path().join("gateway.toml"))
            .current_dir(self.folder.path())
            .env_clear()
            .env("AWS_ACCESS_KEY_ID", &settings.access_key)
            .env("AWS_SECRET_ACCESS_KEY", &settings.secret_key)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn();
        let mut process = Process(child.unwrap());
        let mut found = None;
        eventually("the gateway is ready", async || {
            let said = std::fs::read_to_string(&log).unwrap();
            assert!(process.0.try_wait().unwrap().is_none(), "the gateway ended: {said}");
            found = said.lines().find_map(addresses);
            found.is_some()
        })
        .await;
        let (address, ops) = found.unwrap();
        Gateway { address, ops, process }
    }

    /// The files of the journal.
    pub(crate) fn journal(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.folder.path().join("journal")).unwrap();
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// Where the last gateway wrote its log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.last_log()).unwrap()
    }

    fn last_log(&self) -> PathBuf {
        self.folder.path().join(format!("gateway-{}.log", self.started.load(Ordering::Relaxed)))
    }
}

fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line: Value = serde_json::from_str(line).ok()?;
    let address = |name: &str| line[name].as_str()?.parse().ok();
    Some((address("address")?, address("ops_address")?))
}

impl Gateway {
    /// The value of a metric without labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let text = self.metrics().await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// The value of a metric that has labels, and one series.
    pub(crate) async fn metric_of(&self, name: &str) -> f64 {
        let text = self.metrics().await;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).1.parse().unwrap()
    }

    async fn metrics(&self) -> String {
        reqwest::get(format!("http://{}/metrics", self.ops)).await.unwrap().text().await.unwrap()
    }
}

/// A schema of its own in the Postgres of the tests, if there is one.
pub(crate) async fn postgres() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration file")]
    let base = std::env::var("TEST_POSTGRES_URL").ok().filter(|url| !url.is_empty())?;
    sqlx::any::install_default_drivers();
    let schema = bedrock_gateway::ids::fresh("crash_");
    let mut connection = sqlx::AnyConnection::connect(&base).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    let separator = if base.contains('?') { '&' } else { '?' };
    Some(format!("{base}{separator}options[search_path]={schema}"))
}

/// Waits until `condition` holds; fails when it does not come to.
pub(crate) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let holds = async {
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        while !condition().await {
            tick.tick().await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, holds).await.is_ok(), "not within {LIMIT:?}: {what}");
}

/// What `future` comes to, which must not take for ever.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("took too long")
}
