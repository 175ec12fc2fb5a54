//! unauthorized
