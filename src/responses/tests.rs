//! Stored responses as the surface uses them, on every kind of store.

use super::*;
use crate::store::testing::{self, TestStore};

const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

struct Case {
    responses: Responses,
    clock: Clock,
    store: TestStore,
}

async fn cases(max_history_bytes: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for store in testing::stores().await {
        let clock = Clock::manual(START);
        let settings = config::Responses { store: true, retention_hours: 2 };
        let responses = Responses::new((*store).clone(), clock.clone(), &settings, max_history_bytes);
        cases.push(Case { responses, clock, store });
    }
    cases
}

fn acme() -> TeamId {
    TeamId::from("team_acme")
}

fn kept(number: u32) -> Kept {
    Kept {
        id: format!("resp_{number}"),
        team: acme(),
        previous: number.checked_sub(1).map(|before| format!("resp_{before}")),
        model: "claude\0".into(),
        input: format!("[\"question {number}\"]"),
        output: format!("[\"answer {number}\"]"),
        response: "{\"text\":\"\\u0000\"}".into(),
    }
}

async fn questions(responses: &Responses, id: &str) -> Result<Vec<String>> {
    Ok(responses.history(&acme(), id).await?.into_iter().map(|turn| turn.input).collect())
}

#[tokio::test]
async fn what_was_kept_is_found_as_it_was_by_its_team_alone() {
    for Case { responses, .. } in cases(1000).await {
        responses.save(&kept(1), &[]).await.unwrap();
        let found = responses.find(&acme(), "resp_1").await.unwrap().unwrap();
        assert_eq!(found, Kept { model: "claude\u{fffd}".into(), ..kept(1) });
        let other = TeamId::from("team_other");
        assert_eq!(responses.find(&other, "resp_1").await.unwrap(), None);
        assert_eq!(responses.history(&other, "resp_1").await.unwrap_err().kind(), Kind::NotFound);
        assert!(!responses.delete(&other, "resp_1").await.unwrap());
        assert!(responses.delete(&acme(), "resp_1").await.unwrap());
        assert!(!responses.delete(&acme(), "resp_1").await.unwrap());
        assert_eq!(responses.find(&acme(), "resp_1\0").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_response_is_found_by_an_item_it_was_kept_with_as_long_as_it_is_kept() {
    for Case { responses, clock, store } in cases(1000).await {
        let items = ["msg_a".to_owned(), "rs_b".to_owned(), "msg_a".to_owned()];
        responses.save(&kept(1), &items).await.unwrap();
        assert_eq!(responses.owner(&acme(), "rs_b").await.unwrap().as_deref(), Some("resp_1"));
        assert_eq!(responses.owner(&TeamId::from("team_other"), "rs_b").await.unwrap(), None);
        assert_eq!(responses.owner(&acme(), "rs_\0").await.unwrap(), None);

        // A row that could not be added leaves no items behind.
        assert!(responses.save(&kept(1), &["msg_c".to_owned()]).await.is_err());
        assert_eq!(responses.owner(&acme(), "msg_c").await.unwrap(), None);

        clock.advance(Duration::from_hours(2));
        assert_eq!(responses.owner(&acme(), "rs_b").await.unwrap(), None);
        responses.purge().await.unwrap();
        assert!(store.texts("SELECT id FROM response_items").await.is_empty());
    }
}

#[tokio::test]
async fn a_conversation_comes_oldest_turn_first_and_whole_or_not_at_all() {
    for Case { responses, .. } in cases(1000).await {
        for number in 0..4 {
            responses.save(&kept(number), &[]).await.unwrap();
        }
        let told = questions(&responses, "resp_2").await.unwrap();
        assert_eq!(told, ["[\"question 0\"]", "[\"question 1\"]", "[\"question 2\"]"]);
        responses.delete(&acme(), "resp_1").await.unwrap();
        let error = responses.history(&acme(), "resp_3").await.unwrap_err();
        assert_eq!((error.kind(), error.blamed()), (Kind::NotFound, Some("previous_response_id")));
        assert!(error.message().contains("'resp_1'"), "{error}");
    }
}

#[tokio::test]
async fn a_conversation_of_another_team_is_not_gone_on_from_though_it_be_named() {
    for Case { responses, .. } in cases(1000).await {
        responses.save(&Kept { team: TeamId::from("team_other"), ..kept(0) }, &[]).await.unwrap();
        responses.save(&kept(1), &[]).await.unwrap();
        assert_eq!(responses.history(&acme(), "resp_1").await.unwrap_err().kind(), Kind::NotFound);
    }
}

#[tokio::test]
async fn a_conversation_may_be_as_large_as_a_request_and_no_larger() {
    let one = kept(0).input.len() + kept(0).output.len();
    for Case { responses, .. } in cases(3 * one).await {
        for number in 0..4 {
            responses.save(&kept(number), &[]).await.unwrap();
        }
        assert_eq!(questions(&responses, "resp_2").await.unwrap().len(), 3);
        let error = responses.history(&acme(), "resp_3").await.unwrap_err();
        assert_eq!((error.kind(), error.blamed()), (Kind::Invalid, Some("previous_response_id")));
        assert!(error.message().contains("max_body_mb"), "{error}");
    }
}

#[tokio::test]
async fn a_conversation_has_so_many_turns_and_no_more() {
    let turns = i64::from(MAX_TURNS);
    for Case { responses, store, .. } in cases(usize::MAX).await {
        // One statement makes the rows; as many inserts would take a while on a file that is synced each time.
        let rows = "WITH RECURSIVE n (i) AS (SELECT CAST(1 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i <= $1)
            INSERT INTO responses (id, team_id, previous_id, created_at, expires_at, model, input, output, response, bytes)
            SELECT 'resp_' || CAST(i AS TEXT), 'team_acme', CASE WHEN i > 1 THEN 'resp_' || CAST(i - 1 AS TEXT) END,
            0, 9000000000000, 'm', '[]', '[]', '{}', 4 FROM n";
        sqlx::query(rows).bind(turns).execute(store.pool()).await.unwrap();
        assert_eq!(questions(&responses, &format!("resp_{turns}")).await.unwrap().len(), 1000);
        let error = responses.history(&acme(), &format!("resp_{}", turns + 1)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.message().contains("1000 turns"), "{error}");
    }
}

#[tokio::test]
async fn a_response_is_gone_when_its_time_is_over_and_the_purge_takes_the_row() {
    for Case { responses, clock, store } in cases(1000).await {
        responses.save(&kept(0), &[]).await.unwrap();
        clock.advance(Duration::from_hours(1));
        responses.save(&kept(1), &[]).await.unwrap();
        clock.advance(Duration::from_hours(1));
        assert_eq!(responses.find(&acme(), "resp_0").await.unwrap(), None);
        assert!(responses.find(&acme(), "resp_1").await.unwrap().is_some());
        assert_eq!(responses.history(&acme(), "resp_1").await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(responses.purge().await.unwrap(), 1);
        assert_eq!(responses.purge().await.unwrap(), 0);
        assert_eq!(store.texts("SELECT id FROM responses").await, [["resp_1"]]);
    }
}

#[tokio::test]
async fn the_purge_runs_by_itself_and_ends_when_told() {
    let Case { responses, clock, store } = cases(1000).await.swap_remove(0);
    responses.save(&kept(0), &[]).await.unwrap();
    clock.advance(Duration::from_hours(3));
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    responses.purge_in_background(&tracker, stop.clone());
    while !store.texts("SELECT id FROM responses").await.is_empty() {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    tracker.close();
    tracker.wait().await;
}

#[tokio::test]
async fn a_store_that_is_away_is_an_error_and_no_endless_wait() {
    for Case { responses, store, .. } in cases(1000).await {
        store.close().await;
        assert_eq!(responses.save(&kept(0), &[]).await.unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(responses.find(&acme(), "resp_0").await.unwrap_err().kind(), Kind::Unavailable);
    }
}
