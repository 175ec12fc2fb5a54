//! What a record is in a client's dialect: how it becomes the input of a job, and how a result line is written.
//!
//! Each surface exports one [`Codec`] per endpoint, function pointers alone, and the composition root hands them in: this
//! module imports no surface.

use serde_json::value::RawValue;

use super::record::{Endpoint, Form, Invocation};
use crate::clock::Timestamp;
use crate::converse::Usage;
use crate::error::{Error, Result};
use crate::gateway::Asked;

/// One endpoint's records.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    /// Which.
    pub endpoint: Endpoint,
    /// The dialect of its lines.
    pub form: Form,
    /// What a job takes for this body, or why the record cannot be part of one. An error is the caller's to change and
    /// becomes the record's result.
    pub prepare: fn(&RawValue, &Target<'_>) -> Result<Prepared>,
    /// The answer in the dialect, from what a job's output has under `modelOutput`.
    pub render: fn(&Answer<'_>) -> Result<Rendered>,
    /// An error in the dialect: HTTP status and body. The second argument is the id of the request.
    pub error: fn(&Error, &str) -> (u16, Vec<u8>),
    /// Appends one line of a result file, with its line break.
    pub line: fn(&Line<'_>, &mut Vec<u8>),
}

/// What a record is prepared for.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The model, as the records name it and as it was found.
    pub model: &'a Asked,
    /// Whether tools may go into a job, in the model's own body (`batch.native_tools`).
    pub native_tools: bool,
    /// Of a native job: the type that its caller asked for.
    pub invocation: Option<Invocation>,
}

/// What becomes of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prepared {
    /// It can be part of a job.
    Job {
        /// Records of one job have the same.
        invocation: Invocation,
        /// `modelInput`: one JSON object without line breaks.
        input: Vec<u8>,
        /// What [`Codec::render`] needs to know of the request; short, and empty where it needs nothing.
        note: String,
    },
    /// It runs through the completion path: a job cannot do what it asks for.
    Online {
        /// Why, for its owner: "tools", "an image behind a URL".
        why: &'static str,
    },
}

/// The answer to a record of a job.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// How the job called its model.
    pub invocation: Invocation,
    /// What AWS's output has under `modelOutput`.
    pub output: &'a RawValue,
    /// As [`Prepared::Job`] said.
    pub note: &'a str,
    /// The model, as the records name it.
    pub model: &'a str,
    /// Bedrock's id of it.
    pub model_id: &'a str,
    /// Thirty-two hex digits, unique to the record and always the same: what ids in the answer are made of.
    pub id: &'a str,
    /// When the job ended.
    pub at: Timestamp,
}

/// An answer in the dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// JSON without line breaks.
    pub body: Vec<u8>,
    /// What it used, where the answer says it.
    pub usage: Option<Usage>,
}

/// What a line of a result file tells.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// `custom_id` or `recordId`, as the caller gave it.
    pub id: &'a str,
    /// As [`Answer::id`].
    pub request: &'a str,
    /// Of a native record, its `modelInput` as the caller gave it, which a result line repeats; none where it is not at
    /// hand, as of a record that was not run. Other codecs pass over it.
    pub input: Option<&'a RawValue>,
    /// What the record ended with.
    pub outcome: Outcome<'a>,
}

/// What a record ended with.
#[derive(Clone, Copy, Debug)]
pub enum Outcome<'a> {
    /// An answer of the endpoint, good or an error, with its HTTP status.
    Answered {
        /// The HTTP status.
        status: u16,
        /// JSON without line breaks.
        body: &'a [u8],
    },
    /// None: it was not run, or its answer is lost.
    Lost {
        /// Why.
        why: Lost,
        /// A sentence for people.
        message: &'a str,
    },
}

impl Outcome<'_> {
    /// Whether it belongs into the output, not among the errors.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Answered { status: 200..=299, .. })
    }
}

/// Why a record has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Lost {
    /// Its job failed.
    JobFailed,
    /// The completion window ended before.
    BatchExpired,
    /// The batch was cancelled before.
    BatchCancelled,
    /// Its job ended well and has no line for it.
    NoResult,
}

/// The codecs of all endpoints.
#[derive(Clone, Copy, Debug)]
pub struct Codecs(&'static [Codec]);

impl Codecs {
    /// One per endpoint.
    pub const fn new(codecs: &'static [Codec]) -> Self {
        Self(codecs)
    }

    /// The codec of this endpoint, if there is one.
    pub fn of(&self, endpoint: Endpoint) -> Option<&'static Codec> {
        self.0.iter().find(|codec| codec.endpoint == endpoint)
    }
}
