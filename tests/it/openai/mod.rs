//! The OpenAI surface.

mod chat;
mod embeddings;
mod errors;
mod images;
mod models;
mod native;
mod stream;
mod tools;
