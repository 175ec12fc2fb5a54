//! What AWS refuses before a model sees a request.
//!
//! `shape` checks a body against the service's own model (`shapes.json`), `places` what comes elsewhere, `conversation` what
//! Converse checks of the turns, `model` what the model itself refuses. Each knows only JSON and the catalog; none answers a request.

pub(crate) mod betas;
pub(crate) mod claude;
pub(crate) mod conversation;
pub(crate) mod images;
pub(crate) mod model;
mod patterns;
pub(crate) mod places;
pub(crate) mod shape;
