//! What batches ask about calls that they do not make: those that AWS makes itself, as records of a job. Nothing is
//! admitted or booked here.

use http::HeaderMap;

use super::statement::Statement;
use super::{Asked, Gateway, admit};
use crate::converse::Usage;
use crate::tenancy::Team;
use crate::upstream::Operation;

/// What a whole answer to `operation` says that it used, where nothing but its body is known: a job's answers have no
/// headers.
pub fn used(operation: Operation, answer: &[u8]) -> Option<Usage> {
    Statement::of(operation, &HeaderMap::new(), answer).usage
}

impl Gateway {
    /// How many tokens so many bytes of requests will be counted as, by what the model counted before.
    pub fn input_tokens(&self, model: &Asked, bytes: u64) -> u64 {
        self.ratios().tokens_of(&model.resolved.name, bytes)
    }

    /// The most tokens of an answer that no request bounds.
    pub fn longest_answer(&self, model: &Asked) -> u64 {
        admit::longest_answer(model)
    }

    /// Why the calls of `team` cannot be part of a job of AWS's, if they cannot.
    pub fn keeps_from_jobs(team: &Team) -> Option<&'static str> {
        if team.guardrail.is_some() {
            return Some("the team's guardrail, which jobs do not take");
        }
        team.role.is_some().then_some("the team's own AWS role")
    }
}
