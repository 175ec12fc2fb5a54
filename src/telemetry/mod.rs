//! What the gateway tells about itself: the log subscriber and every metric.

pub mod metrics;
mod subscriber;

pub use metrics::Metrics;
pub use subscriber::{Filter, Flush, install, write_json};
