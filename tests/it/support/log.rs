//! The log of all gateways of this process, as production writes it, kept in memory.

use std::io;
use std::sync::{Mutex, OnceLock};

use serde_json::Value;
use tracing_subscriber::EnvFilter;

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Text that tests put where no log may show it.
pub(crate) const PRIVATE: &str = "ravens-carry-the-words";

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins to keep the log; once for the process.
pub(crate) fn capture() {
    static BEGUN: OnceLock<()> = OnceLock::new();
    BEGUN.get_or_init(|| {
        let filter = EnvFilter::new("info,bedrock_gateway=trace");
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .json()
            .flatten_event(true)
            .with_writer(|| Writer)
            .init();
    });
}

/// Fails when the log has any of `secrets`, or what is private in tests.
pub(crate) fn assert_without<'a>(secrets: impl Iterator<Item = &'a str>) {
    let log = LINES.lock().unwrap();
    let log = String::from_utf8_lossy(&log);
    for secret in secrets.chain([PRIVATE]) {
        let line = log.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "a secret was logged: {line:?}");
    }
}

/// The access lines of one request.
pub(crate) fn access_lines(request_id: &str) -> Vec<Value> {
    lines(request_id).into_iter().filter(|line| line["target"] == "access").collect()
}

/// Why its attempts failed, as the log says.
pub(crate) fn failed_attempts(request_id: &str) -> Vec<String> {
    let failed = lines(request_id).into_iter().filter(|line| line["message"] == "an attempt failed");
    failed.map(|line| line["reason"].as_str().unwrap().to_owned()).collect()
}

/// Every line so far, of all gateways of this process.
pub(crate) fn all() -> Vec<Value> {
    let log = LINES.lock().unwrap();
    std::str::from_utf8(&log).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn lines(request_id: &str) -> Vec<Value> {
    let log = LINES.lock().unwrap();
    let lines = std::str::from_utf8(&log).unwrap().lines().filter(|line| line.contains(request_id));
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["request_id"] == request_id).collect()
}
