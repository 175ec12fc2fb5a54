//! What a token says, read and held against the clock: <https://www.rfc-editor.org/rfc/rfc7519#section-4.1>. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::refused;
use crate::clock::Timestamp;
use crate::config::Algorithm;
use crate::error::Result;

/// How far clocks may be apart, in seconds.
const LEEWAY: i64 = 60;

/// A token before its signature was looked at: enough to know whose keys to ask for.
pub(super) struct Unverified {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) claims: Claims,
}

/// The claims of a token.
#[derive(Debug)]
pub(super) struct Claims(Map<String, Value>);

#[derive(Deserialize)]
struct Header {
    alg: Value,
    kid: Option<String>,
    /// What must be understood for the token to mean what it says.
    crit: Option<Value>,
}

impl Unverified {
    /// Reads three parts of base64url. An algorithm that no issuer may be allowed to use is refused here.
    pub(super) fn read(token: &str) -> Result<Self> {
        let broken = || refused("This is not a token that can be read: a JWT in its compact form is.");
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(broken());
        };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| broken());
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| broken())?;
        if header.crit.is_some() {
            return Err(refused("This token asks for an extension that this gateway does not have (crit)."));
        }
        let algorithm = Algorithm::deserialize(&header.alg).map_err(|_| {
            refused("This token is not signed with a private key, or with an algorithm that is not known (alg).")
        })?;
        let claims = serde_json::from_slice(&decode(claims)?).map_err(|_| broken())?;
        Ok(Self { algorithm, kid: header.kid, claims: Claims(claims) })
    }
}

impl Claims {
    /// What a signature was found good for.
    pub(super) fn new(claims: Map<String, Value>) -> Self {
        Self(claims)
    }

    /// A claim that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// The team: a text, or a list with one text in it.
    pub(super) fn team(&self, name: &str) -> Option<&str> {
        let team = match self.0.get(name)? {
            Value::Array(one) if one.len() == 1 => one[0].as_str(),
            other => other.as_str(),
        };
        team.filter(|team| !team.is_empty())
    }

    /// The words of a claim: a list of texts, or one text with blanks between them.
    pub(super) fn words(&self, name: &str) -> Option<Vec<String>> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.split_whitespace().map(str::to_owned).collect()),
            Value::Array(list) => list.iter().map(|word| Some(word.as_str()?.to_owned())).collect(),
            _ => None,
        }
    }

    /// Whether `aud` is `audience`, or holds it.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match self.0.get("aud") {
            Some(Value::String(one)) => one == audience,
            Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        }
    }

    /// Fails outside the time that `exp`, `nbf` and `iat` leave, give or take a minute.
    pub(super) fn check_times(&self, now: Timestamp) -> Result<()> {
        let now = now.seconds();
        if self.expires_at()?.seconds().saturating_add(LEEWAY) <= now {
            return Err(refused("This token has expired (exp)."));
        }
        if self.seconds("nbf")?.is_some_and(|from| from > now + LEEWAY) {
            return Err(refused("This token does not count yet (nbf)."));
        }
        if self.seconds("iat")?.is_some_and(|made| made > now + LEEWAY) {
            return Err(refused("This token was made in the future (iat)."));
        }
        Ok(())
    }

    /// When it ends. Fails when it does not say.
    pub(super) fn expires_at(&self) -> Result<Timestamp> {
        let end = self.seconds("exp")?.ok_or_else(|| refused("This token does not say when it ends (exp)."))?;
        Ok(Timestamp::from_millis(end.saturating_mul(1000)))
    }

    /// Seconds since the epoch; fractions are cut off.
    fn seconds(&self, name: &str) -> Result<Option<i64>> {
        let Some(value) = self.0.get(name) else { return Ok(None) };
        #[expect(clippy::cast_possible_truncation, reason = "what is out of range becomes the first or last second")]
        let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64));
        match seconds {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(refused(format!("This token's claim `{name}` is not a number of seconds."))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        let Value::Object(map) = value else { panic!("not an object") };
        Claims(map)
    }

    fn token(header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    #[test]
    fn only_algorithms_with_a_private_key_are_read() {
        for good in ["RS256", "PS512", "ES256", "ES384", "EdDSA"] {
            let told = Unverified::read(&token(&json!({"alg": good, "kid": "a"}), &json!({}))).unwrap();
            assert_eq!((told.algorithm.to_string(), told.kid.as_deref()), (good.to_owned(), Some("a")));
        }
        for bad in ["none", "None", "nOnE", "HS256", "HS384", "HS512", "rs256", "ES512", ""] {
            let error = Unverified::read(&token(&json!({"alg": bad}), &json!({}))).err().unwrap();
            assert!(error.message().contains("(alg)"), "{bad}: {error}");
        }
        let critical = json!({"alg": "RS256", "crit": ["b64"], "b64": false});
        assert!(Unverified::read(&token(&critical, &json!({}))).err().unwrap().message().contains("(crit)"));
    }

    #[test]
    fn what_is_no_token_is_said_to_be_none_and_not_repeated() {
        for text in ["", "a", "a.b", "e30.e30.e30.e30", "e30.e30.", "%.%.%", "e30=.e30=.x", "W10.W10.x"] {
            let error = Unverified::read(text).err().unwrap();
            assert!(error.message().starts_with("This is not a token"), "{text}: {error}");
        }
    }

    #[test]
    fn a_token_counts_in_its_time_give_or_take_a_minute() {
        let now = Timestamp::from_millis(1_000_000_500);
        let told = |value: Value| claims(value).check_times(now).err().map(|error| error.message().to_owned());
        assert_eq!(told(json!({"exp": 999_941, "nbf": 1_000_060, "iat": 1_000_060.9})), None);
        for (value, name) in [
            (json!({}), "(exp)"),
            (json!({"exp": 999_940}), "(exp)"),
            (json!({"exp": "1000100"}), "`exp`"),
            (json!({"exp": 1_000_100, "nbf": 1_000_061}), "(nbf)"),
            (json!({"exp": 1_000_100, "nbf": null}), "`nbf`"),
            (json!({"exp": 1_000_100, "iat": 1_000_061}), "(iat)"),
            (json!({"exp": -1e300}), "(exp)"),
        ] {
            let message = told(value.clone());
            assert!(message.as_ref().is_some_and(|message| message.contains(name)), "{value}: {message:?}");
        }
        assert_eq!(told(json!({"exp": 1e300})), None);
        assert_eq!(told(json!({"exp": i64::MAX})), None);
    }

    #[test]
    fn audience_team_and_scopes_come_as_text_or_list() {
        let is_for = |value: Value| claims(json!({"aud": value})).is_for("gw");
        assert!(is_for(json!("gw")) && is_for(json!(["other", "gw"])));
        assert!(
            !is_for(json!("gw2"))
                && !is_for(json!(["g", "w"]))
                && !is_for(json!({"gw": 1}))
                && !is_for(json!([["gw"]]))
        );
        assert!(!claims(json!({})).is_for("gw"));
        let team = |value: Value| claims(json!({"team": value})).team("team").map(str::to_owned);
        assert_eq!((team(json!("a")), team(json!(["a"]))), (Some("a".into()), Some("a".into())));
        for none in [json!(""), json!(["a", "b"]), json!([]), json!(7), json!(null)] {
            assert_eq!(team(none), None);
        }
        let words = |value: Value| claims(json!({"scope": value})).words("scope");
        assert_eq!(words(json!("openid inference")), Some(vec!["openid".into(), "inference".into()]));
        assert_eq!(words(json!(["batch"])), Some(vec!["batch".into()]));
        assert_eq!((words(json!([7])), words(json!(7))), (None, None));
    }
}
