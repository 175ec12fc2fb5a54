//! What a request says an object shall be like: media type and other headers, metadata, encryption. What S3 has and the simulator
//! has not is refused, never dropped.

use std::collections::BTreeMap;

use super::super::errors::Failure;
use super::super::settings::Encryption;
use super::Scene;
use super::objects::{Attributes, DEFAULT_TYPE};

/// The headers of objects that are kept as they are told.
const KEPT: [&str; 6] =
    ["cache-control", "content-disposition", "content-encoding", "content-language", "content-type", "expires"];
/// Features that are not simulated, by the headers that ask for them.
const ABSENT: [&str; 5] = [
    "x-amz-tagging",
    "x-amz-object-lock-",
    "x-amz-server-side-encryption-customer-",
    "x-amz-website-redirect-location",
    "x-amz-grant-",
];
const STORAGE_CLASSES: [&str; 8] = [
    "STANDARD",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "REDUCED_REDUNDANCY",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
];
/// All names and values of an object's metadata, in bytes.
const MOST_METADATA: usize = 2048;
const PREFIX: &str = "x-amz-meta-";

impl Scene<'_> {
    /// Reads the headers of a request that makes an object.
    pub(super) fn attributes(&self) -> Result<Attributes, Failure> {
        self.refuse_absent()?;
        let mut headers = BTreeMap::from([("content-type", DEFAULT_TYPE.to_owned())]);
        for name in KEPT {
            let Some(value) = self.text(name) else { continue };
            let value = if name == "content-encoding" { without_chunks(&value) } else { value };
            if !value.is_empty() {
                headers.insert(name, value);
            }
        }
        if let Some(class) = self.text("x-amz-storage-class").filter(|class| class != "STANDARD") {
            if !STORAGE_CLASSES.contains(&class.as_str()) {
                return Err(Failure::new(400, "InvalidStorageClass", "The storage class you specified is not valid"));
            }
            headers.insert("x-amz-storage-class", class);
        }
        Ok(Attributes { headers, metadata: self.metadata()?, checksum: None, key: self.encrypting_key()? })
    }

    fn refuse_absent(&self) -> Result<(), Failure> {
        let mut names = self.headers.keys().map(axum::http::HeaderName::as_str);
        if names.any(|name| ABSENT.iter().any(|absent| name.starts_with(absent))) {
            let message = "A header you provided implies functionality that is not implemented.";
            return Err(Failure::new(501, "NotImplemented", message));
        }
        match self.text("x-amz-acl").as_deref() {
            None | Some("private" | "bucket-owner-full-control") => Ok(()),
            Some(_) => Err(Failure::new(400, "AccessControlListNotSupported", "The bucket does not allow ACLs")),
        }
    }

    fn metadata(&self) -> Result<BTreeMap<String, String>, Failure> {
        let mut metadata = BTreeMap::new();
        for name in self.headers.keys() {
            let Some(plain) = name.as_str().strip_prefix(PREFIX) else { continue };
            metadata.insert(plain.to_owned(), self.text(name.as_str()).unwrap_or_default());
        }
        let size: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size > MOST_METADATA {
            let message = "Your metadata headers exceed the maximum allowed metadata size";
            return Err(Failure::new(400, "MetadataTooLarge", message));
        }
        Ok(metadata)
    }

    /// The KMS key that encrypts the object, one that the caller may use; `None` for S3's own keys.
    fn encrypting_key(&self) -> Result<Option<String>, Failure> {
        let by_default = match &self.bucket.encryption {
            Encryption::Kms(key) => Some(key.clone()),
            Encryption::Aes256 => None,
        };
        let key = match self.text("x-amz-server-side-encryption").as_deref() {
            None => by_default,
            Some("AES256") => None,
            Some("aws:kms") => self.text("x-amz-server-side-encryption-aws-kms-key-id").or(by_default),
            Some(_) => {
                let message = "The encryption method specified is not supported";
                return Err(Failure::new(400, "InvalidEncryptionAlgorithmError", message));
            }
        };
        if let Some(key) = &key {
            self.use_key(key, "kms:GenerateDataKey")?;
        }
        Ok(key)
    }

    /// Refuses a KMS key that is missing, out of use or not this caller's to use.
    pub(super) fn use_key(&self, key: &str, action: &'static str) -> Result<(), Failure> {
        self.require(action, key)?;
        match self.simulator.inner.account.key_state(key).as_deref() {
            Some("Enabled") => Ok(()),
            Some("Disabled") => Err(Failure::new(400, "KMS.DisabledException", format!("{key} is disabled."))),
            Some(state) => {
                Err(Failure::new(400, "KMS.KMSInvalidStateException", format!("{key} is in the state {state}.")))
            }
            None => Err(Failure::new(400, "KMS.NotFoundException", format!("Key '{key}' does not exist"))),
        }
    }

    /// A header, also one that is not ASCII.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let mut values = self.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let first = values.next()?.into_owned();
        Some(values.fold(first, |all, value| all + "," + &value))
    }
}

/// What is encoded for its way alone is not kept so.
fn without_chunks(encoding: &str) -> String {
    let parts = encoding.split(',').map(str::trim).filter(|part| !part.eq_ignore_ascii_case("aws-chunked"));
    parts.collect::<Vec<_>>().join(",")
}

impl Attributes {
    /// As the answer to a GET or HEAD tells them.
    pub(super) fn told(&self) -> Vec<(String, String)> {
        let headers = self.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let metadata = self.metadata.iter().map(|(name, value)| (format!("{PREFIX}{name}"), value.clone()));
        headers.chain(metadata).chain(self.encryption()).collect()
    }

    /// How it is encrypted.
    pub(super) fn encryption(&self) -> Vec<(String, String)> {
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        match &self.key {
            None => vec![own("x-amz-server-side-encryption", "AES256")],
            Some(key) => vec![
                own("x-amz-server-side-encryption", "aws:kms"),
                own("x-amz-server-side-encryption-aws-kms-key-id", key),
            ],
        }
    }

    /// Its checksum.
    pub(super) fn proof(&self) -> Vec<(String, String)> {
        let Some(checksum) = &self.checksum else { return Vec::new() };
        vec![
            (checksum.algorithm.header().to_owned(), checksum.value.clone()),
            ("x-amz-checksum-type".to_owned(), checksum.kind.name().to_owned()),
        ]
    }
}
