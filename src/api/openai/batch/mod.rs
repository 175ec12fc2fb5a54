//! Batches as OpenAI has them (<https://platform.openai.com/docs/api-reference/batch>): what their records become in a job,
//! and what their result files look like.

pub(super) mod chat;
pub(super) mod line;

pub(in crate::api) use self::chat::CODEC as CHAT;
pub(in crate::api) use super::embeddings::record::CODEC as EMBEDDINGS;
pub(in crate::api) use super::responses::record::CODEC as RESPONSES;
