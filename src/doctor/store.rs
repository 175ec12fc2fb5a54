//! Whether the database is reachable. Nothing is made or migrated.

use super::{Check, Group, PATIENCE};
use crate::config::Config;
use crate::error::Result;
use crate::store::{Condition, Store};
use crate::tenancy::{Team, admin};

/// How the store is, and the teams in it.
pub(super) async fn look(config: &Config) -> (Vec<Check>, Vec<Team>) {
    const SUBJECT: &str = "store";
    let failed = |found: String| {
        let remedy = "Check store.url, and that this machine reaches the database with these credentials.";
        (vec![Check::failed(Group::Store, SUBJECT, found, remedy)], Vec::new())
    };
    let ok = |found: &str| vec![Check::ok(Group::Store, SUBJECT, found)];
    match tokio::time::timeout(PATIENCE, read(&config.store.url)).await {
        Err(_) => failed(format!("no answer within {} s", PATIENCE.as_secs())),
        Ok(Err(error)) => failed(error.message().to_owned()),
        Ok(Ok((Condition::New, teams))) => (ok("nothing is in it yet; `serve` makes it"), teams),
        Ok(Ok((Condition::Behind, teams))) => (ok("of an older version; `serve` migrates it"), teams),
        Ok(Ok((Condition::Ready, teams))) => (ok("reachable and migrated"), teams),
    }
}

/// Teams are read only where opening the store has nothing left to change.
async fn read(url: &str) -> Result<(Condition, Vec<Team>)> {
    let condition = Store::look(url).await?;
    if condition != Condition::Ready {
        return Ok((condition, Vec::new()));
    }
    let store = Store::open(url).await?;
    let teams = admin::list_teams(&store).await;
    store.close().await;
    Ok((condition, teams?))
}
