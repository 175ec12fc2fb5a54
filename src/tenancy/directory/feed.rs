//! The changes of teams, keys, limits and budgets: read in the order of their versions, put into what is in memory.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::caller::Caller;
use super::known::Known;
use super::members::{Members, SHARDS};
use super::reader::within;
use crate::error::Result;
use crate::ids::{KeyId, TeamId};
use crate::store::Store;
use crate::tenancy::admission::RuleBook;
use crate::tenancy::key::Key;
use crate::tenancy::limit::Subject;
use crate::tenancy::queries::{self, Changed, Mark, PAGE};

/// How far the changes have been read.
pub(super) struct Feed {
    version: i64,
}

/// Whom the changes concern.
#[derive(Default)]
struct Concerned {
    everyone: bool,
    teams: HashSet<TeamId>,
    keys: HashSet<KeyId>,
}

impl Concerned {
    fn add(&mut self, subject: Subject) {
        match subject {
            Subject::Everyone => self.everyone = true,
            Subject::Team(id) => {
                self.teams.insert(id);
            }
            Subject::Key(id) => {
                self.keys.insert(id);
            }
        }
    }

    fn is(&self, caller: &Caller) -> bool {
        self.everyone || self.teams.contains(&caller.key.team) || self.keys.contains(&caller.key.id)
    }

    /// Whether no more are concerned than these keys.
    fn keys_alone(&self) -> bool {
        !self.everyone && self.teams.is_empty()
    }
}

impl Feed {
    /// Everything up to this version is known.
    pub(super) fn from(version: i64) -> Self {
        Self { version }
    }

    /// Reads all changes since the last time and has them count. When it fails, some may count already, and all are read
    /// again the next time.
    ///
    /// The version is read before the rows, so a change in between is read twice rather than never.
    pub(super) async fn read(
        &mut self,
        store: &Store,
        known: &mut Known,
        book: &RuleBook,
        members: &Members,
    ) -> Result<()> {
        let version = within(queries::version(store)).await?;
        if version == self.version {
            return Ok(());
        }
        if version < self.version {
            // Another database is there, such as an old backup: what is in memory may be of a future it never had.
            members.clear();
            *known = Known::default();
            super::reader::read_rules(store, known, &[Subject::Everyone]).await?;
            self.version = version;
            return Ok(());
        }
        let mut concerned = Concerned::default();
        let keys = self.read_keys(store, members).await?;
        self.read_teams(store, known, &mut concerned).await?;
        self.read_rules(store, known, members, &mut concerned).await?;
        concerned.keys.extend(keys.keys().cloned());
        apply(known, book, members, &keys, &concerned).await;
        self.version = version;
        Ok(())
    }

    /// The changed ones of the keys in memory; nothing for one that cannot be read.
    async fn read_keys(&self, store: &Store, members: &Members) -> Result<HashMap<KeyId, Option<Arc<Key>>>> {
        let mut changes = HashMap::new();
        let mut mark = Mark::after(self.version);
        loop {
            let page = within(queries::keys_since(store, &mark)).await?;
            let more = next(&page);
            for key in page {
                if members.find(&key.id).is_some() {
                    changes.insert(KeyId::from(&key.id), key.row.map(Arc::new));
                }
            }
            let Some(next) = more else { return Ok(changes) };
            mark = next;
        }
    }

    async fn read_teams(&self, store: &Store, known: &mut Known, concerned: &mut Concerned) -> Result<()> {
        let mut mark = Mark::after(self.version);
        loop {
            let page = within(queries::teams_since(store, &mark)).await?;
            let more = next(&page);
            for team in page {
                let id = TeamId::from(&team.id);
                if !known.has_team(&id) {
                    continue;
                }
                match team.row {
                    Some(team) => known.put_team(team),
                    None => known.forget_team(&team.id),
                }
                concerned.teams.insert(id);
            }
            let Some(next) = more else { return Ok(()) };
            mark = next;
        }
    }

    async fn read_rules(
        &self,
        store: &Store,
        known: &mut Known,
        members: &Members,
        concerned: &mut Concerned,
    ) -> Result<()> {
        let counts = |known: &Known, subject: &Subject| match subject {
            Subject::Everyone => true,
            Subject::Team(id) => known.has_team(id),
            Subject::Key(id) => members.find(id.as_str()).is_some(),
        };
        let mut mark = Mark::after(self.version);
        loop {
            let page = within(queries::limits_since(store, &mark)).await?;
            let more = next(&page);
            for limit in page {
                match limit.row {
                    Some(limit) if counts(known, &limit.subject) => {
                        concerned.add(limit.subject.clone());
                        known.put_limit(limit);
                    }
                    Some(_) => {}
                    None => known.forget_limit(&limit.id).into_iter().for_each(|subject| concerned.add(subject)),
                }
            }
            let Some(next) = more else { break };
            mark = next;
        }
        mark = Mark::after(self.version);
        loop {
            let page = within(queries::budgets_since(store, &mark)).await?;
            let more = next(&page);
            for budget in page {
                match budget.row {
                    Some(budget) if counts(known, &budget.subject) => {
                        concerned.add(budget.subject.clone());
                        known.put_budget(budget);
                    }
                    Some(_) => {}
                    None => known.forget_budget(&budget.id).into_iter().for_each(|subject| concerned.add(subject)),
                }
            }
            let Some(next) = more else { return Ok(()) };
            mark = next;
        }
    }
}

/// Where the next page begins, if there may be one.
fn next<T>(page: &[Changed<T>]) -> Option<Mark> {
    page.last().filter(|_| page.len() == PAGE).map(Changed::mark)
}

/// Puts callers together anew. All are looked through shard by shard, so that nobody waits long for a lock or this task.
async fn apply(
    known: &Known,
    book: &RuleBook,
    members: &Members,
    changed: &HashMap<KeyId, Option<Arc<Key>>>,
    concerned: &Concerned,
) {
    for team in members.team_ids() {
        if concerned.everyone || concerned.teams.contains(&team) {
            members.put_team(&team, known.membership(book, &team));
        }
    }
    let renew = |caller: Caller| {
        let key = changed.get(&caller.key.id).cloned().unwrap_or_else(|| Some(Arc::clone(&caller.key)));
        match key.and_then(|key| known.caller(book, key, Arc::clone(&caller.activity))) {
            Some(renewed) => members.put(renewed),
            None => members.remove(caller.key.id.as_str()),
        }
    };
    if concerned.keys_alone() {
        concerned.keys.iter().filter_map(|id| members.find(id.as_str())).for_each(renew);
        return;
    }
    for shard in 0..SHARDS {
        members.select(shard, |caller| concerned.is(caller)).into_iter().for_each(renew);
        tokio::task::yield_now().await;
    }
}
