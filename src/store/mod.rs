//! The store: one pool of connections to SQLite or Postgres, its migrations and its transactions.
//!
//! No domain SQL lives here: every statement is in the `queries.rs` of the module that owns the table. A store that
//! [`Store::open`] returned has every migration of this program. Nothing here ever shows the URL, which may hold a
//! password.

mod look;
#[cfg(test)]
pub(crate) mod testing;

use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyConnection, AnyPool, ConnectOptions as _, Connection as _, Executor as _, Transaction};
use tracing::log::LevelFilter;

use crate::error::{Error, Kind, Result};

pub use look::Condition;

/// How long a task waits for a free connection before the store counts as failed.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long another process may take to migrate before this one gives up waiting for it.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(2);
/// Tries at opening a SQLite file that another process is setting up at the same moment.
const SQLITE_TRIES: u32 = 6;

/// When who met a store that is away may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Run on every connection to a SQLite file.
///
/// `synchronous = FULL`: with WAL, NORMAL could forget the last commits when the machine loses power, and a commit
/// here is a revoked key or money. It costs one fsync per commit, and the ledger commits in groups.
const SQLITE_SETTINGS: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                               PRAGMA foreign_keys = ON;";

/// A database, migrated and ready. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Store {
    pool: AnyPool,
    backend: Backend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Backend {
    SqliteMemory,
    SqliteFile,
    Postgres,
}

impl Store {
    /// Opens `sqlite://path` (made when missing), `sqlite::memory:` or `postgres://...`, and migrates it.
    ///
    /// Several processes may open the same store at once. Fails with [`Kind::Invalid`] when the URL is none of these,
    /// and with [`Kind::Internal`], the cause in its source, when the database cannot be reached or migrated.
    pub async fn open(url: &str) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let backend = Backend::of(url)?;
        let options = backend.connect_options(url)?;
        let mut tries = 1;
        loop {
            match Self::connect(backend, options.clone()).await {
                Ok(store) => return Ok(store),
                // Another process that is setting the file up holds it, or made a table between our look and our try.
                Err(_) if backend == Backend::SqliteFile && tries < SQLITE_TRIES => {
                    tokio::time::sleep(Duration::from_millis(50) * tries).await;
                    tries += 1;
                }
                Err(cause) => return Err(backend.open_failed(&options, cause)),
            }
        }
    }

    async fn connect(backend: Backend, options: AnyConnectOptions) -> Result<Self, sqlx::Error> {
        if backend != Backend::SqliteMemory {
            // The pool hides why it cannot connect behind its own timeout; a single connection says it.
            let mut first = AnyConnection::connect_with(&options).await?;
            if backend == Backend::SqliteFile {
                first.execute(SQLITE_SETTINGS).await?;
            }
            first.close().await?;
        }
        let pool = backend.pool_options().connect_with(options).await?;
        let store = Self { pool, backend };
        if let Err(cause) = store.migrate().await {
            store.close().await;
            return Err(cause);
        }
        Ok(store)
    }

    /// Postgres locks against other processes itself; SQLite's file lock does, and [`Store::open`] tries again.
    async fn migrate(&self) -> Result<(), sqlx::Error> {
        let mut migrator = sqlx::migrate!();
        // During a rolling update the older program may start on a store that the newer one has migrated:
        // migrations expand first and contract later, so it can still work.
        migrator.set_ignore_missing(true);
        match tokio::time::timeout(MIGRATION_TIMEOUT, migrator.run(&self.pool)).await {
            Ok(done) => done.map_err(|cause| sqlx::Error::Migrate(Box::new(cause))),
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        }
    }

    /// Closes every connection, waiting for those in use. SQLite merges its write-ahead log into the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// The pool, for the statements in a `queries.rs`.
    pub(crate) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Begins a transaction that will write. On SQLite it takes the write lock at once: a transaction that reads
    /// first and writes later fails when another one wrote in between, however long it would have waited.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, sqlx::Error> {
        match self.backend {
            Backend::Postgres => self.pool.begin().await,
            Backend::SqliteMemory | Backend::SqliteFile => self.pool.begin_with("BEGIN IMMEDIATE").await,
        }
    }
}

/// A statement that failed is a fault of the gateway, unless the database is away, full or busy: then trying again helps.
/// What went wrong is for the log.
impl From<sqlx::Error> for Error {
    fn from(cause: sqlx::Error) -> Self {
        if is_away(&cause) {
            let message = "The gateway's store cannot be read or written right now. Try again in a moment.";
            return Self::new(Kind::Unavailable, message).retry_after(RETRY_AFTER).source(cause);
        }
        Self::new(Kind::Internal, "The gateway's store could not be read or written.").source(cause)
    }
}

/// Whether it is not the statement's fault.
fn is_away(cause: &sqlx::Error) -> bool {
    match cause {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(cause) => cause.code().is_some_and(|code| is_of_passing(&code)),
        _ => false,
    }
}

/// Whether a database says by this code that it cannot do anything now: SQLite's are numbers, Postgres's have five letters.
/// <https://sqlite.org/rescode.html>, <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn is_of_passing(code: &str) -> bool {
    match code.parse::<u32>() {
        // Busy, locked, read-only, a failed read or write, full, not to be opened.
        Ok(number) if code.len() < 5 => matches!(number & 0xff, 5 | 6 | 8 | 10 | 13 | 14),
        // Connection, conflict of transactions, resources, locks, an operator's doing, the system.
        _ => ["08", "40", "53", "55P03", "57", "58"].iter().any(|class| code.starts_with(class)),
    }
}

impl Backend {
    fn of(url: &str) -> Result<Self> {
        if url.starts_with("sqlite:") {
            let memory = url.contains(":memory:") || url.contains("mode=memory");
            return Ok(if memory { Self::SqliteMemory } else { Self::SqliteFile });
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres);
        }
        Err(Error::invalid("store.url", "store.url must begin with `sqlite://` or `postgres://`."))
    }

    fn connect_options(self, url: &str) -> Result<AnyConnectOptions> {
        let invalid = |cause| Error::invalid("store.url", "store.url is not a valid URL.").source(cause);
        let mut options: AnyConnectOptions = url.parse().map_err(invalid)?;
        if self == Self::SqliteFile && !options.database_url.query_pairs().any(|(name, _)| name == "mode") {
            options.database_url.query_pairs_mut().append_pair("mode", "rwc");
        }
        // No value is in a statement's text, but a group's insert is pages of placeholders: for who asks only.
        Ok(options.log_statements(LevelFilter::Trace).log_slow_statements(LevelFilter::Debug, Duration::from_secs(1)))
    }

    fn pool_options(self) -> AnyPoolOptions {
        let options = AnyPoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
        match self {
            // Every connection to `:memory:` is another database, which ends with it.
            Self::SqliteMemory => options.max_connections(1).min_connections(1).idle_timeout(None).max_lifetime(None),
            Self::SqliteFile => options
                .max_connections(4)
                .after_connect(|connection, _| {
                    Box::pin(async move { connection.execute(SQLITE_SETTINGS).await.map(drop) })
                })
                // A full disk has SQLite undo a transaction by itself. The driver, whose own rollback then fails, takes the
                // connection to be in it for ever, and would begin no other: such a one is closed.
                .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) })),
            Self::Postgres => options.max_connections(8),
        }
    }

    /// Says which store, in parts of its URL that hold no secret, and what to look at.
    fn open_failed(self, options: &AnyConnectOptions, cause: sqlx::Error) -> Error {
        let url = &options.database_url;
        let message = match self {
            Self::SqliteMemory => "The SQLite store in memory cannot be opened.".to_owned(),
            Self::SqliteFile => format!(
                "The SQLite store `{}{}` cannot be opened. It has to be a SQLite database, or not to be there yet, \
                 and its directory to exist and be writable.",
                url.host_str().unwrap_or_default(),
                url.path()
            ),
            Self::Postgres => format!(
                "The Postgres store `{}` on {}:{} cannot be opened.",
                url.path().trim_start_matches('/'),
                url.host_str().unwrap_or("the local socket"),
                url.port().unwrap_or(5432)
            ),
        };
        Error::new(Kind::Internal, message).source(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn processes_that_open_a_new_store_at_once_all_get_it_migrated() {
        for place in testing::places().await {
            let opened = futures_util::future::join_all((0..6).map(|_| Store::open(&place.url))).await;
            for store in opened {
                let store = store.unwrap();
                let row = sqlx::query("SELECT version FROM tenancy_version").fetch_one(store.pool()).await.unwrap();
                assert_eq!(sqlx::Row::get::<i64, _>(&row, 0), 1);
            }
        }
    }

    #[tokio::test]
    async fn a_transaction_that_sqlite_undid_by_itself_leaves_no_connection_behind_that_begins_none() {
        let store = testing::sqlite().await;
        for _ in 0..8 {
            let mut undone = store.begin().await.unwrap();
            // SQLite does this by itself when its disk is full, and the driver is not told.
            undone.execute("ROLLBACK").await.unwrap();
            drop(undone);
            store.begin().await.unwrap().commit().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_store_without_room_may_be_tried_again() {
        let store = testing::sqlite().await;
        let mut full = store.begin().await.unwrap();
        full.execute("PRAGMA max_page_count = 1").await.unwrap();
        let large = "INSERT INTO batch_workers SELECT hex(zeroblob(4000000)), 0";
        let error = Error::from(full.execute(large).await.unwrap_err());
        assert_eq!((error.kind(), error.wait()), (Kind::Unavailable, Some(RETRY_AFTER)), "{}", error.causes());
    }

    #[tokio::test]
    async fn opening_twice_migrates_once_on_every_backend() {
        for store in testing::stores().await {
            let again = Store::open(&store.place.url).await.unwrap();
            let row = sqlx::query("SELECT COUNT(*) FROM tenancy_version").fetch_one(again.pool()).await.unwrap();
            assert_eq!(sqlx::Row::get::<i64, _>(&row, 0), 1);
        }
    }

    #[tokio::test]
    async fn a_store_in_memory_is_one_database() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        sqlx::query("UPDATE tenancy_version SET version = 7").execute(store.pool()).await.unwrap();
        let row = sqlx::query("SELECT version FROM tenancy_version").fetch_one(store.pool()).await.unwrap();
        assert_eq!(sqlx::Row::get::<i64, _>(&row, 0), 7);
    }

    #[tokio::test]
    async fn a_file_store_is_durable_and_checks_references() {
        let store = testing::sqlite().await;
        let pragma = async |sql: &'static str| sqlx::query(sql).fetch_one(store.pool()).await.unwrap();
        assert_eq!(sqlx::Row::get::<String, _>(&pragma("PRAGMA journal_mode").await, 0), "wal");
        assert_eq!(sqlx::Row::get::<i64, _>(&pragma("PRAGMA synchronous").await, 0), 2);
        assert_eq!(sqlx::Row::get::<i64, _>(&pragma("PRAGMA foreign_keys").await, 0), 1);
    }

    #[test]
    fn what_passes_is_told_from_what_does_not_by_the_databases_codes() {
        let passes =
            ["5", "6", "8", "10", "13", "14", "266", "08006", "40001", "53100", "53300", "55P03", "57P01", "58030"];
        let stays = ["1", "11", "19", "26", "2067", "22001", "23505", "42601", "55000", "XX000"];
        assert!(passes.iter().all(|code| is_of_passing(code)));
        assert!(!stays.iter().any(|code| is_of_passing(code)));
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_told_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.db");
        std::fs::write(&file, "These are my notes, and no database. ".repeat(100)).unwrap();
        let error = Store::open(&format!("sqlite://{}", file.display())).await.unwrap_err();
        assert!(error.message().contains("has to be a SQLite database"), "{error}");
        assert!(error.causes().contains("not a database"), "{}", error.causes());
    }

    #[tokio::test]
    async fn a_failure_to_open_never_shows_the_password() {
        for url in
            ["postgres://gate:hunter2@127.0.0.1:1/gw", "postgres://gate:hun/ter2@127.0.0.1/gw", "mysql://a:hunter2@h/d"]
        {
            let error = Store::open(url).await.unwrap_err();
            let told = format!("{error} {} {error:?}", error.causes());
            assert!(!told.contains("ter2"), "{told}");
        }
        let missing = Store::open("sqlite:///nonexistent-directory/x.db").await.unwrap_err();
        assert!(missing.message().contains("/nonexistent-directory/x.db"), "{missing}");
    }
}
