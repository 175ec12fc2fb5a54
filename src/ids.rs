//! Identifiers: newtypes, so that a team is never passed where a key is meant, and the makers of new ones.

use std::fmt;
use std::sync::Arc;

use crate::clock::Clock;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text of the id, as the store and the API show it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl<T: AsRef<str>> From<T> for $name {
            fn from(text: T) -> Self {
                Self(Arc::from(text.as_ref()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id! {
    /// A team: who pays.
    TeamId
}
id! {
    /// A key: the credential. Contains no underscore, because the key's text is `bgw_<id>_<secret>`.
    KeyId
}
id! {
    /// One request, as `x-request-id` shows it.
    RequestId
}

id! {
    /// A limit.
    LimitId
}
id! {
    /// A budget.
    BudgetId
}

/// A new id: `prefix` and the 32 hex digits of a UUID version 7, which sorts by time of making.
///
/// Its random bits come from a generator of the thread's own, not from the operating system's: ids are no secrets, and
/// every request makes several.
pub fn fresh(prefix: &str) -> String {
    let millis = u64::try_from(Clock::system().now().millis()).unwrap_or_default();
    let mut random = [0; 10];
    fastrand::fill(&mut random);
    let id = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    let mut buffer = uuid::Uuid::encode_buffer();
    [prefix, id.simple().encode_lower(&mut buffer)].concat()
}

/// A new secret: 64 hex digits, 244 random bits from the operating system's generator.
pub fn secret() -> String {
    let (first, second) = (uuid::Uuid::new_v4(), uuid::Uuid::new_v4());
    format!("{}{}", first.simple(), second.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_differ_and_secrets_are_long() {
        assert_ne!(fresh("req_"), fresh("req_"));
        assert_eq!(fresh("key").len(), 35);
        assert_eq!(secret().len(), 64);
        assert_ne!(secret(), secret());
    }
}
