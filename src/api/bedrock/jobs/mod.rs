//! AWS's own job API under the gateway's tenancy.

mod codec;

pub(in crate::api) use codec::CODEC;
