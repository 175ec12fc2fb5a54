//! api

pub mod openai;
