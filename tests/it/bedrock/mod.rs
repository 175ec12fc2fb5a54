//! The Bedrock surface.

mod converse;
mod errors;
mod invoke;
