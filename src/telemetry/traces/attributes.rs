//! Every attribute and event that spans may have, each declared once; `docs/TRACES.md` lists them. What a prompt, an answer,
//! a key or an ARN says is in none.

/// An attribute.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    /// Its name, as it is exported.
    pub name: &'static str,
    /// The spans that have it: `request`, `call`, `attempt`.
    pub spans: &'static str,
    /// What it says.
    pub what: &'static str,
}

/// Declares attributes, and the list of them.
macro_rules! attributes {
    ($($constant:ident = $name:literal, $spans:literal, $what:literal;)*) => {
        $(pub(super) const $constant: &str = $name;)*

        /// Every attribute, in the order of the document.
        pub const ATTRIBUTES: &[Attribute] = &[$(Attribute { name: $name, spans: $spans, what: $what }),*];
    };
}

attributes! {
    METHOD = "http.request.method", "request", "the method; `_OTHER` for one that HTTP does not have";
    ROUTE = "http.route", "request", "the pattern of the route, as in the access log";
    PATH = "url.path", "request", "the path without its query, ARNs and account ids masked; absent where no route takes it";
    PROTOCOL = "network.protocol.version", "request", "`1.1`, `2`";
    STATUS = "http.response.status_code", "request, attempt", "of the request 499 where the client left before the head of an answer; of an attempt what AWS answered";
    SENT = "http.response.body.size", "request", "bytes of the answer that were sent";
    ERROR = "error.type", "request, call, attempt", "why it failed: the kind of error (see ERRORS.md); for calls and attempts AWS's exception, where it named one";
    REQUEST_ID = "bedrock_gateway.request_id", "request", "the `x-request-id` of the answer, and of the log";
    SURFACE = "bedrock_gateway.surface", "request, call", "as the metric label";
    OPERATION = "bedrock_gateway.operation", "request, call", "as the metric label";
    TEAM = "bedrock_gateway.team", "request, call", "the team's name";
    KEY = "bedrock_gateway.key", "request, call", "the key's id";
    BATCH = "bedrock_gateway.batch", "request", "true for a record of a batch that runs online";
    COMPLETE = "bedrock_gateway.complete", "request", "whether the last byte of the answer left; otherwise the client did, or the connection broke";
    GEN_OPERATION = "gen_ai.operation.name", "call", "`chat`, `embeddings`, `generate_content`, or the operation where the conventions have no name for it";
    PROVIDER = "gen_ai.provider.name", "call", "`aws.bedrock`";
    REQUEST_MODEL = "gen_ai.request.model", "call", "Bedrock's id of the model that was asked for; what is behind an alias";
    REQUEST_STREAM = "gen_ai.request.stream", "call", "whether the answer is streamed";
    MAX_TOKENS = "gen_ai.request.max_tokens", "call", "the most tokens that were asked for, as the call was sent";
    TEMPERATURE = "gen_ai.request.temperature", "call", "as the call was sent";
    TOP_P = "gen_ai.request.top_p", "call", "as the call was sent";
    RESPONSE_MODEL = "gen_ai.response.model", "call", "Bedrock's id of the model that answered: another one where a prompt router chose";
    FINISH_REASONS = "gen_ai.response.finish_reasons", "call", "why the model stopped, in the words of the model";
    INPUT_TOKENS = "gen_ai.usage.input_tokens", "call", "tokens of the prompt, cached ones included";
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens", "call", "tokens of the answer";
    CACHE_READ = "gen_ai.usage.cache_read.input_tokens", "call", "of the prompt, tokens that were read from the cache";
    CACHE_WRITE = "gen_ai.usage.cache_creation.input_tokens", "call", "of the prompt, tokens that were written to the cache";
    REGION = "cloud.region", "call, attempt", "the AWS Region that answered, or was asked last; of an attempt the one that was asked";
    SERVER_ADDRESS = "server.address", "attempt", "the host of the Region's endpoint";
    SERVER_PORT = "server.port", "attempt", "its port";
    ATTEMPTS = "bedrock_gateway.attempts", "call", "attempts made";
    COST = "bedrock_gateway.cost_micro_usd", "call", "millionths of a US dollar, as booked; absent where the price is not known";
    TIER = "bedrock_gateway.tier", "call", "the service tier that the call is booked at";
    USAGE_SOURCE = "bedrock_gateway.usage_source", "call", "`final`: as AWS counted; `partial`, `estimated`: see API.md";
    OUTCOME = "bedrock_gateway.outcome", "request, call, attempt", "of requests and calls as booked: `ok`, `cancelled`, or the kind of error; of attempts `ok`, `throttled`, `unavailable`, `timeout`, `rejected`, `error`, and `abandoned` where nobody waited for the answer";
    ATTEMPT_NUMBER = "bedrock_gateway.attempt.number", "attempt", "1 for the first of the call";
    CANDIDATE = "bedrock_gateway.attempt.candidate", "attempt", "the model or inference profile that was called, without account";
    HEDGE = "bedrock_gateway.attempt.hedge", "attempt", "true for an attempt that was made beside a slow one";
    AFTER = "bedrock_gateway.attempt.after", "attempt", "why the attempt before it failed, where one did";
    REASON = "bedrock_gateway.attempt.reason", "attempt", "why it failed, as in the log line `an attempt failed`";
    AWS_REQUEST_ID = "aws.request_id", "attempt", "what AWS calls the request: tell it AWS's support";
    RESENT = "http.request.resend_count", "attempt", "1 where the exchange was repeated with fresh credentials or a clock put right";
}

/// AWS's head came: an event of an attempt.
pub(super) const FIRST_BYTE: &str = "first_byte";
/// The first event of a stream came: an event of a call.
pub(super) const FIRST_EVENT: &str = "first_event";

/// Every event: its name, the span that has it, what it says.
pub const EVENTS: [(&str, &str, &str); 2] = [
    (FIRST_BYTE, "attempt", "the head of AWS's answer came"),
    (FIRST_EVENT, "call", "the first event of a streamed answer came"),
];
