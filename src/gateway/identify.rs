//! Who calls: a bootstrap administrator, somebody with a token of an issuer, or a key of the store, in this order; or who
//! signed. A caller that was seen before is told from memory.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::Gateway;
use crate::error::Result;
use crate::ids::KeyId;
use crate::issuers::{Badge, Issuers};
use crate::recent::Recent;
use crate::tenancy::{Administrators, Caller, Claimed, Membership, Scoped, Sealer, StandIn};

/// So many bearers of tokens are remembered.
const REMEMBERED: usize = 10_000;

/// Who calls without a key of the store. A cheap clone.
#[derive(Clone)]
pub struct Guests {
    administrators: Administrators,
    issuers: Issuers,
    /// What the secrets of those who sign are sealed with; `None`: nobody signs.
    sealer: Option<Sealer>,
    /// Who came last under an id: what it has in flight outlives the token.
    known: Arc<Recent<KeyId, Guest>>,
}

/// What was shown, and the caller that it made.
#[derive(Clone)]
struct Guest {
    badge: Arc<Badge>,
    membership: Arc<Membership>,
    caller: Caller,
}

impl Guests {
    /// Those that are told by these.
    pub fn new(administrators: Administrators, issuers: Issuers, sealer: Option<Sealer>) -> Self {
        Self { administrators, issuers, sealer, known: Arc::new(Recent::new(REMEMBERED)) }
    }

    /// The same with these administrators, and other issuers if there are some; who is remembered stays so.
    #[must_use]
    pub fn changed(&self, administrators: Administrators, issuers: Option<Issuers>) -> Self {
        let issuers = issuers.unwrap_or_else(|| self.issuers.clone());
        Self { administrators, issuers, ..self.clone() }
    }
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guests").field(&self.administrators).field(&self.issuers).finish()
    }
}

impl Gateway {
    /// Who presents this text, from the address `client`: a key of the settings, a token, or a key of the store.
    ///
    /// # Errors
    /// [`crate::error::Kind::Unauthenticated`] with what is wrong.
    pub async fn identify(&self, presented: Option<&str>, client: Option<IpAddr>) -> Result<Caller> {
        let guests = &self.0.parts.guests;
        if let Some(text) = presented {
            if let Some(caller) = guests.administrators.recognise(text)? {
                return Ok(caller);
            }
            if guests.issuers.take(text) {
                let badge = Box::pin(guests.issuers.verify(text)).await?;
                return Box::pin(self.bearer_of(badge)).await;
            }
        }
        self.tenancy().authenticate(presented, client).await
    }

    /// Who a request says it is signed by; see [`crate::tenancy::Tenancy::claimed`].
    pub async fn claimed(&self, access_key: &str, scope: Scoped<'_>, client: Option<IpAddr>) -> Result<Claimed> {
        self.tenancy().claimed(self.sealer(), access_key, scope, client).await
    }

    /// What the secrets of keys for signing are sealed with, if the settings say so.
    pub fn sealer(&self) -> Option<&Sealer> {
        self.0.parts.guests.sealer.as_ref()
    }

    async fn bearer_of(&self, badge: Arc<Badge>) -> Result<Caller> {
        let known = &self.0.parts.guests.known;
        let membership = self.tenancy().membership(&badge.team).await?;
        let before = known.get(&badge.key);
        if let Some(before) = &before
            && Arc::ptr_eq(&before.badge, &badge)
            && Arc::ptr_eq(&before.membership, &membership)
        {
            return Ok(before.caller.clone());
        }
        let stand_in = StandIn {
            key: &badge.key,
            name: &badge.name,
            scopes: badge.scopes.as_deref(),
            expires_at: badge.expires_at,
        };
        let caller = stand_in.caller(&membership, before.as_ref().map(|before| &before.caller))?;
        known.put(badge.key.clone(), Guest { badge, membership, caller: caller.clone() });
        Ok(caller)
    }
}
