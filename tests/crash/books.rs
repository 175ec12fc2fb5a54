//! The books: what the ledger has, what Bedrock was asked, what clients saw.

use std::collections::BTreeMap;

use bedrock_gateway::clock::Timestamp;
use bedrock_gateway::store::Store;
use bedrock_gateway::tenancy::ledger::{self, Entry, Outcome, UsageSource};
use serde_json::Value;

use crate::load::Seen;

/// How many calls ended how.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) rows: usize,
    pub(crate) interrupted: usize,
    /// Interrupted, and not known to Bedrock: begun in the moment of the kill, and never sent.
    pub(crate) unsent: usize,
}

/// Fails unless every call that Bedrock knows has exactly one row, which says as many attempts as Bedrock knows, and every
/// whole answer that a client got is booked as Bedrock told.
pub(crate) async fn agree(store: &Store, invocations: &[Value], seen: &Seen) -> Tally {
    let rows = ledger::list(store, Timestamp::default(), 1_000_000).await.unwrap();
    let mut by_call: BTreeMap<&str, &Entry> = BTreeMap::new();
    for row in &rows {
        let twin = by_call.insert(row.request_id.as_str(), row);
        assert!(twin.is_none(), "two rows for one call: {twin:?} and {row:?}");
    }
    let mut asked: BTreeMap<&str, u32> = BTreeMap::new();
    for invocation in invocations {
        *asked.entry(invocation["requestMetadata"]["call"].as_str().unwrap()).or_default() += 1;
    }
    for (call, times) in &asked {
        let row = by_call.get(call).unwrap_or_else(|| panic!("Bedrock was asked {call}, and no row says so"));
        let is_interrupted = row.outcome == Outcome::INTERRUPTED;
        // Of an attempt that was begun in the moment of the kill nobody knows whether it was sent.
        let least = row.attempts - u32::from(is_interrupted);
        assert!((least..=row.attempts).contains(times), "Bedrock was asked {times} times: {row:?}");
    }
    let mut tally = Tally { rows: rows.len(), interrupted: 0, unsent: 0 };
    for row in &rows {
        let is_known = asked.contains_key(row.request_id.as_str());
        assert!(is_known || row.outcome == Outcome::INTERRUPTED, "Bedrock knows nothing of {row:?}");
        tally.interrupted += usize::from(row.outcome == Outcome::INTERRUPTED);
        tally.unsent += usize::from(!is_known);
        if row.outcome == Outcome::INTERRUPTED {
            assert_eq!((row.usage_source, row.status), (UsageSource::Estimated, 0));
            assert!(row.input_tokens > 0 && row.cost.unwrap().0 > 0, "{row:?}");
        }
    }
    for call in seen.whole() {
        let row = by_call.get(&*call).unwrap_or_else(|| panic!("{call} was answered, and no row says so"));
        assert_eq!((&row.outcome, row.usage_source), (&Outcome::OK, UsageSource::Final), "{row:?}");
    }
    for call in seen.refused() {
        assert!(by_call[&*call].outcome != Outcome::OK, "{call} was refused");
    }
    tally
}
