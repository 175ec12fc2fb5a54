//! A caller: a key with its team, as they were when the call came, and what the key is doing.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};

use crate::catalog::Fence;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::KeyId;
use crate::tenancy::admission::Rules;
use crate::tenancy::key::{self, Key};
use crate::tenancy::team::Team;

/// Who is calling: a key and its team, as they were when the call came. A cheap clone.
#[derive(Clone, Debug)]
pub struct Caller(Arc<Profile>);

/// What is known of a caller.
#[derive(Debug)]
pub struct Profile {
    /// Who pays.
    pub team: Arc<Team>,
    /// The credential.
    pub key: Arc<Key>,
    fence: Fence,
    pub(in crate::tenancy) rules: Rules,
    pub(in crate::tenancy) activity: Arc<Activity>,
}

impl Deref for Caller {
    type Target = Profile;

    fn deref(&self) -> &Profile {
        &self.0
    }
}

impl Caller {
    pub(in crate::tenancy) fn new(team: Arc<Team>, key: Arc<Key>, rules: Rules, activity: Arc<Activity>) -> Self {
        let fence = Fence::new(team.regions.entries(), team.geography).and(&Fence::new(key.regions.entries(), None));
        Self(Arc::new(Profile { team, key, fence, rules, activity }))
    }

    /// The Regions that team and key limit calls to.
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Whether both team and key allow the Region.
    pub fn allows_region(&self, region: &str) -> bool {
        self.fence.holds(region)
    }

    /// Whether both team and key allow the model that goes by all of `names`.
    pub fn allows_model<'n>(&self, names: impl IntoIterator<Item = &'n str> + Clone) -> bool {
        self.team.models.allows(names.clone()) && self.key.models.allows(names)
    }

    /// Whether any limit or budget counts its calls.
    pub fn is_counted(&self) -> bool {
        !self.rules.is_empty()
    }

    /// Whether any budget pays for its calls.
    pub fn is_budgeted(&self) -> bool {
        self.rules.has_budgets()
    }

    /// Why the key does not count any more at `now`, or not from `client`.
    pub(in crate::tenancy) fn check(&self, client: Option<IpAddr>, now: Timestamp) -> Result<()> {
        if self.team.revoked_at.is_some() {
            return Err(key::refused("The team of this key was revoked."));
        }
        self.key.check(client, now)
    }

    /// Calls of this key that hold something now.
    pub fn in_flight(&self) -> u32 {
        self.activity.in_flight.load(Ordering::Relaxed)
    }
}

/// What all callers of a team have in common. It is another one as soon as anything of it has changed.
#[derive(Debug)]
pub struct Membership {
    pub(in crate::tenancy) team: Arc<Team>,
    /// The limits and budgets of the team and of everyone.
    pub(in crate::tenancy) rules: Rules,
}

/// What a key is doing; outlives every change of the key.
#[derive(Debug, Default)]
pub(in crate::tenancy) struct Activity {
    pub(in crate::tenancy) in_flight: AtomicU32,
    /// In milliseconds; at first, when it was read from the store.
    last_use: AtomicI64,
    /// Whether the last use is among those to be written.
    unsaved: AtomicBool,
}

impl Activity {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { in_flight: AtomicU32::new(0), last_use: AtomicI64::new(now.millis()), unsaved: AtomicBool::new(false) }
    }

    /// It is used now. True when that has to be written and nobody was told so yet.
    pub(super) fn touch(&self, now: Timestamp) -> bool {
        // Who reads only shares the cache line with all other callers who do.
        if self.last_use.load(Ordering::Relaxed) != now.millis() {
            self.last_use.store(now.millis(), Ordering::Relaxed);
        }
        !self.unsaved.load(Ordering::Relaxed) && !self.unsaved.swap(true, Ordering::Relaxed)
    }

    /// The last use, to be written. A later one will be told again.
    pub(super) fn take(&self) -> Timestamp {
        self.unsaved.store(false, Ordering::Relaxed);
        Timestamp::from_millis(self.last_use.load(Ordering::Relaxed))
    }

    /// Whether nothing has been heard of it since `before`.
    pub(super) fn is_idle(&self, before: Timestamp) -> bool {
        self.in_flight.load(Ordering::Relaxed) == 0
            && !self.unsaved.load(Ordering::Relaxed)
            && self.last_use.load(Ordering::Relaxed) < before.millis()
    }
}

/// A last use that the store does not know yet.
#[derive(Debug)]
pub(in crate::tenancy) struct Touch {
    pub(in crate::tenancy) key: KeyId,
    pub(in crate::tenancy) at: Timestamp,
}
