//! The Anthropic surface.

mod errors;
mod models;
mod native;
mod native_stream;
mod translated;
