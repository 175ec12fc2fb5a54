//! Every statement, on every kind of store.

use std::time::Duration;

use super::leases::Elsewhere;
use super::*;
use crate::batch::files::Files;
use crate::batch::record::{Batch, File, Shard, ShardState, State};
use crate::batch::testing::{batch, queued, shard};
use crate::ids::TeamId;
use crate::money::MicroUsd;
use crate::store::Store;
use crate::store::testing::stores;

const NOW: Timestamp = Timestamp::from_millis(1_000_000);

fn mine(batch: &str) -> Mine<'_> {
    Mine { worker: "w1", batch }
}

fn others(batch: &str) -> Mine<'_> {
    Mine { worker: "w2", batch }
}

/// Adds a batch, and the file that it is made of.
async fn submit(store: &Store, new: &Batch, worker: Option<&str>) -> Added {
    let mut connection = store.pool().acquire().await.unwrap();
    let file = File { team: new.team.clone(), ..crate::batch::testing::input_file(&new.input_file) };
    Files::add(&mut connection, &file).await.unwrap();
    drop(connection);
    insert(store, new, worker).await.unwrap()
}

async fn running(store: &Store, id: &str, shards: &[Shard]) -> Batch {
    assert_eq!(submit(store, &batch(id, "t1"), Some("w1")).await, Added::Yes);
    assert!(planned(store, mine(id), Planned { shards, total: 100, at: NOW }).await.unwrap());
    load(store, mine(id)).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_batch_is_found_as_it_was_submitted_by_its_team_alone_and_once() {
    for store in stores().await {
        let mut new = batch("batch_1", "t1");
        new.metadata.insert("a".into(), "b\0".into());
        new.details = Some("{}".into());
        new.estimate = Some(MicroUsd(7));
        assert_eq!(insert(&store, &new, Some("w1")).await.unwrap(), Added::NoFile);
        assert_eq!(submit(&store, &new, Some("w1")).await, Added::Yes);
        assert_eq!(submit(&store, &new, Some("w1")).await, Added::Known);
        assert_eq!(find(&store, &new.team, "batch_1").await.unwrap(), Some(new.clone()));
        assert_eq!(find(&store, &TeamId::from("t2"), "batch_1").await.unwrap(), None);
        assert!(!cancel(&store, &TeamId::from("t2"), "batch_1", NOW).await.unwrap());
        assert!(!delete(&store, &TeamId::from("t2"), "batch_1", NOW).await.unwrap());
        assert!(delete(&store, &new.team, "batch_1", NOW).await.unwrap());
        assert!(!delete(&store, &new.team, "batch_1", NOW).await.unwrap());
        assert_eq!(find(&store, &new.team, "batch_1").await.unwrap(), None);
        assert!(load(&store, mine("batch_1")).await.unwrap().is_some(), "who works on it goes on");
    }
}

#[tokio::test]
async fn lists_go_both_ways_page_by_page_and_show_one_team_alone() {
    for store in stores().await {
        for number in 0..5_i64 {
            let mut new = batch(&format!("b{number}"), if number == 4 { "t2" } else { "t1" });
            new.created_at = Timestamp::from_millis(1000 + number / 2);
            submit(&store, &new, None).await;
        }
        let ids = async |filter: Filter| {
            let (batches, more) = list(&store, &filter).await.unwrap();
            (batches.into_iter().map(|batch| batch.id).collect::<Vec<_>>().join(" "), more)
        };
        let team = Some(TeamId::from("t1"));
        let filter = Filter { team: team.clone(), limit: 3, ..Filter::default() };
        assert_eq!(ids(filter.clone()).await, ("b3 b2 b1".into(), true));
        assert_eq!(ids(Filter { after: Some("b1".into()), ..filter.clone() }).await, ("b0".into(), false));
        assert_eq!(ids(Filter { before: Some("b0".into()), limit: 2, ..filter.clone() }).await, ("b2 b1".into(), true));
        assert_eq!(ids(Filter { after: Some("b4".into()), ..filter.clone() }).await, (String::new(), false));
        assert_eq!(ids(Filter { order: Order::OldestFirst, ..filter.clone() }).await, ("b0 b1 b2".into(), true));
        assert_eq!(ids(Filter { team: None, limit: 9, ..Filter::default() }).await, ("b4 b3 b2 b1 b0".into(), false));
        let from = Some(Timestamp::from_millis(1001));
        assert_eq!(ids(Filter { from, ..filter.clone() }).await, ("b3 b2".into(), false));
        assert!(cancel(&store, &TeamId::from("t1"), "b2", NOW).await.unwrap());
        let states = vec![State::Cancelling, State::Cancelled];
        assert_eq!(ids(Filter { states, ..filter.clone() }).await, ("b2".into(), false));
        assert_eq!(ids(Filter { surface: Some("bedrock"), ..filter }).await, (String::new(), false));
    }
}

#[tokio::test]
async fn a_batch_is_taken_over_only_from_a_worker_whose_time_is_over_or_that_left() {
    for store in stores().await {
        let later = NOW.plus(Duration::from_secs(30));
        beat(&store, "w1", later).await.unwrap();
        beat(&store, "w2", later.plus(Duration::from_secs(5))).await.unwrap();
        submit(&store, &batch("b1", "t1"), Some("w1")).await;
        submit(&store, &batch("b2", "t1"), None).await;
        assert_eq!(claim(&store, "w2", NOW, 10).await.unwrap(), ["b2"]);
        let there = Elsewhere { batch: "b1".into(), worker: "w1".into(), lease_until: later };
        assert_eq!(elsewhere(&store, "w2").await.unwrap(), [there]);
        assert!(claim(&store, "w2", NOW, 10).await.unwrap().is_empty());
        assert_eq!(claim(&store, "w2", later, 10).await.unwrap(), ["b1"]);
        assert!(load(&store, mine("b1")).await.unwrap().is_none());
        assert_eq!(owned(&store, "w2").await.unwrap().len(), 2);
        leave(&store, "w2").await.unwrap();
        assert_eq!(claim(&store, "w1", NOW, 1).await.unwrap().len(), 1, "at once, and no more than asked for");
        sweep(&store, later.plus(Duration::from_secs(1))).await.unwrap();
        assert_eq!(store.texts("SELECT id FROM batch_workers").await.len(), 0);
    }
}

#[tokio::test]
async fn what_a_worker_writes_after_it_lost_a_batch_counts_for_nothing() {
    for store in stores().await {
        let before = running(&store, "b1", &[queued("b1", 0)]).await;
        let them = others("b1");
        assert!(!planned(&store, them, Planned { shards: &[], total: 0, at: NOW }).await.unwrap());
        assert!(!take_slot(&store, them, 0, ("us-east-1", "m"), (9, NOW)).await.unwrap());
        assert!(!stand(&store, them, 0, Some("x")).await.unwrap());
        explain(&store, them, Some("x")).await.unwrap();
        assert!(!cancel_team(&store, them, NOW, "x").await.unwrap());
        assert!(!end(&store, them, 0, (None, None), NOW).await.unwrap());
        assert!(end(&store, mine("b1"), 0, (None, None), NOW).await.unwrap());
        assert!(!settle(&store, them, settled(3)).await.unwrap());
        let kept = Kept { record: 0, status: 200, line: "{}".into(), cost: None };
        assert!(!keep_answer(&store, them, 0, &kept).await.unwrap());
        let finished = Finished { state: State::Completed, files: &[], problems: &[], reason: None, at: NOW };
        assert!(!finish(&store, them, &before, finished).await.unwrap());
        assert_eq!(load(&store, mine("b1")).await.unwrap().unwrap(), before);
    }
}

fn settled(cost: i64) -> Settled<'static> {
    Settled {
        number: 0,
        output: &[],
        errors: &[],
        done: 90,
        failed: 4,
        cancelled: 2,
        expired: 1,
        cost: MicroUsd(cost),
        unpriced: 5,
        retry: None,
        at: NOW,
    }
}

#[tokio::test]
async fn a_shard_goes_from_the_queue_to_its_settlement_and_is_paid_for_once() {
    for store in stores().await {
        running(&store, "b1", &[queued("b1", 0)]).await;
        let me = mine("b1");
        let queue = ("us-east-1", "m");
        assert!(!submitted(&store, me, 0, ("arn", "Submitted"), NOW).await.unwrap(), "nobody took a place for it");
        assert!(take_slot(&store, me, 0, queue, (1, NOW)).await.unwrap());
        assert!(!take_slot(&store, me, 0, queue, (9, NOW)).await.unwrap());
        assert!(requeue(&store, me, 0, "no room").await.unwrap());
        assert!(take_slot(&store, me, 0, queue, (1, NOW)).await.unwrap());
        assert!(stand(&store, me, 0, Some("AWS is asked")).await.unwrap());
        assert!(!stand(&store, me, 0, Some("AWS is asked")).await.unwrap(), "it says so already");
        assert!(submitted(&store, me, 0, ("arn", "Submitted"), NOW).await.unwrap());
        assert!(observe(&store, me, 0, (Some("InProgress"), 10, 1)).await.unwrap());
        let jobs = open_jobs(&store, "w1", "us-east-1").await.unwrap();
        assert_eq!((jobs.len(), jobs[0].job_state.as_deref()), (1, Some("InProgress")));
        assert!(open_jobs(&store, "w2", "us-east-1").await.unwrap().is_empty());
        assert_eq!(job_states(&store, "w1").await.unwrap(), [("InProgress".to_owned(), 1)]);
        explain_jobs(&store, "w2", "us-east-1", Some("another's")).await.unwrap();
        explain_jobs(&store, "w1", "us-east-1", Some("away")).await.unwrap();
        assert_eq!(of(&store, "b1").await.unwrap()[0].reason.as_deref(), Some("away"));
        explain_jobs(&store, "w1", "us-east-1", None).await.unwrap();
        assert_eq!(of(&store, "b1").await.unwrap()[0].reason, None);
        assert!(end(&store, me, 0, (Some("Completed"), Some("why")), NOW).await.unwrap());
        let now = &of(&store, "b1").await.unwrap()[0];
        assert_eq!((now.state, now.done, now.failed), (ShardState::Collecting, 10, 1));
        keep_answer(&store, me, 0, &Kept { record: 1, status: 200, line: "x".into(), cost: None }).await.unwrap();
        let retry = Shard { number: 1, attempt: 2, ..queued("b1", 1) };
        let first = Settled { retry: Some(&retry), ..settled(3) };
        assert!(settle(&store, me, first).await.unwrap());
        assert!(!settle(&store, me, first).await.unwrap());
        let batch = load(&store, me).await.unwrap().unwrap();
        assert_eq!((batch.cost, batch.unpriced), (MicroUsd(3), 5));
        let counts = batch.counts;
        assert_eq!((counts.completed, counts.failed, counts.cancelled, counts.expired), (86, 4, 2, 1));
        let shards = of(&store, "b1").await.unwrap();
        assert_eq!(
            shards.iter().map(|shard| (shard.attempt, shard.state)).collect::<Vec<_>>(),
            [(1, ShardState::Settled), (2, ShardState::Queued)]
        );
        assert!(count_answers(&store, "b1", 0).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_queue_gives_no_more_places_than_there_are_and_none_while_it_rests() {
    for store in stores().await {
        running(&store, "b1", &[queued("b1", 0), queued("b1", 1), queued("b1", 2)]).await;
        let queue = ("us-east-1", "m");
        assert_eq!(queues(&store, "w1").await.unwrap(), [("us-east-1".to_owned(), "m".to_owned())]);
        assert!(queues(&store, "w2").await.unwrap().is_empty());
        let waiting = waiting(&store, "us-east-1", "m").await.unwrap();
        assert_eq!(waiting.iter().map(|shard| shard.number).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((&*waiting[0].team, waiting[0].worker.as_deref()), ("t1", Some("w1")));
        let later = NOW.plus(Duration::from_mins(1));
        assert_eq!(rest(&store, queue, Some(later)).await.unwrap(), 1);
        assert_eq!(rest(&store, queue, Some(later)).await.unwrap(), 2);
        assert!(!take_slot(&store, mine("b1"), 0, queue, (2, NOW)).await.unwrap());
        assert!(take_slot(&store, mine("b1"), 0, queue, (2, later)).await.unwrap());
        assert!(take_slot(&store, mine("b1"), 1, queue, (2, later)).await.unwrap());
        assert!(!take_slot(&store, mine("b1"), 2, queue, (2, later)).await.unwrap(), "both places are taken");
        let running = super::running(&store).await.unwrap();
        assert_eq!((running.len(), &*running[0].team, running[0].jobs), (1, "t1", 2));
        let slots = slots(&store).await.unwrap();
        assert_eq!((slots.len(), slots[0].running, slots[0].waiting), (1, 2, 1));
        explain_queue(&store, "w1", queue, "full").await.unwrap();
        explain_queue(&store, "w2", queue, "other").await.unwrap();
        assert_eq!(of(&store, "b1").await.unwrap()[2].reason.as_deref(), Some("full"));
        assert_eq!(rest(&store, queue, None).await.unwrap(), 0);
        assert!(take_slot(&store, mine("b1"), 2, queue, (3, NOW)).await.unwrap());
    }
}

#[tokio::test]
async fn two_workers_that_take_the_last_place_at_once_do_not_both_get_it() {
    for store in stores().await {
        running(&store, "b1", &[queued("b1", 0)]).await;
        submit(&store, &batch("b2", "t1"), Some("w2")).await;
        let shards = [queued("b2", 0)];
        assert!(planned(&store, others("b2"), Planned { shards: &shards, total: 1, at: NOW }).await.unwrap());
        let again = crate::store::testing::again(&store).await;
        let queue = ("us-east-1", "m");
        let (one, two) = tokio::join!(
            take_slot(&store, mine("b1"), 0, queue, (1, NOW)),
            take_slot(&again, others("b2"), 0, queue, (1, NOW))
        );
        assert_eq!(u8::from(one.unwrap()) + u8::from(two.unwrap()), 1);
    }
}

#[tokio::test]
async fn a_cancelled_batch_is_due_and_planned_all_the_same() {
    for store in stores().await {
        let new = batch("b1", "t1");
        submit(&store, &new, Some("w1")).await;
        assert!(due(&store, "w1", NOW).await.unwrap().is_empty());
        assert_eq!(due(&store, "w1", new.expires_at).await.unwrap(), ["b1"]);
        assert!(cancel(&store, &new.team, "b1", NOW).await.unwrap());
        assert!(!cancel(&store, &new.team, "b1", NOW).await.unwrap());
        assert_eq!(due(&store, "w1", NOW).await.unwrap(), ["b1"]);
        let plan = [queued("b1", 0)];
        assert!(planned(&store, mine("b1"), Planned { shards: &plan, total: 100, at: NOW }).await.unwrap());
        assert!(!planned(&store, mine("b1"), Planned { shards: &plan, total: 100, at: NOW }).await.unwrap());
        let batch = load(&store, mine("b1")).await.unwrap().unwrap();
        assert_eq!((batch.state, batch.in_progress_at), (State::Cancelling, Some(NOW)));
        assert!(!take_slot(&store, mine("b1"), 0, ("us-east-1", "m"), (9, NOW)).await.unwrap());
    }
}

#[tokio::test]
async fn a_finished_batch_has_its_files_and_is_over() {
    for store in stores().await {
        let mut new = batch("b1", "t1");
        new.output_file = Some("file-o".into());
        new.error_file = Some("file-e".into());
        submit(&store, &new, Some("w1")).await;
        let file = crate::batch::testing::result_file(&new, "file-o");
        let files = [file];
        let finished = Finished { state: State::Completed, files: &files, problems: &[], reason: None, at: NOW };
        assert!(finish(&store, mine("b1"), &new, finished).await.unwrap());
        assert!(!finish(&store, mine("b1"), &new, finished).await.unwrap());
        let over = find(&store, &new.team, "b1").await.unwrap().unwrap();
        assert_eq!((over.state, over.ended_at), (State::Completed, Some(NOW)));
        assert_eq!((over.output_file.as_deref(), over.error_file), (Some("file-o"), None));
        assert_eq!(store.texts("SELECT id FROM files ORDER BY id").await, [["file-o"], ["file-t1"]]);
        assert!(claim(&store, "w2", NOW, 9).await.unwrap().is_empty());
        assert!(!cancel(&store, &new.team, "b1", NOW).await.unwrap());
    }
}

#[tokio::test]
async fn answers_are_kept_once_and_read_in_order_page_by_page() {
    for store in stores().await {
        running(&store, "b1", &[shard("b1", 0, ShardState::Queued)]).await;
        for record in [2, 0, 1] {
            let kept = Kept { record, status: 200, line: format!("line {record}\0"), cost: Some(MicroUsd(4)) };
            assert!(keep_answer(&store, mine("b1"), 0, &kept).await.unwrap());
            assert!(!keep_answer(&store, mine("b1"), 0, &kept).await.unwrap());
        }
        assert_eq!(count_answers(&store, "b1", 0).await.unwrap(), [(0, 200), (1, 200), (2, 200)]);
        let page = kept_answers(&store, "b1", 0, (1, 1)).await.unwrap();
        assert_eq!(page, [Kept { record: 1, status: 200, line: "line 1\u{fffd}".into(), cost: Some(MicroUsd(4)) }]);
    }
}

#[tokio::test]
async fn a_file_is_the_input_of_its_teams_batches_alone_while_it_is_kept() {
    for store in stores().await {
        store.execute(
            "INSERT INTO files (id, team_id, key_id, purpose, filename, origin, state, bytes, segments, survey, created_at, expires_at)
             VALUES ('file-1', 't1', 'k1', 'batch', 'a.jsonl', 'upload', 'ready', 3, '[]', '{\"form\":\"openai\",\"bytes\":3,\"records\":7,\"bad\":0,\"problems\":[],\"url\":null,\"groups\":[]}', 1, 2000000)",
        )
        .await;
        let team = TeamId::from("t1");
        let found = input(&store, &team, "file-1", NOW).await.unwrap().unwrap();
        assert_eq!((&*found.purpose, found.survey.records), ("batch", 7));
        assert!(input(&store, &TeamId::from("t2"), "file-1", NOW).await.unwrap().is_none());
        assert!(input(&store, &team, "file-1", Timestamp::from_millis(2_000_000)).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn what_a_batch_left_is_cleared_once_when_it_is_old_or_deleted() {
    for store in stores().await {
        for (id, ended) in [("old", 10), ("new", 900_000), ("gone", 900_000)] {
            let over =
                Batch { state: State::Completed, ended_at: Some(Timestamp::from_millis(ended)), ..batch(id, "t1") };
            submit(&store, &over, None).await;
        }
        submit(&store, &batch("open", "t1"), Some("w1")).await;
        for id in ["gone", "open"] {
            assert!(delete(&store, &TeamId::from("t1"), id, NOW).await.unwrap());
        }
        let found = stale(&store, Timestamp::from_millis(500), 9).await.unwrap();
        let found: Vec<_> = found.iter().map(|stale| (&*stale.id, stale.is_old)).collect();
        assert_eq!(found, [("old", true), ("gone", false)]);
        for id in ["old", "gone"] {
            purged(&store, id, NOW).await.unwrap();
        }
        assert_eq!(stale(&store, Timestamp::from_millis(500), 9).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_worker_that_stops_frees_what_runs_nothing_online() {
    for store in stores().await {
        running(&store, "b1", &[queued("b1", 0)]).await;
        running(&store, "b2", &[Shard { kind: crate::batch::record::Kind::Online, ..queued("b2", 0) }]).await;
        assert!(start(&store, mine("b2"), 0, NOW).await.unwrap());
        beat(&store, "w1", NOW.plus(Duration::from_secs(30))).await.unwrap();
        release_quiet(&store, "w1").await.unwrap();
        assert_eq!(claim(&store, "w2", NOW, 9).await.unwrap(), ["b1"]);
        assert!(!end(&store, mine("b1"), 0, (None, None), NOW).await.unwrap());
        assert!(end(&store, mine("b2"), 0, (None, None), NOW).await.unwrap());
    }
}

#[tokio::test]
async fn a_queue_that_is_put_off_gives_places_again_when_its_rest_is_over() {
    for store in stores().await {
        running(&store, "b1", &[queued("b1", 0)]).await;
        let queue = ("us-east-1", "m");
        rest(&store, queue, Some(NOW.plus(Duration::from_secs(1)))).await.unwrap();
        let later = NOW.plus(Duration::from_secs(9));
        put_off(&store, queue, later).await.unwrap();
        assert!(!take_slot(&store, mine("b1"), 0, queue, (1, NOW.plus(Duration::from_secs(2)))).await.unwrap());
        assert!(take_slot(&store, mine("b1"), 0, queue, (1, later)).await.unwrap());
    }
}
