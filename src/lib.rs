//! bedrock-gateway: one REST endpoint in front of AWS Bedrock.
//!
//! The layers, highest first; a module imports only from lower ones, and `tests/architecture.rs` holds it.
//! `docs/ARCHITECTURE.md` tells the journey of a request through them.

pub mod api;
pub mod app;
pub mod batch;
pub mod bucket;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod converse;
pub mod doctor;
pub mod error;
pub mod families;
pub mod fetch;
pub mod gateway;
pub mod idempotency;
pub mod ids;
pub mod invocations;
pub mod issuers;
pub mod memory;
pub mod money;
pub mod policy;
pub mod recent;
pub mod refresh;
pub mod report;
pub mod responses;
pub mod scan;
pub mod shared;
pub mod sigv4;
pub mod simulator;
pub mod splice;
pub mod store;
mod table;
pub mod telemetry;
pub mod tenancy;
pub mod timer;
pub mod upstream;
