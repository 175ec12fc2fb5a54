//! What batches are to the surfaces: whether this gateway has any, and the way by which their records come back in.

mod configured;
mod door;

pub(super) use self::configured::Configured;
pub use self::configured::with;
pub use self::door::door;
