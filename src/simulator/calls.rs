//! What reached the simulator, kept for tests that compare a ledger with it: a bounded ring of calls and exact totals.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::quota::Reservation;

const RING: usize = 10_000;
/// As many lines of the invocation log are kept.
const LOG: usize = 100_000;

/// Tokens of one call by class, as AWS counts them: `input` excludes what the cache read or wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// Input tokens neither read from nor written to the prompt cache.
    pub input: u64,
    /// Output tokens; of a stream that was cut, those sent before the cut.
    pub output: u64,
    /// Input tokens read from the prompt cache.
    pub cache_read: u64,
    /// Input tokens written to the prompt cache.
    pub cache_write: u64,
}

impl Tokens {
    pub(crate) const NONE: Self = Self { input: 0, output: 0, cache_read: 0, cache_write: 0 };
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The whole answer was handed to the connection.
    Completed,
    /// The client hung up, or a fault broke the stream.
    Cut,
    /// An exception was answered.
    Refused,
}

/// One call of an operation, signed well or not.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// `x-amzn-requestid`.
    pub request_id: String,
    /// The Region that was called; empty when the caller was not believed.
    pub region: String,
    /// Who called: the ARN of the role, `root key`, `bearer token`; empty when nobody was believed.
    pub identity: String,
    /// The operation's name (`Converse`, `InvokeModel`, ...).
    pub operation: &'static str,
    /// The identifier in the path: model, profile or ARN; empty without one.
    pub model_id: String,
    /// What it is about beside a model: `bucket/key` of S3; empty without one.
    pub subject: String,
    /// The HTTP status that was answered.
    pub status: u16,
    /// How it ended.
    pub outcome: Outcome,
    /// The exception's name, also of one sent within a stream.
    pub exception: Option<String>,
    /// What was counted.
    pub tokens: Tokens,
}

/// One line of the invocation log: a call on a model that was read and believed, whatever it was answered. Written when it
/// arrives, so that it is there of a caller too that did not live to see the answer. Members as in
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html>.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Invocation {
    /// `x-amzn-requestid`.
    pub request_id: String,
    /// The Region that was called.
    pub region: String,
    /// The operation's name (`Converse`, `InvokeModel`, ...).
    pub operation: &'static str,
    /// The identifier in the path.
    pub model_id: String,
    /// The member of that name of Converse's body; nothing for other operations.
    pub request_metadata: BTreeMap<String, String>,
}

/// Exact sums over all calls of one Region and model identifier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Total {
    /// The Region that was called.
    pub region: String,
    /// The identifier in the path.
    pub model_id: String,
    /// Calls whose answer was complete.
    pub completed: u64,
    /// Calls that were cut.
    pub cut: u64,
    /// Calls that were refused.
    pub refused: u64,
    /// Tokens of completed and cut calls.
    pub tokens: Tokens,
}

/// The record of one simulator.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    ring: VecDeque<Call>,
    totals: BTreeMap<(String, String), Total>,
    log: VecDeque<Invocation>,
}

impl Calls {
    pub(crate) fn list(&self) -> Vec<Call> {
        self.lock().ring.iter().cloned().collect()
    }

    pub(crate) fn totals(&self) -> Vec<Total> {
        self.lock().totals.values().cloned().collect()
    }

    pub(crate) fn invocations(&self) -> Vec<Invocation> {
        self.lock().log.iter().cloned().collect()
    }

    pub(crate) fn invoked(&self, invocation: Invocation) {
        let mut kept = self.lock();
        if kept.log.len() == LOG {
            kept.log.pop_front();
        }
        kept.log.push_back(invocation);
    }

    pub(crate) fn clear(&self) {
        *self.lock() = Kept::default();
    }

    fn add(&self, call: Call) {
        let mut kept = self.lock();
        let key = (call.region.clone(), call.model_id.clone());
        let total = kept.totals.entry(key).or_insert_with(|| Total {
            region: call.region.clone(),
            model_id: call.model_id.clone(),
            ..Total::default()
        });
        match call.outcome {
            Outcome::Completed => total.completed += 1,
            Outcome::Cut => total.cut += 1,
            Outcome::Refused => total.refused += 1,
        }
        total.tokens.input += call.tokens.input;
        total.tokens.output += call.tokens.output;
        total.tokens.cache_read += call.tokens.cache_read;
        total.tokens.cache_write += call.tokens.cache_write;
        if kept.ring.len() == RING {
            kept.ring.pop_front();
        }
        kept.ring.push_back(call);
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way. Dropped before [`Recording::end`], it is recorded as cut: the client hung up.
#[derive(Debug)]
pub(crate) struct Recording {
    calls: Arc<Calls>,
    call: Option<Call>,
    reservation: Option<Reservation>,
}

impl Recording {
    pub(crate) fn start(calls: Arc<Calls>, request_id: String) -> Self {
        let call = Call {
            request_id,
            region: String::new(),
            identity: String::new(),
            operation: "",
            model_id: String::new(),
            subject: String::new(),
            status: 0,
            outcome: Outcome::Cut,
            exception: None,
            tokens: Tokens::default(),
        };
        Self { calls, call: Some(call), reservation: None }
    }

    /// Changes what will be recorded.
    pub(crate) fn note(&mut self, change: impl FnOnce(&mut Call)) {
        if let Some(call) = &mut self.call {
            change(call);
        }
    }

    /// Settled when the call is over.
    pub(crate) fn hold(&mut self, reservation: Option<Reservation>) {
        self.reservation = reservation;
    }

    /// The call is over.
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if let Some(call) = self.call.take() {
            if let Some(reservation) = self.reservation.take() {
                reservation.settle(call.tokens);
            }
            self.calls.add(Call { outcome, ..call });
        }
    }

    /// `x-amzn-requestid`; empty once the call is over.
    pub(crate) fn request_id(&self) -> &str {
        self.call.as_ref().map_or("", |call| &call.request_id)
    }

    /// Nothing is recorded: not a call of an operation.
    pub(crate) fn forget(&mut self) {
        self.call = None;
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.end(Outcome::Cut);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_counts_once_and_as_cut_when_dropped() {
        let calls = Arc::new(Calls::default());
        let mut ended = Recording::start(Arc::clone(&calls), "a".to_owned());
        ended.note(|call| call.tokens.output = 7);
        ended.end(Outcome::Completed);
        drop(ended);
        drop(Recording::start(Arc::clone(&calls), "b".to_owned()));
        let total = &calls.totals()[0];
        assert_eq!((total.completed, total.cut, total.refused, total.tokens.output), (1, 1, 0, 7));
        assert_eq!(calls.list().len(), 2);
    }
}
