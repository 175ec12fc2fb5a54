//! Versions that meet: what a newer one did to the store keeps this one neither from starting nor from serving.

use bedrock_gateway::store::Store;
use sqlx::{Connection as _, Row as _, SqliteConnection};
use tempfile::TempDir;

use crate::support::{MODEL_ID, TestGateway};

/// A store of this version, and a connection to it.
async fn migrated(folder: &TempDir) -> (String, SqliteConnection) {
    let url = format!("sqlite://{}", folder.path().join("upgraded.db").display());
    Store::open(&url).await.unwrap().close().await;
    let connection = SqliteConnection::connect(&url).await.unwrap();
    (url, connection)
}

async fn run(connection: &mut SqliteConnection, statement: String) {
    sqlx::query(sqlx::AssertSqlSafe(statement)).execute(connection).await.unwrap();
}

/// A column more in every table, a table more, and the word that a later migration was run.
#[tokio::test]
async fn a_gateway_serves_on_a_store_that_a_newer_version_has_migrated() {
    let folder = TempDir::with_prefix("bedrock-gateway-it-").unwrap();
    let (url, mut store) = migrated(&folder).await;
    let names = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '\\_%' ESCAPE '\\' AND name NOT LIKE 'sqlite%'";
    let tables: Vec<String> =
        sqlx::query(names).fetch_all(&mut store).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(tables.len() >= 12, "{tables:?}");
    for table in tables {
        run(&mut store, format!("ALTER TABLE {table} ADD COLUMN later TEXT NOT NULL DEFAULT 'of a newer version'"))
            .await;
    }
    run(&mut store, "CREATE TABLE later (id TEXT NOT NULL PRIMARY KEY)".to_owned()).await;
    let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', 1, x'00', 1)";
    run(&mut store, later.to_owned()).await;
    store.close().await.unwrap();

    let t = TestGateway::with(|config| config.store.url = url).await;
    let reply = t.openai().chat("hello").await;
    assert_eq!(reply.status(), 200, "{}", reply.text());
    let call = t.only_call().await;
    assert_eq!((&*call.model, call.status), (MODEL_ID, 200));
    let usage = t.get("/v1/usage?group_by=model").await;
    assert_eq!((usage.status(), usage.json()["data"][0]["requests"].as_u64()), (200, Some(1)));
    assert_eq!(t.ops("/readyz").await.status(), 200);
    t.finish().await;
}

#[tokio::test]
async fn a_store_whose_migrations_were_others_is_not_opened() {
    let folder = TempDir::with_prefix("bedrock-gateway-it-").unwrap();
    let (url, mut store) = migrated(&folder).await;
    run(&mut store, "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 3".to_owned()).await;
    store.close().await.unwrap();
    let error = Store::open(&url).await.unwrap_err();
    assert!(error.causes().contains("migration 3"), "{error}: {}", error.causes());
}
