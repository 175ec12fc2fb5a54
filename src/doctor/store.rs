//! Whether the database is reachable. Nothing is made or migrated.

use super::{Check, Group, PATIENCE};
use crate::config::Config;
use crate::store::{Condition, Store};

/// One check.
pub(super) async fn look(config: &Config) -> Vec<Check> {
    const SUBJECT: &str = "store";
    let remedy = "Check store.url, and that this machine reaches the database with these credentials.";
    let check = match tokio::time::timeout(PATIENCE, Store::look(&config.store.url)).await {
        Err(_) => Check::failed(Group::Store, SUBJECT, format!("no answer within {} s", PATIENCE.as_secs()), remedy),
        Ok(Err(error)) => Check::failed(Group::Store, SUBJECT, error.message(), remedy),
        Ok(Ok(Condition::New)) => Check::ok(Group::Store, SUBJECT, "nothing is in it yet; `serve` makes it"),
        Ok(Ok(Condition::Behind)) => Check::ok(Group::Store, SUBJECT, "of an older version; `serve` migrates it"),
        Ok(Ok(Condition::Ready)) => Check::ok(Group::Store, SUBJECT, "reachable and migrated"),
    };
    vec![check]
}
