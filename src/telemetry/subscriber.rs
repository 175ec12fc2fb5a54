//! The log: JSON lines on standard error, or readable text when that is a terminal.
//!
//! JSON lines are gathered and written by a thread of their own, at most [`LATENCY`] later: a busy gateway writes one
//! per request, and a system call for each costs more than making it. Invariant: no call waits for who reads the log. When
//! nobody does, lines wait up to [`MOST`] bytes; further ones are lost, and counted in the log when it is read again.

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

/// Bytes that both buffers have room for from the start; they grow when more waits.
const FIRST_ROOM: usize = 64 * 1024;

/// Bytes that a line about a request has as a rule.
const USUAL_LINE: usize = 1024;

/// Bytes that wait at most.
const MOST: usize = 16 * 1024 * 1024;

/// How long the end of the process waits for who reads the log.
const PATIENCE: Duration = Duration::from_secs(2);

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
        let lines = if let Some(lines) = LINES.get() {
            lines.clone()
        } else {
            let started = Lines::start(stderr()).map_err(Error::internal)?;
            LINES.get_or_init(|| started).clone()
        };
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

/// Has what was gathered written, and waits for it, if not for long.
pub(super) fn write_out() {
    if let Some(lines) = LINES.get() {
        lines.write_out(PATIENCE);
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

#[derive(Default)]
struct Gathered {
    waiting: Mutex<Waiting>,
    /// There is something to write.
    arrived: Condvar,
    /// All was written.
    written: Condvar,
}

#[derive(Default)]
struct Waiting {
    text: Vec<u8>,
    /// What was taken is being written.
    is_writing: bool,
    /// Somebody waits until all is written.
    is_urgent: bool,
    /// Lines for which there was no room.
    lost: u64,
}

impl Lines {
    fn start(out: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Self(Arc::default());
        lines.lock().text.reserve(FIRST_ROOM);
        let writer = lines.clone();
        thread::Builder::new().name("log".into()).spawn(move || writer.run(out))?;
        Ok(lines)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to the end of the text, if there is room.
    fn add(&self, bytes: &[u8]) {
        let mut waiting = self.lock();
        let begun = waiting.text.len();
        if begun >= MOST {
            waiting.lost += 1;
            return;
        }
        waiting.text.extend_from_slice(bytes);
        drop(waiting);
        if begun == 0 {
            self.0.arrived.notify_one();
        }
    }

    /// Returns when all is written that was gathered, or after `patience`.
    fn write_out(&self, patience: Duration) {
        let mut waiting = self.lock();
        waiting.is_urgent = true;
        self.0.arrived.notify_one();
        let is_left = |waiting: &mut Waiting| waiting.is_writing || !waiting.text.is_empty();
        let waited = self.0.written.wait_timeout_while(waiting, patience, is_left);
        drop(waited);
    }

    /// Writes for as long as the process lives. The one thread that may wait for who reads.
    fn run(self, mut out: impl Write) {
        let mut text = Vec::with_capacity(FIRST_ROOM);
        loop {
            let waiting = self.0.arrived.wait_while(self.lock(), |waiting| waiting.text.is_empty());
            let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
            if !waiting.is_urgent {
                // More may come in a moment; who cannot wait says so.
                let gathered = self.0.arrived.wait_timeout_while(waiting, LATENCY, |waiting| !waiting.is_urgent);
                waiting = gathered.unwrap_or_else(PoisonError::into_inner).0;
            }
            std::mem::swap(&mut waiting.text, &mut text);
            let lost = std::mem::take(&mut waiting.lost);
            waiting.is_writing = true;
            drop(waiting);
            // Where the log cannot be written there is nobody to tell.
            out.write_all(&text).ok();
            text.clear();
            text.shrink_to(MOST / 16);
            if lost > 0 {
                tracing::warn!(lines = lost, "lines of the log were lost: nobody read standard error");
            }
            let mut waiting = self.lock();
            waiting.is_writing = false;
            if waiting.text.is_empty() {
                waiting.is_urgent = false;
                self.0.written.notify_all();
            }
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

    /// Takes nothing until it is let, as a pipe that nobody reads.
    struct Stuck {
        /// Told when it is asked to take something.
        asked: std::sync::mpsc::Sender<()>,
        let_go: std::sync::mpsc::Receiver<()>,
        taken: std::sync::mpsc::Sender<Vec<u8>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.asked.send(()).ok();
            self.let_go.recv().ok();
            self.taken.send(bytes.to_vec()).ok();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_reader_of_the_log_who_takes_nothing() {
        let (release, let_go) = std::sync::mpsc::channel();
        let (taken, written) = std::sync::mpsc::channel();
        let (asked, is_asked) = std::sync::mpsc::channel();
        let lines = Lines::start(Stuck { asked, let_go, taken }).unwrap();
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        lines.clone().write_all(&line).unwrap();
        is_asked.recv().unwrap();
        for _ in 0..2 * MOST / line.len() {
            lines.clone().write_all(&line).unwrap();
        }
        lines.write_out(Duration::from_millis(1));
        assert!(lines.lock().text.len() < MOST + line.len(), "bounded, in whole lines");
        assert!(lines.lock().lost > 0);
        drop(release);
        lines.write_out(Duration::from_mins(1));
        let all: Vec<u8> = written.try_iter().flatten().collect();
        assert!(all.len() >= MOST && all.len().is_multiple_of(line.len()), "{}", all.len());
        assert_eq!(lines.lock().lost, 0, "they are told");
    }

    #[test]
    fn a_cap_never_lets_more_through() {
        for filter in ["off", "error", "bedrock_gateway=info", ""] {
            assert_eq!(capped(filter), filter);
        }
    }
}
