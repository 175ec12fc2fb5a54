//! Stores for tests: SQLite in a file of its own, always; Postgres in a schema of its own when `TEST_POSTGRES_URL`
//! names a database.

use std::ops::Deref;

use sqlx::Row as _;
use tempfile::TempDir;

use super::Store;
use crate::ids;

/// A store that nobody else uses. Its file goes with it; its Postgres schema goes with the test database.
pub(crate) struct TestStore {
    store: Store,
    pub(crate) url: String,
    _directory: Option<TempDir>,
}

impl Deref for TestStore {
    type Target = Store;
    fn deref(&self) -> &Store {
        &self.store
    }
}

impl TestStore {
    /// Does to the database what no query of the gateway would.
    pub(crate) async fn execute(&self, sql: &'static str) {
        sqlx::query(sql).execute(self.store.pool()).await.unwrap();
    }

    /// What a query answers that has columns of text only.
    pub(crate) async fn texts(&self, sql: &'static str) -> Vec<Vec<String>> {
        let rows = sqlx::query(sql).fetch_all(self.store.pool()).await.unwrap();
        rows.iter().map(|row| (0..row.len()).map(|column| row.get(column)).collect()).collect()
    }
}

/// One store of every kind there is.
pub(crate) async fn stores() -> Vec<TestStore> {
    let mut stores = vec![sqlite().await];
    stores.extend(postgres().await);
    stores
}

/// A store in a SQLite file.
pub(crate) async fn sqlite() -> TestStore {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("test.db").display());
    TestStore { store: Store::open(&url).await.unwrap(), url, _directory: Some(directory) }
}

async fn postgres() -> Option<TestStore> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration file")]
    let base = std::env::var("TEST_POSTGRES_URL").ok().filter(|url| !url.is_empty())?;
    sqlx::any::install_default_drivers();
    let schema = ids::fresh("test_");
    let mut connection = <sqlx::AnyConnection as sqlx::Connection>::connect(&base).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    let separator = if base.contains('?') { '&' } else { '?' };
    let url = format!("{base}{separator}options[search_path]={schema}");
    Some(TestStore { store: Store::open(&url).await.unwrap(), url, _directory: None })
}
