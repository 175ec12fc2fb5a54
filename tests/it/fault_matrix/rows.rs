//! What may befall a call, and what has to follow: one row for each signal that AWS gives.

use bedrock_gateway::simulator::RegionFaults;

/// What follows a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// Another candidate at once; alone, the same one again after a pause.
    Anywhere,
    /// Another candidate at once; alone, nothing: it would fail for hours.
    Elsewhere,
    /// The same one again after a pause, whoever else there is.
    Here,
    /// One more attempt, wherever: AWS may charge for the first.
    OnceMore,
    /// Nothing: the request is at fault.
    Never,
}

/// A signal.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) policy: Policy,
    /// The status of both surfaces when nobody answered.
    pub(super) status: (u16, u16),
    /// Makes so many next calls of a Region meet it before anything is answered.
    pub(super) order: fn(&RegionFaults, u64),
    /// Whether only a stream can meet it.
    pub(super) of_streams: bool,
}

const fn row(name: &'static str, policy: Policy, status: (u16, u16), order: fn(&RegionFaults, u64)) -> Row {
    Row { name, policy, status, order, of_streams: false }
}

const fn first_event(name: &'static str, policy: Policy, status: (u16, u16), order: fn(&RegionFaults, u64)) -> Row {
    Row { name, policy, status, order, of_streams: true }
}

fn throw(region: &RegionFaults, times: u64, exception: &str) {
    for _ in 0..times {
        region.stream_exception(exception, 0);
    }
}

use Policy::{Anywhere, Elsewhere, Here, Never, OnceMore};

/// Every signal that comes before an answer.
pub(super) const BEFORE: [Row; 21] = [
    row("throttled", Anywhere, (429, 429), |region, n| drop(region.throttle(n).clone())),
    row("throttled for the day", Elsewhere, (429, 429), |region, n| {
        region.reject(n, "ThrottlingException", 429, "Too many tokens per day, please wait before trying again.");
    }),
    row("quota of the account", Elsewhere, (429, 400), |region, n| drop(region.quota_exceeded(n).clone())),
    row("model not ready", Here, (503, 429), |region, n| drop(region.model_not_ready(n).clone())),
    row("unavailable", Anywhere, (503, 503), |region, n| drop(region.unavailable(n).clone())),
    row("internal error", Anywhere, (503, 500), |region, n| drop(region.internal_error(n).clone())),
    row("overloaded", Anywhere, (503, 424), |region, n| drop(region.overloaded(n).clone())),
    row("model timeout", OnceMore, (504, 408), |region, n| drop(region.model_timeout(n).clone())),
    row("model error", OnceMore, (503, 424), |region, n| {
        region.reject(n, "ModelErrorException", 424, "The model failed.");
    }),
    row("validation", Never, (400, 400), |region, n| {
        region.reject(n, "ValidationException", 400, "This is not how it is done.");
    }),
    row("access denied", Elsewhere, (403, 403), |region, n| {
        region.reject(
            n,
            "AccessDeniedException",
            403,
            "You don't have access to the model with the specified model ID.",
        );
    }),
    row("not found", Elsewhere, (404, 404), |region, n| {
        region.reject(n, "ResourceNotFoundException", 404, "Could not resolve the foundation model.");
    }),
    row("offered by profiles only", Elsewhere, (400, 400), |region, n| {
        let message = "Invocation of model ID m with on-demand throughput isn\u{2019}t supported.";
        region.reject(n, "ValidationException", 400, message);
    }),
    row("connection reset", OnceMore, (503, 503), |region, n| drop(region.reset_connection(n).clone())),
    first_event("throttled by the first event", Anywhere, (429, 429), |region, n| {
        throw(region, n, "throttlingException");
    }),
    first_event("unavailable by the first event", Anywhere, (503, 503), |region, n| {
        throw(region, n, "serviceUnavailableException");
    }),
    first_event("internal error by the first event", Anywhere, (503, 500), |region, n| {
        throw(region, n, "internalServerException");
    }),
    first_event("model error by the first event", OnceMore, (503, 424), |region, n| {
        throw(region, n, "modelStreamErrorException");
    }),
    first_event("validation by the first event", Never, (400, 400), |region, n| {
        throw(region, n, "validationException");
    }),
    first_event("cut before the first event", OnceMore, (503, 500), |region, n| {
        for _ in 0..n {
            region.cut_stream_after(0);
        }
    }),
    first_event("a broken first frame", OnceMore, (503, 500), |region, n| {
        for _ in 0..n {
            region.corrupt_frame_after(0);
        }
    }),
];

/// Makes the next stream of a Region break.
pub(super) type Break = fn(&RegionFaults);

/// What may end an answer that has begun, with the exception that AWS's clients are told.
pub(super) const AFTER: [(&str, Break); 7] = [
    ("throttlingException", |region| throw_after(region, "throttlingException")),
    ("serviceUnavailableException", |region| throw_after(region, "serviceUnavailableException")),
    ("internalServerException", |region| throw_after(region, "internalServerException")),
    ("modelStreamErrorException", |region| throw_after(region, "modelStreamErrorException")),
    ("validationException", |region| throw_after(region, "validationException")),
    ("internalServerException", |region| drop(region.cut_stream_after(WRITTEN).clone())),
    ("internalServerException", |region| drop(region.corrupt_frame_after(WRITTEN).clone())),
];

/// Events of an answer that the client has seen when it breaks.
const WRITTEN: usize = 3;

fn throw_after(region: &RegionFaults, exception: &str) {
    region.stream_exception(exception, WRITTEN);
}

impl Policy {
    /// Who is called, by the place in the order of preference, when the first of `candidates` fails once.
    pub(super) fn after_one_failure(self, candidates: usize) -> Vec<usize> {
        match (self, candidates) {
            (Self::Never, _) | (Self::Elsewhere, 1) => vec![0],
            (Self::Here, _) | (_, 1) => vec![0, 0],
            _ => vec![0, 1],
        }
    }

    /// Who is called when all of `candidates` fail for good and three attempts are allowed.
    pub(super) fn when_all_fail(self, candidates: usize) -> Vec<usize> {
        match (self, candidates) {
            (Self::Never, _) => vec![0],
            (Self::Here, _) | (Self::Anywhere, 1) => vec![0, 0, 0],
            (Self::Elsewhere, _) => (0..candidates).collect(),
            (Self::OnceMore, 1) => vec![0, 0],
            (Self::OnceMore, _) => vec![0, 1],
            (Self::Anywhere, 2) => vec![0, 1, 1],
            (Self::Anywhere, _) => vec![0, 1, 2],
        }
    }
}
