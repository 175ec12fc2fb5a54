//! The OpenAI surface.

mod chat;
mod embeddings;
mod errors;
mod images;
mod models;
mod native;
mod responses;
mod stream;
mod tools;
