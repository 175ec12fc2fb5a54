//! The bucket part of S3 and the key part of KMS, over the router.

use std::collections::BTreeMap;

use serde_json::json;

use super::probe::{Keys, element, signed, signed_response};
use super::{Bucket, Encryption, Settings, Simulator};

const KEY: &str = "arn:aws:kms:eu-west-1:000000000000:key/11111111-2222-3333-4444-555555555555";

fn simulator() -> Simulator {
    let files = Bucket {
        region: "eu-west-1".to_owned(),
        encryption: Encryption::Kms(KEY.to_owned()),
        policy: Some(
            json!({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}]}),
        ),
        blocks_public_access: false,
        owner: None,
    };
    let foreign = Bucket { owner: Some("111111111111".to_owned()), ..Bucket::default() };
    let buckets = BTreeMap::from([
        ("files".to_owned(), files),
        ("plain".to_owned(), Bucket::default()),
        ("foreign".to_owned(), foreign),
    ]);
    let kms_keys = BTreeMap::from([(KEY.to_owned(), "Disabled".to_owned())]);
    Simulator::new(Settings { buckets, kms_keys, ..Settings::default() })
}

async fn get(simulator: &Simulator, region: &str, path: &str) -> (u16, String) {
    signed(simulator, &Keys::of(simulator), ("s3", region), ("GET", path, b""), &[]).await
}

#[tokio::test]
async fn a_head_tells_where_a_bucket_is_or_why_not() {
    let simulator = simulator();
    let keys = Keys::of(&simulator);
    for (region, path, status, told) in [
        ("eu-west-1", "/files", 200, Some("eu-west-1")),
        ("us-east-1", "/files", 301, Some("eu-west-1")),
        ("us-east-1", "/foreign", 403, Some("us-east-1")),
        ("us-east-1", "/nothing", 404, None),
    ] {
        let response = signed_response(&simulator, &keys, ("s3", region), ("HEAD", path, b""), &[]).await;
        let here = response.headers().get("x-amz-bucket-region").map(|value| value.to_str().unwrap());
        assert_eq!((response.status().as_u16(), here), (status, told), "{path}");
    }
    assert_eq!(simulator.calls()[0].operation, "HeadBucket");
}

#[tokio::test]
async fn the_settings_of_a_bucket_are_told() {
    let simulator = simulator();
    let (_, xml) = get(&simulator, "eu-west-1", "/files?encryption").await;
    assert_eq!((element(&xml, "SSEAlgorithm"), element(&xml, "KMSMasterKeyID")), ("aws:kms", KEY));
    assert_eq!(element(&get(&simulator, "us-east-1", "/plain?encryption").await.1, "SSEAlgorithm"), "AES256");
    assert!(get(&simulator, "us-east-1", "/files?location").await.1.contains(">eu-west-1</LocationConstraint>"));
    assert!(get(&simulator, "us-east-1", "/plain?location").await.1.contains("></LocationConstraint>"));
    assert_eq!(element(&get(&simulator, "eu-west-1", "/files?policyStatus").await.1, "IsPublic"), "true");
    assert!(get(&simulator, "eu-west-1", "/files?policy").await.1.starts_with("{\"Statement\""));
    assert_eq!(element(&get(&simulator, "us-east-1", "/plain?publicAccessBlock").await.1, "BlockPublicPolicy"), "true");
    for (region, path, status, code) in [
        ("us-east-1", "/plain?policy", 404, "NoSuchBucketPolicy"),
        ("eu-west-1", "/files?publicAccessBlock", 404, "NoSuchPublicAccessBlockConfiguration"),
        ("us-east-1", "/files?encryption", 301, "PermanentRedirect"),
        ("us-east-1", "/nothing?encryption", 404, "NoSuchBucket"),
        ("us-east-1", "/plain/object", 501, "NotImplemented"),
    ] {
        let (got, xml) = get(&simulator, region, path).await;
        assert_eq!((got, element(&xml, "Code")), (status, code), "{path}");
    }
}

#[tokio::test]
async fn s3_refuses_callers_in_its_own_words() {
    let simulator = simulator();
    let keys = Keys::of(&simulator);
    let ask =
        async |keys: &Keys| signed(&simulator, keys, ("s3", "us-east-1"), ("GET", "/plain?policy", b""), &[]).await;
    let (status, xml) = ask(&Keys { access_key: "AKIDOTHER".to_owned(), ..keys.clone() }).await;
    assert_eq!((status, element(&xml, "Code")), (403, "InvalidAccessKeyId"));
    let (status, xml) = ask(&Keys { secret_key: "wrong".to_owned(), ..keys.clone() }).await;
    assert_eq!((status, element(&xml, "Code")), (403, "SignatureDoesNotMatch"));
    simulator.set_policy(Some(
        json!({"Statement": {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::plain"}}),
    ));
    assert_eq!(element(&ask(&keys).await.1, "Code"), "AccessDenied");
}

#[tokio::test]
async fn a_key_is_described_by_id_and_arn_where_it_is() {
    let simulator = simulator();
    let keys = Keys::of(&simulator);
    let target = [("x-amz-target", "TrentService.DescribeKey")];
    let ask = async |region: &str, key: &str| {
        let body = json!({"KeyId": key}).to_string();
        signed(&simulator, &keys, ("kms", region), ("POST", "/", body.as_bytes()), &target).await
    };
    for key in [KEY, KEY.rsplit('/').next().unwrap()] {
        let (status, text) = ask("eu-west-1", key).await;
        assert!(status == 200 && text.contains("\"KeyState\":\"Disabled\""), "{text}");
    }
    let (status, text) = ask("us-east-1", KEY).await;
    assert!(status == 400 && text.contains("NotFoundException"), "{text}");
}
