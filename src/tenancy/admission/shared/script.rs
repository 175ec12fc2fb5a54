//! The scripts, what they are asked and what they answer.
//!
//! A script is one step for the shared store: nothing happens beside it. All keys have one prefix with one hash tag, so a
//! cluster keeps them in one slot. Amounts are clamped to what Lua's numbers hold exactly.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::shared::{Answer, Argument, Script};
use crate::tenancy::admission::{Demand, Worst};
use crate::tenancy::budget::Window;

/// The key that every script names. All others begin as it does, with a hash tag that keeps them in one slot.
pub(super) const EPOCH: &str = "{bedrock-gateway}:epoch";

pub(super) const ADMIT: Script = Script(0);
pub(super) const SETTLE: Script = Script(1);
pub(super) const SEED: Script = Script(2);
pub(super) const RENEW: Script = Script(3);
pub(super) const RESTORE: Script = Script(4);
pub(super) const GREET: Script = Script(5);

/// The texts, in the order of the constants above.
pub(super) fn texts() -> Vec<String> {
    let bodies = [
        include_str!("scripts/admit.lua"),
        include_str!("scripts/settle.lua"),
        include_str!("scripts/seed.lua"),
        include_str!("scripts/renew.lua"),
        include_str!("scripts/restore.lua"),
        include_str!("scripts/greet.lua"),
    ];
    bodies.map(|body| [include_str!("scripts/prelude.lua"), body].concat()).into()
}

/// More tokens than any call has: their product with a price stays exact.
const MOST_TOKENS: u64 = 1_000_000_000;
/// More than any limit by the minute: sixty thousand times it stays exact.
const MOST_PER_MINUTE: u64 = 100_000_000_000;
/// Micro-dollars, four and a half billion dollars: a budget is not larger, and what costs more fits in none.
const MOST_MONEY: i64 = 1 << 52;
/// No limit of this kind.
const NONE: i64 = -1;

fn tokens(amount: u64) -> i64 {
    i64::try_from(amount.min(MOST_TOKENS)).unwrap_or(i64::MAX)
}

fn per_minute(amount: Option<u64>) -> i64 {
    amount.map_or(NONE, |amount| i64::try_from(amount.min(MOST_PER_MINUTE)).unwrap_or(i64::MAX))
}

/// A limit, as the scripts know it.
#[derive(Clone, Copy, Debug)]
pub(super) struct LimitRow<'a> {
    pub(super) id: &'a str,
    pub(super) requests: Option<u64>,
    pub(super) tokens: Option<u64>,
    pub(super) concurrent: Option<u64>,
}

/// A budget in the window that counts now.
#[derive(Clone, Copy, Debug)]
pub(super) struct BudgetRow<'a> {
    pub(super) id: &'a str,
    pub(super) window: Window,
    /// Micro-dollars.
    pub(super) limit: i64,
}

/// The moment that a script goes by: the server's own unless the clock is moved by hand.
pub(super) fn moment(now: Option<Timestamp>) -> Argument<'static> {
    now.map_or(Argument::Text(""), |now| Argument::Number(now.millis()))
}

/// What [`ADMIT`] is asked.
pub(super) fn admit<'a>(
    now: Option<Timestamp>,
    (id, lease): (&'a str, Duration),
    demand: Demand,
    limits: &[LimitRow<'a>],
    budgets: &[BudgetRow<'a>],
) -> Vec<Argument<'a>> {
    let mut arguments = Vec::with_capacity(12 + 4 * limits.len() + 4 * budgets.len());
    arguments.extend_from_slice(&[moment(now), id.into(), millis(lease).into(), tokens(demand.input_tokens).into()]);
    arguments.extend_from_slice(&[tokens(demand.output.least()).into(), tokens(demand.output.most()).into()]);
    // Without a budget nobody pays.
    let cost = if budgets.is_empty() { Worst::Free } else { demand.cost };
    arguments.push(i64::from(cost == Worst::Unknown).into());
    arguments.extend(prices(cost).map(Argument::Number));
    arguments.push(length(limits));
    for limit in limits {
        arguments.push(limit.id.into());
        arguments.push(per_minute(limit.requests).into());
        arguments.push(per_minute(limit.tokens).into());
        arguments.push(per_minute(limit.concurrent).into());
    }
    arguments.push(length(budgets));
    for budget in budgets {
        arguments.extend_from_slice(&[budget.id.into(), budget.window.start.millis().into()]);
        arguments.extend_from_slice(&[end(budget.window).into(), budget.limit.min(MOST_MONEY).into()]);
    }
    arguments
}

/// Micro-dollars of the input and millionths of one, and the same of a token of the answer.
fn prices(cost: Worst) -> [i64; 4] {
    const MICRO: u128 = 1_000_000;
    let Worst::Known { input_pico, output_pico } = cost else { return [0; 4] };
    // Twice what fits into any budget is as good as any amount beyond it.
    let whole = |pico: u128| i64::try_from(pico / MICRO).unwrap_or(i64::MAX).min(2 * MOST_MONEY - 1);
    let rest = |pico: u128| i64::try_from(pico % MICRO).unwrap_or_default();
    let output_pico = u128::from(output_pico);
    [whole(input_pico), rest(input_pico), whole(output_pico), rest(output_pico)]
}

fn length<T>(list: &[T]) -> Argument<'static> {
    i64::try_from(list.len()).unwrap_or(i64::MAX).into()
}

fn end(window: Window) -> i64 {
    window.end.map_or(0, Timestamp::millis)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// How much is left, and when all of it will be there again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) remaining: u64,
    pub(super) reset: Duration,
}

/// What is left of the two rates of a limit, where it has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) requests: Option<Level>,
    pub(super) tokens: Option<Level>,
}

/// Which part of a limit refused, or a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString)]
#[strum(serialize_all = "snake_case")]
pub(super) enum What {
    Requests,
    Tokens,
    Concurrency,
    Budget,
}

/// What is spent of a budget in its window, and held for calls that run; micro-dollars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) spent: i64,
    pub(super) held: i64,
}

/// The limit or budget at this place of its list refuses; without a wait it will go on to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) what: What,
    pub(super) place: usize,
    pub(super) wait: Option<Duration>,
    pub(super) rates: Vec<Rates>,
    pub(super) uses: Vec<Use>,
}

/// What came of [`ADMIT`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may begin: so many tokens of output, so many micro-dollars held.
    Admitted {
        output: u64,
        held: i64,
        rates: Vec<Rates>,
        uses: Vec<Use>,
    },
    Refused(Refused),
    /// Nobody told yet what was spent of these budgets.
    Unseeded(Vec<usize>),
    /// A window is not the one that counts at the server's time.
    Rolled,
}

/// The generation and the server's time, and what it decided.
pub(super) fn verdict(mut answer: Answer, limits: usize, budgets: usize) -> Result<(i64, Timestamp, Verdict)> {
    let said = answer.text()?;
    let since = answer.number()?;
    let now = Timestamp::from_millis(answer.number()?);
    let verdict = match said.as_str() {
        "rolled" => Verdict::Rolled,
        "unseeded" => Verdict::Unseeded((0..answer.left()).map(|_| place(&mut answer)).collect::<Result<_>>()?),
        "admitted" => {
            let (output, held) = (amount(&mut answer)?, answer.number()?);
            let (rates, uses) = (rates(&mut answer, limits)?, uses(&mut answer, budgets)?);
            Verdict::Admitted { output, held, rates, uses }
        }
        _ => {
            let what = answer.text()?.parse().map_err(Error::internal)?;
            let place = place(&mut answer)?;
            let wait = u64::try_from(answer.number()?).ok().map(Duration::from_millis);
            let (rates, uses) = (rates(&mut answer, limits)?, uses(&mut answer, budgets)?);
            Verdict::Refused(Refused { what, place, wait, rates, uses })
        }
    };
    Ok((since, now, verdict))
}

/// Lua counts from one.
fn place(answer: &mut Answer) -> Result<usize> {
    usize::try_from(answer.number()? - 1).map_err(Error::internal)
}

fn amount(answer: &mut Answer) -> Result<u64> {
    u64::try_from(answer.number()?).map_err(Error::internal)
}

fn rates(answer: &mut Answer, limits: usize) -> Result<Vec<Rates>> {
    let level = |answer: &mut Answer| -> Result<Option<Level>> {
        let (remaining, reset) = (answer.number()?, answer.number()?);
        let level = u64::try_from(remaining).ok().zip(u64::try_from(reset).ok());
        Ok(level.map(|(remaining, reset)| Level { remaining, reset: Duration::from_millis(reset) }))
    };
    (0..limits).map(|_| Ok(Rates { requests: level(answer)?, tokens: level(answer)? })).collect()
}

fn uses(answer: &mut Answer, budgets: usize) -> Result<Vec<Use>> {
    (0..budgets).map(|_| Ok(Use { spent: answer.number()?, held: answer.number()? })).collect()
}

/// How a hold is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Way {
    /// By the process that held it.
    Settled,
    /// After that process had died, by its journal, which has just written its row into the ledger.
    Replayed,
}

/// A hold to be settled.
#[derive(Clone, Debug)]
pub(super) struct Settling {
    pub(super) id: String,
    pub(super) way: Way,
    /// The generation that it was held under; 0: it was never told of.
    pub(super) since: i64,
    /// When it ended, by the ledger.
    pub(super) at: Timestamp,
    /// Micro-dollars.
    pub(super) cost: i64,
    pub(super) reserved: u64,
    pub(super) used: u64,
    /// Limits by tokens: id, and what a minute allows.
    pub(super) limits: Vec<(String, u64)>,
    /// Budgets, in the windows of `at`.
    pub(super) budgets: Vec<(String, Window)>,
}

/// What [`SETTLE`] is asked.
pub(super) fn settle(now: Option<Timestamp>, hold: &Settling) -> Vec<Argument<'_>> {
    let mut arguments = Vec::with_capacity(10 + 2 * hold.limits.len() + 3 * hold.budgets.len());
    let way: &'static str = hold.way.into();
    arguments.extend_from_slice(&[moment(now), hold.id.as_str().into(), way.into(), hold.since.into()]);
    arguments.extend_from_slice(&[hold.at.millis().into(), hold.cost.clamp(0, MOST_MONEY).into()]);
    arguments.extend_from_slice(&[tokens(hold.reserved).into(), tokens(hold.used).into(), length(&hold.limits)]);
    for (id, allowed) in &hold.limits {
        arguments.extend_from_slice(&[id.as_str().into(), per_minute(Some(*allowed)).into()]);
    }
    arguments.push(length(&hold.budgets));
    for (id, window) in &hold.budgets {
        arguments.extend_from_slice(&[id.as_str().into(), window.start.millis().into()]);
    }
    arguments
}

/// What a settlement did to a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    /// It was charged what the call cost.
    Made(Use),
    /// It was not: the call cost nothing, or the ledger had told of it before.
    None(Use),
    /// Nobody told yet what was spent in the window; whoever does finds what the call cost.
    Early,
}

/// The generation after a settlement, and what it did to each budget; to none where the hold was settled before.
pub(super) fn settled(mut answer: Answer) -> Result<(i64, Vec<Charge>)> {
    answer.text()?;
    let since = answer.number()?;
    let mut charges = Vec::new();
    while answer.left() > 0 {
        let is_charged = answer.number()? == 1;
        let used = Use { spent: answer.number()?, held: answer.number()? };
        charges.push(match used.spent {
            ..0 => Charge::Early,
            _ if is_charged => Charge::Made(used),
            _ => Charge::None(used),
        });
    }
    Ok((since, charges))
}

/// The generation that any other script answers.
pub(super) fn generation(mut answer: Answer) -> Result<i64> {
    answer.text()?;
    answer.number()
}

/// What is in the ledger of a budget's window: the sum of what was booked before `cutoff`, and what was booked since, row
/// by row with its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Booked {
    pub(super) cutoff: Timestamp,
    pub(super) before: i64,
    pub(super) since: Vec<(String, i64)>,
}

/// What [`SEED`] is asked; it takes no effect under another generation than `since`.
pub(super) fn seed<'a>(
    now: Option<Timestamp>,
    since: i64,
    budget: &BudgetRow<'a>,
    booked: &'a Booked,
) -> Vec<Argument<'a>> {
    let mut arguments = Vec::with_capacity(8 + 2 * booked.since.len());
    arguments.extend_from_slice(&[moment(now), since.into(), budget.id.into(), budget.window.start.millis().into()]);
    arguments.extend_from_slice(&[end(budget.window).into(), booked.before.clamp(0, MOST_MONEY).into()]);
    arguments.extend_from_slice(&[booked.cutoff.millis().into(), length(&booked.since)]);
    for (id, cost) in &booked.since {
        arguments.extend_from_slice(&[id.as_str().into(), Argument::Number((*cost).clamp(0, MOST_MONEY))]);
    }
    arguments
}

/// What [`RENEW`] is asked.
pub(super) fn renew(now: Option<Timestamp>, lease: Duration, holds: &[String]) -> Vec<Argument<'_>> {
    let mut arguments = vec![moment(now), millis(lease).into(), length(holds)];
    arguments.extend(holds.iter().map(|id| Argument::Text(id)));
    arguments
}

/// The generation, and which of the holds nobody knows.
pub(super) fn renewed(mut answer: Answer) -> Result<(i64, Vec<String>)> {
    answer.text()?;
    let since = answer.number()?;
    let unknown = (0..answer.left()).map(|_| answer.text()).collect::<Result<_>>()?;
    Ok((since, unknown))
}

/// What [`RESTORE`] is asked: holds with their records.
pub(super) fn restore(now: Option<Timestamp>, lease: Duration, holds: &[(String, String)]) -> Vec<Argument<'_>> {
    let mut arguments = vec![moment(now), millis(lease).into(), length(holds)];
    arguments.extend(holds.iter().flat_map(|(id, record)| [Argument::Text(id), Argument::Text(record)]));
    arguments
}

/// The record of a hold, as [`ADMIT`] writes it.
pub(super) fn record(held: i64, limits: &[LimitRow<'_>], budgets: &[BudgetRow<'_>]) -> String {
    let budgets: Vec<_> = budgets.iter().map(|budget| budget.id).collect();
    let gauges: Vec<_> = limits.iter().filter(|limit| limit.concurrent.is_some()).map(|limit| limit.id).collect();
    format!("{held}|{}|{}", budgets.join(","), gauges.join(","))
}
