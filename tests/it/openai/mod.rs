//! The OpenAI surface.

mod chat;
mod errors;
mod models;
mod responses;
mod stream;
mod tools;
