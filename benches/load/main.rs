//! The load test: what the gateway costs beside a bare hyper proxy that does the same two hops.
//!
//! `scripts/bench` runs it. The program starts itself again as the `upstream` and the `floor`, starts the gateway's own
//! binary, and drives both in turn from this process, so that each one's CPU and memory can be read from `/proc`.
//! It knows the gateway by its command line, its configuration file and its wire only: nothing here uses the library.
//! `docs/PERFORMANCE.md` says what is measured and why that way.

mod calls;
mod compare;
mod floor;
mod gateway;
mod generator;
mod loopback;
mod plan;
mod process;
mod report;
mod upstream;

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A failure of the load test, told to whoever started it.
type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = BoxError> = std::result::Result<T, E>;

#[derive(Parser)]
#[command(about = "Measures the gateway beside a bare hyper proxy. Start it with scripts/bench.")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// What cargo adds to the arguments of every benchmark.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Runs everything and prints the table as Markdown.
    Compare(plan::Options),
    /// The loopback Bedrock: fixed answers as fast as hyper can send them.
    Upstream,
    /// The bare proxy in front of it: two hops, pooled connections, nothing else.
    Floor {
        /// Where the upstream listens.
        upstream: SocketAddr,
    },
}

fn main() -> ExitCode {
    match start(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn start(command: Option<Command>) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    match command {
        Some(Command::Compare(options)) => runtime.block_on(compare::run(&options)),
        Some(Command::Upstream) => runtime.block_on(upstream::run()),
        Some(Command::Floor { upstream }) => runtime.block_on(floor::run(upstream)),
        // `cargo bench` and `cargo test --all-targets` start every benchmark; minutes of load are asked for by name.
        None => Ok(()),
    }
}
