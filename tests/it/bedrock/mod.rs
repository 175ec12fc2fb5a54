//! The Bedrock surface.

mod control;
mod converse;
mod count_tokens;
mod errors;
mod guardrail;
mod invoke;
