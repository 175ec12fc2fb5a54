//! The store that replicas share: Redis or Valkey, by scripts only.
//!
//! The only place that names the crate `redis`. What the scripts do is not known here. The invariant: nothing here waits
//! longer than [`PATIENCE`], and while the store is away every call is told so at once; who keeps the connection
//! ([`SharedStore::dial`], [`SharedStore::publish`]) decides when it is tried again. No URL, and so no password, is in an
//! error.

mod answer;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ErrorKind, RedisError, ServerErrorKind};
use tokio::sync::Notify;

pub use answer::Answer;

use crate::error::{Error, Kind, Result};

/// How long one script may take, from asking to the answer.
pub const PATIENCE: Duration = Duration::from_millis(250);
/// How long a connection may take to be made, names and TLS included.
const CONNECT: Duration = Duration::from_secs(2);
/// How long scripts of the background may take together: nobody waits for them.
const PATIENCE_BEHIND: Duration = Duration::from_secs(2);

/// A script by its place in the list that [`SharedStore::new`] was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script(pub usize);

/// What the server says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// `Redis 7.0.15` or `Valkey 8.1.0`.
    pub version: String,
    /// The run of the server: another one after each start. Empty when it does not say.
    pub run: String,
    /// What it does when its memory is full, such as `noeviction`; empty when it does not say.
    pub eviction: String,
}

/// A store at one URL, reachable or not.
pub struct SharedStore {
    client: Client,
    scripts: Vec<String>,
    /// None while the store is away.
    link: ArcSwapOption<Link>,
    lost: Notify,
    errors: AtomicU64,
}

/// One connection, over which many ask at once.
pub struct Link {
    connection: MultiplexedConnection,
    /// By script, what the server calls it.
    digests: Vec<String>,
    server: Server,
}

impl SharedStore {
    /// The store at `redis://`, `rediss://` (TLS) or `unix://`, by whatever name the crate knows them; nothing is connected
    /// to yet. Fails with [`Kind::Invalid`] when the URL cannot be one.
    pub fn new(url: &str, scripts: Vec<String>) -> Result<Self> {
        // Fails when there is one already, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let invalid = |_| Error::invalid("shared.url", "shared.url is not the URL of a Redis or Valkey.");
        let client = Client::open(url).map_err(invalid)?;
        Ok(Self { client, scripts, link: ArcSwapOption::empty(), lost: Notify::new(), errors: AtomicU64::new(0) })
    }

    /// Whether it is there, as far as the last call knows.
    pub fn is_up(&self) -> bool {
        self.link.load().is_some()
    }

    /// What went wrong since the start: scripts and connections that failed or took too long.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Runs a script. Takes [`PATIENCE`] at most, and no time while the store is known to be away. After any failure the
    /// store counts as away until the next [`SharedStore::publish`]; whether the script ran is then not known.
    pub async fn run(&self, script: Script, key: &str, arguments: &[Argument<'_>]) -> Result<Answer> {
        let link = self.link.load_full().ok_or_else(away)?;
        let asked = tokio::time::timeout(PATIENCE, link.ask(self, script, key, arguments)).await;
        self.judge(&link, asked.unwrap_or_else(|_| Err(late())))
    }

    /// Runs a script once for each of `calls`, in one go, for the background: takes two seconds at most. When one fails
    /// all count as failed, though some may have run.
    pub async fn run_all(&self, script: Script, key: &str, calls: &[Vec<Argument<'_>>]) -> Result<Vec<Answer>> {
        let link = self.link.load_full().ok_or_else(away)?;
        let all = join_all(calls.iter().map(|arguments| link.ask(self, script, key, arguments)));
        let answers = match tokio::time::timeout(PATIENCE_BEHIND, all).await {
            Ok(answers) => answers.into_iter().collect(),
            Err(_) => Err(late()),
        };
        self.judge(&link, answers)
    }

    /// Connects, asks who is there and gives it the scripts. The connection is nobody's until it is published.
    pub async fn dial(&self) -> Result<Link> {
        let dialled = tokio::time::timeout(CONNECT, self.connect()).await;
        dialled.unwrap_or_else(|_| Err(late())).inspect_err(|_| self.count_error())
    }

    /// Runs a script over a connection that is not published yet.
    pub async fn run_over(&self, link: &Link, script: Script, key: &str, arguments: &[Argument<'_>]) -> Result<Answer> {
        let asked = tokio::time::timeout(PATIENCE_BEHIND, link.ask(self, script, key, arguments)).await;
        asked.unwrap_or_else(|_| Err(late())).inspect_err(|_| self.count_error())
    }

    /// From now on this is the connection of all calls.
    pub fn publish(&self, link: Link) {
        self.link.store(Some(Arc::new(link)));
    }

    /// Returns when a call has failed since the last time, and the connection is gone.
    pub async fn lost(&self) {
        self.lost.notified().await;
    }

    /// Any failure ends the connection: what a server refuses that it should not (it loads, it only reads, its memory
    /// is full) has to be found right again by the next greeting.
    fn judge<T>(&self, link: &Arc<Link>, asked: Result<T>) -> Result<T> {
        asked.inspect_err(|_| {
            self.count_error();
            let current = self.link.load();
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
                self.link.compare_and_swap(&current, None);
            }
            self.lost.notify_one();
        })
    }

    fn count_error(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    async fn connect(&self) -> Result<Link> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(PATIENCE_BEHIND));
        let opened = self.client.get_multiplexed_async_connection_with_config(&settings).await;
        let mut link = Link {
            connection: opened.map_err(|cause| failed(&cause))?,
            digests: Vec::with_capacity(self.scripts.len()),
            server: Server::default(),
        };
        link.server = Server::parse(&link.send(redis::cmd("INFO").arg("server")).await?.text()?);
        let memory = link.send(redis::cmd("INFO").arg("memory")).await?.text()?;
        link.server.eviction = field(&memory, "maxmemory_policy").unwrap_or_default().to_owned();
        for script in &self.scripts {
            let digest = link.send(redis::cmd("SCRIPT").arg("LOAD").arg(script)).await?.text()?;
            link.digests.push(digest);
        }
        Ok(link)
    }
}

impl std::fmt::Debug for SharedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedStore").field("up", &self.is_up()).finish_non_exhaustive()
    }
}

impl Link {
    /// Who is at the other end.
    pub fn server(&self) -> &Server {
        &self.server
    }

    async fn ask(&self, store: &SharedStore, script: Script, key: &str, arguments: &[Argument<'_>]) -> Result<Answer> {
        let missing = || Error::internal("a script that the shared store was not told of");
        let command = |name: &str, which: &str| {
            let mut command = redis::cmd(name);
            command.arg(which).arg(1).arg(key);
            for argument in arguments {
                argument.append_to(&mut command);
            }
            command
        };
        let digest = self.digests.get(script.0).ok_or_else(missing)?;
        let mut connection = self.connection.clone();
        match connection.send_packed_command(&command("EVALSHA", digest)).await.and_then(answer::checked) {
            Ok(value) => Ok(Answer::new(value)),
            // Somebody flushed the scripts: EVAL brings it, and the server keeps it.
            Err(cause) if cause.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let text = store.scripts.get(script.0).ok_or_else(missing)?;
                self.send(&command("EVAL", text)).await
            }
            Err(cause) => Err(failed(&cause)),
        }
    }

    async fn send(&self, command: &Cmd) -> Result<Answer> {
        let asked = self.connection.clone().send_packed_command(command).await.and_then(answer::checked);
        asked.map(Answer::new).map_err(|cause| failed(&cause))
    }
}

/// One argument of a script.
#[derive(Clone, Copy, Debug)]
pub enum Argument<'a> {
    /// A whole number.
    Number(i64),
    /// A text.
    Text(&'a str),
}

impl Argument<'_> {
    fn append_to(self, command: &mut Cmd) {
        match self {
            Self::Number(number) => command.arg(number),
            Self::Text(text) => command.arg(text),
        };
    }
}

impl From<i64> for Argument<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Argument<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl Server {
    fn parse(info: &str) -> Self {
        let version = match (field(info, "valkey_version"), field(info, "redis_version")) {
            (Some(valkey), _) => format!("Valkey {valkey}"),
            (None, Some(redis)) => format!("Redis {redis}"),
            (None, None) => "of an unknown version".to_owned(),
        };
        Self { version, run: field(info, "run_id").unwrap_or_default().to_owned(), eviction: String::new() }
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn away() -> Error {
    Error::new(Kind::UpstreamUnavailable, "The shared store is away.")
}

fn late() -> Error {
    Error::new(Kind::Timeout, "The shared store did not answer in time.")
}

/// The cause in words that hold neither the URL nor an argument.
fn failed(cause: &RedisError) -> Error {
    let told = match cause.kind() {
        ErrorKind::AuthenticationFailed => "it refused the user or password".to_owned(),
        ErrorKind::Io if cause.is_timeout() => "it did not answer in time".to_owned(),
        ErrorKind::Io if cause.is_connection_refusal() => "nobody listens there".to_owned(),
        _ => match cause.code() {
            Some(code) => format!("it answered {code}: {}", cause.detail().unwrap_or_default()),
            None => format!("{} {}", cause.category(), cause),
        },
    };
    Error::new(Kind::UpstreamUnavailable, format!("The shared store failed: {told}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_told_by_its_information() {
        let server = Server::parse("# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.1.0\r\nrun_id:abc\r\n");
        assert_eq!((server.version.as_str(), server.run.as_str()), ("Valkey 8.1.0", "abc"));
        assert_eq!(Server::parse("redis_version:7.0.15\r\n").version, "Redis 7.0.15");
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_told_at_once_and_without_its_password() {
        let store = SharedStore::new("redis://user:hunter2@127.0.0.1:1/0", Vec::new()).unwrap();
        let error = store.run(Script(0), "k", &[]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::UpstreamUnavailable);
        let error = store.dial().await.err().unwrap();
        assert!(!format!("{error:?} {error} {}", error.causes()).contains("hunter2"), "{error:?}");
        assert_eq!((store.errors(), store.is_up()), (1, false));
        let error = SharedStore::new("http://user:hunter2@host", Vec::new()).unwrap_err();
        assert!(error.kind() == Kind::Invalid && !format!("{error:?}").contains("hunter2"));
    }
}
