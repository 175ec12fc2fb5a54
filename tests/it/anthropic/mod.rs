//! The Anthropic surface.

mod batches;
mod count_tokens;
mod errors;
mod messages_path;
mod models;
mod native;
mod native_stream;
mod sources;
mod translated;
