//! What is kept for each id that was called: read without a lock, grown by copying, bounded.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// Ids come from callers, who may make some up: a table does not grow beyond this.
pub(crate) const CAPACITY: usize = 1024;

type Rows<V> = HashMap<Arc<str>, Arc<V>>;

/// A table by id. New ids are rare, so each is paid for by a copy of the table, and looking one up costs no lock.
pub(crate) struct Table<V>(ArcSwap<Rows<V>>);

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self(ArcSwap::default())
    }
}

impl<V> Table<V> {
    /// What is kept for `id`, if anything.
    pub(crate) fn find(&self, id: &str) -> Option<Arc<V>> {
        self.0.load().get(id).cloned()
    }

    /// What is kept for `id`, made by `new` where nothing is. When the table is full those go that are `idle`; when none
    /// is, what is returned is kept by nobody else.
    pub(crate) fn find_or_add(&self, id: &Arc<str>, new: impl Fn() -> V, idle: impl Fn(&V) -> bool) -> Arc<V> {
        if let Some(found) = self.find(id) {
            return found;
        }
        let fresh = Arc::new(new());
        let mut kept = Arc::clone(&fresh);
        self.0.rcu(|rows| {
            let mut rows = Rows::clone(rows);
            if let Some(theirs) = rows.get(id) {
                kept = Arc::clone(theirs);
                return rows;
            }
            if rows.len() >= CAPACITY {
                rows.retain(|_, row| !idle(row));
            }
            kept = Arc::clone(&fresh);
            if rows.len() < CAPACITY {
                rows.insert(Arc::clone(id), Arc::clone(&fresh));
            }
            rows
        });
        kept
    }

    /// All rows as they are now, in no order.
    pub(crate) fn rows(&self) -> Vec<(Arc<str>, Arc<V>)> {
        self.0.load().iter().map(|(id, row)| (Arc::clone(id), Arc::clone(row))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn an_id_is_kept_once_and_what_is_idle_makes_room() {
        let table: Table<AtomicBool> = Table::default();
        let add = |id: usize| {
            let id = id.to_string().into();
            table.find_or_add(&id, || AtomicBool::new(true), |idle| idle.load(Ordering::Relaxed))
        };
        let busy = add(0);
        busy.store(false, Ordering::Relaxed);
        assert!(Arc::ptr_eq(&busy, &add(0)));
        for id in 1..=CAPACITY {
            add(id);
        }
        assert_eq!(table.rows().len(), 2, "the busy one and the new one");
        assert!(Arc::ptr_eq(&busy, &table.find("0").unwrap()) && table.find("1").is_none());
        for (_, row) in table.rows() {
            row.store(false, Ordering::Relaxed);
        }
        for id in 0..CAPACITY * 2 {
            add(id).store(false, Ordering::Relaxed);
        }
        assert_eq!(table.rows().len(), CAPACITY, "one more is not kept");
    }
}
