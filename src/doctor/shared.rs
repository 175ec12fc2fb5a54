//! Whether the store is reachable that replicas share limits and budgets through. Nothing in it is changed.

use super::{Check, Group, PATIENCE};
use crate::config::Config;
use crate::shared::SharedStore;

/// How the shared store is; nothing where there is none.
pub(super) async fn look(config: &Config) -> Vec<Check> {
    const SUBJECT: &str = "shared store";
    const REMEDY: &str = "Check shared.url, and that this machine reaches the server with these credentials.";
    if config.shared.url.is_empty() {
        return Vec::new();
    }
    let store = match SharedStore::new(&config.shared.url, Vec::new()) {
        Ok(store) => store,
        Err(error) => return vec![Check::failed(Group::Shared, SUBJECT, error.message(), "Correct the setting.")],
    };
    let link = match tokio::time::timeout(PATIENCE, store.dial()).await {
        Err(_) => {
            let found = format!("no answer within {} s", PATIENCE.as_secs());
            return vec![Check::failed(Group::Shared, SUBJECT, found, REMEDY)];
        }
        Ok(Err(error)) => return vec![Check::failed(Group::Shared, SUBJECT, error.message(), REMEDY)],
        Ok(Ok(link)) => link,
    };
    let server = link.server();
    if !matches!(server.eviction.as_str(), "" | "noeviction") {
        let found = format!("{}, which forgets keys when its memory is full ({})", server.version, server.eviction);
        let remedy = "Set maxmemory-policy to noeviction: what is forgotten is not counted.";
        return vec![Check::warning(Group::Shared, SUBJECT, found, remedy)];
    }
    vec![Check::ok(Group::Shared, SUBJECT, format!("reachable: {}", server.version))]
}
