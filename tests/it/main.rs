//! The gateway on the wire: the whole program but its `main`, in front of a simulated Bedrock, called over HTTP.
//!
//! The tree mirrors `src/api`; what crosses surfaces has a file of its own. Every test ends with
//! [`support::TestGateway::finish`], which holds the gateway to its books: nothing in flight, and a ledger that agrees
//! with the metrics and with what Bedrock itself counted.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, wherever in the harness it does"
)]

mod admin;
mod anthropic;
mod arns;
mod batch;
mod batch_program;
mod bedrock;
mod captured;
mod cardinality;
mod carried;
mod catalog_routes;
mod connections;
mod control;
mod credentials;
mod deadline;
mod disconnect;
mod doctor;
mod drain;
mod exceptions;
mod failover;
mod fault_matrix;
mod hostile_input;
mod idempotency;
mod journal;
mod keys;
mod lifecycle;
mod limits;
mod openai;
mod ops;
mod overhead;
mod page;
mod panics;
mod policies;
mod program;
mod quota;
mod refresh;
mod reload;
mod rerank;
mod residency;
mod settlement;
mod signed;
mod support;
mod tiers;
mod tokens;
mod traces;
mod unauthorized;
mod upgrade;
mod usage;
mod webhooks;
