//! The Bedrock surface.

mod converse;
mod count_tokens;
mod errors;
mod guardrail;
mod invoke;
