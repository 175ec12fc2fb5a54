//! A look at a store that changes nothing: it makes no file, and no table.

use std::path::Path;

use sqlx::{AnyConnection, Connection as _, Row as _};

use super::{Backend, Store};
use crate::error::Result;

/// How a store is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// There is nothing yet: the first start makes it.
    New,
    /// It is of an older version: the next start migrates it.
    Behind,
    /// Ready.
    Ready,
}

impl Store {
    /// How the store at `url` is, without opening it for work.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub async fn look(url: &str) -> Result<Condition> {
        sqlx::any::install_default_drivers();
        let backend = Backend::of(url)?;
        let mut options = backend.connect_options(url)?;
        match backend {
            Backend::SqliteMemory => return Ok(Condition::New),
            Backend::SqliteFile => {
                let url = &mut options.database_url;
                let file = format!("{}{}", url.host_str().unwrap_or_default(), url.path());
                if !Path::new(&file).exists() {
                    return Ok(Condition::New);
                }
                let query = url.query().unwrap_or_default().replace("mode=rwc", "mode=rw");
                url.set_query(Some(&query));
            }
            Backend::Postgres => {}
        }
        let failed = |cause| backend.open_failed(&options, cause);
        let mut connection = AnyConnection::connect_with(&options).await.map_err(failed)?;
        // Its absence is the one reason for this not to work on a connection that does.
        let latest = sqlx::query("SELECT MAX(version) FROM _sqlx_migrations").fetch_one(&mut connection).await;
        let latest = latest.ok().and_then(|row| row.try_get::<i64, _>(0).ok());
        connection.close().await.ok();
        let own = sqlx::migrate!().iter().map(|migration| migration.version).max();
        Ok(match latest {
            None => Condition::New,
            Some(_) if latest < own => Condition::Behind,
            Some(_) => Condition::Ready,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::testing;

    #[tokio::test]
    async fn a_look_makes_nothing_and_sees_what_is_there() {
        for place in testing::places().await {
            assert_eq!(Store::look(&place.url).await.unwrap(), Condition::New);
            assert_eq!(Store::look(&place.url).await.unwrap(), Condition::New, "nothing was made");
            let store = Store::open(&place.url).await.unwrap();
            assert_eq!(Store::look(&place.url).await.unwrap(), Condition::Ready);
            sqlx::query("DELETE FROM _sqlx_migrations WHERE version > 1").execute(store.pool()).await.unwrap();
            assert_eq!(Store::look(&place.url).await.unwrap(), Condition::Behind);
        }
        assert!(Store::look("postgres://gate:hunter2@127.0.0.1:1/gw").await.is_err());
    }
}
