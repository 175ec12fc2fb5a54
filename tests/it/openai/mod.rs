//! The OpenAI surface.

mod chat;
mod errors;
mod models;
mod native;
mod stream;
mod tools;
