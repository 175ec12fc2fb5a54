//! How many files, and so connections, this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What is not there for clients: the store, the journal, the log, the ops port.
const OWN: u64 = 128;
/// So many are served however few files there are.
const FEWEST: u64 = 32;
/// Where there is no limit.
const MOST: u64 = 1_000_000;

/// Raises the soft limit of open files to the hard one. The soft one is often 1024 for the sake of programs that cannot do
/// with more; this one can.
pub fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::info!(from = current, to = maximum, "the limit of open files was raised"),
        Err(error) => tracing::warn!(%error, current, "the limit of open files cannot be raised"),
    }
}

/// How many clients may be connected at once: as many as were asked for, or, with 0, as there is room for.
pub(super) fn connections(asked: u64) -> usize {
    let most = if asked == 0 { room(getrlimit(Resource::Nofile).current) } else { asked };
    usize::try_from(most).unwrap_or(usize::MAX)
}

/// Each client may need a connection to AWS as well.
fn room(files: Option<u64>) -> u64 {
    files.map_or(MOST, |files| (files.saturating_sub(OWN) / 2).clamp(FEWEST, MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_is_left_of_the_files_is_for_clients() {
        assert_eq!([Some(1024), Some(0), Some(u64::MAX), None].map(room), [448, 32, 1_000_000, 1_000_000]);
        assert_eq!(connections(7), 7);
        assert!(connections(0) >= 32);
    }
}
