//! `batches watch`: how far a batch is, until it is over.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;

use super::At;
use super::shown::{Counts, faults, line, text, waiting};
use super::submit::style;
use crate::cli::{Failure, print, warn};
use crate::client::{Client, is_passing, pause};

/// How often the gateway is asked: at first, and while nothing changes.
const EAGER: Duration = Duration::from_secs(1);
const LAZY: Duration = Duration::from_secs(15);
/// How often in a row it may fail to answer: some ten minutes of an update or an outage.
const FAILURES: u32 = 25;

/// Shows the batch until it is over: on a terminal as a bar, else a line for each change.
///
/// # Errors
/// [`Failure::Told`] when it was not completed; what the gateway says when it cannot be watched.
pub(super) async fn watch(client: &Client, id: &str, at: &At) -> Result<(), Failure> {
    let mut view = View::new();
    let (mut every, mut failures) = (EAGER, 0);
    let batch = loop {
        match client.batch(id).await {
            Ok(batch) if is_over(&batch) => break batch,
            Ok(batch) => {
                failures = 0;
                every = if view.show(&batch) { EAGER } else { every.mul_f64(1.3).min(LAZY) };
                tokio::time::sleep(every).await;
            }
            // One that never answered may not be there at all.
            Err(error) if is_passing(&error) && failures < FAILURES && view.has_seen() => {
                failures += 1;
                view.say(&format!("{error} Asking again."));
                tokio::time::sleep(pause(failures, &error)).await;
            }
            Err(error) => return Err(error.into()),
        }
    };
    view.end();
    tell(&batch, at)
}

fn is_over(batch: &Value) -> bool {
    ["completed", "failed", "expired", "cancelled"].contains(&text(batch, "status"))
}

/// What became of a batch that is over, and whether that is well.
fn tell(batch: &Value, at: &At) -> Result<(), Failure> {
    if at.json {
        print(batch)?;
    } else {
        print(&line(batch))?;
        let why = waiting(batch);
        if !why.is_empty() {
            print(&why)?;
        }
        for fault in faults(batch) {
            print(&fault)?;
        }
    }
    if Counts::of(batch).failed > 0 && batch["error_file_id"].is_string() {
        warn(&format!("some records have errors: bedrock-gateway batches results {} --errors", text(batch, "id")));
    }
    if text(batch, "status") == "completed" { Ok(()) } else { Err(Failure::Told) }
}

/// What is shown on the way.
struct View {
    bar: Option<ProgressBar>,
    last: Option<String>,
}

impl View {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0).with_style(style("{elapsed_precise} {bar:30} {msg}"));
            bar.enable_steady_tick(Duration::from_secs(1));
            bar
        });
        Self { bar, last: None }
    }

    fn has_seen(&self) -> bool {
        self.last.is_some()
    }

    /// Shows the batch, and says whether anything is new.
    fn show(&mut self, batch: &Value) -> bool {
        let why = waiting(batch);
        let told = if why.is_empty() { line(batch) } else { format!("{} ({why})", line(batch)) };
        let is_new = self.last.as_ref() != Some(&told);
        match &self.bar {
            Some(bar) => {
                let counts = Counts::of(batch);
                bar.set_length(counts.total);
                bar.set_position(counts.done());
                bar.set_message(told.clone());
            }
            None if is_new => self.say(&told),
            None => {}
        }
        self.last = Some(told);
        is_new
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            // Nobody is left to tell if this fails.
            None => drop(writeln!(std::io::stderr().lock(), "{text}")),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
