//! Reading the audit log. It is kept for good: nothing here, and no retention, removes a line of it.

use super::view::ActView;
use super::{Listed, Page, cursor_at};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::Store;
use crate::tenancy::queries;

/// Which acts a list is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acts {
    /// By this administrator: `command_line`, `gateway`, or `key:` or `bootstrap:` and the key's id.
    pub actor: Option<String>,
    /// Of this kind, such as `key.revoke`.
    pub action: Option<String>,
    /// On the team, key, limit or budget with this id.
    pub subject: Option<String>,
    /// At this moment or later.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
}

/// Acts, the newest first. Fails with [`crate::error::Kind::Invalid`] for a cursor that is none.
pub async fn list_acts(store: &Store, which: &Acts, page: &Page) -> Result<Listed<ActView>> {
    let rows = queries::page_of_acts(store, which, page.after_moment()?, page.rows()).await?;
    let listed = page.of(rows, |(at, act)| cursor_at(*at, &act.id));
    Ok(listed.map(|(_, act)| act))
}
