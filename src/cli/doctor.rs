//! `doctor`: asks AWS for what the configuration needs, and prints one line for each thing, with what to do.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use clap::Args;
use serde_json::json;

use super::{ConfigFile, Failure, print, warn};
use crate::clock::Clock;
use crate::doctor::{self, AccountId, Check, Group, Invoke, Outcome, Report, Wish};
use crate::error::Error;

/// Try what the configuration needs against AWS, and say what is missing.
///
/// Nothing is changed. Exit code 0 when nothing failed, 1 otherwise.
#[derive(Debug, Args)]
pub(super) struct Doctor {
    #[command(flatten)]
    config: ConfigFile,
    /// Look at these models instead of the configuration's aliases.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    models: Vec<String>,
    /// Also call each model in each Region once, for one token. This costs money, if little.
    #[arg(long)]
    invoke: bool,
    /// Show the account's whole id instead of its last four digits.
    #[arg(long)]
    show_account: bool,
    /// JSON instead of text.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if self.invoke {
            warn(&"--invoke calls each model for one token in each Region: AWS charges for it");
        }
        let wish = Wish {
            models: self.models,
            invoke: if self.invoke { Invoke::Once } else { Invoke::Never },
            account: if self.show_account { AccountId::Whole } else { AccountId::LastDigits },
        };
        let report = Box::pin(doctor::examine(&self.config.load(), &wish, &Clock::system())).await;
        if self.json {
            print(&json(&report)?)?;
        } else {
            let colours = if std::io::stdout().is_terminal() { Colours::On } else { Colours::Off };
            print(&text(&report, colours).trim_end())?;
        }
        if report.count(Outcome::Failed) > 0 { Err(Failure::Told) } else { Ok(()) }
    }
}

/// Whether outcomes are coloured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Colours {
    On,
    Off,
}

fn json(report: &Report) -> Result<String, Error> {
    let document = json!({
        "ok": report.count(Outcome::Failed) == 0,
        "counts": {
            "ok": report.count(Outcome::Ok),
            "warning": report.count(Outcome::Warning),
            "failed": report.count(Outcome::Failed),
            "skipped": report.count(Outcome::Skipped),
        },
        "checks": report.checks,
    });
    serde_json::to_string_pretty(&document).map_err(Error::internal)
}

/// Groups with a headline each; subjects in a column; what to do on a line of its own.
fn text(report: &Report, colours: Colours) -> String {
    /// Longer subjects push their own line only.
    const WIDEST: usize = 48;
    let mut text = String::new();
    let mut group: Option<Group> = None;
    let width = report.checks.iter().map(|check| check.subject.chars().count()).max().unwrap_or_default().min(WIDEST);
    for check in &report.checks {
        if group != Some(check.group) {
            let gap = if group.is_some() { "\n" } else { "" };
            line(&mut text, format_args!("{gap}{}", check.group));
            group = Some(check.group);
        }
        let Check { subject, found, .. } = check;
        line(&mut text, format_args!("  {} {subject:<width$}  {found}", mark(check.outcome, colours)));
        if let Some(remedy) = &check.remedy {
            line(&mut text, format_args!("          -> {remedy}"));
        }
    }
    let count = |outcome| report.count(outcome);
    line(
        &mut text,
        format_args!(
            "\n{} ok, {} warnings, {} failed, {} skipped",
            count(Outcome::Ok),
            count(Outcome::Warning),
            count(Outcome::Failed),
            count(Outcome::Skipped)
        ),
    );
    text
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    writeln!(text, "{line}").ok();
}

fn mark(outcome: Outcome, colours: Colours) -> String {
    let (word, colour) = match outcome {
        Outcome::Ok => ("ok", 32),
        Outcome::Warning => ("warning", 33),
        Outcome::Failed => ("failed", 31),
        Outcome::Skipped => ("skipped", 90),
    };
    match colours {
        Colours::On => format!("\u{1b}[{colour}m{word:<7}\u{1b}[0m"),
        Colours::Off => format!("{word:<7}"),
    }
}
