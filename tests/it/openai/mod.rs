//! The OpenAI surface.

mod chat;
mod embeddings;
mod errors;
mod models;
mod stream;
mod tools;
