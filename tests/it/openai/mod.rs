//! The OpenAI surface.

mod chat;
mod choices;
mod content;
mod errors;
mod models;
mod native;
mod reasoning;
mod stream;
mod tools;
