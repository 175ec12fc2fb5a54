//! Calls and those who repeat them, in one process and in several, on every kind of store.

use bytes::Bytes;
use futures_util::future::join_all;

use super::recorder::LEASE;
use super::*;
use crate::clock::Timestamp;
use crate::store::testing::{self, TestStore};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

/// A process that serves from `store`.
fn process(store: &TestStore, clock: &Clock, settings: &config::Idempotency) -> Idempotency {
    Idempotency::new(Store::clone(store), clock.clone(), settings, 1024, TaskTracker::new())
}

fn asked(key: &str, name: &str, body: &str) -> Asked {
    let fingerprint = Fingerprint::of("POST", "/v1/x?y", body.as_bytes());
    Asked { key: key.into(), name: name.into(), fingerprint, alone: Alone::Cancelled }
}

fn head(status: u16) -> Head {
    let headers = [("content-type", "text/plain"), ("x-ratelimit-remaining", "1"), ("date", "today")];
    let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    Head {
        status,
        headers: HeaderMap::from_iter::<[(http::HeaderName, http::HeaderValue); 3]>(headers),
        length: None,
        is_stored: false,
    }
}

async fn first(process: &Idempotency, asked: &Asked) -> (Recorder, Reader) {
    let Seat::First(mut recorder, reader) = process.sit(asked).await.unwrap() else { panic!("somebody was before") };
    assert!(recorder.claim().await, "the store knows it");
    (recorder, reader)
}

async fn repeat(process: &Idempotency, asked: &Asked) -> Reader {
    let Seat::Repeat(reader) = process.sit(asked).await.unwrap() else { panic!("nobody was before") };
    reader
}

/// What a process that knows nothing finds in the store.
async fn found(process: &Idempotency, asked: &Asked) -> Result<(u16, String), Lost> {
    let Seat::First(mut recorder, mut reader) = process.sit(asked).await.unwrap() else { panic!("it knows") };
    assert!(!recorder.claim().await, "the store does not know it");
    let head = reader.head().await?;
    assert!(head.is_stored);
    Ok((head.status, rest(&mut reader).await?))
}

async fn rest(reader: &mut Reader) -> Result<String, Lost> {
    let mut text = String::new();
    while let Some(piece) = reader.next().await {
        text += std::str::from_utf8(&piece?).unwrap();
    }
    Ok(text)
}

fn refused(seat: Result<Seat>) -> (Kind, bool) {
    let error = seat.unwrap_err();
    (error.kind(), error.wait().is_some())
}

#[tokio::test]
async fn who_joins_reads_from_the_start_and_then_live_and_who_comes_late_reads_the_store() {
    let clock = Clock::manual(START);
    for store in testing::stores().await {
        let here = process(&store, &clock, &config::Idempotency::default());
        let there = process(&store, &clock, &config::Idempotency::default());
        let call = asked("key1", "a", "x");
        let (recorder, mut reader) = first(&here, &call).await;
        recorder.begin(head(200));
        recorder.push("one ".into()).await;
        let mut joined = repeat(&here, &call).await;
        assert_eq!(joined.head().await.unwrap().status, 200);
        assert_eq!(joined.next().await.unwrap().unwrap(), "one ");

        // Elsewhere it is running, and another request is another request anywhere.
        assert_eq!(found(&there, &call).await.unwrap_err(), Lost::Refused(Refusal::Running));
        assert_eq!(found(&there, &asked("key1", "a", "y")).await.unwrap_err(), Lost::Refused(Refusal::OtherRequest));
        assert_eq!(refused(here.sit(&asked("key1", "a", "y")).await), (Kind::Conflict, false));
        // Another key's name is its own.
        drop(first(&there, &asked("key2", "a", "y")).await);

        recorder.push("two ".into()).await;
        recorder.finish(None, Some("three".into()), Keep::Answer).await;
        assert_eq!(rest(&mut joined).await.unwrap(), "two three");
        assert_eq!(rest(&mut reader).await.unwrap(), "one two three");
        assert_eq!(rest(&mut repeat(&here, &call).await).await.unwrap(), "one two three");
        assert_eq!(found(&there, &call).await.unwrap(), (200, "one two three".into()));
        assert_eq!(
            found(&process(&store, &clock, &config::Idempotency::default()), &asked("key1", "a", "y"))
                .await
                .unwrap_err(),
            Lost::Refused(Refusal::OtherRequest)
        );
        let stored = repeat(&there, &call).await.head().await.unwrap();
        let names: Vec<&str> = stored.headers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["content-type"], "what is true of one answer only is not told again");

        clock.advance(Duration::from_hours(24));
        for process in [&here, &there] {
            let (recorder, _reader) = first(process, &call).await;
            recorder.finish(Some(head(500)), None, Keep::Nothing).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_kept_is_told_to_who_joined_and_asked_for_anew() {
    let clock = Clock::manual(START);
    for store in testing::stores().await {
        let here = process(&store, &clock, &config::Idempotency::default());
        let call = asked("key1", "a", "x");
        for _ in 0..2 {
            let (recorder, reader) = first(&here, &call).await;
            let mut joined = repeat(&here, &call).await;
            drop(reader);
            recorder.finish(Some(head(503)), Some("later".into()), Keep::Nothing).await;
            assert_eq!((joined.head().await.unwrap().status, rest(&mut joined).await.unwrap()), (503, "later".into()));
        }
        assert_eq!(here.0.table.sizes().0, 0);
        assert!(store.texts("SELECT name FROM idempotent_answers").await.is_empty());
    }
}

#[tokio::test]
async fn a_call_is_dropped_when_the_last_reader_leaves_unless_it_goes_on_alone() {
    let clock = Clock::manual(START);
    for store in testing::stores().await {
        let here = process(&store, &clock, &config::Idempotency::default());
        let call = asked("key1", "a", "x");
        let (recorder, reader) = first(&here, &call).await;
        let joined = repeat(&here, &call).await;
        drop(reader);
        assert!(futures_util::FutureExt::now_or_never(recorder.deserted()).is_none(), "somebody is left");
        drop(joined);
        recorder.deserted().await;
        // It may be asked for again before its maker has noticed.
        let (second, mut reader) = first(&here, &call).await;
        drop(recorder);
        second.finish(Some(head(200)), Some("anew".into()), Keep::Answer).await;
        assert_eq!(rest(&mut reader).await.unwrap(), "anew");
        assert_eq!(rest(&mut repeat(&here, &call).await).await.unwrap(), "anew");

        let call = Asked { alone: Alone::GoesOn, ..asked("key1", "b", "x") };
        let (recorder, reader) = first(&here, &call).await;
        drop(reader);
        assert!(futures_util::FutureExt::now_or_never(recorder.deserted()).is_none());
        recorder.finish(Some(head(200)), Some("done".into()), Keep::Answer).await;
        assert_eq!(rest(&mut repeat(&here, &call).await).await.unwrap(), "done");
    }
}

#[tokio::test]
async fn who_comes_right_after_a_maker_that_failed_makes_the_call_though_the_store_has_not_heard_of_it() {
    for store in testing::stores().await {
        let here = process(&store, &Clock::manual(START), &config::Idempotency::default());
        let call = asked("key1", "a", "x");
        drop(first(&here, &call).await);
        // Without a moment for what is still to be told to the store.
        let (recorder, _reader) = first(&here, &call).await;
        recorder.finish(Some(head(200)), Some("made".into()), Keep::Answer).await;
        assert_eq!(rest(&mut repeat(&here, &call).await).await.unwrap(), "made");
    }
}

#[tokio::test]
async fn the_mark_of_a_process_that_died_lapses_and_that_of_a_maker_that_failed_goes() {
    let clock = Clock::manual(START);
    for store in testing::stores().await {
        let here = process(&store, &clock, &config::Idempotency::default());
        let there = process(&store, &clock, &config::Idempotency::default());
        let call = asked("key1", "a", "x");
        let (dead, mut reader) = first(&here, &call).await;
        clock.advance(LEASE.checked_sub(Duration::from_millis(1)).unwrap());
        assert_eq!(found(&there, &call).await.unwrap_err(), Lost::Refused(Refusal::Running));
        clock.advance(Duration::from_millis(1));
        let (second, _reader) = first(&there, &call).await;
        // One that was thought dead changes nothing of who took over.
        dead.finish(Some(head(200)), Some("late".into()), Keep::Answer).await;
        assert_eq!(rest(&mut reader).await.unwrap(), "late");
        second.finish(Some(head(200)), Some("in time".into()), Keep::Answer).await;
        let third = process(&store, &clock, &config::Idempotency::default());
        assert_eq!(found(&third, &call).await.unwrap().1, "in time");

        let call = asked("key1", "b", "x");
        let (recorder, mut reader) = first(&here, &call).await;
        drop(recorder);
        assert_eq!(reader.head().await.unwrap_err(), Lost::Broken);
        here.0.tracker.close();
        here.0.tracker.wait().await;
        let (recorder, _reader) = first(&there, &call).await;
        recorder.finish(Some(head(200)), None, Keep::Answer).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_too_large_reaches_its_readers_and_is_never_made_twice() {
    let clock = Clock::manual(START);
    let settings = config::Idempotency { max_answer_kb: 1, ..config::Idempotency::default() };
    for store in testing::stores().await {
        let here = process(&store, &clock, &settings);
        let call = asked("key1", "a", "x");
        let (recorder, mut reader) = first(&here, &call).await;
        let mut joined = repeat(&here, &call).await;
        recorder.begin(head(200));
        let piece = Bytes::from(vec![b'x'; 100]);
        let write = async {
            for _ in 0..100 {
                recorder.push(piece.clone()).await;
            }
            recorder.finish(None, None, Keep::Answer).await;
        };
        let read = async { (rest(&mut reader).await, rest(&mut joined).await) };
        let ((), (told, _)) = tokio::join!(write, read);
        assert_eq!(told.unwrap().len(), 10_000);
        assert_eq!(refused(here.sit(&call).await), (Kind::Conflict, false));
        let there = process(&store, &clock, &settings);
        assert_eq!(found(&there, &call).await.unwrap_err(), Lost::Refused(Refusal::TooLarge));
        assert_eq!(here.0.table.sizes().1, 0, "it takes no memory");
    }
}

#[tokio::test]
async fn a_reader_that_stands_still_is_cut_where_it_holds_up_another() {
    let clock = Clock::manual(START);
    let store = Store::open("sqlite::memory:").await.unwrap();
    let settings = config::Idempotency { max_answer_kb: 1, ..config::Idempotency::default() };
    let here = Idempotency::new(store, clock, &settings, 1024, TaskTracker::new());
    let call = asked("key1", "a", "x");
    let Seat::First(recorder, mut reader) = here.sit(&call).await.unwrap() else { panic!() };
    let mut still = repeat(&here, &call).await;
    recorder.flight_for_tests().run();
    recorder.begin(head(200));
    let write = async {
        for _ in 0..100 {
            recorder.push(Bytes::from(vec![b'x'; 100])).await;
        }
        recorder.finish(None, None, Keep::Nothing).await;
    };
    let ((), told) = tokio::join!(write, rest(&mut reader));
    assert_eq!(told.unwrap().len(), 10_000);
    assert_eq!(rest(&mut still).await.unwrap_err(), Lost::Broken);
}

#[tokio::test]
async fn memory_is_bounded_and_what_had_to_go_comes_from_the_store() {
    let clock = Clock::manual(START);
    let settings = config::Idempotency { memory_mb: 1, ..config::Idempotency::default() };
    for store in testing::stores().await {
        let here = process(&store, &clock, &settings);
        let body = "x".repeat(300 * 1024);
        for n in 0..5 {
            let (recorder, _reader) = first(&here, &asked("key1", &n.to_string(), "x")).await;
            recorder.finish(Some(head(200)), Some(body.clone().into()), Keep::Answer).await;
        }
        let (flights, bytes) = here.0.table.sizes();
        assert!(flights <= 3 && bytes <= 1024 * 1024, "{flights} {bytes}");
        assert_eq!(found(&here, &asked("key1", "0", "x")).await.unwrap().1, body);
        assert_eq!(rest(&mut repeat(&here, &asked("key1", "4", "x")).await).await.unwrap(), body);
    }
}

#[tokio::test]
async fn of_many_at_once_one_makes_the_call_in_all_processes() {
    let clock = Clock::manual(START);
    for store in testing::stores().await {
        let processes: Vec<_> = (0..4).map(|_| process(&store, &clock, &config::Idempotency::default())).collect();
        let one = async |n: usize| match processes[n % 4].sit(&asked("key1", "a", "x")).await.unwrap() {
            Seat::Repeat(_) => false,
            Seat::First(mut recorder, _reader) => {
                let is_mine = recorder.claim().await;
                if is_mine {
                    recorder.finish(Some(head(200)), None, Keep::Answer).await;
                }
                is_mine
            }
        };
        let made = join_all((0..40).map(one)).await;
        assert_eq!(made.into_iter().filter(|made| *made).count(), 1);
    }
}

#[tokio::test]
async fn a_store_that_is_away_keeps_no_call_from_being_made() {
    let store = testing::sqlite().await;
    let here = process(&store, &Clock::manual(START), &config::Idempotency::default());
    store.close().await;
    let call = asked("key1", "a", "x");
    let (recorder, _reader) = first(&here, &call).await;
    recorder.finish(Some(head(200)), Some("all the same".into()), Keep::Answer).await;
    assert_eq!(rest(&mut repeat(&here, &call).await).await.unwrap(), "all the same");
}

#[tokio::test]
async fn what_has_expired_is_taken_out_of_memory_and_store() {
    let clock = Clock::manual(START);
    for store in testing::stores().await {
        let here = process(&store, &clock, &config::Idempotency::default());
        for n in 0..3 {
            let (recorder, _reader) = first(&here, &asked("key1", &n.to_string(), "x")).await;
            recorder.finish(Some(head(200)), Some("x".into()), Keep::Answer).await;
        }
        assert_eq!(here.purge().await.unwrap(), 0);
        clock.advance(Duration::from_hours(24));
        assert_eq!(here.purge().await.unwrap(), 3);
        assert_eq!(here.0.table.sizes(), (0, 0));
    }
}
