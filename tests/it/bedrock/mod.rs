//! The Bedrock surface.

mod async_invoke;
mod control;
mod converse;
mod count_tokens;
mod errors;
mod guardrail;
mod invoke;
mod jobs;
