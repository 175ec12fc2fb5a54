//! What the gateway tells about itself: the log subscriber, every metric, and panics.

pub mod metrics;
pub mod panics;
mod subscriber;

pub use metrics::Metrics;
pub use subscriber::{Flush, install, write_json};
