//! Message batches as Anthropic's clients read them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::anthropic::wire::MessagesRequest;
use crate::batch::record::{Batch, Counts, State};
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// Messages to be made as a batch.
// The body is read as it arrives; this is its form for the API document.
#[derive(Deserialize, ToSchema)]
#[schema(as = AnthropicMessageBatchRequest)]
#[expect(dead_code, reason = "only its form is wanted")]
pub(super) struct NewMessageBatch {
    /// At least one; together at most `batch.max_inline_mb`.
    requests: Vec<NewRequest>,
}

/// One of them.
#[derive(Deserialize, ToSchema)]
#[schema(as = AnthropicMessageBatchIndividualRequest)]
#[expect(dead_code, reason = "only its form is wanted")]
pub(super) struct NewRequest {
    /// Unique in the batch: 1 to 64 letters, digits, `-` or `_`.
    custom_id: String,
    /// The message, without `stream`.
    params: MessagesRequest,
}

/// A message batch.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnthropicMessageBatch)]
pub(super) struct MessageBatch {
    /// `msgbatch_...`
    id: String,
    /// Always `message_batch`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// `in_progress`, `canceling` or `ended`.
    processing_status: &'static str,
    /// How many of its requests are where.
    request_counts: RequestCounts,
    /// RFC 3339.
    created_at: String,
    /// RFC 3339: what is not done by then does not run.
    expires_at: String,
    /// RFC 3339.
    ended_at: Option<String>,
    /// RFC 3339.
    cancel_initiated_at: Option<String>,
    /// Always null: results are there as long as their file is.
    archived_at: Option<String>,
    /// Where the results are, once it has ended.
    results_url: Option<String>,
}

/// How many requests are where. They count as they are done, not only in the end.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AnthropicMessageBatchRequestCounts)]
pub(super) struct RequestCounts {
    /// Not done.
    processing: u64,
    /// With a message.
    succeeded: u64,
    /// With an error.
    errored: u64,
    /// Cancelled before they ran.
    canceled: u64,
    /// Not run in time.
    expired: u64,
}

impl From<Counts> for RequestCounts {
    fn from(counts: Counts) -> Self {
        let Counts { total, completed, failed, cancelled, expired } = counts;
        Self {
            processing: total.saturating_sub(completed).saturating_sub(failed),
            succeeded: completed,
            errored: failed.saturating_sub(cancelled).saturating_sub(expired),
            canceled: cancelled,
            expired,
        }
    }
}

impl MessageBatch {
    /// A batch as it is told; `root` is scheme and host by which its caller came.
    pub(super) fn of(batch: Batch, root: &str) -> Self {
        let processing_status = match batch.state {
            State::Validating | State::InProgress | State::Finalizing => "in_progress",
            State::Cancelling => "canceling",
            State::Completed | State::Failed | State::Expired | State::Cancelled => "ended",
        };
        let results_url = format!("{root}/v1/messages/batches/{}/results", batch.id);
        Self {
            kind: "message_batch",
            processing_status,
            request_counts: batch.counts.into(),
            created_at: moment(batch.created_at),
            expires_at: moment(batch.expires_at),
            ended_at: batch.ended_at.map(moment),
            cancel_initiated_at: batch.cancelling_at.map(moment),
            archived_at: None,
            results_url: batch.state.is_over().then_some(results_url),
            id: batch.id,
        }
    }

    /// What a client names it by.
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).unwrap_or_default().to_string()
}

/// A page of message batches, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnthropicMessageBatches)]
pub(super) struct MessageBatches {
    /// The batches.
    pub(super) data: Vec<MessageBatch>,
    /// Whether there are more in the direction of the page.
    pub(super) has_more: bool,
    /// For `before_id`.
    pub(super) first_id: Option<String>,
    /// For `after_id`.
    pub(super) last_id: Option<String>,
}

/// A batch that is no more.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AnthropicDeletedMessageBatch)]
pub(super) struct Deleted {
    /// Its id.
    pub(super) id: String,
    /// Always `message_batch_deleted`.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
}

/// Which page is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Page {
    after_id: Option<String>,
    before_id: Option<String>,
    limit: Option<String>,
}

/// Batches of a page, if nothing is said, and at most.
const LIMIT: u32 = 20;
const MOST: u32 = 1000;

impl Page {
    /// The batch after which, the one before which, and how many.
    pub(super) fn read(self) -> Result<(Option<String>, Option<String>, u32)> {
        if self.after_id.is_some() && self.before_id.is_some() {
            return Err(Error::invalid("before_id", "A page is either after `after_id` or before `before_id`."));
        }
        let limit = match self.limit {
            None => LIMIT,
            Some(text) => text.parse().ok().filter(|limit| (1..=MOST).contains(limit)).ok_or_else(|| {
                Error::invalid("limit", format!("`limit` has to be a whole number from 1 to {MOST}."))
            })?,
        };
        Ok((self.after_id, self.before_id, limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_of_every_request_at_any_time() {
        let counts = |total, completed, failed, cancelled, expired| {
            RequestCounts::from(Counts { total, completed, failed, cancelled, expired })
        };
        let expected = RequestCounts { processing: 3, succeeded: 2, errored: 2, canceled: 2, expired: 1 };
        assert_eq!(counts(10, 2, 5, 2, 1), expected);
        let expected = RequestCounts { processing: 0, succeeded: 0, errored: 0, canceled: 0, expired: 0 };
        assert_eq!(counts(0, 0, 0, 0, 0), expected);
    }

    #[test]
    fn a_page_has_one_direction_and_a_size_that_anthropic_takes() {
        let page = |limit: &str| Page { limit: Some(limit.to_owned()), ..Page::default() }.read();
        assert_eq!(Page::default().read().unwrap(), (None, None, 20));
        assert_eq!(page("1000").unwrap().2, 1000);
        for limit in ["0", "1001", "x", "-1", ""] {
            assert_eq!(page(limit).unwrap_err().blamed(), Some("limit"), "{limit}");
        }
        let both = Page { after_id: Some("a".into()), before_id: Some("b".into()), limit: None };
        assert_eq!(both.read().unwrap_err().blamed(), Some("before_id"));
    }
}
