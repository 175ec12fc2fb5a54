//! What the gateway tells about itself: the log subscriber, every metric, traces and panics; and what is captured of prompts.

pub mod capture;
pub mod metrics;
pub mod panics;
mod subscriber;
pub mod traces;

pub use capture::Capture;
pub use metrics::Metrics;
pub use subscriber::{Filter, Flush, install, write_json};
pub use traces::Traces;
