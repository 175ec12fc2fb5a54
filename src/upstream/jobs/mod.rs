//! AWS's batch jobs: make one, look at one, list them, stop one.
//!
//! One attempt each, as [`Region::control`] makes it: who asks goes on later, since nothing waits for the answer but a
//! queue. What AWS says of a missing permission, a full quota or a name that is taken is told apart by
//! [`Failure::reason`] and [`is_conflict`]; ARNs are in [`Job::arn`] only, which is not for callers.

mod wire;

use bytes::Bytes;
use http::Method;
use serde::Deserialize;

use super::classify::{Failure, Reason};
use super::plain::PlainCall;
use super::region::Region;
use crate::clock::Timestamp;
use crate::error::{Error, Kind};

/// AWS gives at most a thousand jobs a page.
const PAGE: u32 = 1000;
/// What a job may be given to do its work: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_CreateModelInvocationJob.html>.
const HOURS: std::ops::RangeInclusive<u32> = 24..=168;

/// A job to make.
#[derive(Clone, Copy, Debug)]
pub struct NewJob<'a> {
    /// Unique in the account and Region: 1 to 63 letters, digits and `-+.`, the first a letter or digit.
    pub name: &'a str,
    /// Letters, digits and single dashes between them, at most 256: asked again with the same, AWS makes no second job.
    pub token: &'a str,
    /// The ARN of the role that Bedrock takes.
    pub role: &'a str,
    /// The id of the model or of its profile.
    pub model: &'a str,
    /// `Converse` or `InvokeModel`.
    pub invocation: &'a str,
    /// `s3://bucket/key`: a file, or a folder whose `.jsonl` files are all read.
    pub input_uri: &'a str,
    /// `s3://bucket/key/`: below it AWS makes a folder named by the job's id.
    pub output_uri: &'a str,
    /// When AWS gives up: what is not within 24 to 168 becomes the nearer of them.
    pub timeout_hours: u32,
    /// Name and value.
    pub tags: &'a [(&'a str, &'a str)],
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// With the account: not for callers.
    pub arn: String,
    /// As it was made.
    pub name: String,
    /// Where it is.
    pub status: JobStatus,
    /// What AWS says of a job that failed, ARNs and account ids taken out.
    pub message: Option<String>,
    /// Records so far, where AWS tells them.
    pub counts: Option<JobCounts>,
    /// When it was made.
    pub submitted_at: Option<Timestamp>,
    /// When AWS last changed it.
    pub modified_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
}

impl Job {
    /// The twelve letters and digits that its ARN ends with, by which its folder of output is named.
    pub fn id(&self) -> &str {
        id(&self.arn)
    }
}

/// The twelve letters and digits that the ARN of a job ends with.
pub fn id(arn: &str) -> &str {
    arn.rsplit_once('/').map_or(arn, |(_, id)| id)
}

/// Where a job is.
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-monitor.html>
#[derive(Clone, Debug, PartialEq, Eq, strum::Display, strum::EnumString)]
pub enum JobStatus {
    /// It waits to be looked at.
    Submitted,
    /// Its input is being looked at.
    Validating,
    /// Its input is good and it waits to run.
    Scheduled,
    /// It runs, and results begin to be there.
    InProgress,
    /// It has done all records, some perhaps with an error.
    Completed,
    /// Its time was over; what was done is good.
    PartiallyCompleted,
    /// Nothing came of it.
    Failed,
    /// It was asked to stop.
    Stopping,
    /// It stopped; what was done is there.
    Stopped,
    /// Its time was over before it began.
    Expired,
    /// A word that AWS has added.
    #[strum(default)]
    Other(String),
}

impl JobStatus {
    /// Whether nothing of it changes any more.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Completed | Self::PartiallyCompleted | Self::Failed | Self::Stopped | Self::Expired)
    }
}

/// The records of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// Of its input.
    pub total: u64,
    /// Those that are done.
    pub processed: u64,
    /// Of those, the ones with an answer.
    pub succeeded: u64,
    /// Of those, the ones with an error.
    pub failed: u64,
}

/// Which jobs to list: newest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobQuery<'a> {
    /// Made after this moment.
    pub submitted_after: Option<Timestamp>,
    /// In whose names this text is.
    pub name_contains: Option<&'a str>,
    /// Of the page before.
    pub next: Option<&'a str>,
}

/// A page of jobs.
#[derive(Clone, Debug, Default)]
pub struct JobPage {
    /// Without counts.
    pub jobs: Vec<Job>,
    /// What to ask for the page after this; none: there is none.
    pub next: Option<String>,
}

/// Whether AWS refused because something of that name or token is there already, or is in a state that forbids it.
pub fn is_conflict(failure: &Failure) -> bool {
    failure.error.aws().is_some_and(|exception| exception.name == "ConflictException")
}

impl Region {
    /// Makes a job and says its ARN.
    ///
    /// # Errors
    /// [`Reason::Quota`]: as many jobs as the account may have are open. [`Reason::Denied`]: a permission is missing,
    /// which the message names. [`is_conflict`]: a job of this name is there.
    pub async fn create_job(&self, job: &NewJob<'_>) -> Result<String, Failure> {
        let body =
            serde_json::to_vec(&wire::Create::of(job)).map_err(|error| Failure::internal(Error::internal(error)))?;
        let call = PlainCall::new(Method::POST, ["model-invocation-job"]).body(Bytes::from(body));
        let reply = self.control(&call).await.map_err(|failure| worded(failure, "CreateModelInvocationJob"))?;
        Ok(read::<wire::Created>(&reply.body)?.job_arn)
    }

    /// The job of this ARN.
    ///
    /// # Errors
    /// [`Reason::Missing`]: there is none.
    pub async fn job(&self, arn: &str) -> Result<Job, Failure> {
        let call = PlainCall::new(Method::GET, ["model-invocation-job", arn]);
        let reply = self.control(&call).await.map_err(|failure| worded(failure, "GetModelInvocationJob"))?;
        read::<wire::Job>(&reply.body).map(wire::Job::known)
    }

    /// A page of the jobs that were asked for, the newest first, a thousand at most.
    ///
    /// # Errors
    /// As [`Region::control`].
    pub async fn jobs(&self, query: &JobQuery<'_>) -> Result<JobPage, Failure> {
        let after = query.submitted_after.map(|at| wire::time(at).ok_or_else(|| unreadable("a time out of range")));
        let after = after.transpose()?;
        let page = PAGE.to_string();
        let parameters = [
            ("maxResults", Some(page.as_str())),
            ("sortBy", Some("CreationTime")),
            ("sortOrder", Some("Descending")),
            ("submitTimeAfter", after.as_deref()),
            ("nameContains", query.name_contains),
            ("nextToken", query.next),
        ];
        let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let call = PlainCall::new(Method::GET, ["model-invocation-jobs"]).query(given);
        let reply = self.control(&call).await.map_err(|failure| worded(failure, "ListModelInvocationJobs"))?;
        let page: wire::Page = read(&reply.body)?;
        let jobs = page.invocation_job_summaries.into_iter().map(wire::Job::known).collect();
        Ok(JobPage { jobs, next: page.next_token.filter(|token| !token.is_empty()) })
    }

    /// Asks a job to stop. One that is over, or is stopping, is no error.
    ///
    /// # Errors
    /// [`Reason::Missing`]: there is none.
    pub async fn stop_job(&self, arn: &str) -> Result<(), Failure> {
        let call = PlainCall::new(Method::POST, ["model-invocation-job", arn, "stop"]);
        match self.control(&call).await {
            Ok(_) => Ok(()),
            Err(failure) if is_conflict(&failure) => Ok(()),
            Err(failure) => Err(worded(failure, "StopModelInvocationJob")),
        }
    }
}

/// The failure in words for who can put it right.
fn worded(mut failure: Failure, operation: &str) -> Failure {
    let said = failure.error.message();
    let message = match failure.reason {
        Reason::Denied if said.contains("iam:PassRole") => {
            "The gateway may not hand its batch jobs the role of `batch.role_arn`: it lacks `iam:PassRole`. Its operator \
             grants it; `bedrock-gateway iam-policy` prints what is needed."
                .to_owned()
        }
        Reason::Denied if said.contains("not authorized to perform") => {
            let action = said.split_once("not authorized to perform: ").map_or("", |(_, after)| after);
            let end = action.find(|c: char| !c.is_ascii_alphanumeric() && c != ':').unwrap_or(action.len());
            let named = Some(&action[..end]).filter(|action| action.contains(':')).map(str::to_owned);
            let action = named.unwrap_or_else(|| format!("bedrock:{operation}"));
            format!(
                "The gateway may not run batch jobs as it is set up: it lacks `{action}`. Its operator grants it; \
                 `bedrock-gateway iam-policy` prints what is needed."
            )
        }
        Reason::Denied => format!("AWS does not allow {operation}: {said}"),
        Reason::Quota => format!("AWS has as many batch jobs as the account's quota allows: {said}"),
        _ => return failure,
    };
    let kind = match failure.reason {
        Reason::Quota => Kind::UpstreamThrottled,
        _ => Kind::Unavailable,
    };
    let mut error = Error::new(kind, message);
    if let Some(exception) = failure.error.aws() {
        error = error.exception(exception);
    }
    if let Some(after) = failure.retry_after {
        error = error.retry_after(after);
    }
    failure.error = error.source(failure.error);
    failure
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(unreadable)
}

fn unreadable(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Failure {
    Failure::cut(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_job_is_what_aws_documents() {
        let job = NewJob {
            name: "bgw-1",
            token: "bgw-1",
            role: "arn:aws:iam::000000000000:role/batch",
            model: "amazon.nova-lite-v1:0",
            invocation: "Converse",
            input_uri: "s3://files/in/",
            output_uri: "s3://files/out/",
            timeout_hours: 1,
            tags: &[("team", "blue")],
        };
        let expected = serde_json::json!({
            "jobName": "bgw-1", "clientRequestToken": "bgw-1", "roleArn": "arn:aws:iam::000000000000:role/batch",
            "modelId": "amazon.nova-lite-v1:0", "modelInvocationType": "Converse",
            "inputDataConfig": {"s3InputDataConfig": {"s3InputFormat": "JSONL", "s3Uri": "s3://files/in/"}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://files/out/"}},
            "timeoutDurationInHours": 24, "tags": [{"key": "team", "value": "blue"}],
        });
        assert_eq!(serde_json::to_value(wire::Create::of(&job)).unwrap(), expected);
    }

    #[test]
    fn a_job_is_read_with_and_without_counts_and_with_words_that_are_new() {
        let text = br#"{"jobArn":"arn:aws:bedrock:us-east-1:000000000000:model-invocation-job/abcdefghijkl","jobName":"n",
            "status":"PartiallyCompleted","message":"no access to arn:aws:s3:::files/in","submitTime":"2026-01-02T03:04:05.678Z",
            "totalRecordCount":100,"processedRecordCount":60,"successRecordCount":50,"errorRecordCount":10}"#;
        let job = read::<wire::Job>(text).unwrap().known();
        assert_eq!((job.id(), job.status.is_over()), ("abcdefghijkl", true));
        assert_eq!(job.counts, Some(JobCounts { total: 100, processed: 60, succeeded: 50, failed: 10 }));
        assert_eq!(job.submitted_at, Some(Timestamp::from_millis(1_767_323_045_678)));
        assert!(!job.message.unwrap().contains("arn:"));
        let job = read::<wire::Job>(br#"{"jobArn":"a","jobName":"n","status":"Paused"}"#).unwrap().known();
        assert_eq!((&job.status, job.status.is_over(), job.counts), (&JobStatus::Other("Paused".into()), false, None));
        assert_eq!(wire::time(Timestamp::from_millis(1_767_323_045_678)).unwrap(), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn a_missing_permission_a_full_quota_and_a_taken_name_are_told_apart() {
        let say = |status, name, message: &str| {
            worded(Failure::from_exception(status, name, message), "CreateModelInvocationJob")
        };
        let user = "User: arn:aws:sts::123456789012:assumed-role/gateway/i is not authorized to perform: ";
        let pass = say(
            403,
            "AccessDeniedException",
            &format!("{user}iam:PassRole on resource: arn:aws:iam::123456789012:role/b"),
        );
        assert_eq!(pass.reason, Reason::Denied);
        assert!(pass.error.message().contains("batch.role_arn") && pass.error.message().contains("iam:PassRole"));
        let create =
            say(403, "AccessDeniedException", &format!("{user}bedrock:CreateModelInvocationJob on resource: x"));
        assert!(create.error.message().contains("`bedrock:CreateModelInvocationJob`"), "{}", create.error);
        let full = say(400, "ServiceQuotaExceededException", "Too many jobs");
        assert_eq!((full.reason, full.error.kind()), (Reason::Quota, Kind::UpstreamThrottled));
        let taken = say(400, "ConflictException", "The job name is in use");
        assert!(is_conflict(&taken) && !is_conflict(&full) && !is_conflict(&pass));
        for failure in [pass, create] {
            let all = format!("{} {}", failure.error, failure.error.causes());
            assert!(!all.contains("123456789012") && !all.contains("arn:"), "{all}");
        }
    }
}
