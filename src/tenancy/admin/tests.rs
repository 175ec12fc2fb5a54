//! Administration on every kind of store.
