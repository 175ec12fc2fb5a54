//! Files on every kind of store.
