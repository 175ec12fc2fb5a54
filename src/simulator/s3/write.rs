//! `PutObject`, `CopyObject`, `DeleteObject` and `DeleteObjects`.

use std::io::Read as _;
use std::ops::Range;
use std::sync::Arc;

use md5::{Digest as _, Md5};

use super::super::errors::Failure;
use super::super::form::Xml;
use super::super::sigv4::hex;
use super::answer::Answer;
use super::checksums::{Algorithm, Checksum, Sum};
use super::files::cut;
use super::incoming::{Incoming, disk};
use super::objects::{Attributes, Object};
use super::read::{Unmet, missing, names, unmet};
use super::request::arn;
use super::{NAMESPACE, Scene, documents, time};

/// As much of a source is in memory at a time, in bytes.
const STEP: usize = 256 << 10;
/// The largest source of a copy, in bytes.
const LARGEST_SOURCE: u64 = 5 << 30;

/// The ETag of bytes: their MD5, unless KMS encrypts them.
pub(super) fn etag(md5: &[u8; 16], key: Option<&str>) -> String {
    key.map_or_else(|| hex(md5), |_| uuid::Uuid::new_v4().simple().to_string())
}

/// Answers `PutObject`.
pub(super) async fn put(scene: &Scene<'_>, body: &mut Incoming) -> Result<Answer, Failure> {
    let attributes = scene.attributes()?;
    let objects = scene.simulator.objects();
    let mut draft = objects.draft().map_err(disk)?;
    let received = body.store(&mut draft, Algorithm::Crc64Nvme).await?;
    let (piece, md5) = draft.end();
    let object = Object {
        length: piece.length,
        etag: etag(&md5, attributes.key.as_deref()),
        pieces: vec![piece],
        modified: scene.now,
        attributes: Attributes { checksum: Some(Checksum::of(received.algorithm, &received.digest)), ..attributes },
        parts: Vec::new(),
    };
    let object = place(scene, object)?;
    let answer = Answer::empty(200).with("etag", format!("\"{}\"", object.etag));
    Ok(answer.with_all(object.attributes.encryption()).with_all(object.attributes.proof()))
}

/// Keeps an object if the request's conditions allow it to be written.
pub(super) fn place(scene: &Scene<'_>, object: Object) -> Result<Arc<Object>, Failure> {
    let (matches, matches_none) = (scene.text("if-match"), scene.text("if-none-match"));
    let failed = || {
        let message = "At least one of the pre-conditions you specified did not hold";
        Failure::new(412, "PreconditionFailed", message)
    };
    if matches_none.as_deref().is_some_and(|tags| tags != "*") {
        let message = "A header you provided implies functionality that is not implemented.";
        return Err(Failure::new(501, "NotImplemented", message));
    }
    scene.simulator.objects().place((&scene.request.bucket, &scene.request.key), object, |before| {
        match (before, &matches) {
            (Some(_), _) if matches_none.is_some() => Err(failed()),
            (None, Some(_)) => Err(missing(scene)),
            (Some(before), Some(tags)) if !names(tags, &before.etag) => Err(failed()),
            _ => Ok(()),
        }
    })
}

/// The object that a copy reads, and the range of it that is asked for.
pub(super) fn source(scene: &Scene<'_>) -> Result<(Arc<Object>, Range<u64>), Failure> {
    let nothing = || Failure::new(404, "NoSuchKey", "The specified key does not exist.");
    let (bucket, key) = scene.request.source.as_ref().ok_or_else(nothing)?;
    let account = &scene.simulator.inner.account;
    let there = account.bucket(bucket);
    let there = there.ok_or_else(|| Failure::new(404, "NoSuchBucket", "The specified bucket does not exist"))?;
    if there.owner.as_deref().is_some_and(|owner| owner != scene.simulator.settings().account) {
        return Err(Failure::new(403, "AccessDenied", "Access Denied"));
    }
    let object = scene.simulator.objects().object(bucket, key);
    let object = object.ok_or_else(|| match scene.require("s3:ListBucket", &arn(scene.partition(), bucket)) {
        Ok(()) => nothing(),
        Err(_) => Failure::new(403, "AccessDenied", "Access Denied"),
    })?;
    if let Some(Unmet::Failed(failure)) = unmet(scene, &object, "x-amz-copy-source-")? {
        return Err(failure);
    }
    if let Some(key) = &object.attributes.key {
        scene.use_key(key, "kms:Decrypt")?;
    }
    let range = match scene.text("x-amz-copy-source-range") {
        None => 0..object.length,
        Some(text) => {
            let numbers = text.strip_prefix("bytes=").and_then(|range| range.split_once('-'));
            let numbers = numbers.and_then(|(first, last)| Some((first.parse().ok()?, last.parse::<u64>().ok()?)));
            let within = numbers.filter(|(first, last)| first <= last && *last < object.length);
            let (first, last) = within.ok_or_else(|| {
                Failure::new(400, "InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy")
            })?;
            first..last + 1
        }
    };
    if range.end - range.start > LARGEST_SOURCE {
        let message = format!(
            "The specified copy source is larger than the maximum allowable size for a copy source: {LARGEST_SOURCE}"
        );
        return Err(Failure::new(400, "InvalidRequest", message));
    }
    Ok((object, range))
}

/// The MD5 and the checksum of bytes that are there already.
pub(super) async fn digest(
    object: &Object,
    range: &Range<u64>,
    algorithm: Algorithm,
) -> Result<([u8; 16], Vec<u8>), Failure> {
    let (mut md5, mut sum) = (Md5::new(), Sum::begin(algorithm));
    let mut reader = object.read(range);
    let mut buffer = vec![0; STEP];
    loop {
        match reader.read(&mut buffer).map_err(disk)? {
            0 => break,
            read => {
                md5.update(&buffer[..read]);
                sum.push(&buffer[..read]);
            }
        }
        tokio::task::yield_now().await;
    }
    Ok((md5.finalize().into(), sum.end()))
}

/// Answers `CopyObject`.
pub(super) async fn copy(scene: &Scene<'_>) -> Result<Answer, Failure> {
    let (from, range) = source(scene)?;
    let told = scene.attributes()?;
    let attributes = match scene.text("x-amz-metadata-directive").as_deref() {
        None | Some("COPY") => {
            let request = scene.request;
            let is_itself =
                request.source.as_ref().is_some_and(|(bucket, key)| *bucket == request.bucket && *key == request.key);
            if is_itself && told.key == from.attributes.key && scene.text("x-amz-storage-class").is_none() {
                let message = "This copy request is illegal because it is trying to copy an object to itself without changing the object's \
                               metadata, storage class, website redirect location or encryption attributes.";
                return Err(Failure::new(400, "InvalidRequest", message));
            }
            Attributes { key: told.key, ..from.attributes.clone() }
        }
        Some("REPLACE") => told,
        Some(_) => return Err(Failure::new(400, "InvalidArgument", "Unknown metadata directive.")),
    };
    let algorithm = match (scene.text("x-amz-checksum-algorithm"), &from.attributes.checksum) {
        (Some(name), _) => Algorithm::parse(&name).ok_or_else(|| {
            Failure::new(400, "InvalidRequest", "Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
        })?,
        (None, Some(checksum)) => checksum.algorithm,
        (None, None) => Algorithm::Crc64Nvme,
    };
    let (md5, sum) = digest(&from, &range, algorithm).await?;
    let object = Object {
        pieces: cut(&from.pieces, &range),
        length: from.length,
        etag: etag(&md5, attributes.key.as_deref()),
        modified: scene.now,
        attributes: Attributes { checksum: Some(Checksum::of(algorithm, &sum)), ..attributes },
        parts: Vec::new(),
    };
    let object = place(scene, object)?;
    let inside =
        Xml::default().text("LastModified", &time(object.modified)).text("ETag", &format!("\"{}\"", object.etag));
    let inside = object.attributes.checksum.iter().fold(inside, |xml, checksum| {
        xml.text(checksum.algorithm.element(), &checksum.value).text("ChecksumType", checksum.kind.name())
    });
    let answer = Answer::xml(Xml::default().element("CopyObjectResult", NAMESPACE, inside));
    Ok(answer.with_all(object.attributes.encryption()))
}

/// Answers `DeleteObject`, whether there is one or not.
pub(super) fn delete(scene: &Scene<'_>) -> Result<Answer, Failure> {
    let request = scene.request;
    if let Some(tags) = scene.text("if-match") {
        let object = scene.simulator.objects().object(&request.bucket, &request.key).ok_or_else(|| missing(scene))?;
        if !names(&tags, &object.etag) {
            let message = "At least one of the pre-conditions you specified did not hold";
            return Err(Failure::new(412, "PreconditionFailed", message));
        }
    }
    scene.simulator.objects().delete(&request.bucket, &request.key);
    Ok(Answer::empty(204))
}

/// Answers `DeleteObjects`: each key on its own.
pub(super) async fn delete_many(scene: &Scene<'_>, body: &mut Incoming) -> Result<Answer, Failure> {
    if !body.is_proven() {
        let message = "Missing required header for this request: Content-MD5 OR x-amz-checksum-*";
        return Err(Failure::new(400, "InvalidRequest", message));
    }
    let document = documents::delete(&body.document().await?)?;
    let bucket = &scene.request.bucket;
    let mut told = Xml::default();
    for key in &document.objects {
        let resource = arn(scene.partition(), &format!("{bucket}/{}", key.key));
        let name = Xml::default().text("Key", &key.key);
        match scene.require("s3:DeleteObject", &resource) {
            Ok(()) => {
                scene.simulator.objects().delete(bucket, &key.key);
                if !document.quiet {
                    told = told.element("Deleted", "", name);
                }
            }
            Err(failure) => {
                told = told.element("Error", "", name.text("Code", "AccessDenied").text("Message", &failure.message));
            }
        }
    }
    Ok(Answer::xml(Xml::default().element("DeleteResult", NAMESPACE, told)))
}
