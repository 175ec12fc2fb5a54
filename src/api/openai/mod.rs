//! The OpenAI surface: chat completions and the list of models, as the official clients speak them
//! (<https://platform.openai.com/docs/api-reference>). `wire` is their shape, `translate` leads from it to the
//! canonical form and back without touching network or clock, `error` is the shape of failure.

mod body;
pub mod error;
#[cfg(test)]
mod golden_tests;
pub mod models;
pub mod translate;
pub mod wire;
