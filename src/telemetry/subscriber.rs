//! The log: JSON lines on standard error, or readable text when that is a terminal.
//!
//! JSON lines are gathered and written by a thread of their own, at most [`LATENCY`] later: a busy gateway writes one
//! per request, and a system call for each costs more than making it.

use std::io::{self, IsTerminal, Write, stderr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use serde::Serialize;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::reload::Handle;

use crate::error::{Error, Result};

/// How long a line may wait to be written. What a killed process had gathered by then is lost.
const LATENCY: Duration = Duration::from_millis(20);

/// Bytes that are written at once even before that.
const ENOUGH: usize = 64 * 1024;

/// Bytes that a line about a request has as a rule.
const USUAL_LINE: usize = 1024;

/// Where JSON lines go, if that is how the log is written.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Changes what is logged; the subscriber is there in one form only.
static CHANGE: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

/// What is logged, as `[telemetry] log` says it.
#[derive(Debug)]
pub struct Filter(EnvFilter);

impl Filter {
    /// Reads the setting: a level, or a `tracing` filter. Of the dependencies only errors are logged, unless it names them.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let parsed = EnvFilter::try_new(capped(text));
        parsed
            .map(Self)
            .map_err(|error| Error::invalid("telemetry.log", format!("not a level or a tracing filter: {error}")))
    }

    /// From now on this is logged, if [`install`] has set up the log.
    pub fn apply(self) {
        if let Some(change) = CHANGE.get() {
            change(self.0);
        }
    }
}

/// Keeps the way to another filter.
fn changeable<S: 'static>(handle: Handle<EnvFilter, S>) {
    // It fails only without a subscriber.
    CHANGE.set(Box::new(move |filter| drop(handle.reload(filter)))).ok();
}

/// Sends the log to standard error at the level, or by the `tracing` filter, that `[telemetry] log` names; of the
/// dependencies only errors, unless the filter names them.
///
/// Standard output stays free for what commands print. Call once; a second call changes nothing.
pub fn install(filter: &str) -> Result<Flush> {
    let log = tracing_subscriber::fmt().with_env_filter(Filter::parse(filter)?.0);
    // A failure means that a subscriber is there already, as in tests that start several gateways.
    if stderr().is_terminal() {
        let log = log.with_writer(stderr).compact().with_filter_reloading();
        let handle = log.reload_handle();
        if log.try_init().is_ok() {
            changeable(handle);
        }
    } else {
        let lines = LINES.get_or_init(Lines::start).clone();
        let log = log.with_writer(move || lines.clone()).with_ansi(false);
        let log = log.json().flatten_event(true).with_current_span(false).with_span_list(false).with_filter_reloading();
        let handle = log.reload_handle();
        if log.try_init().is_ok() {
            changeable(handle);
        }
    }
    Ok(Flush)
}

/// Dependencies that warn in their own words, some with headers, bodies and ARNs: what matters of it we tell ourselves.
const QUIET: [&str; 6] = ["aws_", "h2", "hyper", "rustls", "sqlx", "tower"];

/// The filter with every target that begins like one of [`QUIET`] kept at `error`, unless the filter names that target.
fn capped(filter: &str) -> String {
    let parts = || filter.split(',').map(str::trim).filter(|part| !part.is_empty());
    let level = parts().filter_map(|part| part.parse::<LevelFilter>().ok()).next_back();
    // Without a level for everything the dependencies are silent already.
    if level.is_none_or(|level| level <= LevelFilter::ERROR) {
        return filter.to_owned();
    }
    let named =
        || parts().filter(|part| part.parse::<LevelFilter>().is_err()).filter_map(|part| part.split(['=', '[']).next());
    // A name longer than ours wins by itself, as the more exact one.
    let quiet = QUIET.into_iter().filter(|quiet| !named().any(|name| !name.is_empty() && quiet.starts_with(name)));
    parts().map(str::to_owned).chain(quiet.map(|quiet| format!("{quiet}=error"))).collect::<Vec<_>>().join(",")
}

/// Writes `line` to the log as it is, one JSON object; false when the log is for people, or there is none.
///
/// Who calls checks first whether anybody wants the line: `tracing::enabled!`.
pub fn write_json(line: &impl Serialize) -> bool {
    let Some(lines) = LINES.get() else { return false };
    // Made before the lock is taken, which all requests share.
    let mut made = Vec::with_capacity(USUAL_LINE);
    // Only a map with keys that are no strings fails, and no line has one.
    if sonic_rs::to_writer(&mut made, line).is_ok() {
        made.push(b'\n');
        lines.add(&made);
    }
    true
}

/// Writes what was gathered, at once.
pub(super) fn write_out() {
    if let Some(lines) = LINES.get() {
        lines.write_out();
    }
}

/// Writes what was gathered when dropped.
#[must_use]
pub struct Flush;

impl Drop for Flush {
    fn drop(&mut self) {
        write_out();
    }
}

/// Lines on their way to standard error.
#[derive(Clone)]
struct Lines(Arc<Gathered>);

struct Gathered {
    text: Mutex<Vec<u8>>,
    /// Where text is while it is written. Who holds it holds standard error, so that lines keep their order.
    leaving: Mutex<Vec<u8>>,
    arrived: Condvar,
}

impl Lines {
    fn start() -> Self {
        let room = || Mutex::new(Vec::with_capacity(ENOUGH));
        let lines = Self(Arc::new(Gathered { text: room(), leaving: room(), arrived: Condvar::new() }));
        let writer = lines.clone();
        // Without the thread, lines are written when enough have come.
        thread::Builder::new().name("log".into()).spawn(move || writer.run()).ok();
        lines
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bytes: &[u8]) {
        let mut text = self.lock();
        let is_first = text.is_empty();
        text.extend_from_slice(bytes);
        let is_enough = text.len() >= ENOUGH;
        drop(text);
        if is_enough {
            self.write_out();
        } else if is_first {
            self.0.arrived.notify_one();
        }
    }

    /// Writes what was gathered; others go on gathering meanwhile.
    fn write_out(&self) {
        let mut leaving = self.0.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *self.lock(), &mut *leaving);
        // Where the log cannot be written there is nobody to tell.
        stderr().write_all(&leaving).ok();
        leaving.clear();
    }

    fn run(self) {
        loop {
            let waiting = self.0.arrived.wait_while(self.lock(), |text| text.is_empty());
            drop(waiting);
            thread::sleep(LATENCY);
            self.write_out();
        }
    }
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.add(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Whether a warning of these targets would be written: ours, the AWS credentials chain's, hyper's pool's.
    fn warns(filter: &str) -> [bool; 3] {
        let subscriber = tracing_subscriber::registry().with(EnvFilter::try_new(capped(filter)).unwrap());
        tracing::subscriber::with_default(subscriber, || {
            [
                tracing::enabled!(target: "bedrock_gateway::app", tracing::Level::WARN),
                tracing::enabled!(target: "aws_config", tracing::Level::WARN),
                tracing::enabled!(target: "hyper_util::client", tracing::Level::WARN),
            ]
        })
    }

    #[test]
    fn dependencies_are_quiet_unless_the_filter_names_them() {
        assert_eq!(warns("info"), [true, false, false]);
        assert_eq!(warns("TRACE"), [true, false, false]);
        assert_eq!(warns("info,aws_config=debug"), [true, true, false]);
        assert_eq!(warns("info, hyper_util::client=debug"), [true, false, true]);
        assert_eq!(warns("info,aws=warn,hyper=warn"), [true, true, true]);
        assert_eq!(warns("bedrock_gateway=debug"), [true, false, false]);
    }

    #[test]
    fn a_cap_never_lets_more_through() {
        for filter in ["off", "error", "bedrock_gateway=info", ""] {
            assert_eq!(capped(filter), filter);
        }
    }
}
