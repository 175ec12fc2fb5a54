//! The Anthropic surface.

mod count_tokens;
mod errors;
mod messages_path;
mod models;
mod native;
mod native_stream;
mod sources;
mod translated;
