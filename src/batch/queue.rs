//! Who gets the next place. Pure: fair between teams, and in order within one.

use std::collections::{BTreeMap, HashMap};

use super::queries::Waiting;

/// Those that get the `free` places, in the order in which they do: each place goes to the team with the fewest jobs,
/// those that just got one included, of several to the one that waits longest. `running` is by team; `waiting` is in the
/// order of time.
pub(super) fn next<'a>(running: &HashMap<String, u64>, waiting: &'a [Waiting], free: usize) -> Vec<&'a Waiting> {
    // Of each team what waits, and the place in line of the first of it.
    let mut teams: BTreeMap<&str, (u64, std::iter::Peekable<std::vec::IntoIter<(usize, &Waiting)>>)> = BTreeMap::new();
    let mut lines: HashMap<&str, Vec<(usize, &Waiting)>> = HashMap::new();
    for (place, shard) in waiting.iter().enumerate() {
        lines.entry(&shard.team).or_default().push((place, shard));
    }
    for (team, line) in lines {
        let jobs = running.get(team).copied().unwrap_or_default();
        teams.insert(team, (jobs, line.into_iter().peekable()));
    }
    let mut chosen = Vec::with_capacity(free.min(waiting.len()));
    while chosen.len() < free {
        let first = teams.values_mut().filter_map(|(jobs, line)| {
            let place = line.peek()?.0;
            Some(((*jobs, place), jobs, line))
        });
        let Some((_, jobs, line)) = first.min_by_key(|(rank, ..)| *rank) else { break };
        *jobs += 1;
        chosen.extend(line.next().map(|(_, shard)| shard));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waiting(teams: &[&str]) -> Vec<Waiting> {
        let shard = |(number, team): (usize, &&str)| Waiting {
            batch: format!("batch_{team}"),
            number: u32::try_from(number).unwrap(),
            team: (*team).to_owned(),
            worker: None,
        };
        teams.iter().enumerate().map(shard).collect()
    }

    fn order(running: &[(&str, u64)], teams: &[&str], free: usize) -> Vec<u32> {
        let running = running.iter().map(|(team, jobs)| ((*team).to_owned(), *jobs)).collect();
        next(&running, &waiting(teams), free).into_iter().map(|shard| shard.number).collect()
    }

    #[test]
    fn one_team_is_served_in_order() {
        assert_eq!(order(&[], &["a", "a", "a"], 2), [0, 1]);
        assert_eq!(order(&[], &["a"], 0), [0_u32; 0]);
        assert_eq!(order(&[], &[], 5), [0_u32; 0]);
    }

    #[test]
    fn a_team_that_comes_late_does_not_wait_behind_all_of_another() {
        assert_eq!(order(&[], &["a", "a", "a", "b"], 3), [0, 3, 1]);
        assert_eq!(order(&[("a", 2)], &["a", "a", "b", "b"], 3), [2, 3, 0]);
        assert_eq!(order(&[("b", 9)], &["a", "b"], 9), [0, 1], "nothing is kept free");
    }

    proptest! {
        /// No team gets a place while another that waits has two fewer.
        #[test]
        fn places_are_shared_evenly(teams in prop::collection::vec(0_u8..4, 0..40), free in 0_usize..50) {
            let names: Vec<String> = teams.iter().map(|team| format!("t{team}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let line = waiting(&names);
            let chosen = next(&HashMap::new(), &line, free);
            prop_assert_eq!(chosen.len(), free.min(names.len()));
            let got = |team: &str| chosen.iter().filter(|shard| shard.team == team).count();
            let waits = |team: &str| names.iter().filter(|name| **name == team).count() > got(team);
            for one in &names {
                for other in &names {
                    prop_assert!(!waits(one) || got(other) <= got(one) + 1);
                }
            }
        }
    }
}
