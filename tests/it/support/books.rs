//! The books: ledger = metrics = what Bedrock was asked for.

use std::collections::BTreeMap;

use bedrock_gateway::money::MicroUsd;
use bedrock_gateway::simulator::{Call, Outcome, Simulator};
use bedrock_gateway::tenancy::ledger::{Entry, UsageSource};
use bedrock_gateway::tenancy::{Account, Subject, Tenancy};

use super::eventually;
use super::scrape::Scrape;

/// Region, then input, output, cache read and cache write tokens.
type Usage = (String, [u64; 4]);

/// What the gateway asks on its own behalf: nobody's attempt.
fn is_own(call: &Call) -> bool {
    const OWN: [&str; 5] = [
        "GetInferenceProfile",
        "ListInferenceProfiles",
        "ListFoundationModels",
        "AssumeRole",
        "AssumeRoleWithWebIdentity",
    ];
    // Jobs are in the ledger by what they used, and files by nothing.
    const APART: [&str; 4] = ["ModelInvocationJob", "Object", "MultipartUpload", "UploadPart"];
    OWN.contains(&call.operation) || APART.iter().any(|part| call.operation.contains(part))
}

/// Whether it is not a call, but a batch job.
fn is_job(entry: &Entry) -> bool {
    entry.operation == "batch"
}

/// Fails unless ledger, metrics and simulator agree. `lost` attempts did not reach the simulator.
pub(super) async fn agree(ledger: &[Entry], metrics: &Scrape, sim: &Simulator, lost: u64) {
    agree_with_metrics(ledger, metrics);
    let calls = ledger.iter().filter(|entry| !is_job(entry));
    let attempts: u64 = calls.map(|entry| u64::from(entry.attempts)).sum();
    // A refusal of signature or credentials may be followed by a second request within the same attempt.
    let is_repeated =
        |call: &Call| call.region.is_empty() || call.exception.as_deref() == Some("ExpiredTokenException");
    // The simulator notes a call when its answer has ended, which may be later than the gateway's.
    eventually("the simulator has seen every attempt end", async || {
        let calls: Vec<_> = sim.calls().into_iter().filter(|call| !is_own(call)).collect();
        let seen = calls.len() as u64 + lost;
        let repeats = calls.iter().filter(|call| is_repeated(call)).count() as u64;
        (attempts..=attempts + repeats).contains(&seen)
    })
    .await;
    agree_with_bedrock(ledger, sim);
}

/// Fails unless nothing is held, and what is spent of every budget is the sum of the ledger.
pub(super) async fn agree_with_budgets(ledger: &[Entry], tenancy: &Tenancy) {
    eventually("no limit counts a call as open", async || tenancy.most_open() == 0).await;
    for Account { budget, balance, .. } in tenancy.accounts() {
        let is_paid = |entry: &&Entry| match &budget.subject {
            Subject::Everyone => true,
            Subject::Team(team) => entry.team == *team,
            Subject::Key(key) => entry.key == *key,
        };
        let entries = ledger.iter().filter(is_paid).filter(|entry| entry.at >= balance.window.start);
        let sum: MicroUsd = entries.filter_map(|entry| entry.cost).sum();
        assert_eq!((balance.spent, balance.held), (sum, MicroUsd(0)), "{budget:?} and the ledger: {ledger:#?}");
    }
}

fn agree_with_metrics(ledger: &[Entry], metrics: &Scrape) {
    let sum = |of: fn(&Entry) -> u64| ledger.iter().map(of).sum::<u64>();
    let classes = [
        ("input", sum(|entry| entry.input_tokens)),
        ("output", sum(|entry| entry.output_tokens)),
        ("cache_read", sum(|entry| entry.cache_read_tokens)),
        ("cache_write", sum(|entry| entry.cache_write_tokens)),
    ];
    for (class, booked) in classes {
        let counted = metrics.count("gateway_tokens_total", &[("type", class)]);
        assert_eq!(counted, booked, "{class} tokens in metrics and ledger");
    }
    agree_by_otels_names(ledger, metrics);
    let mut costs: BTreeMap<&str, i128> = BTreeMap::new();
    for entry in ledger {
        *costs.entry(&entry.tier).or_default() += entry.cost.map_or(0, |cost| i128::from(cost.0));
    }
    for (tier, cost) in &costs {
        let counted = metrics.sum("gateway_cost_usd_total", &[("tier", tier)]) * 1e6;
        assert_eq!(format!("{counted:.0}"), cost.to_string(), "cost of the tier {tier} in metrics and ledger");
    }
    let counted = metrics.sum("gateway_cost_usd_total", &[]) * 1e6;
    assert_eq!(format!("{counted:.0}"), costs.values().sum::<i128>().to_string(), "cost in metrics and ledger");
    let unpriced = ledger.iter().filter(|entry| entry.cost.is_none()).count();
    assert_eq!(metrics.count("gateway_unpriced_requests_total", &[]), unpriced as u64);
    // An attempt that nobody waited for has no outcome.
    let is_final = |entry: &Entry| entry.usage_source == UsageSource::Final;
    let left = |entry: &&Entry| entry.outcome.as_str() == "cancelled" && !entry.streamed && !is_final(entry);
    let attempts =
        sum(|entry| if is_job(entry) { 0 } else { entry.attempts.into() }) - ledger.iter().filter(left).count() as u64;
    assert_eq!(metrics.count("gateway_upstream_attempts_total", &[]), attempts);
}

/// What a call counts for.
type Count<'a> = &'a dyn Fn(&Entry) -> u64;

/// A call is observed once, whatever became of it, and its tokens once.
fn agree_by_otels_names(ledger: &[Entry], metrics: &Scrape) {
    let calls = || ledger.iter().filter(|entry| !is_job(entry));
    let input = |entry: &Entry| entry.input_tokens + entry.cache_read_tokens + entry.cache_write_tokens;
    let output = |entry: &Entry| entry.output_tokens;
    let types: [(&str, Count<'_>); 2] = [("input", &input), ("output", &output)];
    for (kind, tokens) in types {
        let labels = [("gen_ai_token_type", kind)];
        let observed = metrics.count("gen_ai_client_token_usage_sum", &labels);
        assert_eq!(observed, calls().map(tokens).sum::<u64>(), "{kind} tokens by OpenTelemetry's name, and the ledger");
        let observed = metrics.count("gen_ai_client_token_usage_count", &labels);
        assert_eq!(observed, calls().filter(|entry| tokens(entry) > 0).count() as u64, "calls that used {kind} tokens");
    }
    let observed = |labels: &[(&str, &str)]| metrics.count("gen_ai_client_operation_duration_seconds_count", labels);
    // What lost against a faster attempt has a row, and is no call: it looks like a call of a request that made several.
    let is_beside = |entry: &&Entry| {
        let others = calls().filter(|other| other.request_id == entry.request_id).count() > 1;
        others
            && entry.outcome.as_str() == "cancelled"
            && !entry.streamed
            && entry.usage_source == UsageSource::Estimated
    };
    let (all, beside) = (calls().count() as u64, calls().filter(is_beside).count() as u64);
    assert!((all - beside..=all).contains(&observed(&[])), "{} of {all} calls observed", observed(&[]));
    let well = calls().filter(|entry| entry.outcome.as_str() == "ok").count() as u64;
    assert_eq!(observed(&[("error_type", "")]), well, "calls that ended well");
    let streams = calls().filter(|entry| entry.streamed).count() as u64;
    assert_eq!(metrics.count("gen_ai_server_time_to_first_token_seconds_count", &[]), streams);
}

fn agree_with_bedrock(ledger: &[Entry], sim: &Simulator) {
    let mut answered: BTreeMap<Usage, usize> = BTreeMap::new();
    for call in sim.calls().into_iter().filter(|call| call.outcome == Outcome::Completed && !is_own(call)) {
        let tokens = call.tokens;
        let counted = [tokens.input, tokens.output, tokens.cache_read, tokens.cache_write];
        *answered.entry((call.region, counted)).or_default() += 1;
    }
    let (mut others, mut answers) = (0, answered.values().sum::<usize>());
    for entry in ledger.iter().filter(|entry| !is_job(entry)) {
        // What went on without its client is counted to its end.
        if !["ok", "cancelled"].contains(&entry.outcome.as_str()) || entry.usage_source != UsageSource::Final {
            others += 1;
            continue;
        }
        let booked = [entry.input_tokens, entry.output_tokens, entry.cache_read_tokens, entry.cache_write_tokens];
        let left = answered.get_mut(&(entry.region.clone().unwrap(), booked));
        let left = left.filter(|left| **left > 0).unwrap_or_else(|| panic!("Bedrock counted no such call: {entry:?}"));
        *left -= 1;
        answers -= 1;
    }
    assert!(answers <= others, "Bedrock answered calls that are not booked: {answered:?}");
}
