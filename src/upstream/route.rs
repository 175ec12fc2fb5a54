//! The order in which candidates are tried: as preferred; then those whose quota is used up, so that a Region is left
//! before AWS throttles there; then those that rest. Pure.

use super::health::Condition;
use crate::clock::Timestamp;

/// Whether a candidate is a good choice now. The order is the order of preference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It is.
    Ready,
    /// By our count this call would be throttled before this moment.
    Full {
        /// When it would fit.
        until: Timestamp,
    },
    /// It failed, and rests.
    Resting {
        /// When it may be tried.
        until: Timestamp,
    },
}

impl Standing {
    /// Of a candidate whose health is this.
    pub fn of(condition: Condition) -> Self {
        match condition {
            Condition::Ready => Self::Ready,
            Condition::Resting { until } => Self::Resting { until },
        }
    }
}

/// Orders `candidates`, which come in order of preference: ready ones keep it, full ones follow, then resting ones, of
/// each the one that may be tried soonest first. None is left out, since a bad candidate is better than no answer.
pub fn order<C>(candidates: &mut [C], standing: impl FnMut(&C) -> Standing) {
    candidates.sort_by_cached_key(standing);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full(millis: i64) -> Standing {
        Standing::Full { until: Timestamp::from_millis(millis) }
    }

    fn resting(millis: i64) -> Standing {
        Standing::Resting { until: Timestamp::from_millis(millis) }
    }

    #[test]
    fn preference_holds_among_the_ready_and_the_soonest_comes_first_among_the_others() {
        let mut candidates = [
            ("a", resting(9)),
            ("b", full(8)),
            ("c", Standing::Ready),
            ("d", resting(5)),
            ("e", full(7)),
            ("f", Standing::Ready),
            ("g", resting(5)),
        ];
        order(&mut candidates, |candidate| candidate.1);
        assert_eq!(candidates.map(|candidate| candidate.0), ["c", "f", "e", "b", "d", "g", "a"]);
    }

    fn any_standing() -> impl Strategy<Value = Standing> {
        prop_oneof![Just(Standing::Ready), (0..3_i64).prop_map(full), (0..3_i64).prop_map(resting)]
    }

    proptest! {
        #[test]
        fn nobody_is_left_out_and_the_ready_go_first(standings in prop::collection::vec(any_standing(), 0..8)) {
            let mut ordered: Vec<usize> = (0..standings.len()).collect();
            order(&mut ordered, |index| standings[*index]);
            let ready = standings.iter().filter(|standing| **standing == Standing::Ready).count();
            prop_assert!(ordered[..ready].is_sorted() && ordered[..ready].iter().all(|i| standings[*i] == Standing::Ready));
            ordered.sort_unstable();
            prop_assert_eq!(ordered, (0..standings.len()).collect::<Vec<_>>());
        }
    }
}
