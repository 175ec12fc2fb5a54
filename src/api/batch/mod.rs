//! What batches are to the surfaces: whether this gateway has any, the way by which their records come back in, what a
//! job can do, and the dialects of all records.

mod configured;
mod door;
pub(super) mod job;

pub(super) use self::configured::Configured;
pub use self::configured::with;
pub use self::door::door;

use crate::api::{anthropic, bedrock, openai};
use crate::batch::Codecs;

/// Whoever reads or writes a record does it by one of these.
pub const CODECS: Codecs = Codecs::new(&[
    openai::batches::CHAT,
    openai::batches::RESPONSES,
    openai::batches::EMBEDDINGS,
    anthropic::batches::CODEC,
    bedrock::jobs::CODEC,
]);
