//! Tokens of an issuer on the wire.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::testing::{Pair, Provider};
use super::*;

const NOW: i64 = 1_800_000_000;

struct Bench {
    provider: Provider,
    issuers: Issuers,
    clock: Clock,
    stop: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn bench(keys: &[&Pair], change: impl FnOnce(&mut Jwt)) -> Bench {
    let provider = Provider::start(keys).await;
    let mut jwt = Jwt { issuer: provider.issuer(), audience: "gw".into(), ..Jwt::default() };
    change(&mut jwt);
    let clock = Clock::manual(Timestamp::from_millis(NOW * 1000));
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let documents = Documents::new(&provider.site.settings()).unwrap();
    let issuers = Issuers::new(&[jwt], documents, clock.clone(), &tracker, &stop);
    Bench { provider, issuers, clock, stop }
}

impl Bench {
    fn claims(&self) -> Value {
        json!({"iss": self.provider.issuer(), "aud": "gw", "sub": "somebody", "team": "a", "exp": NOW + 600, "iat": NOW})
    }

    async fn refusal(&self, token: &str) -> String {
        let error = self.issuers.verify(token).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unauthenticated, "{error}");
        assert!(!error.message().contains("somebody") && !error.causes().contains(token));
        error.message().to_owned()
    }
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

#[tokio::test]
async fn tokens_of_each_sort_of_key_say_who_shows_them() {
    let pairs = [Pair::rs256("rsa"), Pair::es256("ec"), Pair::ed25519("ed")];
    let keys: Vec<&Pair> = pairs.iter().collect();
    let b = bench(&keys, |jwt| jwt.algorithms.push(Algorithm::EdDsa)).await;
    let mut badges = Vec::new();
    for pair in &pairs {
        badges.push(b.issuers.verify(&pair.token(&b.claims())).await.unwrap());
    }
    let badge = &badges[0];
    assert_eq!((badge.name.as_str(), badge.team.as_str(), &badge.scopes), ("localhost", "a", &None));
    assert_eq!(badge.expires_at, Timestamp::from_millis((NOW + 600) * 1000));
    let id = badge.key.as_str();
    assert!(id.len() == 23 && id.starts_with("jwt") && id.bytes().all(|b| b.is_ascii_alphanumeric()), "{id}");
    assert!(badges.iter().all(|other| other == badge), "the same subject of the same issuer");
    let other = b.issuers.verify(&pairs[0].token(&with(b.claims(), "sub", json!("other")))).await.unwrap();
    assert_ne!(other.key, badge.key);
    assert_eq!(b.provider.looks(), 1);
}

#[tokio::test]
async fn a_token_that_does_not_count_says_why_and_nothing_else() {
    let (pair, stranger) = (Pair::es256("a"), Pair::es256("a"));
    let b = bench(&[&pair], |jwt| jwt.scopes_claim = "scope".into()).await;
    let good = with(b.claims(), "scope", json!("openid inference"));
    assert_eq!(
        b.issuers.verify(&pair.token(&good)).await.unwrap().scopes,
        Some(vec!["openid".into(), "inference".into()])
    );
    for (name, value, why) in [
        ("iss", json!("https://elsewhere.example"), "(iss)"),
        ("iss", json!(format!("{}/", b.provider.issuer())), "(iss)"),
        ("aud", json!("other"), "(aud)"),
        ("exp", json!(NOW - 60), "expired"),
        ("exp", Value::Null, "`exp`"),
        ("nbf", json!(NOW + 61), "(nbf)"),
        ("iat", json!(NOW + 61), "(iat)"),
        ("sub", json!(""), "(sub)"),
        ("team", json!({}), "`team`"),
        ("scope", json!(7), "`scope`"),
    ] {
        let told = b.refusal(&pair.token(&with(good.clone(), name, value))).await;
        assert!(told.contains(why), "{name}: {told}");
    }
    assert!(b.refusal(&stranger.token(&good)).await.contains("signature"));
    let token = pair.token(&good);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let swapped = with(good.clone(), "team", json!("b")).to_string();
    let swapped = format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(swapped));
    assert!(b.refusal(&swapped).await.contains("signature"));
    assert!(b.refusal(&format!("{signed}.")).await.contains("signature"));
    // An algorithm that anybody could use, and one that the settings do not name.
    for algorithm in ["none", "HS256", "ES384", "RS512"] {
        let header = URL_SAFE_NO_PAD.encode(json!({"alg": algorithm, "kid": "a"}).to_string());
        let told = b.refusal(&format!("{header}.{claims}.{signature}")).await;
        assert!(told.contains("not signed with"), "{told}");
    }
    assert!(b.refusal(&format!("e.{}.x", "a".repeat(MAX_TOKEN))).await.contains("too long"));
}

#[tokio::test]
async fn a_key_that_is_not_known_is_looked_for_and_one_that_is_gone_counts_no_more() {
    let (old, new) = (Pair::es256("old"), Pair::es256("new"));
    let b = bench(&[&old], |_| {}).await;
    let (by_old, by_new) = (old.token(&b.claims()), new.token(&b.claims()));
    b.issuers.verify(&by_old).await.unwrap();
    b.provider.publish(&[&old, &new]);
    b.issuers.verify(&by_new).await.unwrap();
    b.issuers.verify(&by_old).await.unwrap();
    assert_eq!(b.provider.looks(), 2);

    let newest = Pair::es256("newest");
    b.provider.publish(&[&new, &newest]);
    b.issuers.verify(&newest.token(&b.claims())).await.unwrap();
    b.issuers.verify(&by_new).await.unwrap();
    assert!(b.refusal(&by_old).await.contains("does not publish"), "though it was believed before");
}

#[tokio::test]
async fn made_up_keys_cost_the_issuer_one_look_and_others_go_on() {
    let (pair, made_up) = (Pair::es256("a"), Pair::es256("b"));
    let b = bench(&[&pair], |_| {}).await;
    b.issuers.verify(&pair.token(&b.claims())).await.unwrap();
    for number in 0..50 {
        let token = made_up.token(&with(b.claims(), "jti", json!(number)));
        assert!(b.refusal(&token).await.contains("does not publish"));
    }
    b.issuers.verify(&pair.token(&b.claims())).await.unwrap();
    assert_eq!(b.provider.looks(), 2);
}

#[tokio::test]
async fn an_issuer_that_is_away_keeps_nobody_who_is_known_from_calling() {
    let (pair, new) = (Pair::es256("a"), Pair::es256("b"));
    let b = bench(&[&pair], |_| {}).await;
    b.issuers.verify(&pair.token(&b.claims())).await.unwrap();
    b.provider.fail();
    let error = b.issuers.verify(&new.token(&b.claims())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    b.issuers.verify(&pair.token(&with(b.claims(), "jti", json!(1)))).await.unwrap();
}

#[tokio::test]
async fn a_configuration_of_another_issuer_is_not_believed() {
    let pair = Pair::es256("a");
    let b = bench(&[&pair], |jwt| jwt.issuer.push('/')).await;
    let claims = with(b.claims(), "iss", json!(format!("{}/", b.provider.issuer())));
    assert_eq!(b.issuers.verify(&pair.token(&claims)).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(b.provider.looks(), 0);
}

#[tokio::test]
async fn a_remembered_token_ends_with_its_time() {
    let pair = Pair::es256("a");
    let b = bench(&[&pair], |_| {}).await;
    let token = pair.token(&b.claims());
    let first = b.issuers.verify(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &b.issuers.verify(&token).await.unwrap()), "the second time it is remembered");
    b.clock.advance(Duration::from_secs(659));
    b.issuers.verify(&token).await.unwrap();
    b.clock.advance(Duration::from_secs(1));
    assert!(b.refusal(&token).await.contains("expired"));
}

#[tokio::test]
async fn only_what_is_built_as_a_token_is_taken_for_one() {
    let pair = Pair::es256("a");
    let b = bench(&[&pair], |_| {}).await;
    assert!(b.issuers.take(&pair.token(&b.claims())));
    for other in ["", "bgw_a_b", "sk-abc", "ey.a", "ey.a.b.c", "bgw_eyJ.a.b"] {
        assert!(!b.issuers.take(other), "{other}");
    }
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let none =
        Issuers::new(&[], Documents::new(&crate::config::Fetch::default()).unwrap(), Clock::system(), &tracker, &stop);
    assert!(!none.take("eyJ.a.b"));
}
