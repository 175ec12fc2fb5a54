//! From any rows the next steps, and an end.

use proptest::prelude::*;

use super::*;
use crate::batch::testing::{batch, queued, shard};

const NOW: Timestamp = Timestamp::from_millis(50_000);

fn planned() -> Batch {
    let mut batch = batch("batch_1", "t1");
    batch.state = State::InProgress;
    batch.in_progress_at = Some(NOW);
    batch
}

fn cancelled() -> Batch {
    Batch { state: State::Cancelling, cancelling_at: Some(NOW), ..planned() }
}

fn job(number: u32, state: ShardState, job_state: Option<&str>) -> Shard {
    let has_job = matches!(state, ShardState::Submitted | ShardState::Collecting | ShardState::Settled);
    Shard {
        job_state: job_state.map(Into::into),
        job_arn: has_job.then(|| "arn".into()),
        submitted_at: has_job.then_some(NOW),
        ..shard("batch_1", number, state)
    }
}

fn online(number: u32, state: ShardState) -> Shard {
    Shard { kind: Kind::Online, ..shard("batch_1", number, state) }
}

#[test]
fn a_batch_is_planned_even_if_it_was_cancelled_so_that_each_record_ends_in_a_file() {
    assert_eq!(steps(&batch("b", "t"), &[], NOW), [Step::Plan]);
    let cancelled = Batch { in_progress_at: None, ..cancelled() };
    assert_eq!(steps(&cancelled, &[], NOW), [Step::Plan]);
    assert_eq!(steps(&Batch { state: State::Failed, ..planned() }, &[queued("b", 0)], NOW), []);
}

#[test]
fn each_shard_takes_its_own_step() {
    let shards = [
        queued("batch_1", 0),
        job(1, ShardState::Submitting, None),
        job(2, ShardState::Submitted, Some("InProgress")),
        job(3, ShardState::Collecting, Some("Completed")),
        job(4, ShardState::Settled, Some("Completed")),
        online(5, ShardState::Queued),
        online(6, ShardState::Submitted),
    ];
    let running = [Step::Queue(0), Step::Submit(1), Step::Collect(3), Step::Run(5), Step::Run(6)];
    assert_eq!(steps(&planned(), &shards, NOW), running);
    let ending = [Step::Close(0), Step::Submit(1), Step::Stop(2), Step::Collect(3), Step::Close(5), Step::Close(6)];
    assert_eq!(steps(&cancelled(), &shards, NOW), ending);
    let batch = planned();
    assert_eq!(steps(&batch, &shards, batch.expires_at), ending);
    let stopping = [job(2, ShardState::Submitted, Some("Stopping"))];
    assert_eq!(steps(&cancelled(), &stopping, NOW), [], "it was asked to stop once");
}

#[test]
fn a_batch_ends_as_its_records_did() {
    let settled = |completed: u64, expired: u64| Shard {
        done: 100,
        failed: 100 - completed,
        expired,
        ..job(0, ShardState::Settled, Some("Completed"))
    };
    let end = |batch: &Batch, shard: Shard| steps(batch, &[shard], batch.expires_at);
    assert_eq!(end(&planned(), settled(100, 0)), [Step::Finish(State::Completed)], "all was done in time");
    assert_eq!(end(&planned(), settled(0, 0)), [Step::Finish(State::Completed)]);
    assert_eq!(end(&planned(), settled(60, 40)), [Step::Finish(State::Expired)]);
    assert_eq!(end(&cancelled(), settled(100, 0)), [Step::Finish(State::Cancelled)]);
    let refused = Shard {
        done: 100,
        failed: 100,
        reason: Some("AWS refuses".into()),
        job_arn: None,
        submitted_at: None,
        ..settled(0, 0)
    };
    assert_eq!(end(&planned(), refused), [Step::Finish(State::Failed)], "nothing ran");
    assert_eq!(steps(&planned(), &[], NOW), [Step::Finish(State::Completed)], "no record could be prepared");
}

#[test]
fn records_without_an_answer_end_as_their_shard_did() {
    let lost = |batch: &Batch, shard: Shard| match rest(batch, &Shard { ended_at: Some(NOW), ..shard }) {
        Rest::Retry => None,
        Rest::Lost(why, message) => {
            assert!(!message.is_empty());
            Some(why)
        }
    };
    let ended = |word| job(0, ShardState::Collecting, Some(word));
    assert_eq!(lost(&planned(), ended("Completed")), None);
    assert_eq!(lost(&planned(), ended("PartiallyCompleted")), None);
    assert_eq!(lost(&planned(), ended("Failed")), Some(Lost::JobFailed));
    assert_eq!(lost(&planned(), ended("Stopped")), Some(Lost::JobFailed), "by somebody else");
    assert_eq!(lost(&planned(), ended("Expired")), Some(Lost::BatchExpired));
    assert_eq!(lost(&cancelled(), ended("Stopped")), Some(Lost::BatchCancelled));
    assert_eq!(lost(&cancelled(), online(0, ShardState::Collecting)), Some(Lost::BatchCancelled));
    assert_eq!(lost(&Batch { expires_at: NOW, ..planned() }, ended("Stopped")), Some(Lost::BatchExpired));
    assert_eq!(lost(&planned(), queued("batch_1", 0)), Some(Lost::JobFailed), "AWS refused its job");
}

#[test]
fn what_is_held_shrinks_with_every_shard_that_is_settled() {
    let batch = Batch { estimate: Some(MicroUsd(500)), ..planned() };
    let shards = [queued("b", 0), job(1, ShardState::Settled, None)];
    assert_eq!(held(&Batch { in_progress_at: None, ..batch.clone() }, &[]), MicroUsd(500));
    assert_eq!(held(&batch, &shards), MicroUsd(50));
    assert_eq!(held(&batch, &shards[1..]), MicroUsd(0));
    assert_eq!(held(&Batch { estimate: None, ..batch }, &shards), MicroUsd(0));
}

#[test]
fn a_job_is_named_as_aws_takes_it_and_never_as_another() {
    let is_good = |name: &str| {
        name.len() <= 63 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !name.starts_with('-')
    };
    let long = Batch { id: "msgbatch_".to_owned() + &"0123456789abcdef".repeat(3), ..planned() };
    let mut names = Vec::new();
    for batch in [planned(), long, Batch { created_at: NOW, ..planned() }] {
        for number in [0, 1, u32::MAX] {
            names.push(job_name(&batch, &queued("b", number)));
        }
    }
    assert!(names.iter().all(|name| is_good(name)), "{names:?}");
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn a_job_gets_the_time_that_is_left_within_aws_bounds() {
    let batch = planned();
    assert_eq!(job_hours(&batch, batch.created_at), 24);
    assert_eq!(job_hours(&batch, batch.expires_at), 24);
    let long = Batch { expires_at: batch.created_at.plus(Duration::from_hours(1000)), ..batch };
    assert_eq!(job_hours(&long, long.created_at), 168);
}

#[test]
fn pauses_grow_and_are_bounded() {
    let bounds = (Duration::from_secs(1), Duration::from_mins(1));
    assert_eq!(pause(1, bounds, 0.0), Duration::from_secs(1));
    assert_eq!(pause(3, bounds, 0.0), Duration::from_secs(4));
    assert_eq!(pause(3, bounds, 1.0), Duration::from_secs(2));
    assert_eq!(pause(u32::MAX, bounds, 0.0), Duration::from_mins(1));
}

/// What the world makes of a step, told as the store would.
fn apply(step: Step, batch: &mut Batch, shards: &mut Vec<Shard>, luck: u8) {
    let index = |number: u32| usize::try_from(number).unwrap();
    match step {
        Step::Plan => {
            batch.in_progress_at = Some(NOW);
            if batch.state == State::Validating {
                batch.state = State::InProgress;
            }
            shards.push(queued("batch_1", 0));
            shards.push(online(1, ShardState::Queued));
        }
        Step::Queue(number) => shards[index(number)].state = ShardState::Submitting,
        Step::Submit(number) => {
            let (shard, is_cut) = (&mut shards[index(number)], batch.cancelling_at.is_some());
            if is_cut && luck.is_multiple_of(2) {
                (shard.state, shard.ended_at) = (ShardState::Collecting, Some(NOW));
            } else {
                shard.state = ShardState::Submitted;
                shard.job_arn = Some("arn".into());
            }
        }
        Step::Stop(number) => shards[index(number)].job_state = Some("Stopping".into()),
        Step::Run(number) | Step::Close(number) => shards[index(number)].state = ShardState::Collecting,
        Step::Collect(number) => {
            let attempt = shards[index(number)].attempt;
            shards[index(number)].state = ShardState::Settled;
            if luck.is_multiple_of(3) && attempt < 3 {
                let next = u32::try_from(shards.len()).unwrap();
                shards.push(Shard { attempt: attempt + 1, ..queued("batch_1", next) });
            }
        }
        Step::Finish(state) => batch.state = state,
    }
}

proptest! {
    /// Whatever happens on the way, cancelled at any time: it is never stuck, and no shard goes back.
    #[test]
    fn every_batch_comes_to_an_end(luck in prop::collection::vec(any::<u8>(), 200), cancelled_at in 0_usize..60) {
        let (mut batch, mut shards) = (batch("batch_1", "t1"), Vec::<Shard>::new());
        for (turn, luck) in luck.iter().enumerate() {
            if batch.state.is_over() {
                break;
            }
            if turn == cancelled_at {
                (batch.state, batch.cancelling_at) = (State::Cancelling, Some(NOW));
            }
            let next = steps(&batch, &shards, NOW);
            let before: Vec<_> = shards.iter().map(|shard| shard.state as u8).collect();
            if let Some(step) = next.get(usize::from(*luck) % next.len().max(1)) {
                apply(*step, &mut batch, &mut shards, *luck);
            } else {
                // What is left waits for AWS.
                let waiting = shards.iter_mut().find(|shard| shard.state == ShardState::Submitted);
                let waiting = waiting.expect("nothing to do, and nothing to wait for");
                (waiting.state, waiting.job_state) = (ShardState::Collecting, Some("Completed".into()));
            }
            let is_ahead = |(shard, before): (&Shard, &u8)| shard.state as u8 >= *before;
            prop_assert!(shards.iter().zip(&before).all(is_ahead));
        }
        prop_assert!(batch.state.is_over());
    }
}
