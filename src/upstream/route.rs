//! The order in which candidates are tried: as preferred, those that rest last. Pure.

use super::health::Condition;

/// Orders `candidates`, which come in order of preference: ready ones keep it, resting ones follow, the one that may be
/// tried soonest first. None is left out, since a resting candidate is better than no answer.
pub fn order<C>(candidates: &mut [C], mut condition: impl FnMut(&C) -> Condition) {
    let rank = |condition| match condition {
        Condition::Ready => i64::MIN,
        Condition::Resting { until } => until.millis(),
    };
    let calm = candidates.iter().all(|candidate| condition(candidate) == Condition::Ready);
    if !calm {
        candidates.sort_by_cached_key(|candidate| rank(condition(candidate)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn preference_holds_among_the_ready_and_the_soonest_comes_first_among_the_resting() {
        let resting = |millis| Condition::Resting { until: Timestamp::from_millis(millis) };
        let mut candidates =
            [("a", resting(9)), ("b", Condition::Ready), ("c", resting(5)), ("d", Condition::Ready), ("e", resting(5))];
        order(&mut candidates, |candidate| candidate.1);
        assert_eq!(candidates.map(|candidate| candidate.0), ["b", "d", "c", "e", "a"]);
    }
}
