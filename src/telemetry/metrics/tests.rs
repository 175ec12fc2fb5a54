//! What is announced, how labels stay few, and what the methods make of their numbers.

use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::money::MicroUsd;

const CALL: GenAi<'static> = GenAi { operation: "chat", model: "m" };

#[test]
fn families_are_announced_before_they_have_a_series() {
    let text = Metrics::new().unwrap().render();
    assert!(text.contains("# TYPE gateway_requests_total counter"), "{text}");
    assert!(text.contains("# TYPE gateway_request_duration_seconds histogram"), "{text}");
    assert!(text.contains("gateway_requests_in_flight 0"), "{text}");
    assert!(text.contains(&format!("gateway_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))), "{text}");
}

#[test]
fn every_family_is_announced_once_with_its_kind() {
    let metrics = Metrics::new().unwrap();
    let text = metrics.render();
    for family in metrics.announced() {
        let line = format!("# TYPE {} {}\n", family.name, family.kind);
        assert_eq!(text.matches(&line).count(), 1, "{line}");
        assert_eq!(family.buckets.is_empty(), family.kind != "histogram", "{}", family.name);
        assert!(family.buckets.is_sorted(), "{}", family.name);
    }
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    for family in Metrics::new().unwrap().announced() {
        let Family { name, help, kind, .. } = family;
        assert_eq!(name.ends_with("_total"), *kind == "counter", "{name}");
        assert!(help.ends_with('.') && help.len() > 10, "{name}: {help}");
        let abbreviated = ["ms", "sec", "secs", "us", "ns", "kb", "mb", "pct"];
        assert!(!name.split('_').any(|part| abbreviated.contains(&part)), "{name}");
    }
}

#[test]
fn a_flood_of_names_adds_a_bounded_number_of_series() {
    let metrics = Metrics::new().unwrap();
    for n in 0..NAMES * 3 {
        let (team, model) = (format!("team-{n}"), format!("model-{n}"));
        metrics.request(("openai", "chat"), &team, "", 200, Duration::from_millis(3));
        metrics.request(("openai", "chat"), "", &model, 200, Duration::from_millis(3));
        metrics.operation(GenAi { operation: "chat", model: &model }, Duration::from_millis(3), None);
        metrics.webhook(&team, "delivered");
    }
    let text = metrics.render();
    let series = |start: &str| text.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!(series("gateway_requests_total{"), 2 * (NAMES + 1));
    assert_eq!(series("gen_ai_client_operation_duration_seconds_count{"), NAMES + 1);
    assert_eq!(series("gateway_webhook_deliveries_total{"), NAMES + 1);
    assert!(text.contains(r#"model="other""#) && text.contains(r#"team="other""#));
}

#[test]
fn names_that_read_alike_in_a_row_are_told_apart() {
    let metrics = Metrics::new().unwrap();
    for (team, model) in [("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc")] {
        metrics.request(("openai", "chat"), team, model, 200, Duration::from_millis(3));
        let tokens = Tokens { input: 1, ..Tokens::default() };
        metrics.booked(&Booked { team, model, region: "us-east-1", tokens, cost: Ok(MicroUsd(1)), tier: "default" });
    }
    let text = metrics.render();
    for name in ["gateway_requests_total{", "gateway_tokens_total{", "gateway_cost_usd_total{"] {
        assert_eq!(text.lines().filter(|line| line.starts_with(name)).count(), 4, "{name}");
    }
}

#[test]
fn cost_is_counted_in_dollars_and_a_missing_price_is_counted_apart() {
    let metrics = Metrics::new().unwrap();
    let tokens = Tokens { input: 10, ..Tokens::default() };
    let call =
        Booked { team: "a", model: "m", region: "us-east-1", tokens, cost: Ok(MicroUsd(1_250_000)), tier: "flex" };
    metrics.booked(&call);
    metrics.booked(&Booked { cost: Err(Unpriced::NoPrice), tier: "default", ..call });
    metrics.booked(&Booked { cost: Err(Unpriced::NotCounted), tier: "default", tokens: Tokens::default(), ..call });
    let text = metrics.render();
    assert!(text.contains(r#"gateway_cost_usd_total{model="m",team="a",tier="flex"} 1.25"#), "{text}");
    for reason in ["no_price", "not_counted"] {
        let line = format!(r#"gateway_unpriced_requests_total{{model="m",reason="{reason}"}} 1"#);
        assert!(text.contains(&line), "{text}");
    }
    assert!(text.contains(r#"gateway_tokens_total{model="m",region="us-east-1",team="a",type="input"} 20"#), "{text}");
}

#[test]
fn opentelemetrys_input_is_all_that_was_read() {
    let metrics = Metrics::new().unwrap();
    metrics.token_usage(CALL, Tokens { input: 5, cache_read: 7, cache_write: 8, output: 0 });
    let text = metrics.render();
    let sum = concat!(
        r#"gen_ai_client_token_usage_sum{gen_ai_operation_name="chat",gen_ai_provider_name="aws.bedrock","#,
        r#"gen_ai_request_model="m",gen_ai_token_type="input"} 20"#
    );
    assert!(text.contains(sum), "{text}");
    assert!(!text.contains(r#"gen_ai_token_type="output""#), "{text}");
}

#[test]
fn the_time_of_a_token_is_told_where_there_is_more_than_the_first() {
    let metrics = Metrics::new().unwrap();
    metrics.output_tokens(CALL, 0, Duration::from_secs(1));
    metrics.output_tokens(CALL, 1, Duration::from_secs(1));
    assert!(!metrics.render().contains("time_per_output_token_seconds_sum"));
    metrics.output_tokens(CALL, 5, Duration::from_secs(1));
    let text = metrics.render();
    let sum = text.lines().find(|line| line.starts_with("gen_ai_server_time_per_output_token_seconds_sum")).unwrap();
    assert!(sum.ends_with("} 0.25"), "{sum}");
}

#[test]
fn a_refused_configuration_shows_until_one_is_good_again() {
    let metrics = Metrics::new().unwrap();
    assert!(metrics.render().contains("gateway_config_last_reload_successful 1"));
    metrics.config_reload("refused");
    assert!(metrics.render().contains("gateway_config_last_reload_successful 0"));
    metrics.config_reload("unchanged");
    let text = metrics.render();
    assert!(text.contains("gateway_config_last_reload_successful 1"), "{text}");
    assert!(text.contains(r#"gateway_config_reloads_total{result="refused"} 1"#), "{text}");
}

#[test]
fn an_open_guard_counts_while_it_lives() {
    let metrics = Metrics::new().unwrap();
    let guard = metrics.in_flight();
    assert!(metrics.render().contains("gateway_requests_in_flight 1"));
    drop(guard);
    assert!(metrics.render().contains("gateway_requests_in_flight 0"));
}

fn budget<'a>(team: &'a str, scope: &'static str, limit: i64, spent: i64) -> BudgetState<'a> {
    BudgetState { team, scope, period: "month", limit: MicroUsd(limit * 1_000_000), spent: MicroUsd(spent * 1_000_000) }
}

#[test]
fn of_budgets_with_the_same_labels_the_one_most_used_up_is_told() {
    let metrics = Metrics::new().unwrap();
    let keys = [(100, 0), (5, 4), (100, 79), (0, 0)].map(|(limit, spent)| budget("a", "key", limit, spent));
    metrics.budgets(keys.into_iter().chain([budget("a", "team", 1000, 100)]));
    let text = metrics.render();
    for line in [
        r#"gateway_budget_limit_usd{period="month",scope="key",team="a"} 5"#,
        r#"gateway_budget_spent_usd{period="month",scope="key",team="a"} 4"#,
        r#"gateway_budget_limit_usd{period="month",scope="team",team="a"} 1000"#,
        r#"gateway_budget_spent_usd{period="month",scope="team",team="a"} 100"#,
    ] {
        assert!(text.lines().any(|told| told == line), "{line}\n{text}");
    }
    metrics.budgets([budget("a", "team", 1000, 200)].into_iter());
    assert!(!metrics.render().contains(r#"scope="key""#), "what was removed is told no more");
}

#[test]
fn budgets_of_a_flood_of_teams_are_a_bounded_number_of_series() {
    let metrics = Metrics::new().unwrap();
    let teams: Vec<_> = (0..NAMES * 3).map(|n| format!("team-{n}")).collect();
    metrics.budgets(teams.iter().zip(0..).map(|(team, spent)| budget(team, "team", 1000, spent)));
    let text = metrics.render();
    assert_eq!(text.lines().filter(|line| line.starts_with("gateway_budget_spent_usd{")).count(), NAMES + 1);
    assert!(text.contains(r#"gateway_budget_spent_usd{period="month",scope="team",team="other"} 599"#), "{text}");
}

#[test]
fn what_the_ledger_lost_is_told_however_often_it_is_asked() {
    let metrics = Metrics::new().unwrap();
    for (lost, told) in [(0, 0), (3, 3), (3, 3), (5, 5)] {
        metrics.ledger(Duration::ZERO, lost);
        let text = metrics.render();
        assert!(text.contains(&format!("gateway_ledger_entries_lost_total {told}")), "{text}");
    }
}

#[test]
fn the_end_of_a_certificate_is_told_where_there_is_one() {
    const END: &str = "gateway_tls_certificate_not_after_timestamp_seconds ";
    const GOOD: &str = "gateway_tls_certificate_last_reload_successful ";
    let metrics = Metrics::new().unwrap();
    let told = |name: &str| {
        let text = metrics.render();
        text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned))
    };
    assert_eq!((told(END), told(GOOD)), (None, None), "without TLS");
    metrics.certificate(Some(Timestamp::from_millis(1_800_000_000_000)));
    assert_eq!((told(END), told(GOOD)), (Some("1800000000".into()), Some("1".into())));
    metrics.certificate_refused();
    assert_eq!((told(END), told(GOOD)), (Some("1800000000".into()), Some("0".into())), "the one before is in use");
    metrics.certificate(None);
    assert_eq!((told(END), told(GOOD)), (None, Some("1".into())), "not that of another one");
}
