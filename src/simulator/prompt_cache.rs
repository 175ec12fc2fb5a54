//! Input tokens of one request and the prompt cache they meet: which prefixes were seen before, per Region and model. An
//! entry never expires here; on AWS it does after its time to live.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::tokens;

/// What an image counts, whatever its size.
const IMAGE_TOKENS: u64 = 256;
/// What every turn counts beside its content.
const TURN_TOKENS: u64 = 3;

/// Counts a prompt in the model's order: tools, system, messages.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    total: u64,
    hasher: DefaultHasher,
    checkpoints: Vec<Checkpoint>,
}

#[derive(Clone, Debug)]
struct Checkpoint {
    tokens: u64,
    prefix: u64,
    ttl: String,
}

impl Meter {
    pub(crate) fn turn(&mut self, role: &str) {
        self.total += TURN_TOKENS;
        role.hash(&mut self.hasher);
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.total += tokens::count(text);
        text.hash(&mut self.hasher);
    }

    pub(crate) fn json(&mut self, value: &Value) {
        self.text(&value.to_string());
    }

    pub(crate) fn image(&mut self, base64: &str) {
        self.total += IMAGE_TOKENS;
        base64.hash(&mut self.hasher);
    }

    /// A document, audio or video: a token for every four bytes.
    pub(crate) fn document(&mut self, base64: &str) {
        self.total += (base64.len() as u64 * 3 / 16).max(1);
        base64.hash(&mut self.hasher);
    }

    /// A cache point after what was counted so far.
    pub(crate) fn checkpoint(&mut self, ttl: Option<&str>) {
        let ttl = ttl.unwrap_or("5m").to_owned();
        self.checkpoints.push(Checkpoint { tokens: self.total, prefix: self.hasher.finish(), ttl });
    }

    /// Times to live of the cache points, in order.
    pub(crate) fn ttls(&self) -> impl Iterator<Item = &str> {
        self.checkpoints.iter().map(|checkpoint| checkpoint.ttl.as_str())
    }

    /// All input tokens, cached or not; at least one.
    pub(crate) fn total(&self) -> u64 {
        self.total.max(1)
    }

    /// A number that equal prompts share.
    pub(crate) fn fingerprint(&self) -> u64 {
        self.hasher.finish()
    }
}

/// Input tokens by class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Input {
    pub(crate) fresh: u64,
    pub(crate) read: u64,
    pub(crate) written: u64,
    /// `written` by time to live, the longer first.
    pub(crate) written_by_ttl: Vec<(String, u64)>,
}

impl Input {
    pub(crate) fn total(&self) -> u64 {
        self.fresh + self.read + self.written
    }

    /// What was written with this time to live.
    pub(crate) fn written_for(&self, ttl: &str) -> u64 {
        self.written_by_ttl.iter().filter(|(name, _)| name == ttl).map(|(_, tokens)| tokens).sum()
    }
}

/// A prefix of a prompt, in a Region and for a model.
pub(crate) type Prefix = (String, String, u64);

/// The prefixes that were written.
#[derive(Debug, Default)]
pub(crate) struct PromptCache {
    seen: Mutex<HashSet<Prefix>>,
}

impl PromptCache {
    /// The input of `meter` by class, and the prefixes that are to be remembered once the call is admitted. `minimum` is the
    /// model's; without one nothing is cached.
    pub(crate) fn meet(&self, region: &str, model: &str, meter: &Meter, minimum: Option<u64>) -> (Input, Vec<Prefix>) {
        let cacheable: Vec<&Checkpoint> =
            meter.checkpoints.iter().filter(|point| minimum.is_some_and(|minimum| point.tokens >= minimum)).collect();
        let key = |prefix| (region.to_owned(), model.to_owned(), prefix);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let read =
            cacheable.iter().rev().find(|point| seen.contains(&key(point.prefix))).map_or(0, |point| point.tokens);
        let (mut upto, mut by_ttl) = (read, Vec::<(String, u64)>::new());
        for point in cacheable.iter().filter(|point| point.tokens > read) {
            match by_ttl.iter_mut().find(|(ttl, _)| *ttl == point.ttl) {
                Some((_, tokens)) => *tokens += point.tokens - upto,
                None => by_ttl.push((point.ttl.clone(), point.tokens - upto)),
            }
            upto = point.tokens;
        }
        drop(seen);
        let prefixes = cacheable.iter().map(|point| key(point.prefix)).collect();
        by_ttl.sort_by_key(|(ttl, _)| ttl != "1h");
        (Input { fresh: meter.total() - upto, read, written: upto - read, written_by_ttl: by_ttl }, prefixes)
    }

    /// From now on these prefixes are read.
    pub(crate) fn remember(&self, prefixes: Vec<Prefix>) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).extend(prefixes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(question: &str) -> Meter {
        let mut meter = Meter::default();
        meter.text("a long system prompt");
        meter.checkpoint(None);
        meter.text(question);
        meter
    }

    #[test]
    fn a_prefix_is_written_once_and_read_then() {
        let cache = PromptCache::default();
        let (first, prefixes) = cache.meet("us-east-1", "m", &meter("one"), Some(2));
        assert_eq!(cache.meet("us-east-1", "m", &meter("one"), Some(2)).0.read, 0, "not remembered yet");
        cache.remember(prefixes);
        let second = cache.meet("us-east-1", "m", &meter("other"), Some(2)).0;
        assert_eq!((first.read, first.written, first.fresh), (0, 6, 1));
        assert_eq!((second.read, second.written, second.fresh), (6, 0, 2));
        assert_eq!(cache.meet("us-west-2", "m", &meter("one"), Some(2)).0.read, 0);
    }

    #[test]
    fn a_prefix_below_the_minimum_is_silently_not_cached() {
        let input = PromptCache::default().meet("us-east-1", "m", &meter("one"), Some(1024)).0;
        assert_eq!(input, Input { fresh: 7, ..Input::default() });
    }
}
