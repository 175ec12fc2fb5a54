//! The calls that this process knows of, and the memory that their answers take.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::flight::{Flight, Joined, Reader};
use super::{Asked, Refusal};
use crate::clock::Timestamp;
use crate::ids::KeyId;

/// Whose name, and the name.
pub(super) type Place = (KeyId, Box<str>);

/// What a client finds.
pub(super) enum Looked {
    Join(Reader),
    Refused(Refusal),
    Unsure(watch::Receiver<()>),
    /// Nothing: the call is its own. `replaces` is the id of one that was dropped and may have left its mark in the store.
    First {
        flight: Arc<Flight>,
        reader: Reader,
        replaces: Option<String>,
    },
}

pub(super) struct Table {
    places: Mutex<Places>,
    memory: Arc<Memory>,
}

#[derive(Default)]
struct Places {
    flights: HashMap<Place, Arc<Flight>>,
    /// Those that are over, oldest first: who makes room for others.
    over: VecDeque<(Place, Arc<Flight>)>,
}

impl Table {
    pub(super) fn new(most_bytes: usize) -> Self {
        let memory = Arc::new(Memory { most: most_bytes, used: AtomicUsize::new(0) });
        Self { places: Mutex::default(), memory }
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the call that is asked for, or begins it.
    pub(super) fn look(&self, asked: &Asked, now: Timestamp) -> Looked {
        let mut places = self.lock();
        let place = (asked.key.clone(), asked.name.clone());
        let mut replaces = None;
        if let Some(flight) = places.flights.get(&place) {
            match flight.join(asked.fingerprint, now) {
                Joined::Reader(reader) => return Looked::Join(reader),
                Joined::Refused(refusal) => return Looked::Refused(refusal),
                Joined::Unsure(changed) => return Looked::Unsure(changed),
                Joined::Gone => replaces = Some(flight.id.clone()),
            }
        }
        let charge = Charge { memory: Arc::clone(&self.memory), bytes: 0 };
        let flight = Flight::new(asked.fingerprint, asked.alone, charge);
        let reader = flight.read();
        places.flights.insert(place, Arc::clone(&flight));
        Looked::First { flight, reader, replaces }
    }

    /// The call is over, and its answer may be asked for again.
    pub(super) fn keep(&self, place: &Place, flight: &Arc<Flight>) {
        self.lock().over.push_back((place.clone(), Arc::clone(flight)));
    }

    /// The call is as if it had never been.
    pub(super) fn forget(&self, place: &Place, flight: &Arc<Flight>) {
        self.lock().forget(place, flight);
    }

    /// Takes out answers, oldest first, until there are so many bytes of memory, or none is left.
    pub(super) fn make_room(&self, bytes: usize) {
        while !self.memory.has(bytes) {
            let mut places = self.lock();
            let Some((place, flight)) = places.over.pop_front() else { return };
            places.forget(&place, &flight);
        }
    }

    pub(super) fn forget_expired(&self, now: Timestamp) {
        let mut places = self.lock();
        // All are kept equally long.
        while let Some((place, flight)) = places.over.pop_front_if(|(_, flight)| flight.is_expired(now)) {
            places.forget(&place, &flight);
        }
    }

    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.lock().flights.len(), self.memory.used.load(Ordering::Relaxed))
    }
}

impl Places {
    fn forget(&mut self, place: &Place, flight: &Arc<Flight>) {
        // Another one may be in its place by now.
        if self.flights.get(place).is_some_and(|other| Arc::ptr_eq(other, flight)) {
            self.flights.remove(place);
        }
    }
}

struct Memory {
    most: usize,
    used: AtomicUsize,
}

impl Memory {
    fn has(&self, bytes: usize) -> bool {
        self.used.load(Ordering::Relaxed).saturating_add(bytes) <= self.most
    }
}

/// What an answer takes of the memory; given back when it is dropped.
pub(super) struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Charge {
    /// Takes more, if there is so much.
    pub(super) fn add(&mut self, bytes: usize) -> bool {
        if !self.memory.has(bytes) {
            return false;
        }
        self.memory.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        true
    }

    pub(super) fn clear(&mut self) {
        self.memory.used.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.clear();
    }
}
