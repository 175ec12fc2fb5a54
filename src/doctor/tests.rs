//! Whole reports, without AWS.
