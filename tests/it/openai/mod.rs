//! The OpenAI surface.

mod chat;
mod errors;
mod models;
mod stream;
mod tools;
