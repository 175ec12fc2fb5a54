//! Stores for tests: SQLite in a file of its own, always; Postgres in a schema of its own when `TEST_POSTGRES_URL`
//! names a database.

use std::ops::Deref;

use sqlx::Row as _;
use tempfile::TempDir;

use super::Store;
use crate::ids;

/// Where a store can be that nobody else uses. A file goes with it; a Postgres schema goes with the test database.
pub(crate) struct Place {
    pub(crate) url: String,
    _directory: Option<TempDir>,
}

/// A store at a place of its own.
pub(crate) struct TestStore {
    store: Store,
    pub(crate) place: Place,
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

/// The same store, opened once more; it lasts as long as `store`.
pub(crate) async fn again(store: &TestStore) -> TestStore {
    open(Place { url: store.place.url.clone(), _directory: None }).await
}

/// One store of every kind there is.
pub(crate) async fn stores() -> Vec<TestStore> {
    let mut stores = Vec::new();
    for place in places().await {
        stores.push(open(place).await);
    }
    stores
}

/// A store in a SQLite file.
pub(crate) async fn sqlite() -> TestStore {
    open(file()).await
}

async fn open(place: Place) -> TestStore {
    TestStore { store: Store::open(&place.url).await.unwrap(), place }
}

/// One place of every kind there is, with nothing in it.
pub(crate) async fn places() -> Vec<Place> {
    let mut places = vec![file()];
    places.extend(schema().await);
    places
}

fn file() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("test.db").display());
    Place { url, _directory: Some(directory) }
}

async fn schema() -> Option<Place> {
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration file")]
    let base = std::env::var("TEST_POSTGRES_URL").ok().filter(|url| !url.is_empty())?;
    sqlx::any::install_default_drivers();
    let schema = ids::fresh("test_");
    let mut connection = <sqlx::AnyConnection as sqlx::Connection>::connect(&base).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE SCHEMA {schema}"));
    sqlx::query(create).execute(&mut connection).await.unwrap();
    let separator = if base.contains('?') { '&' } else { '?' };
    Some(Place { url: format!("{base}{separator}options[search_path]={schema}"), _directory: None })
}
