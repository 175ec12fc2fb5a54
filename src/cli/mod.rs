//! The command line: `serve`, `simulate`, `keys`, `teams`, `limits`, `budgets`, `usage`, `audit`, `batches`,
//! `config check|schema`, `doctor`, `health`, `iam-policy`, `openapi`.
//!
//! The environment and the arguments are read here and nowhere else.

mod admin;
mod batches;
mod doctor;
mod health;
mod iam_policy;
mod serve;
mod usage;

use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::api;
use crate::app::Tls;
use crate::catalog::Catalog;
use crate::config::{self, Config, Problems, Server, Sources};
use crate::error::Error;
use crate::fetch::Fetcher;

/// One REST endpoint in front of AWS Bedrock.
#[derive(Debug, Parser)]
#[command(name = "bedrock-gateway", version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(serve::Serve),
    /// Run the simulator alone: Bedrock's runtime and control plane over HTTP, without an AWS account.
    Simulate(serve::Simulate),
    /// Make, list, change and revoke keys.
    #[command(subcommand)]
    Keys(admin::Keys),
    /// Make, list, change and revoke teams.
    #[command(subcommand)]
    Teams(admin::Teams),
    /// Set, list and remove limits.
    #[command(subcommand)]
    Limits(admin::Limits),
    /// Set, list and remove budgets.
    #[command(subcommand)]
    Budgets(admin::Budgets),
    /// List administrative acts, the newest first.
    Audit(admin::Audit),
    /// Submit files of records to a gateway, watch them, and fetch the results.
    #[command(subcommand)]
    Batches(batches::Batches),
    /// Tell what calls used and cost.
    Usage(usage::Usage),
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Try what the configuration needs against AWS, and say what is missing.
    Doctor(doctor::Doctor),
    /// Tell by the exit code whether the gateway on this machine takes requests.
    Health(health::Health),
    /// Print the least that AWS has to allow, as IAM policies.
    IamPolicy(iam_policy::IamPolicy),
    /// Print the OpenAPI document.
    Openapi,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Name every problem at once, with its path. Exit code 1 if there is one.
    Check(ConfigFile),
    /// Print a JSON Schema of the configuration file, by which editors complete and check it.
    Schema,
}

/// Where settings come from besides the environment.
#[derive(Clone, Debug, Args)]
struct ConfigFile {
    /// The configuration file; without it, defaults and `BEDROCK_GATEWAY__SECTION__KEY` variables.
    #[arg(long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
}

impl ConfigFile {
    /// The settings, or every problem with them.
    fn load(&self) -> Result<(Config, Catalog), Problems> {
        let (config, problems) = self.read();
        let catalog = Catalog::checked(&config, problems)?;
        Ok((config, catalog))
    }

    fn read(&self) -> (Config, Problems) {
        config::read(&Sources { file: self.file.clone(), env: environment() })
    }

    /// Looks at everything that can be seen without serving: also whether the certificate can be used.
    async fn check(&self) -> Result<(), Failure> {
        let (config, mut problems) = self.read();
        let Server { tls_cert, tls_key, .. } = &config.server;
        if !tls_cert.is_empty()
            && !tls_key.is_empty()
            && let Err(error) = Tls::from_files(tls_cert, tls_key).await
        {
            problems.add(error.blamed().unwrap_or("server.tls_cert"), error.message());
        }
        if let Err(error) = Fetcher::new(&config.fetch, config.server.max_body_bytes()) {
            problems.add(error.blamed().unwrap_or("fetch"), error.message());
        }
        if let Some(problem) = missing_folder(&config.telemetry.capture.file) {
            problems.add("telemetry.capture.file", problem);
        }
        Catalog::checked(&config, problems)?;
        Ok(())
    }
}

/// Why no file can be made there, if its folder is none. An empty path is no file's.
fn missing_folder(file: &str) -> Option<String> {
    let folder = Path::new(file).parent()?;
    let is_there = folder.as_os_str().is_empty() || folder.is_dir();
    (!is_there).then(|| format!("cannot be written: {} is no folder", folder.display()))
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// A variable of the environment, unless it is empty.
fn variable(name: &str) -> Option<String> {
    let found = environment().into_iter().find(|(other, _)| other == name);
    found.map(|(_, value)| value).filter(|value| !value.is_empty())
}

/// What keeps a command from doing its work.
enum Failure {
    Config(Problems),
    Error(Error),
    Output(std::io::Error),
    /// The output says it.
    Told,
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Config(problems)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Output(error)
    }
}

/// Runs the program: 0 when all went well, 1 when something kept it from its work, 2 for arguments it cannot read.
pub fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has read enough.
        Err(Failure::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failure::Told) => ExitCode::FAILURE,
        Err(failure) => {
            let mut stderr = std::io::stderr().lock();
            let told = match failure {
                Failure::Config(problems) => writeln!(stderr, "error: the configuration has problems\n{problems}"),
                Failure::Error(error) => match (error.blamed(), error.causes()) {
                    (Some(param), _) => writeln!(stderr, "error: {param}: {error}"),
                    (None, causes) if causes.is_empty() => writeln!(stderr, "error: {error}"),
                    (None, causes) => writeln!(stderr, "error: {error}\ncause: {causes}"),
                },
                Failure::Output(error) => writeln!(stderr, "error: cannot write the output: {error}"),
                Failure::Told => Ok(()),
            };
            // Nobody is left to tell if this fails too.
            told.ok();
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Openapi => {
            let document = api::openapi().to_pretty_json().map_err(Error::internal)?;
            print(&document)
        }
        Command::Config(ConfigCommand::Check(file)) => {
            block_on(file.check())?;
            print(&"The configuration is good.")
        }
        Command::Config(ConfigCommand::Schema) => print(&format!("{:#}", config::schema())),
        Command::Serve(serve) => block_on(serve.run()),
        Command::Simulate(simulate) => block_on(simulate.run()),
        Command::Keys(keys) => block_on(keys.run()),
        Command::Teams(teams) => block_on(teams.run()),
        Command::Limits(limits) => block_on(limits.run()),
        Command::Budgets(budgets) => block_on(budgets.run()),
        Command::Audit(audit) => block_on(audit.run()),
        Command::Batches(batches) => block_on(batches.run()),
        Command::Usage(usage) => block_on(usage.run()),
        Command::Doctor(doctor) => block_on(doctor.run()),
        Command::Health(health) => block_on(health.run()),
        Command::IamPolicy(policy) => block_on(policy.run()),
    }
}

fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(work)
}

/// Tells of something that is probably not meant, on standard error.
fn warn(text: &impl Display) {
    // Nobody is left to tell if this fails.
    writeln!(std::io::stderr().lock(), "warning: {text}").ok();
}

/// Writes a line to standard output.
fn print(text: &impl Display) -> Result<(), Failure> {
    // At once: whoever has read what they wanted may have closed the pipe before the line break comes.
    let line = format!("{text}\n");
    std::io::stdout().lock().write_all(line.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_needs_a_folder_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("capture.jsonl").display().to_string();
        for good in ["", "capture.jsonl", "/capture.jsonl", &inside] {
            assert_eq!(missing_folder(good), None, "{good}");
        }
        let missing = folder.path().join("none/capture.jsonl").display().to_string();
        assert!(missing_folder(&missing).unwrap().contains("is no folder"));
    }
}
