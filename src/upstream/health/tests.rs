//! Cooldown, probe and recovery, by moments that are passed in.

use super::*;
use crate::catalog::QuotaSource;
use crate::clock::Clock;
use crate::upstream::quota::Demand;

const MODEL: &str = "amazon.nova-lite-v1:0";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn until(seconds: i64) -> Condition {
    Condition::Resting { until: at(seconds) }
}

fn begin(health: &Health, seconds: i64) -> Visit {
    health.begin(&MODEL.into(), None, at(seconds))
}

/// An attempt that fails as soon as it began.
fn fail(health: &Health, reason: Reason, wish: Option<u64>, seconds: i64) {
    begin(health, seconds).note(reason, wish.map(Duration::from_secs), at(seconds));
}

fn condition(health: &Health, seconds: i64) -> Condition {
    health.condition(MODEL, at(seconds))
}

fn row(health: &Health, seconds: i64) -> Row {
    health.rows(at(seconds)).remove(0)
}

#[test]
fn a_throttled_model_rests_longer_each_time_up_to_a_minute() {
    let health = Health::default();
    let mut now = 100;
    for rest in [2, 4, 8, 16, 32, 60, 60] {
        fail(&health, Reason::Throttled, None, now);
        assert_eq!(condition(&health, now), until(now + rest));
        assert_eq!(health.condition("another", at(now)), Condition::Ready);
        now += rest;
        assert_eq!(condition(&health, now), Condition::Ready);
    }
    let trouble = row(&health, now).trouble.unwrap();
    assert_eq!((trouble.since, trouble.next_probe), (at(100), at(now)));
}

#[test]
fn failures_of_one_burst_count_once_and_the_longest_wish_holds() {
    let health = Health::default();
    let burst: Vec<Visit> = (0..4).map(|_| begin(&health, 100)).collect();
    for (visit, wish) in burst.into_iter().zip([None, Some(20), Some(5), None]) {
        visit.note(Reason::Throttled, wish.map(Duration::from_secs), at(100));
    }
    assert_eq!(condition(&health, 101), until(120));
    fail(&health, Reason::Throttled, None, 120);
    assert_eq!(condition(&health, 120), until(124));
    fail(&health, Reason::Throttled, Some(1_000_000), 124);
    assert_eq!(condition(&health, 124), until(124 + 3600));
}

#[test]
fn one_probe_goes_when_the_cooldown_ends_and_its_success_ends_all() {
    let health = Health::default();
    fail(&health, Reason::Unavailable, None, 100);
    assert_eq!(row(&health, 101).state, State::Resting);
    let probe = begin(&health, 102);
    assert_eq!((condition(&health, 103), row(&health, 103).state), (until(162), State::Probing));
    probe.answered(at(104));
    assert_eq!((condition(&health, 104), row(&health, 104).state), (Condition::Ready, State::Ready));
    probe.succeeded();
    let row = row(&health, 104);
    assert_eq!((row.trouble, row.in_flight, row.last_success), (None, 0, Some(at(104))));
    assert_eq!(row.last_failure, Some((at(100), Reason::Unavailable)), "that is remembered");
}

#[test]
fn a_probe_that_fails_starts_the_next_cooldown_and_no_longer_wait() {
    let health = Health::default();
    fail(&health, Reason::Throttled, None, 100);
    begin(&health, 102).note(Reason::Throttled, None, at(103));
    assert_eq!(condition(&health, 103), until(107));
}

#[test]
fn a_probe_whose_client_left_lets_the_next_one_try() {
    let health = Health::default();
    fail(&health, Reason::Throttled, None, 100);
    let probe = begin(&health, 102);
    let other = begin(&health, 102);
    drop(other);
    assert_eq!(condition(&health, 102), until(162), "that was not the probe");
    drop(probe);
    assert_eq!(condition(&health, 102), Condition::Ready);
    let second = begin(&health, 102);
    assert_eq!(condition(&health, 102), until(162));
    // One that is reported on too late takes nothing from the next.
    let third = begin(&health, 162);
    drop(second);
    assert_eq!(condition(&health, 163), until(222));
    third.succeeded();
    assert_eq!(row(&health, 163).trouble, None);
}

#[test]
fn a_stream_that_is_throttled_after_its_first_event_lengthens_the_cooldown() {
    let health = Health::default();
    fail(&health, Reason::Throttled, None, 100);
    let probe = begin(&health, 102);
    probe.answered(at(102));
    assert_eq!(condition(&health, 102), Condition::Ready);
    probe.note(Reason::Throttled, None, at(110));
    assert_eq!(condition(&health, 110), until(114), "twice as long, and not as after a first failure");
}

#[test]
fn a_call_from_before_the_failure_does_not_end_the_cooldown_and_one_from_after_it_does() {
    let health = Health::default();
    let before = begin(&health, 99);
    fail(&health, Reason::Throttled, None, 100);
    let after = begin(&health, 100);
    before.answered(at(101));
    before.succeeded();
    assert_eq!(condition(&health, 101), until(102));
    after.answered(at(101));
    after.succeeded();
    assert_eq!(condition(&health, 101), Condition::Ready);
}

#[test]
fn the_fault_of_a_request_rests_nothing_and_a_probe_so_answered_is_over() {
    let health = Health::default();
    fail(&health, Reason::Rejected, None, 100);
    assert_eq!(condition(&health, 100), Condition::Ready);
    fail(&health, Reason::Denied, None, 100);
    assert_eq!(health.resting(at(110)).collect::<Vec<_>>(), [Arc::<str>::from(MODEL)]);
    fail(&health, Reason::Credentials, None, 130);
    assert!(row(&health, 131).trouble.is_some(), "a call that could not be signed says nothing of the model");
    fail(&health, Reason::Rejected, None, 131);
    assert_eq!((condition(&health, 131), row(&health, 131).trouble), (Condition::Ready, None));
}

#[test]
fn calls_in_flight_and_the_use_of_the_quota_are_told() {
    let health = Health::default();
    let known =
        Known { tokens_per_minute: Some(1000), requests_per_minute: None, burndown: 1, source: QuotaSource::Config };
    assert!(health.quota(&MODEL.into(), Known::NOTHING, at(0)).is_none());
    let quota = health.quota(&MODEL.into(), known, at(0)).unwrap();
    let clock = Clock::manual(at(0));
    let reservation = quota.reserve(Demand { input: 100, output: 850 }, &clock);
    let visits = [health.begin(&MODEL.into(), Some(&quota), at(0)), begin(&health, 0)];
    let row = || row(&health, 0);
    assert_eq!((row().in_flight, row().quota.unwrap().tokens, row().state), (2, 950, State::NearlyFull));
    drop(visits);
    reservation.refused();
    assert_eq!((row().in_flight, row().quota.unwrap().tokens, row().state), (0, 0, State::Ready));
}

#[test]
fn made_up_ids_do_not_grow_the_table_without_bound() {
    let health = Health::default();
    let count = crate::table::CAPACITY;
    for id in 0..count * 2 {
        health.begin(&id.to_string().into(), None, at(100)).note(Reason::Throttled, None, at(100));
    }
    assert_eq!(health.resting(at(100)).count(), count);
    drop(begin(&health, 100));
    assert!(health.rows(at(100)).iter().all(|row| &*row.id != MODEL), "those that rest stay");
    drop(begin(&health, 1000));
    assert_eq!(health.rows(at(1000)).len(), 1, "those that have rested make room");
}

#[test]
fn made_up_ids_do_not_keep_the_table_from_what_is_real() {
    for refused in [Reason::Missing, Reason::Denied] {
        let health = Health::default();
        health.begin(&"busy".into(), None, at(100)).note(Reason::Throttled, None, at(100));
        for id in 0..crate::table::CAPACITY * 2 {
            health.begin(&id.to_string().into(), None, at(100)).note(refused, None, at(100));
        }
        begin(&health, 100).note(Reason::Throttled, None, at(100));
        for id in ["busy", MODEL] {
            assert_ne!(health.condition(id, at(100)), Condition::Ready, "{refused:?}: {id} rests");
        }
    }
}
