//! Callers that sign, on every kind of store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::config::{Auth, Secret};
use crate::sigv4;

const SCOPE: Scoped<'_> = Scoped { day: "20231114", region: "eu-west-1", service: "bedrock" };

fn sealer(byte: u8) -> Sealer {
    let settings = Auth { sealing_key: Secret::new(STANDARD.encode([byte; 32])), ..Auth::default() };
    Sealer::configured(&settings).unwrap()
}

fn secret(text: &str) -> &str {
    text.splitn(3, '_').nth(2).unwrap()
}

impl Served {
    /// Who signs a text with this secret.
    async fn signs(&self, sealer: &Sealer, id: &KeyId, secret: &str) -> Result<Caller> {
        let claimed = self.tenancy.claimed(Some(sealer), id.as_str(), SCOPE, CLIENT).await?;
        let key = sigv4::signing_key(secret, SCOPE.day, SCOPE.region, SCOPE.service);
        self.tenancy.signed(claimed, b"text", &sigv4::keyed_hash(&key, b"text"))
    }

    /// Gives the key another secret, as a rotation does; the one before counts for a minute.
    async fn rotate(&self, sealer: &Sealer, key: &Key, secret: &str) {
        let sql = "UPDATE keys SET previous_sha256 = secret_sha256, previous_sealed = sealed_secret, previous_until = $2, \
                   secret_sha256 = $3, sealed_secret = $4 WHERE id = $1";
        let hash = crate::tenancy::key::SecretHash::of(secret).to_hex();
        let query = sqlx::query(sql).bind(key.id.as_str()).bind(START.plus(Duration::from_mins(1)).millis());
        let query = query.bind(hash).bind(sealer.seal(key.id.as_str(), secret).unwrap());
        query.execute(self.store.pool()).await.unwrap();
        self.store.execute("UPDATE tenancy_version SET version = version + 1").await;
        self.tenancy.refresh().await;
    }
}

fn signing(sealer: &Sealer) -> NewKey {
    NewKey { sigv4: Some(sealer.clone()), ..NewKey::new("acme", "signs") }
}

#[tokio::test]
async fn a_key_that_was_made_for_it_signs_and_is_shown_alike() {
    for served in Served::on_all().await {
        let sealer = sealer(1);
        let (key, text) = served.key(signing(&sealer)).await;
        assert!(key.may_sign());
        let caller = served.signs(&sealer, &key.id, secret(&text)).await.unwrap();
        assert_eq!((&caller.key.id, &*caller.team.name), (&key.id, "acme"));
        assert_eq!(served.tenancy.authenticate(Some(&text), CLIENT).await.unwrap().key.id, key.id);
        let listed = admin::list_keys(&served.store).await.unwrap();
        assert!(listed[0].may_sign() && !format!("{listed:?}").contains(secret(&text)));
        let wrong = served.signs(&sealer, &key.id, "guess").await.unwrap_err();
        assert_eq!(wrong.aws().unwrap().name, "InvalidSignatureException");
    }
}

#[tokio::test]
async fn who_cannot_sign_is_told_what_to_do() {
    let served = Served::on(testing::sqlite().await).await;
    let (plain, text) = served.key(NewKey::new("acme", "plain")).await;
    let told = served.signs(&sealer(1), &plain.id, secret(&text)).await.unwrap_err();
    assert!(told.message().contains("sigv4"), "{told}");
    let (key, text) = served.key(signing(&sealer(1))).await;
    let told = served.signs(&sealer(2), &key.id, secret(&text)).await.unwrap_err();
    assert!(told.message().contains("another auth.sealing_key"), "{told}");
    let told = served.tenancy.claimed(None, key.id.as_str(), SCOPE, CLIENT).await.unwrap_err();
    assert!(told.message().contains("auth.sealing_key is missing"), "{told}");
    for nobody in ["", "AKIDEXAMPLE", "0123456789abcdef0123", "x_y"] {
        let told = served.tenancy.claimed(Some(&sealer(1)), nobody, SCOPE, CLIENT).await.unwrap_err();
        assert_eq!(told.aws().unwrap().name, "UnrecognizedClientException", "{nobody}");
    }
}

#[tokio::test]
async fn around_a_rotation_both_secrets_sign_until_the_overlap_ends() {
    for served in Served::on_all().await {
        let sealer = sealer(1);
        let (key, text) = served.key(signing(&sealer)).await;
        served.rotate(&sealer, &key, "another-secret").await;
        for secret in [secret(&text), "another-secret"] {
            assert!(served.signs(&sealer, &key.id, secret).await.is_ok(), "{secret}");
        }
        assert!(served.tenancy.authenticate(Some(&text), CLIENT).await.is_ok());
        served.clock.advance(Duration::from_mins(1));
        assert!(served.signs(&sealer, &key.id, "another-secret").await.is_ok());
        let gone = served.signs(&sealer, &key.id, secret(&text)).await.unwrap_err();
        assert_eq!(gone.aws().unwrap().name, "InvalidSignatureException");
        assert!(served.tenancy.authenticate(Some(&text), CLIENT).await.is_err());
    }
}

#[tokio::test]
async fn that_a_key_ended_is_told_to_its_owner_alone() {
    let served = Served::on(testing::sqlite().await).await;
    let sealer = sealer(1);
    let end = START.plus(SECOND);
    let (key, text) = served.key(NewKey { expires_at: Some(end), ..signing(&sealer) }).await;
    served.clock.advance(SECOND);
    let told = served.signs(&sealer, &key.id, secret(&text)).await.unwrap_err();
    assert!(told.message().contains("expired"), "{told}");
    assert!(!served.signs(&sealer, &key.id, "guess").await.unwrap_err().message().contains("expired"));
}
