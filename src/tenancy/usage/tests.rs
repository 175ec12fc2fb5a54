//! Reports, roll-up and spending, on every kind of store.

use std::time::Duration;

use super::question::DAY;
use super::*;
use crate::error::Kind;
use crate::ids::{KeyId, RequestId};
use crate::store::testing::{self, TestStore};
use crate::tenancy::ledger::{Entry, Outcome, UsageSource};
use crate::tenancy::{admin, queries as rows};

/// A day that began at midnight, long after 1970.
const TODAY: i64 = 20_000;

fn noon(day: i64) -> Timestamp {
    Timestamp::from_millis(day * DAY + DAY / 2)
}

/// A call of `team` on `day`, with one input token.
fn call(number: u32, team: &str, day: i64, cost: Option<i64>) -> Entry {
    Entry {
        id: format!("call_{number:06}"),
        request_id: RequestId::from("req_1"),
        at: noon(day),
        team: TeamId::from(team),
        key: KeyId::from(format!("{team}key")),
        surface: "openai".into(),
        operation: "chat".into(),
        model: format!("model-{}", number % 2),
        region: number.is_multiple_of(3).then(|| "us-east-1".into()),
        input_tokens: 1,
        output_tokens: 20,
        cache_read_tokens: 300,
        cache_write_tokens: 4000,
        cost: cost.map(MicroUsd),
        tier: "default".into(),
        latency_ms: 5,
        ttft_ms: None,
        attempts: 1,
        status: 200,
        outcome: Outcome::OK,
        usage_source: UsageSource::Final,
        streamed: false,
        end_user: Some(format!("user-{}", number % 2)),
    }
}

async fn book(store: &TestStore, entries: &[Entry]) {
    rows::write_group(store, entries, &[]).await.unwrap();
}

fn question(by: &[Dimension]) -> Question {
    Question {
        by: by.to_vec(),
        from: Timestamp::default(),
        until: Timestamp::from_millis((TODAY + 1) * DAY),
        filter: Filter::default(),
        limit: 100,
        after: None,
    }
}

fn usage(store: &TestStore, days: u32) -> (Usage, Clock) {
    let clock = Clock::manual(noon(TODAY));
    let settings = config::Ledger { retention_days: days, audit_retention_days: days };
    (Usage::new(Store::clone(store), clock.clone(), &settings), clock)
}

/// Calls of two teams on ten days, some without a price.
fn calls() -> Vec<Entry> {
    let one = |n: u32| {
        let team = if n.is_multiple_of(4) { "b" } else { "a" };
        call(n, team, TODAY - i64::from(n % 10), (!n.is_multiple_of(7)).then(|| i64::from(n) + 1))
    };
    (0..120).map(one).collect()
}

#[tokio::test]
async fn everything_adds_up_to_one_row_also_where_there_is_nothing() {
    for store in testing::stores().await {
        let nothing = report(&store, &question(&[])).await.unwrap();
        assert_eq!((nothing.rows, nothing.next), (vec![Row::of_nothing()], None));
        assert!(report(&store, &question(&[Dimension::Team])).await.unwrap().rows.is_empty());

        book(&store, &calls()).await;
        let page = report(&store, &question(&[])).await.unwrap();
        let [row] = &page.rows[..] else { panic!("{page:?}") };
        let cost: i64 = calls().iter().filter_map(|call| call.cost).map(|cost| cost.0).sum();
        let unpriced = calls().iter().filter(|call| call.cost.is_none()).count() as u64;
        assert_eq!((row.requests, row.cost, row.unpriced), (120, Some(MicroUsd(cost)), unpriced));
        assert_eq!((row.input_tokens, row.output_tokens), (120, 2_400));
        assert_eq!((row.cache_read_tokens, row.cache_write_tokens), (36_000, 480_000));
    }
}

#[tokio::test]
async fn groups_come_in_order_with_names_and_a_day_is_a_date() {
    for store in testing::stores().await {
        let clock = Clock::manual(noon(TODAY));
        let new = crate::tenancy::NewTeam::new("Data, \"Analytics\"");
        let team = admin::create_team(&store, &clock, admin::Actor::CommandLine, new).await.unwrap();
        let mut first = call(1, "x", TODAY, Some(5));
        first.team = team.id.clone();
        book(&store, &[first, call(2, "zz", TODAY - 1, None), call(3, "zz", TODAY, None)]).await;

        let page = report(&store, &question(&[Dimension::Day, Dimension::Team])).await.unwrap();
        let told: Vec<_> = page
            .rows
            .iter()
            .map(|row| (row.team_name.as_deref(), row.group.value(Dimension::Day).unwrap(), row.cost, row.unpriced))
            .collect();
        let [today, yesterday] = ["2024-10-04".to_owned(), "2024-10-03".to_owned()];
        assert_eq!(
            told,
            [
                (Some("Data, \"Analytics\""), today.clone(), Some(MicroUsd(5)), 0),
                (None, yesterday, None, 1),
                (None, today, None, 1),
            ]
        );
        assert_eq!(page.rows[0].group.value(Dimension::Team).as_deref(), Some(team.id.as_str()));
        assert_eq!(page.rows[0].group.value(Dimension::Key), None, "it is not grouped by keys");
    }
}

#[tokio::test]
async fn filters_and_times_leave_out_what_they_should_and_the_end_is_not_included() {
    for store in testing::stores().await {
        book(&store, &calls()).await;
        let requests = async |change: fn(&mut Question)| {
            let mut question = question(&[]);
            change(&mut question);
            report(&store, &question).await.unwrap().rows[0].requests
        };
        assert_eq!(requests(|q| q.filter.team = Some("b".into())).await, 30);
        assert_eq!(requests(|q| q.filter.key = Some("akey".into())).await, 90);
        let foreign = |q: &mut Question| (q.filter.key, q.filter.team) = (Some("akey".into()), Some("b".into()));
        assert_eq!(requests(foreign).await, 0, "a key of another team's");
        assert_eq!(requests(|q| q.filter.model = Some("model-1".into())).await, 60);
        assert_eq!(requests(|q| q.filter.region = Some("us-east-1".into())).await, 40);
        assert_eq!(requests(|q| q.from = noon(TODAY)).await, 12);
        assert_eq!(requests(|q| q.until = noon(TODAY)).await, 108);
        assert_eq!(requests(|q| q.filter.team = Some("\0' OR 1=1 --".into())).await, 0);
    }
}

#[tokio::test]
async fn pages_are_disjoint_and_complete_by_every_dimension_and_rolled_up_or_not() {
    use strum::VariantArray as _;
    for store in testing::stores().await {
        book(&store, &calls()).await;
        for days in [0, 5] {
            usage(&store, days).0.retain().await.unwrap();
            for by in [Dimension::VARIANTS, &[Dimension::Day, Dimension::Model], &[Dimension::Region]] {
                let by: Vec<_> = by.iter().copied().filter(|by| days == 0 || *by != Dimension::EndUser).collect();
                let whole = report(&store, &Question { limit: 1000, ..question(&by) }).await.unwrap();
                assert_eq!(whole.next, None);
                let (mut rows, mut after) = (Vec::new(), None);
                loop {
                    let page = report(&store, &Question { limit: 2, after, ..question(&by) }).await.unwrap();
                    rows.extend(page.rows);
                    after = page.next;
                    if after.is_none() {
                        break;
                    }
                }
                assert_eq!(rows, whole.rows, "{by:?}");
                assert_eq!(rows.iter().map(|row| row.requests).sum::<u64>(), 120);
            }
        }
    }
}

#[tokio::test]
async fn no_total_changes_when_days_are_rolled_up_however_often_and_by_however_many() {
    let by = [Dimension::Team, Dimension::Key, Dimension::Model, Dimension::Region, Dimension::Day, Dimension::Outcome];
    for store in testing::stores().await {
        book(&store, &calls()).await;
        let before = report(&store, &question(&by)).await.unwrap();
        let spent_before = spent(&store, &Subject::Team("a".into()), None).await.unwrap();
        let (usage, clock) = usage(&store, 3);
        let done = futures_util::future::join_all((0..4).map(|_| usage.retain())).await;
        assert_eq!(done.into_iter().filter_map(Result::ok).sum::<u64>(), 72, "six of ten days were over");
        assert_eq!(usage.retain().await.unwrap(), 0);
        assert_eq!(report(&store, &question(&by)).await.unwrap(), before);
        assert_eq!(spent(&store, &Subject::Team("a".into()), None).await.unwrap(), spent_before);

        // What comes late is added, and a day later one more day is over.
        book(&store, &[call(999, "a", TODAY - 9, Some(1_000))]).await;
        clock.advance(Duration::from_hours(24));
        assert_eq!(usage.retain().await.unwrap(), 1 + 12);
        let late = spent(&store, &Subject::Key("akey".into()), None).await.unwrap();
        assert_eq!(late, spent_before + MicroUsd(1_000));
        let texts = store.texts("SELECT CAST(COUNT(*) AS TEXT) FROM ledger").await;
        assert_eq!(texts, [["36"]]);
    }
}

#[tokio::test]
async fn a_chunk_does_not_end_the_roll_up() {
    for store in testing::stores().await {
        let many: Vec<Entry> = (0..1_203).map(|n| call(n, "a", TODAY - 9, Some(1))).collect();
        book(&store, &many).await;
        assert_eq!(usage(&store, 1).0.retain().await.unwrap(), 1_203);
        let page = report(&store, &question(&[])).await.unwrap();
        assert_eq!((page.rows[0].requests, page.rows[0].cost), (1_203, Some(MicroUsd(1_203))));
    }
}

#[tokio::test]
async fn nothing_is_rolled_up_where_calls_are_kept_for_ever() {
    let store = testing::sqlite().await;
    book(&store, &[call(1, "a", 0, Some(1))]).await;
    assert_eq!(usage(&store, 0).0.retain().await.unwrap(), 0);
}

#[tokio::test]
async fn what_sums_by_day_cannot_tell_is_refused_by_the_parameter_to_blame() {
    for store in testing::stores().await {
        book(&store, &calls()).await;
        usage(&store, 3).0.retain().await.unwrap();
        let blamed = async |question: Question| {
            let error = report(&store, &question).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Invalid);
            error.blamed().unwrap().to_owned()
        };
        assert_eq!(blamed(Question { from: noon(TODAY - 8), ..question(&[]) }).await, "from");
        assert_eq!(blamed(Question { until: noon(TODAY - 5), ..question(&[]) }).await, "to");
        assert_eq!(blamed(question(&[Dimension::EndUser])).await, "group_by");
        // By whole days, in later ones, and where there was no call, all of it is known.
        let midnight = |day| Timestamp::from_millis(day * DAY);
        let requests = async |from, until, by: &[Dimension]| {
            let page = report(&store, &Question { from, until, ..question(by) }).await.unwrap();
            page.rows.iter().map(|row| row.requests).sum::<u64>()
        };
        assert_eq!(requests(midnight(TODAY - 8), midnight(TODAY - 6), &[]).await, 24);
        assert_eq!(requests(noon(TODAY - 3), noon(TODAY), &[]).await, 36);
        assert_eq!(requests(midnight(TODAY - 3), noon(TODAY), &[Dimension::EndUser]).await, 36);
        assert_eq!(requests(noon(TODAY - 30), noon(TODAY), &[]).await, 108);
    }
}

#[tokio::test]
async fn spending_counts_from_a_moment_and_leaves_no_part_of_a_day_out() {
    for store in testing::stores().await {
        let calls = [
            call(1, "a", TODAY - 9, Some(1)),
            call(2, "a", TODAY - 8, Some(10)),
            call(3, "a", TODAY, Some(100)),
            call(4, "a", TODAY, None),
            call(5, "b", TODAY, Some(1_000)),
        ];
        book(&store, &calls).await;
        let since = async |at: Option<Timestamp>| spent(&store, &Subject::Team("a".into()), at).await.unwrap().0;
        assert_eq!((since(None).await, since(Some(noon(TODAY - 8))).await), (111, 110));
        assert_eq!(since(Some(noon(TODAY + 1))).await, 0);
        assert_eq!(spent(&store, &Subject::Everyone, Some(noon(TODAY))).await.unwrap().0, 1_100);
        usage(&store, 3).0.retain().await.unwrap();
        assert_eq!((since(None).await, since(Some(noon(TODAY))).await), (111, 100));
        let late = Timestamp::from_millis(noon(TODAY - 8).millis() + 1);
        assert_eq!(since(Some(late)).await, 110, "rather too much");
    }
}

#[tokio::test]
async fn old_lines_of_the_audit_log_go_and_new_ones_stay() {
    for store in testing::stores().await {
        let clock = Clock::manual(noon(TODAY - 10));
        for name in ["old", "new"] {
            let new = crate::tenancy::NewTeam::new(name);
            admin::create_team(&store, &clock, admin::Actor::CommandLine, new).await.unwrap();
            clock.advance(Duration::from_hours(24 * 10));
        }
        usage(&store, 5).0.retain().await.unwrap();
        assert_eq!(store.texts("SELECT detail FROM audit").await.len(), 1);
        assert!(store.texts("SELECT detail FROM audit").await[0][0].contains("new"));
    }
}
