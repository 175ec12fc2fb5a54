//! Batches: files of records, run as AWS's batch jobs or through the ordinary completion path, and their results.
//!
//! A file is uploaded to S3 and surveyed while it passes (`files/`). A batch over it is planned into shards, each within
//! AWS's limits (`plan/`), run by one process at a time (`run/`), and its answers are collected into result files
//! (`collect/`). What a record looks like in a client's dialect only its [`Codec`] knows, which the surface hands in.
//! Invariants: an external effect is written down before it is asked for and can be found again; each record ends exactly
//! once, in the output or in the error file; what a batch may cost is held from its submission until it is settled.

mod batches;
pub mod codec;
pub mod collect;
mod door;
mod draft;
mod estimate;
pub mod files;
mod job;
pub mod layout;
pub mod lines;
mod online;
mod overview;
pub mod plan;
pub mod planner;
mod planning;
mod queries;
mod queue;
pub mod record;
mod run;
mod settle;
pub mod source;
mod submit;
pub mod survey;
#[cfg(test)]
mod testing;
pub mod webhook;
mod writers;

pub use self::batches::{Batches, Page, Parts, Standing};
pub use self::codec::{Codec, Codecs};
pub use self::door::Door;
pub use self::files::{Files, NewFile};
pub use self::queries::{Filter, Order, Slot, Spread};
pub use self::record::{Batch, Endpoint, File, Form, Invocation, Segment, Shard, State};
pub use self::submit::NewBatch;
pub use self::survey::Survey;
