//! The OpenAI surface.

mod chat;
mod errors;
mod models;
mod native;
mod responses;
mod stream;
mod tools;
