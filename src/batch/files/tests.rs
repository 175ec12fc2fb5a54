//! The statements on every kind of store, and how a file is cut into its objects. What goes over the wire to S3 is tested in
//! `tests/it/openai/files.rs`.

use super::queries::{
    State, advance, complete, due, find, find_any, insert, list, mark, pin, reader, remove, survey, used,
};
use super::*;
use crate::batch::record::Form;
use crate::batch::survey::Group;
use crate::ids::KeyId;
use crate::store::testing::{self, TestStore};

const NOON: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const SOON: Timestamp = Timestamp::from_millis(NOON.millis() + 1000);
const LATER: Timestamp = Timestamp::from_millis(NOON.millis() + 3_600_000);

fn team(name: &str) -> TeamId {
    TeamId::from(name)
}

fn segment(key: &str, bytes: u64) -> Segment {
    Segment { region: "us-east-1".into(), bucket: "files".into(), key: key.into(), bytes }
}

fn file(id: &str, at: i64) -> File {
    File {
        id: id.into(),
        team: team("blue"),
        key: KeyId::from("k1"),
        purpose: "batch".into(),
        filename: "in\0.jsonl".into(),
        origin: Origin::Upload,
        form: Some(Form::OpenAi),
        bytes: 10,
        segments: vec![segment(id, 10)],
        created_at: Timestamp::from_millis(NOON.millis() + at),
        expires_at: LATER,
    }
}

async fn add(store: &TestStore, file: &File, state: State) {
    let mut transaction = store.begin().await.unwrap();
    insert(&mut transaction, file, state).await.unwrap();
    transaction.commit().await.unwrap();
}

/// Makes a batch of this state over the file.
async fn read_by(store: &TestStore, batch: &str, file: &str, state: &str) {
    let sql = "INSERT INTO batches (id, team_id, key_id, surface, endpoint, input_file_id, state, total, cost_micro_usd, unpriced,
        created_at, expires_at) VALUES ($1, 'blue', 'k1', 'openai', '/v1/embeddings', $2, $3, 1, 0, 0, 0, 0)";
    sqlx::query(sql).bind(batch).bind(file).bind(state).execute(store.pool()).await.unwrap();
}

fn ids(files: &[File]) -> String {
    files.iter().map(|file| file.id.as_str()).collect()
}

#[tokio::test]
async fn an_upload_becomes_a_file_of_its_team_and_of_no_other() {
    for store in testing::stores().await {
        let begun = File { bytes: 0, form: None, purpose: String::new(), ..file("a", 0) };
        add(&store, &begun, State::Uploading).await;
        assert_eq!(find(&store, &team("blue"), "a", NOON).await.unwrap(), None, "it is not there yet");
        assert!(advance(&store, "a", 7, Some("upload-1"), LATER).await.unwrap());
        let remains = due(&store, State::Uploading, LATER, "", 9).await.unwrap().remove(0);
        assert_eq!((remains.upload.as_deref(), &remains.segments), (Some("upload-1"), &begun.segments));

        let done = file("a", 5);
        let known = Survey {
            form: Some(Form::OpenAi),
            records: 3,
            groups: vec![Group { model: "m\u{0}".into(), ..Group::default() }],
            ..Survey::default()
        };
        let mut transaction = store.begin().await.unwrap();
        assert_eq!(used(&mut transaction, &team("blue"), "b").await.unwrap(), 7);
        assert!(complete(&mut transaction, &done, &known).await.unwrap());
        assert!(!complete(&mut transaction, &done, &known).await.unwrap(), "once");
        transaction.commit().await.unwrap();
        assert!(!advance(&store, "a", 8, None, LATER).await.unwrap(), "it is no upload any more");
        let expected = File { filename: "in\u{fffd}.jsonl".into(), ..done };
        assert_eq!(find(&store, &team("blue"), "a", NOON).await.unwrap(), Some(expected.clone()));
        assert_eq!(survey(&store, "a").await.unwrap().unwrap().records, 3);
        for (who, id, now) in [("red", "a", NOON), ("blue", "a\0", NOON), ("blue", "b", NOON), ("blue", "a", LATER)] {
            assert_eq!(find(&store, &team(who), id, now).await.unwrap(), None, "{who} {id:?}");
        }
        assert_eq!(find_any(&store, "a").await.unwrap(), Some(expected), "work goes on though its time is over");
    }
}

#[tokio::test]
async fn a_list_has_what_is_the_teams_from_either_end_page_by_page() {
    for store in testing::stores().await {
        for (id, at) in [("a", 1), ("b", 2), ("c", 2), ("d", 3)] {
            add(&store, &file(id, at), State::Ready).await;
        }
        add(&store, &File { purpose: "batch_output".into(), origin: Origin::Result, ..file("e", 4) }, State::Ready)
            .await;
        add(&store, &File { origin: Origin::Inline, ..file("x", 5) }, State::Ready).await;
        add(&store, &File { team: team("red"), ..file("y", 5) }, State::Ready).await;
        add(&store, &file("z", 5), State::Uploading).await;
        add(&store, &File { expires_at: SOON, ..file("o", 5) }, State::Ready).await;
        let told = async |filter: Filter, mark: Option<(i64, &str)>| {
            let mark = mark.map(|(at, id)| (Timestamp::from_millis(NOON.millis() + at), id));
            ids(&list(&store, &team("blue"), &filter, mark, SOON).await.unwrap())
        };
        let page = |limit, order| Filter { order, limit, ..Filter::default() };
        assert_eq!(told(page(9, Order::Descending), None).await, "edcba");
        assert_eq!(told(page(2, Order::Descending), Some((2, "c"))).await, "ba");
        assert_eq!(told(page(2, Order::Ascending), Some((2, "b"))).await, "cd");
        let outputs = Filter { purpose: Some("batch_output".into()), ..page(9, Order::Ascending) };
        assert_eq!(told(outputs, None).await, "e");
        let nonsense = Filter { purpose: Some("a\0".into()), ..page(9, Order::Ascending) };
        assert_eq!(told(nonsense, None).await, "");
    }
}

#[tokio::test]
async fn what_a_running_batch_reads_is_neither_deleted_nor_swept() {
    for store in testing::stores().await {
        for (id, state) in
            [("a", "validating"), ("b", "in_progress"), ("c", "finalizing"), ("d", "cancelling"), ("e", "completed")]
        {
            add(&store, &File { expires_at: SOON, ..file(id, 0) }, State::Ready).await;
            read_by(&store, &format!("batch_{id}"), id, state).await;
        }
        let swept = due(&store, State::Ready, LATER, "", 9).await.unwrap();
        assert_eq!(swept.iter().map(|file| &*file.id).collect::<Vec<_>>(), ["e"]);
        assert!(due(&store, State::Ready, NOON, "", 9).await.unwrap().is_empty(), "its time is not over");
        assert!(due(&store, State::Ready, LATER, "e", 9).await.unwrap().is_empty(), "behind it there is none");
        let mut transaction = store.begin().await.unwrap();
        assert_eq!(reader(&mut transaction, "c").await.unwrap().as_deref(), Some("batch_c"));
        assert_eq!(reader(&mut transaction, "e").await.unwrap(), None);
        assert!(pin(&mut transaction, &team("blue"), "e", NOON).await.unwrap());
        for (who, id, now) in [("red", "e", NOON), ("blue", "e", SOON), ("blue", "f", NOON)] {
            assert!(!pin(&mut transaction, &team(who), id, now).await.unwrap(), "{who} {id}");
        }
        assert!(mark(&mut transaction, "e", State::Ready, NOON).await.unwrap());
        assert!(!mark(&mut transaction, "e", State::Ready, NOON).await.unwrap(), "once");
        assert!(!pin(&mut transaction, &team("blue"), "e", NOON).await.unwrap());
        assert_eq!(used(&mut transaction, &team("blue"), "a").await.unwrap(), 30, "what is deleted counts no more");
        transaction.commit().await.unwrap();
        let left = due(&store, State::Deleted, Timestamp::from_millis(i64::MAX), "", 9).await.unwrap();
        assert_eq!(left[0].segments, [segment("e", 10)]);
        for id in ["a", "e"] {
            remove(&store, id).await.unwrap();
        }
        assert!(due(&store, State::Deleted, Timestamp::from_millis(i64::MAX), "", 9).await.unwrap().is_empty());
        assert!(find_any(&store, "a").await.unwrap().is_some(), "it was not marked");
    }
}

#[test]
fn bytes_are_looked_for_in_the_objects_that_hold_them() {
    let segments = [segment("a", 10), segment("b", 0), segment("c", 5), segment("d", 20)];
    let found = |range: Range<u64>| {
        let parts = parts(&segments, range).into_iter();
        parts.map(|(segment, range)| (segment.key, range)).collect::<Vec<_>>()
    };
    assert_eq!(found(0..35), [("a".into(), 0..10), ("c".into(), 0..5), ("d".into(), 0..20)]);
    assert_eq!(found(9..11), [("a".into(), 9..10), ("c".into(), 0..1)]);
    assert_eq!(found(10..15), [("c".into(), 0..5)]);
    assert_eq!(found(34..99), [("d".into(), 19..20)]);
    assert_eq!((found(35..40), found(3..3)), (vec![], vec![]));
}
