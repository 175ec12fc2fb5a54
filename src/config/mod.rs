//! config

mod aws;

pub use aws::{Aws, Endpoints, Quota, Secret};
