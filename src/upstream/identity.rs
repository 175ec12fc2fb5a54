//! With whose credentials AWS is called: the gateway's own, or the role of a team.
//!
//! Each identity has Regions of its own, because another account has other access and other quotas: what rests for one
//! does not rest for the other. Finding those of a team takes no lock; they are made at its first call, and forgotten when
//! its role changes or when they are the longest unused of too many.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::region::Region;
use crate::clock::Timestamp;

/// Roles whose sessions are kept.
const CAPACITY: usize = 1024;

/// The role that a team is called with.
#[derive(Clone, Copy)]
pub struct TeamRole<'a> {
    /// The team's id: what its session is known by.
    pub team: &'a str,
    /// The team's name, for the session's name and its tag `team`.
    pub name: &'a str,
    /// The ARN of the role.
    pub arn: &'a str,
}

impl fmt::Debug for TeamRole<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TeamRole").field("team", &self.team).finish_non_exhaustive()
    }
}

/// Every configured Region, as one identity calls it. A cheap clone.
#[derive(Clone)]
pub struct Regions(pub(super) Arc<[Region]>);

impl Regions {
    /// The Region of that name, if it is configured.
    pub fn region(&self, name: &str) -> Option<&Region> {
        self.0.iter().find(|region| region.name().as_ref() == name)
    }

    /// All Regions, in order of preference.
    pub fn iter(&self) -> impl Iterator<Item = &Region> {
        self.0.iter()
    }
}

/// The Regions of one team.
struct Assumed {
    name: Box<str>,
    arn: Box<str>,
    regions: Regions,
    last_use: AtomicI64,
}

impl Assumed {
    fn is_of(&self, role: TeamRole<'_>) -> bool {
        *self.arn == *role.arn && *self.name == *role.name
    }
}

type Known = HashMap<Arc<str>, Arc<Assumed>>;

/// The teams that have been called with a role of their own.
#[derive(Default)]
pub(super) struct Identities {
    known: ArcSwap<Known>,
    /// Held while one is added.
    adding: Mutex<()>,
}

impl Identities {
    /// The Regions of `role`; `make` makes them if they are not there.
    pub(super) fn regions(&self, role: TeamRole<'_>, now: Timestamp, make: impl FnOnce() -> Regions) -> Regions {
        if let Some(regions) = self.find(role, now) {
            return regions;
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(regions) = self.find(role, now) {
            return regions;
        }
        let mut known = Known::clone(&self.known.load());
        if known.len() >= CAPACITY && !known.contains_key(role.team) {
            let unused = known.iter().min_by_key(|(_, assumed)| assumed.last_use.load(Ordering::Relaxed));
            if let Some(team) = unused.map(|(team, _)| Arc::clone(team)) {
                known.remove(&team);
            }
        }
        let regions = make();
        let assumed = Assumed {
            name: role.name.into(),
            arn: role.arn.into(),
            regions: regions.clone(),
            last_use: AtomicI64::new(now.millis()),
        };
        known.insert(role.team.into(), Arc::new(assumed));
        self.known.store(Arc::new(known));
        regions
    }

    fn find(&self, role: TeamRole<'_>, now: Timestamp) -> Option<Regions> {
        let known = self.known.load();
        let assumed = known.get(role.team).filter(|assumed| assumed.is_of(role))?;
        assumed.last_use.store(now.millis(), Ordering::Relaxed);
        Some(assumed.regions.clone())
    }

    /// The same teams, with Regions that are made of theirs.
    pub(super) fn changed(&self, make: impl Fn(&Regions) -> Regions) -> Self {
        let changed = |(team, assumed): (&Arc<str>, &Arc<Assumed>)| {
            let Assumed { name, arn, regions, last_use } = &**assumed;
            let last_use = AtomicI64::new(last_use.load(Ordering::Relaxed));
            let assumed = Assumed { name: name.clone(), arn: arn.clone(), regions: make(regions), last_use };
            (Arc::clone(team), Arc::new(assumed))
        };
        let known: Known = self.known.load().iter().map(changed).collect();
        Self { known: ArcSwap::from_pointee(known), adding: Mutex::default() }
    }

    /// Every team and its Regions, in the order of their ids.
    pub(super) fn all(&self) -> Vec<(Arc<str>, Regions)> {
        let known = self.known.load();
        let mut all: Vec<_> = known.iter().map(|(team, assumed)| (Arc::clone(team), assumed.regions.clone())).collect();
        all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role<'a>(team: &'a str, arn: &'a str) -> TeamRole<'a> {
        TeamRole { team, name: "name", arn }
    }

    fn none() -> Regions {
        Regions(Arc::from([]))
    }

    fn same(a: &Regions, b: &Regions) -> bool {
        Arc::ptr_eq(&a.0, &b.0)
    }

    #[test]
    fn a_team_keeps_its_regions_until_its_role_changes() {
        let identities = Identities::default();
        let now = Timestamp::default();
        let first = identities.regions(role("a", "arn:1"), now, none);
        assert!(same(&first, &identities.regions(role("a", "arn:1"), now, || panic!("made twice"))));
        let mut count = 0;
        for changed in [role("a", "arn:2"), TeamRole { name: "other", ..role("a", "arn:2") }, role("b", "arn:2")] {
            identities.regions(changed, now, || {
                count += 1;
                none()
            });
        }
        assert_eq!(count, 3);
        assert_eq!(identities.all().iter().map(|(team, _)| &**team).collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn the_longest_unused_makes_room() {
        let identities = Identities::default();
        let at = |index: usize| Timestamp::from_millis(i64::try_from(index).unwrap());
        for index in 0..CAPACITY {
            identities.regions(role(&index.to_string(), "arn"), at(index), none);
        }
        identities.regions(role("0", "arn"), at(CAPACITY), none);
        identities.regions(role("new", "arn"), at(CAPACITY), none);
        let all = identities.all();
        assert_eq!(all.len(), CAPACITY);
        let has = |team: &str| all.iter().any(|(known, _)| **known == *team);
        assert_eq!((has("0"), has("1"), has("2"), has("new")), (true, false, true, true));
    }
}
