//! Admission: whether a caller may make a call, and what is held for it until it is settled.

use std::sync::atomic::Ordering;

use super::directory::Caller;
use super::key::Scope;
use crate::error::{Error, Exception, Kind, Result};

/// What a call needs.
#[derive(Clone, Copy, Debug)]
pub struct Need<'a> {
    /// The scope the route asks for.
    pub scope: Scope,
    /// The model as the caller named it: what an error repeats. `None`: the call is on no model.
    pub model: Option<&'a str>,
    /// Every other name the model goes by: Bedrock's id, the short id, an alias. Being allowed under one is enough.
    pub names: &'a [&'a str],
}

/// What an admitted call holds. Dropping it gives everything back.
#[derive(Debug)]
pub struct Hold {
    caller: Caller,
}

impl Hold {
    /// Who holds it.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.caller.activity.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Caller {
    /// Fails with [`Kind::Forbidden`] unless the key was made with `scope`.
    pub fn require(&self, scope: Scope) -> Result<()> {
        if self.key.may(scope) {
            return Ok(());
        }
        let message = format!("This key lacks the scope `{scope}`. Use a key that was made with it.");
        let exception = Exception { name: "AccessDeniedException", status: 403 };
        Err(Error::new(Kind::Forbidden, message).exception(exception))
    }
}

pub(super) fn admit(caller: &Caller, need: &Need<'_>) -> Result<Hold> {
    caller.require(need.scope)?;
    if let Some(model) = need.model
        && !caller.allows_model(std::iter::once(model).chain(need.names.iter().copied()))
    {
        return Err(Error::model_not_found(model));
    }
    caller.activity.in_flight.fetch_add(1, Ordering::Relaxed);
    Ok(Hold { caller: caller.clone() })
}
