//! The scripts beside a simple model of what they do, step by step, with time passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::script::{
    self, ADMIT, Booked, BudgetRow, Charge, LimitRow, RENEW, Refused, SEED, SETTLE, Settling, Use, Verdict, Way, What,
};
use super::{LEASE, Scripts, at};
use crate::bucket::Bucket;
use crate::clock::Timestamp;
use crate::tenancy::admission::{Demand, Output, Worst};
use crate::tenancy::budget::Window;

const START: i64 = 1_800_000_000_000;
const WINDOW: Window = Window { start: Timestamp::from_millis(START - 1), end: None };

#[derive(Clone, Copy, Debug)]
struct Rule {
    requests: Option<u64>,
    tokens: Option<u64>,
    concurrent: Option<u64>,
}

#[derive(Clone, Debug)]
enum Step {
    Pass(i64),
    Admit(Demand),
    /// Of the holds made so far, which; tokens and cost.
    Settle(prop::sample::Index, u64, i64),
    Renew(prop::sample::Index),
}

struct Hold {
    lease: i64,
    live: bool,
    settled: bool,
    reserved: u64,
    cost: i64,
}

struct Model {
    now: i64,
    rules: Vec<(Rule, Bucket, Bucket)>,
    limits: Vec<i64>,
    spent: i64,
    holds: BTreeMap<usize, Hold>,
}

impl Model {
    fn sweep(&mut self) {
        for hold in self.holds.values_mut() {
            hold.live &= hold.lease > self.now;
        }
    }

    fn running(&self) -> u64 {
        self.holds.values().filter(|hold| hold.live).count() as u64
    }

    fn held(&self) -> i64 {
        self.holds.values().filter(|hold| hold.live).map(|hold| hold.cost).sum()
    }

    /// What is refused with which wait, or what is granted.
    fn admit(&mut self, id: usize, demand: Demand) -> Result<(u64, i64), (What, usize, Option<Duration>)> {
        self.sweep();
        let now = at(self.now);
        let least = demand.output.least();
        let cost = |tokens| demand.cost.with(tokens).0;
        let mut refusals = Vec::new();
        let mut exhausted = None;
        let mut fits = demand.output.most();
        for (place, (rule, requests, tokens)) in self.rules.iter().enumerate() {
            if rule.requests.is_some() && !requests.fits(1, now) {
                refusals.push((What::Requests, place, requests.wait_for(1, now)));
            }
            if rule.tokens.is_some() {
                if demand.input_tokens + least > 0 && !tokens.fits(demand.input_tokens + least, now) {
                    refusals.push((What::Tokens, place, tokens.wait_for(demand.input_tokens + least, now)));
                }
                while fits > least && !tokens.fits(demand.input_tokens + fits, now) {
                    fits -= 1;
                }
            }
            if rule.concurrent.is_some_and(|most| self.running() >= most) {
                let wait = (rule.concurrent != Some(0)).then_some(Duration::from_secs(1));
                refusals.push((What::Concurrency, place, wait));
            }
        }
        for (place, limit) in self.limits.iter().enumerate() {
            let left = limit - self.spent - self.held();
            let unpriced = demand.cost == Worst::Unknown && left <= 0;
            if (cost(least) > left && cost(least) > 0 || unpriced) && exhausted.is_none() {
                exhausted = Some(place);
            }
            while fits > least && cost(fits) > left && cost(demand.output.most()) > 0 {
                fits -= 1;
            }
        }
        let never = refusals.iter().any(|(_, _, wait)| wait.is_none());
        if let Some(place) = exhausted.filter(|_| !never) {
            return Err((What::Budget, place, None));
        }
        let longest = refusals.iter().map(|(_, _, wait)| wait.unwrap_or(Duration::MAX)).max();
        if let Some(longest) = longest {
            let first = refusals.into_iter().find(|(_, _, wait)| wait.unwrap_or(Duration::MAX) == longest);
            return Err(first.unwrap());
        }
        for (rule, requests, tokens) in &mut self.rules {
            if rule.requests.is_some() {
                requests.take(1, now);
            }
            if rule.tokens.is_some() {
                tokens.take(demand.input_tokens + fits, now);
            }
        }
        let cost = if self.limits.is_empty() { 0 } else { cost(fits) };
        let until = self.now + 30_000;
        let reserved = demand.input_tokens + fits;
        self.holds.insert(id, Hold { lease: until, live: true, settled: false, reserved, cost });
        Ok((fits, cost))
    }

    fn settle(&mut self, id: usize, used: u64, cost: i64) -> u64 {
        let now = at(self.now);
        let hold = self.holds.get_mut(&id).unwrap();
        if !hold.settled {
            (hold.settled, hold.live) = (true, false);
            self.spent += cost;
            for (rule, _, tokens) in &mut self.rules {
                if rule.tokens.is_some() {
                    tokens.settle(hold.reserved, used, now);
                }
            }
        }
        hold.reserved
    }

    fn renew(&mut self, id: usize) -> bool {
        let until = self.now + 30_000;
        let hold = self.holds.get_mut(&id).unwrap();
        // A hold that is over but was not swept yet is renewed.
        if hold.live {
            hold.lease = until;
        }
        hold.live
    }
}

fn demand() -> impl Strategy<Value = Demand> {
    let output =
        prop_oneof![(0..4000_u64).prop_map(Output::Asked), (0..4000_u64).prop_map(|most| Output::Open { most }),];
    let cost = prop_oneof![
        Just(Worst::Free),
        Just(Worst::Unknown),
        (0..90_000_000_000_u128, 0..3_000_000_000_u64)
            .prop_map(|(input_pico, output_pico)| Worst::Known { input_pico, output_pico }),
        // A few pico-dollars beside whole micro-dollars: what rounds up.
        (0..3_u128, 0..3_u64).prop_map(|(input_pico, output_pico)| Worst::Known { input_pico, output_pico }),
    ];
    (0..3000_u64, output, cost).prop_map(|(input_tokens, output, cost)| Demand { input_tokens, output, cost })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..40_000_i64).prop_map(Step::Pass),
        4 => demand().prop_map(Step::Admit),
        3 => (any::<prop::sample::Index>(), 0..9000_u64, 0..3_000_000_i64).prop_map(|(i, t, c)| Step::Settle(i, t, c)),
        1 => any::<prop::sample::Index>().prop_map(Step::Renew),
    ];
    prop::collection::vec(step, 1..40)
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let some = |most: u64| prop::option::of(0..most);
    let rule = (some(40), some(20_000), some(5)).prop_map(|(requests, tokens, concurrent)| Rule {
        requests,
        tokens,
        concurrent,
    });
    prop::collection::vec(rule, 0..3)
}

async fn compare(scripts: &Scripts, rules: &[Rule], limits: &[i64], steps: &[Step]) {
    let names: Vec<String> = (0..3).map(|number| format!("n{number}")).collect();
    let rows: Vec<LimitRow<'_>> = rules
        .iter()
        .zip(&names)
        .map(|(rule, id)| LimitRow { id, requests: rule.requests, tokens: rule.tokens, concurrent: rule.concurrent })
        .collect();
    let budgets: Vec<BudgetRow<'_>> =
        limits.iter().zip(&names).map(|(limit, id)| BudgetRow { id, window: WINDOW, limit: *limit }).collect();
    let bucket = |amount: Option<u64>| Bucket::full(amount.unwrap_or_default(), at(START));
    let mut model = Model {
        now: START,
        rules: rules.iter().map(|rule| (*rule, bucket(rule.requests), bucket(rule.tokens))).collect(),
        limits: limits.to_vec(),
        spent: 0,
        holds: BTreeMap::new(),
    };
    // The generation begins, so that windows can be seeded under it.
    let (since, unknown) =
        script::renewed(scripts.run(RENEW, script::renew(Some(at(START)), LEASE, &[])).await).unwrap();
    assert_eq!((since, unknown.len()), (START, 0));
    for budget in &budgets {
        let booked = Booked { cutoff: at(START - 1), before: 0, since: Vec::new() };
        scripts.run(SEED, script::seed(Some(at(START)), since, budget, &booked)).await;
    }
    let mut made = 0;
    for step in steps {
        let now = Some(at(model.now));
        let index = |index: &prop::sample::Index| {
            let known: Vec<usize> = model.holds.keys().copied().collect();
            (!known.is_empty()).then(|| known[index.index(known.len())])
        };
        match step {
            Step::Pass(millis) => model.now += millis,
            Step::Admit(demand) => {
                made += 1;
                let id = format!("call{made}");
                let asked = script::admit(now, (&id, LEASE), *demand, &rows, &budgets);
                let answer = scripts.run(ADMIT, asked).await;
                let (_, time, verdict) = script::verdict(answer, rows.len(), budgets.len()).unwrap();
                assert_eq!(time, at(model.now));
                let expected = model.admit(made, *demand);
                let uses = match verdict {
                    Verdict::Admitted { output, held, rates, uses } => {
                        assert_eq!(Ok((output, held)), expected, "{demand:?}");
                        for (rates, (rule, requests, tokens)) in rates.iter().zip(&model.rules) {
                            check(rates.requests, rule.requests, requests, model.now);
                            check(rates.tokens, rule.tokens, tokens, model.now);
                        }
                        uses
                    }
                    Verdict::Refused(Refused { what, place, wait, uses, .. }) => {
                        assert_eq!(Err((what, place, wait)), expected, "{demand:?}");
                        uses
                    }
                    other => panic!("{other:?}"),
                };
                assert_eq!(uses, vec![Use { spent: model.spent, held: model.held() }; limits.len()]);
            }
            Step::Settle(which, used, cost) => {
                let Some(id) = index(which) else { continue };
                let settled = Settling {
                    id: format!("call{id}"),
                    way: Way::Settled,
                    since,
                    at: at(model.now),
                    cost: *cost,
                    reserved: 0,
                    used: *used,
                    limits: rows.iter().filter_map(|row| Some((row.id.to_owned(), row.tokens?))).collect(),
                    budgets: budgets.iter().map(|budget| (budget.id.to_owned(), WINDOW)).collect(),
                };
                let is_first = !model.holds[&id].settled;
                let reserved = model.settle(id, *used, *cost);
                let settled = Settling { reserved, ..settled };
                let answer = scripts.run(SETTLE, script::settle(now, &settled)).await;
                let (_, charges) = script::settled(answer).unwrap();
                let stands = Use { spent: model.spent, held: model.held() };
                let charge = if *cost > 0 { Charge::Made(stands) } else { Charge::None(stands) };
                assert_eq!(charges, vec![charge; if is_first { limits.len() } else { 0 }]);
            }
            Step::Renew(which) => {
                let Some(id) = index(which) else { continue };
                let answer = scripts.run(RENEW, script::renew(now, LEASE, &[format!("call{id}")])).await;
                let known = script::renewed(answer).unwrap().1.is_empty();
                assert_eq!(known, model.renew(id), "call{id}");
                model.sweep(); // The script does.
            }
        }
    }
}

fn check(told: Option<script::Level>, limit: Option<u64>, bucket: &Bucket, now: i64) {
    let Some(limit) = limit else { return assert_eq!(told, None) };
    let told = told.unwrap();
    assert_eq!(told.remaining, limit.saturating_sub(bucket.used(at(now))));
    if limit > 0 {
        assert_eq!(Some(told.reset), bucket.wait_for(limit, at(now)));
    }
}

#[test]
fn the_scripts_do_as_a_simple_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(first) = runtime.block_on(Scripts::connect()) else { return };
    let store = std::cell::RefCell::new(first);
    let budgets = || prop::collection::vec(0..20_000_000_i64, 0..3);
    proptest!(ProptestConfig::with_cases(120), |(rules in rules(), limits in budgets(), steps in steps())| {
        store.borrow_mut().key = super::fresh_key();
        runtime.block_on(compare(&store.borrow(), &rules, &limits, &steps));
    });
}

#[tokio::test]
async fn amounts_stay_exact_up_to_the_largest() {
    let Some(scripts) = Scripts::connect().await else { return };
    let since = START;
    let largest = 1_i64 << 52;
    let budget = BudgetRow { id: "b", window: WINDOW, limit: i64::MAX };
    let limit = LimitRow { id: "l", requests: None, tokens: Some(u64::MAX), concurrent: None };
    scripts.run(RENEW, script::renew(Some(at(START)), LEASE, &[])).await;
    // All but three and a half micro-dollars' worth are spent.
    let booked = Booked { cutoff: at(START), before: largest - 1_000_004, since: vec![("x".into(), 1_000_000)] };
    scripts.run(SEED, script::seed(Some(at(START)), since, &budget, &booked)).await;
    let ask = async |id: &str, output, pico: u64| {
        let cost = Worst::Known { input_pico: 500_001, output_pico: pico };
        let demand = Demand { input_tokens: 1, output, cost };
        let asked = script::admit(Some(at(START)), (id, LEASE), demand, &[limit], &[budget]);
        script::verdict(scripts.run(ADMIT, asked).await, 1, 1).unwrap().2
    };
    let Verdict::Refused(Refused { what, .. }) = ask("a", Output::Asked(4), 999_999).await else { panic!() };
    assert_eq!(what, What::Budget, "4,499,997 pico-dollars are five micro-dollars");
    // What costs more than any number holds is refused, and neither passes nor fails as a script.
    for pico in [u64::MAX, u64::MAX / 1_000_000] {
        let Verdict::Refused(Refused { what, .. }) = ask("b", Output::Asked(u64::MAX), pico).await else { panic!() };
        assert_eq!(what, What::Budget);
    }
    let Verdict::Admitted { output, held, rates, uses } = ask("c", Output::Asked(3), 1_000_000).await else { panic!() };
    assert_eq!((output, held, uses), (3, 4, vec![Use { spent: largest - 4, held: 4 }]));
    let level = rates[0].tokens.unwrap();
    assert_eq!((level.remaining, level.reset), (100_000_000_000 - 4, Duration::from_millis(1)));
    let Verdict::Refused(Refused { what, .. }) = ask("d", Output::Asked(0), 0).await else { panic!() };
    assert_eq!(what, What::Budget, "not one micro-dollar is left");
}

#[tokio::test]
async fn an_open_answer_is_capped_to_the_last_token_that_can_be_paid() {
    let Some(scripts) = Scripts::connect().await else { return };
    scripts.run(RENEW, script::renew(Some(at(START)), LEASE, &[])).await;
    for (number, (limit, pico)) in
        [(1_000_i64, 700_000_u64), (90_000_000_000_000, 75_000_000_001), (3_333_333, 333_333)].into_iter().enumerate()
    {
        let name = format!("b{number}");
        let budget = BudgetRow { id: &name, window: WINDOW, limit };
        let booked = Booked { cutoff: at(START), before: 0, since: Vec::new() };
        scripts.run(SEED, script::seed(Some(at(START)), START, &budget, &booked)).await;
        let cost = Worst::Known { input_pico: 3, output_pico: pico };
        let demand = Demand { input_tokens: 1, output: Output::Open { most: 1_000_000_000 }, cost };
        let asked = script::admit(Some(at(START)), (&name, LEASE), demand, &[], &[budget]);
        let verdict = script::verdict(scripts.run(ADMIT, asked).await, 0, 1).unwrap().2;
        let Verdict::Admitted { output, held, .. } = verdict else { panic!("{verdict:?}") };
        assert_eq!(held, cost.with(output).0);
        assert!(held <= limit && (output == 1_000_000_000 || cost.with(output + 1).0 > limit), "{output} {held}");
    }
}
