//! Wrong keys, counted by the address that they come from.
//!
//! Who sends many is told to wait instead of being answered, and is given few looks into the store: guessing is slow,
//! and a client that runs wild is cheap. Right keys from the same address, maybe of others behind the same router, go
//! on. Invariant: from one address, no more than [`PER_MINUTE`] wrong keys are answered at once, and as many a minute.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::bucket::Bucket;
use crate::clock::Timestamp;
use crate::error::{Error, Kind};

/// Wrong keys from one address that are answered in a minute.
const PER_MINUTE: u64 = 20;
/// Callers from an address with too many wrong keys that may wait for a look into the store at the same time.
const PLACES: u32 = 4;
/// Addresses that are kept in mind; 100 bytes each, or so.
const ADDRESSES: usize = 16_384;
/// How often a full table is looked through for addresses that can be forgotten.
const TIDY_INTERVAL: Duration = Duration::from_secs(1);

/// Where wrong keys come from: an address of IPv4, or the network of IPv6 that one subscriber has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    V4(Ipv4Addr),
    V6([u16; 4]),
}

impl Origin {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [first, second, third, fourth, ..] = address.segments();
                Self::V6([first, second, third, fourth])
            }
        }
    }
}

/// What came from one origin.
struct Record {
    /// Answers that are left.
    answers: Bucket,
    /// Who wait for a look into the store.
    waiting: u32,
}

#[derive(Default)]
struct Table {
    records: HashMap<Origin, Record>,
    tidied: Timestamp,
}

/// All wrong keys of the last minute or so.
#[derive(Default)]
pub(super) struct Guesses(Mutex<Table>);

/// The right to have the store asked. Given back by dropping it.
pub(super) struct Place<'a> {
    guesses: &'a Guesses,
    /// Where there are few of them.
    origin: Option<Origin>,
}

impl Guesses {
    /// A wrong key came from `client`. When too many did, fails with how long none of them will be answered; that one is
    /// not counted, so who waits that long is answered again.
    pub(super) fn wrong(&self, client: Option<IpAddr>, now: Timestamp) -> Result<(), Duration> {
        let Some(origin) = client.map(Origin::of) else { return Ok(()) };
        let mut table = self.lock();
        let Some(record) = table.record(origin, now) else { return Ok(()) };
        if record.answers.take_if_fits(1, now) { Ok(()) } else { Err(wait(&record.answers, now)) }
    }

    /// A place to wait for the store's word on a key that nobody knows. Fails when too many wrong keys came from `client`
    /// and others wait there already.
    pub(super) fn place(&self, client: Option<IpAddr>, now: Timestamp) -> Result<Place<'_>, Duration> {
        let open = Ok(Place { guesses: self, origin: None });
        let Some(origin) = client.map(Origin::of) else { return open };
        let mut table = self.lock();
        let Some(record) = table.records.get_mut(&origin) else { return open };
        if record.answers.fits(1, now) {
            return open;
        }
        if record.waiting >= PLACES {
            return Err(wait(&record.answers, now));
        }
        record.waiting += 1;
        Ok(Place { guesses: self, origin: Some(origin) })
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let Some(origin) = self.origin else { return };
        if let Some(record) = self.guesses.lock().records.get_mut(&origin) {
            record.waiting = record.waiting.saturating_sub(1);
        }
    }
}

impl Table {
    /// What is known of `origin`; nothing when no more can be kept in mind.
    fn record(&mut self, origin: Origin, now: Timestamp) -> Option<&mut Record> {
        if self.records.len() >= ADDRESSES && !self.records.contains_key(&origin) {
            if now.since(self.tidied) < TIDY_INTERVAL {
                return None;
            }
            self.tidied = now;
            self.records.retain(|_, record| record.waiting > 0 || !record.answers.fits(PER_MINUTE, now));
        }
        let full = self.records.len() >= ADDRESSES;
        match self.records.entry(origin) {
            Entry::Occupied(record) => Some(record.into_mut()),
            Entry::Vacant(_) if full => None,
            Entry::Vacant(vacant) => Some(vacant.insert(Record { answers: Bucket::full(PER_MINUTE, now), waiting: 0 })),
        }
    }
}

fn wait(answers: &Bucket, now: Timestamp) -> Duration {
    answers.wait_for(1, now).unwrap_or(Duration::from_mins(1))
}

/// The error of a key that is not looked at any further.
pub(super) fn too_many(wait: Duration) -> Error {
    let message = "Too many wrong keys came from this address. Check the key, which must be a gateway key, `bgw_...`, \
                   and wait. Right keys go on working.";
    Error::new(Kind::RateLimited, message).reason("key").retry_after(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn at(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn exhaust(guesses: &Guesses, client: Option<IpAddr>) {
        (0..PER_MINUTE).for_each(|_| guesses.wrong(client, NOW).unwrap());
    }

    #[test]
    fn a_minutes_worth_is_answered_and_then_one_after_the_other() {
        let guesses = Guesses::default();
        let client = Some(at("192.0.2.1"));
        exhaust(&guesses, client);
        let wait = guesses.wrong(client, NOW).unwrap_err();
        assert_eq!(wait, Duration::from_secs(3));
        assert_eq!(guesses.wrong(client, NOW.plus(wait)), Ok(()));
        assert!(guesses.wrong(client, NOW.plus(wait)).is_err());
        assert!(guesses.wrong(Some(at("192.0.2.2")), NOW).is_ok(), "others are not meant");
        assert!((0..100).all(|_| guesses.wrong(None, NOW).is_ok()));
    }

    #[test]
    fn an_address_of_ipv4_is_one_however_it_is_written_and_a_network_of_ipv6_is_one() {
        let guesses = Guesses::default();
        exhaust(&guesses, Some(at("192.0.2.1")));
        assert!(guesses.wrong(Some(at("::ffff:192.0.2.1")), NOW).is_err());
        exhaust(&guesses, Some(at("2001:db8:1:2::1")));
        assert!(guesses.wrong(Some(at("2001:db8:1:2:ffff::9")), NOW).is_err());
        assert!(guesses.wrong(Some(at("2001:db8:1:3::1")), NOW).is_ok());
    }

    #[test]
    fn who_sent_too_many_has_few_places_to_wait_and_gets_them_back() {
        let guesses = Guesses::default();
        let client = Some(at("192.0.2.1"));
        let free: Vec<_> = (0..100).map(|_| guesses.place(client, NOW).unwrap_or_else(|_| unreachable!())).collect();
        exhaust(&guesses, client);
        drop(free);
        let taken: Vec<_> = (0..PLACES).filter_map(|_| guesses.place(client, NOW).ok()).collect();
        assert_eq!(taken.len(), 4);
        assert!(guesses.place(client, NOW).is_err());
        assert!(guesses.place(Some(at("192.0.2.2")), NOW).is_ok());
        drop(taken);
        assert!(guesses.place(client, NOW).is_ok());
    }

    #[test]
    fn the_table_does_not_grow_beyond_its_bound_and_forgets_who_has_waited() {
        let guesses = Guesses::default();
        let addresses = (0..u32::try_from(ADDRESSES).unwrap() + 10).map(|n| Some(IpAddr::from(n.to_be_bytes())));
        assert!(addresses.clone().all(|client| guesses.wrong(client, NOW).is_ok()));
        assert_eq!(guesses.lock().records.len(), ADDRESSES);
        let later = NOW.plus(Duration::from_mins(1));
        guesses.wrong(addresses.clone().next_back().flatten(), later).unwrap();
        assert_eq!(guesses.lock().records.len(), 1);
    }
}
