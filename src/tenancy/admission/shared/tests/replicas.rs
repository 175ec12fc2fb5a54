//! Several of them at one store.
