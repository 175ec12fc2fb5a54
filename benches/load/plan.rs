//! What the command line asks for, and how long each part of the run then takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

/// `compare`.
#[derive(Args)]
pub(crate) struct Options {
    /// Half a minute instead of some three: fewer, shorter rounds and a short soak.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measures the floor alone.
    #[arg(long)]
    pub(crate) without_gateway: bool,
    /// The gateway to measure.
    #[arg(long, value_name = "BINARY", default_value = env!("CARGO_BIN_EXE_bedrock-gateway"))]
    pub(crate) gateway: PathBuf,
    /// Rounds; each goes once over both sides, and the middle one counts.
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<usize>,
    /// Streams held open for the memory they take, one measure each.
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1000")]
    pub(crate) streams: Vec<usize>,
    /// Requests over which the gateway's memory must stay flat.
    #[arg(long, value_name = "N")]
    pub(crate) soak: Option<u64>,
    /// Requests a second while latency is measured, instead of half of what the gateway can do.
    #[arg(long, value_name = "PER_SECOND")]
    pub(crate) rate: Option<f64>,
}

/// How long everything takes.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) round: Duration,
    pub(crate) warm_up: Duration,
    pub(crate) paced_deltas: usize,
    pub(crate) starts: usize,
    pub(crate) soak: u64,
}

impl Plan {
    pub(crate) fn of(options: &Options) -> Self {
        let ms = Duration::from_millis;
        let mut plan = if options.quick {
            Self { rounds: 3, round: ms(400), warm_up: ms(100), paced_deltas: 60, starts: 3, soak: 20_000 }
        } else {
            Self { rounds: 9, round: ms(700), warm_up: ms(300), paced_deltas: 140, starts: 5, soak: 200_000 }
        };
        plan.rounds = options.rounds.unwrap_or(plan.rounds).max(1);
        plan.soak = options.soak.unwrap_or(plan.soak);
        plan
    }
}
