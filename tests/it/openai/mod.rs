//! The OpenAI surface.

mod azure;
mod batches;
mod chat;
mod choices;
mod content;
mod embeddings;
mod errors;
mod files;
mod images;
mod models;
mod native;
mod reasoning;
mod responses;
mod responses_native;
mod stream;
mod tools;
