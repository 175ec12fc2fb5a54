//! Message batches: <https://docs.anthropic.com/en/api/creating-message-batches>.

mod codec;

pub(in crate::api) use codec::CODEC;
