//! The gateway as processes that die: its binary in front of a simulated Bedrock that is another process, killed with
//! SIGKILL again and again, or cut off from its database. Afterwards the ledger is held against the invocation log of
//! that Bedrock: money does not depend on how a process ends.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, wherever in the harness it does"
)]

mod batch;
mod books;
mod killed;
mod load;
mod processes;
mod relay;
mod rolling;
mod store_away;
