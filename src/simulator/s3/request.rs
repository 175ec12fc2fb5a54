//! Which operation of S3 a request means, path-style or by host, and what a caller needs for it.

use std::collections::BTreeMap;

use axum::http::request::Parts;
use percent_encoding::percent_decode_str;

use super::super::account::Account;
use super::super::errors::Failure;

/// A call of S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(super) bucket: String,
    /// Decoded; empty of what is about the bucket.
    pub(super) key: String,
    pub(super) ask: Ask,
    /// `x-amz-expected-bucket-owner`.
    pub(super) owner: Option<String>,
    pub(super) query: BTreeMap<String, String>,
    /// `x-amz-copy-source`: bucket and key.
    pub(super) source: Option<(String, String)>,
}

/// The operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    HeadBucket,
    Location,
    Encryption,
    Policy,
    PolicyStatus,
    PublicAccessBlock,
    ListObjects,
    ListUploads,
    DeleteObjects,
    PutObject,
    CopyObject,
    GetObject,
    HeadObject,
    DeleteObject,
    CreateUpload,
    UploadPart,
    UploadPartCopy,
    CompleteUpload,
    AbortUpload,
    ListParts,
    /// What is not simulated.
    Other,
}

/// What a listing of objects takes beside `list-type`.
const LISTING: [&str; 7] =
    ["prefix", "delimiter", "max-keys", "continuation-token", "start-after", "encoding-type", "fetch-owner"];
/// What a listing of uploads takes beside `uploads`.
const UPLOADS: [&str; 6] = ["prefix", "delimiter", "max-uploads", "key-marker", "upload-id-marker", "encoding-type"];
/// What a listing of parts takes beside `uploadId`.
const PARTS: [&str; 2] = ["max-parts", "part-number-marker"];
/// Headers of the answer that the query of a GET may set.
pub(super) const OVERRIDES: [(&str, &str); 6] = [
    ("response-content-type", "content-type"),
    ("response-content-disposition", "content-disposition"),
    ("response-content-encoding", "content-encoding"),
    ("response-content-language", "content-language"),
    ("response-cache-control", "cache-control"),
    ("response-expires", "expires"),
];

impl Request {
    /// What a request signed for S3 asks.
    pub(super) fn read(parts: &Parts, account: &Account) -> Self {
        let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let host = parts.uri.authority().map(axum::http::uri::Authority::as_str).or_else(|| text("host"));
        let by_host = host.and_then(|host| account.bucket_of_host(host));
        let path = parts.uri.path().strip_prefix('/').unwrap_or_default();
        let (bucket, key) = match &by_host {
            Some(bucket) => (bucket.as_str(), path),
            None => path.split_once('/').unwrap_or((path, "")),
        };
        let query = members(parts.uri.query().unwrap_or_default());
        let copies = parts.headers.contains_key("x-amz-copy-source");
        let source = text("x-amz-copy-source").and_then(source);
        let asked: Vec<&str> = query.keys().map(String::as_str).collect();
        let ask = match (parts.method.as_str(), key) {
            (method, "") => of_bucket(method, &asked),
            ("PUT", _) if copies && source.is_none() => Ask::Other,
            (method, _) => of_object(method, &asked, copies),
        };
        Self {
            bucket: decoded(bucket),
            key: decoded(key),
            ask,
            owner: text("x-amz-expected-bucket-owner").map(str::to_owned),
            query,
            source: source.filter(|_| copies),
        }
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self.ask {
            Ask::HeadBucket => "HeadBucket",
            Ask::Location => "GetBucketLocation",
            Ask::Encryption => "GetBucketEncryption",
            Ask::Policy => "GetBucketPolicy",
            Ask::PolicyStatus => "GetBucketPolicyStatus",
            Ask::PublicAccessBlock => "GetPublicAccessBlock",
            Ask::ListObjects => "ListObjectsV2",
            Ask::ListUploads => "ListMultipartUploads",
            Ask::DeleteObjects => "DeleteObjects",
            Ask::PutObject => "PutObject",
            Ask::CopyObject => "CopyObject",
            Ask::GetObject => "GetObject",
            Ask::HeadObject => "HeadObject",
            Ask::DeleteObject => "DeleteObject",
            Ask::CreateUpload => "CreateMultipartUpload",
            Ask::UploadPart => "UploadPart",
            Ask::UploadPartCopy => "UploadPartCopy",
            Ask::CompleteUpload => "CompleteMultipartUpload",
            Ask::AbortUpload => "AbortMultipartUpload",
            Ask::ListParts => "ListParts",
            Ask::Other => "S3",
        }
    }

    /// The bucket and, of an object, its key behind a slash.
    pub(crate) fn subject(&self) -> String {
        if self.key.is_empty() { self.bucket.clone() } else { format!("{}/{}", self.bucket, self.key) }
    }

    /// The IAM action that it needs on the bucket or object; deleting many needs one on each. "Actions, resources, and condition
    /// keys for Amazon S3" of the service authorization reference.
    pub(crate) const fn permission(&self) -> Option<&'static str> {
        Some(match self.ask {
            Ask::HeadBucket | Ask::ListObjects | Ask::Other => "s3:ListBucket",
            Ask::Location => "s3:GetBucketLocation",
            Ask::Encryption => "s3:GetEncryptionConfiguration",
            Ask::Policy => "s3:GetBucketPolicy",
            Ask::PolicyStatus => "s3:GetBucketPolicyStatus",
            Ask::PublicAccessBlock => "s3:GetBucketPublicAccessBlock",
            Ask::ListUploads => "s3:ListBucketMultipartUploads",
            Ask::GetObject | Ask::HeadObject => "s3:GetObject",
            Ask::DeleteObject => "s3:DeleteObject",
            Ask::AbortUpload => "s3:AbortMultipartUpload",
            Ask::ListParts => "s3:ListMultipartUploadParts",
            Ask::PutObject
            | Ask::CopyObject
            | Ask::CreateUpload
            | Ask::UploadPart
            | Ask::UploadPartCopy
            | Ask::CompleteUpload => "s3:PutObject",
            Ask::DeleteObjects => return None,
        })
    }

    /// All actions and resources that it needs, in the partition of the called Region.
    pub(crate) fn needs(&self, partition: &str) -> Vec<(&'static str, String)> {
        let resource = if self.ask == Ask::Other { self.bucket.clone() } else { self.subject() };
        let own = self.permission().map(|action| (action, arn(partition, &resource)));
        let source =
            self.source.as_ref().map(|(bucket, key)| ("s3:GetObject", arn(partition, &format!("{bucket}/{key}"))));
        own.into_iter().chain(source).collect()
    }

    /// The condition keys of a listing.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let keys = [("s3:prefix", "prefix"), ("s3:delimiter", "delimiter"), ("s3:max-keys", "max-keys")];
        let lists = matches!(self.ask, Ask::ListObjects | Ask::ListUploads);
        keys.into_iter().filter_map(move |(key, name)| Some((key, self.query.get(name).filter(|_| lists)?.as_str())))
    }

    /// Whether an object's bytes come with the request.
    pub(super) const fn has_bytes(&self) -> bool {
        matches!(self.ask, Ask::PutObject | Ask::UploadPart)
    }

    /// A member of the query, which an operation has that was routed by it.
    pub(super) fn member(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// A number of the query within what S3 takes.
    pub(super) fn number(&self, name: &str, default: u32, most: u32) -> Result<u32, Failure> {
        let Some(text) = self.query.get(name) else { return Ok(default) };
        let number = text.parse::<u32>().ok().filter(|number| i32::try_from(*number).is_ok());
        number.map(|number| number.min(most)).ok_or_else(|| {
            let message = format!("Provided {name} not an integer or within integer range");
            Failure::new(400, "InvalidArgument", message)
        })
    }
}

/// The ARN of a bucket or of an object in one.
pub(super) fn arn(partition: &str, resource: &str) -> String {
    format!("arn:{partition}:s3:::{resource}")
}

fn of_bucket(method: &str, asked: &[&str]) -> Ask {
    let with = |name: &str, others: &[&str]| {
        asked.contains(&name) && asked.iter().all(|asked| *asked == name || others.contains(asked))
    };
    match (method, asked) {
        ("HEAD", []) => Ask::HeadBucket,
        ("GET", ["location"]) => Ask::Location,
        ("GET", ["encryption"]) => Ask::Encryption,
        ("GET", ["policy"]) => Ask::Policy,
        ("GET", ["policyStatus"]) => Ask::PolicyStatus,
        ("GET", ["publicAccessBlock"]) => Ask::PublicAccessBlock,
        ("POST", ["delete"]) => Ask::DeleteObjects,
        ("GET", _) if with("list-type", &LISTING) => Ask::ListObjects,
        ("GET", _) if with("uploads", &UPLOADS) => Ask::ListUploads,
        _ => Ask::Other,
    }
}

fn of_object(method: &str, asked: &[&str], copies: bool) -> Ask {
    let overrides = |asked: &&str| OVERRIDES.iter().any(|(name, _)| name == asked);
    match (method, asked) {
        ("PUT", []) if copies => Ask::CopyObject,
        ("PUT", []) => Ask::PutObject,
        ("PUT", ["partNumber", "uploadId"]) if copies => Ask::UploadPartCopy,
        ("PUT", ["partNumber", "uploadId"]) => Ask::UploadPart,
        ("GET", _) if asked.iter().all(|name| *name == "partNumber" || overrides(name)) => Ask::GetObject,
        ("HEAD", _) if asked.iter().all(|name| *name == "partNumber" || overrides(name)) => Ask::HeadObject,
        ("DELETE", []) => Ask::DeleteObject,
        ("DELETE", ["uploadId"]) => Ask::AbortUpload,
        ("POST", ["uploads"]) => Ask::CreateUpload,
        ("POST", ["uploadId"]) => Ask::CompleteUpload,
        ("GET", _)
            if asked.contains(&"uploadId") && asked.iter().all(|name| *name == "uploadId" || PARTS.contains(name)) =>
        {
            Ask::ListParts
        }
        _ => Ask::Other,
    }
}

/// The members of a query that are not a signature's.
fn members(query: &str) -> BTreeMap<String, String> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .map(|(name, value)| {
            (decoded(name), percent_decode_str(&value.replace('+', " ")).decode_utf8_lossy().into_owned())
        })
        .filter(|(name, _)| name != "x-id" && !name.starts_with("X-Amz-"))
        .collect()
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The bucket and key of `x-amz-copy-source`; versions there are none.
fn source(text: &str) -> Option<(String, String)> {
    let path = text.strip_prefix('/').unwrap_or(text);
    let (bucket, key) = path.split_once('/').filter(|(_, key)| !key.is_empty() && !key.contains('?'))?;
    Some((decoded(bucket), decoded(key)))
}

#[cfg(test)]
mod tests {
    use super::super::super::Settings;
    use super::super::super::settings::Bucket;
    use super::*;

    fn read(method: &str, uri: &str, host: &str, source: &str) -> Request {
        let mut request = axum::http::Request::builder().method(method).uri(uri).header("host", host);
        if !source.is_empty() {
            request = request.header("x-amz-copy-source", source);
        }
        let buckets = BTreeMap::from([("files".to_owned(), Bucket::default())]);
        let account = Account::new(&Settings { buckets, ..Settings::default() });
        Request::read(&request.body(()).unwrap().into_parts().0, &account)
    }

    #[test]
    fn operations_are_told_by_method_path_query_and_host() {
        for (method, uri, host, name, subject) in [
            ("HEAD", "/files", "h", "HeadBucket", "files"),
            ("HEAD", "/", "files.s3.h", "HeadBucket", "files"),
            ("PUT", "/files/a%20b/c?x-id=PutObject", "h", "PutObject", "files/a b/c"),
            ("GET", "/a//b", "files.h", "GetObject", "files/a//b"),
            ("GET", "/files/k?response-content-type=x&X-Amz-Expires=1", "h", "GetObject", "files/k"),
            ("GET", "/files?list-type=2&prefix=a", "h", "ListObjectsV2", "files"),
            ("GET", "/files/?uploads", "h", "ListMultipartUploads", "files"),
            ("POST", "/files?delete", "h", "DeleteObjects", "files"),
            ("POST", "/files/k?uploads", "h", "CreateMultipartUpload", "files/k"),
            ("PUT", "/files/k?partNumber=1&uploadId=u", "h", "UploadPart", "files/k"),
            ("POST", "/files/k?uploadId=u", "h", "CompleteMultipartUpload", "files/k"),
            ("DELETE", "/files/k?uploadId=u", "h", "AbortMultipartUpload", "files/k"),
            ("GET", "/files/k?uploadId=u&max-parts=1", "h", "ListParts", "files/k"),
            ("DELETE", "/files/k", "h", "DeleteObject", "files/k"),
            ("GET", "/files/k?acl", "h", "S3", "files/k"),
            ("DELETE", "/files/k?versionId=1", "h", "S3", "files/k"),
            ("GET", "/files", "h", "S3", "files"),
        ] {
            let request = read(method, uri, host, "");
            assert_eq!((request.name(), request.subject().as_str()), (name, subject), "{method} {uri}");
        }
    }

    #[test]
    fn a_copy_needs_to_read_what_it_copies() {
        let copy = read("PUT", "/files/k", "h", "/other/a%2Fb");
        assert_eq!(copy.name(), "CopyObject");
        let needs = copy.needs("aws");
        assert_eq!(needs[0], ("s3:PutObject", "arn:aws:s3:::files/k".to_owned()));
        assert_eq!(needs[1], ("s3:GetObject", "arn:aws:s3:::other/a/b".to_owned()));
        assert_eq!(read("PUT", "/files/k", "h", "nonsense").name(), "S3");
        assert_eq!(read("PUT", "/files/k?partNumber=1&uploadId=u", "h", "a/b").name(), "UploadPartCopy");
    }

    #[test]
    fn numbers_of_a_query_are_held_to_what_s3_takes() {
        let request = read("GET", "/files?list-type=2&max-keys=5000", "h", "");
        assert_eq!(request.number("max-keys", 1000, 1000).unwrap(), 1000);
        assert_eq!(request.number("max-parts", 7, 1000).unwrap(), 7);
        for wrong in ["-1", "x", "2147483648"] {
            let request = read("GET", &format!("/files?list-type=2&max-keys={wrong}"), "h", "");
            assert_eq!(request.number("max-keys", 1000, 1000).unwrap_err().name, "InvalidArgument");
        }
    }
}
