//! The states of a job, as AWS names them, and which of them are the end.

use serde::{Deserialize, Serialize};

/// Where a job is. <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_GetModelInvocationJob.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum JobState {
    /// It waits to be validated.
    Submitted,
    /// Its role, its files and their lines are looked at.
    Validating,
    /// It waits for its turn.
    Scheduled,
    /// Its records are run.
    InProgress,
    /// All records were run, some of them perhaps into an error.
    Completed,
    /// Its time was up before all records were run; what was is in the output.
    PartiallyCompleted,
    /// It ended early; `message` says why.
    Failed,
    /// Somebody stopped it.
    Stopping,
    /// It was stopped; what was run by then is in the output.
    Stopped,
    /// Its time was up before it began.
    Expired,
}

impl JobState {
    /// As AWS writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submitted => "Submitted",
            Self::Validating => "Validating",
            Self::Scheduled => "Scheduled",
            Self::InProgress => "InProgress",
            Self::Completed => "Completed",
            Self::PartiallyCompleted => "PartiallyCompleted",
            Self::Failed => "Failed",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Expired => "Expired",
        }
    }

    /// Whether nothing of the job changes any more.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::PartiallyCompleted | Self::Failed | Self::Stopped | Self::Expired)
    }

    /// Whether the quota of jobs counts it.
    pub(crate) const fn takes_a_slot(self) -> bool {
        matches!(self, Self::Submitted | Self::Validating | Self::Scheduled | Self::InProgress)
    }
}
