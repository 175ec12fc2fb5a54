//! converse
