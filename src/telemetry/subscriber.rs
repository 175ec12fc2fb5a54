//! The log: JSON lines, or readable text on a terminal.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// Sends the log to standard error at the level, or by the `tracing` filter, that `[telemetry] log` names.
///
/// Standard output stays free for what commands print. Call once; a second call changes nothing.
pub fn install(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Error::invalid("telemetry.log", format!("not a level or a tracing filter: {error}")))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // A failure means that a subscriber is there already, as in tests that start several gateways.
    if stderr().is_terminal() {
        lines.compact().try_init().ok();
    } else {
        lines
            .with_ansi(false)
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init()
            .ok();
    }
    Ok(())
}
