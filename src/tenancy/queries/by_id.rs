//! Rows by any number of ids, in a dialect without arrays: `IN ($1, $2, ...)`, in two sizes, so that few statements are
//! prepared.

use std::fmt::Write as _;

use sqlx::any::AnyRow;

use crate::error::Result;
use crate::store::Store;

/// Ids of the larger statement.
const MANY: usize = 64;

/// A statement for one id, and one for many.
pub(super) struct Sizes {
    one: String,
    many: String,
}

/// The statement that `before`, which ends with `IN`, begins.
pub(super) fn sizes(before: &str) -> Sizes {
    let list = |ids: usize| {
        let mut sql = format!("{before} (");
        for id in 1..=ids {
            let _ = write!(sql, "{}${id}", if id == 1 { "" } else { ", " });
        }
        sql + ")"
    };
    Sizes { one: list(1), many: list(MANY) }
}

/// The rows of all these ids, in no order.
pub(super) async fn fetch(store: &Store, sizes: &'static Sizes, ids: &[&str]) -> Result<Vec<AnyRow>> {
    let mut rows = Vec::new();
    for part in ids.chunks(MANY) {
        let (sql, room) = if part.len() == 1 { (&*sizes.one, 1) } else { (&*sizes.many, MANY) };
        // The room that is left is filled with an id that is there anyway.
        let padded = part.iter().chain(part.last().into_iter().cycle()).take(room);
        let query = padded.fold(sqlx::query(sql), |query, id| query.bind(super::clean(id)));
        rows.extend(query.fetch_all(store.pool()).await?);
    }
    Ok(rows)
}
