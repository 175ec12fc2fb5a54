//! Who gets the next place. Pure: fair between teams, and in order within one.

use std::collections::{HashMap, VecDeque};

use super::queries::Waiting;

/// What a team has, and what of it waits with its place among all.
struct Line<'a> {
    jobs: u64,
    waiting: VecDeque<(usize, &'a Waiting)>,
}

/// Those that get the `free` places, in the order in which they do: each place goes to the team with the fewest jobs,
/// those that just got one included, of several to the one that waits longest. `running` is by team; `waiting` is in the
/// order of time.
pub(super) fn next<'a>(running: &HashMap<String, u64>, waiting: &'a [Waiting], free: usize) -> Vec<&'a Waiting> {
    let mut teams: HashMap<&str, Line<'_>> = HashMap::new();
    for (place, shard) in waiting.iter().enumerate() {
        let jobs = || running.get(&shard.team).copied().unwrap_or_default();
        let line = teams.entry(&shard.team).or_insert_with(|| Line { jobs: jobs(), waiting: VecDeque::new() });
        line.waiting.push_back((place, shard));
    }
    let mut chosen = Vec::with_capacity(free.min(waiting.len()));
    while chosen.len() < free {
        let first = teams.values_mut().filter_map(|line| Some(((line.jobs, line.waiting.front()?.0), line)));
        let Some((_, line)) = first.min_by_key(|(rank, _)| *rank) else { break };
        line.jobs += 1;
        chosen.extend(line.waiting.pop_front().map(|(_, shard)| shard));
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
