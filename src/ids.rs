//! Identifiers: newtypes, so that a team is never passed where a key is meant, and the makers of new ones.

use std::fmt;
use std::sync::Arc;

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

/// A new id: `prefix` and 32 hex digits that sort by time of making.
pub fn fresh(prefix: &str) -> String {
    let mut buffer = uuid::Uuid::encode_buffer();
    format!("{prefix}{}", uuid::Uuid::now_v7().simple().encode_lower(&mut buffer))
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
