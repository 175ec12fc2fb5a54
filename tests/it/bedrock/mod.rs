//! bedrock/mod
