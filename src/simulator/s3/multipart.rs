//! Multipart uploads over the wire: begin, part, part of another object, complete, abort, and the list of parts.

use std::collections::BTreeMap;

use super::super::errors::Failure;
use super::super::form::Xml;
use super::super::sigv4::hex;
use super::answer::Answer;
use super::checksums::{Algorithm, Kind};
use super::files::cut;
use super::incoming::{Incoming, disk};
use super::uploads::{MOST_PARTS, Part, Upload};
use super::{NAMESPACE, Scene, documents, time, write};

impl Scene<'_> {
    fn upload(&self) -> Result<(&str, Upload), Failure> {
        let request = self.request;
        let id = request.member("uploadId");
        let upload = self.simulator.objects().uploads.find(id, &request.bucket, &request.key)?;
        Ok((id, upload))
    }

    fn part_number(&self) -> Result<u32, Failure> {
        let number = self.request.member("partNumber").parse().ok().filter(|number| (1..=MOST_PARTS).contains(number));
        number.ok_or_else(|| invalid("Part number must be an integer between 1 and 10000, inclusive"))
    }
}

fn invalid(message: &str) -> Failure {
    Failure::new(400, "InvalidArgument", message)
}

/// The algorithm and kind of checksum that an upload is begun with.
fn checksum(scene: &Scene<'_>) -> Result<Option<(Algorithm, Kind)>, Failure> {
    let wrong = |message: &str| Failure::new(400, "InvalidRequest", message);
    let kind = scene.text("x-amz-checksum-type");
    let Some(name) = scene.text("x-amz-checksum-algorithm") else {
        return match kind {
            None => Ok(None),
            Some(_) => {
                Err(wrong("The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header."))
            }
        };
    };
    let algorithm = Algorithm::parse(&name).ok_or_else(|| {
        wrong("Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]")
    })?;
    let kind = match kind.as_deref() {
        None => algorithm.usual_kind(),
        Some("FULL_OBJECT") => Kind::FullObject,
        Some("COMPOSITE") => Kind::Composite,
        Some(_) => return Err(wrong("Value for x-amz-checksum-type header is invalid.")),
    };
    let fits = match algorithm {
        Algorithm::Crc64Nvme => kind == Kind::FullObject,
        Algorithm::Sha256 => kind == Kind::Composite,
        Algorithm::Crc32 | Algorithm::Crc32c => true,
    };
    if fits {
        return Ok(Some((algorithm, kind)));
    }
    let (kind, algorithm) = (kind.name(), algorithm.name().to_ascii_lowercase());
    Err(wrong(&format!("The {kind} checksum type cannot be used with the {algorithm} checksum algorithm.")))
}

/// Answers `CreateMultipartUpload`.
pub(super) fn create(scene: &Scene<'_>) -> Result<Answer, Failure> {
    let (attributes, checksum) = (scene.attributes()?, checksum(scene)?);
    let request = scene.request;
    let encryption = attributes.encryption();
    let upload = Upload {
        bucket: request.bucket.clone(),
        key: request.key.clone(),
        initiated: scene.now,
        attributes,
        checksum,
        parts: BTreeMap::new(),
    };
    let id = scene.simulator.objects().uploads.begin(upload);
    let inside = Xml::default().text("Bucket", &request.bucket).text("Key", &request.key).text("UploadId", &id);
    let mut answer = Answer::xml(Xml::default().element("InitiateMultipartUploadResult", NAMESPACE, inside));
    if let Some((algorithm, kind)) = checksum {
        answer = answer.with("x-amz-checksum-algorithm", algorithm.name()).with("x-amz-checksum-type", kind.name());
    }
    Ok(answer.with_all(encryption))
}

/// Answers `UploadPart`.
pub(super) async fn put_part(scene: &Scene<'_>, body: &mut Incoming) -> Result<Answer, Failure> {
    let (number, (id, upload)) = (scene.part_number()?, scene.upload()?);
    let expected = upload.checksum.map(|(algorithm, _)| algorithm);
    if let (Some(expected), Some(stated)) = (expected, body.stated())
        && expected != stated
    {
        let [expected, stated] = [expected, stated].map(|algorithm| algorithm.name().to_ascii_lowercase());
        let message = format!(
            "Checksum Type mismatch occurred, expected checksum Type: {expected}, actual checksum Type: {stated}"
        );
        return Err(Failure::new(400, "InvalidRequest", message));
    }
    if let (Some((expected, Kind::Composite)), None) = (upload.checksum, body.stated()) {
        let expected = expected.name().to_ascii_lowercase();
        let message =
            format!("Checksum Type mismatch occurred, expected checksum Type: {expected}, actual checksum Type: null");
        return Err(Failure::new(400, "InvalidRequest", message));
    }
    let objects = scene.simulator.objects();
    let mut draft = objects.draft().map_err(disk)?;
    let is_stated = body.stated().is_some();
    let received = body.store(&mut draft, expected.unwrap_or(Algorithm::Crc64Nvme)).await?;
    let (piece, md5) = draft.end();
    let part = Part {
        length: piece.length,
        pieces: vec![piece],
        md5,
        etag: write::etag(&md5, upload.attributes.key.as_deref()),
        modified: scene.now,
        algorithm: received.algorithm,
        digest: received.digest,
    };
    let mut answer = Answer::empty(200).with("etag", format!("\"{}\"", part.etag));
    if is_stated || expected.is_some() {
        answer = answer.with(part.algorithm.header(), part.checksum().value);
    }
    objects.uploads.add(id, number, part)?;
    Ok(answer.with_all(upload.attributes.encryption()))
}

/// Answers `UploadPartCopy`.
pub(super) async fn copy_part(scene: &Scene<'_>) -> Result<Answer, Failure> {
    let (number, (id, upload)) = (scene.part_number()?, scene.upload()?);
    let (from, range) = write::source(scene)?;
    let algorithm = upload.checksum.map_or(Algorithm::Crc64Nvme, |(algorithm, _)| algorithm);
    let (md5, digest) = write::digest(&from, &range, algorithm).await?;
    let part = Part {
        pieces: cut(&from.pieces, &range),
        length: range.end - range.start,
        md5,
        etag: write::etag(&md5, upload.attributes.key.as_deref()),
        modified: scene.now,
        algorithm,
        digest,
    };
    let mut inside =
        Xml::default().text("LastModified", &time(part.modified)).text("ETag", &format!("\"{}\"", part.etag));
    if upload.checksum.is_some() {
        inside = inside.text(algorithm.element(), &part.checksum().value);
    }
    scene.simulator.objects().uploads.add(id, number, part)?;
    let answer = Answer::xml(Xml::default().element("CopyPartResult", NAMESPACE, inside));
    Ok(answer.with_all(upload.attributes.encryption()))
}

/// Answers `CompleteMultipartUpload`.
pub(super) fn complete(scene: &Scene<'_>, body: &[u8]) -> Result<Answer, Failure> {
    let (id, upload) = scene.upload()?;
    let mut object = upload.complete(&documents::completion(body)?, scene.now)?;
    if object.attributes.key.is_some() {
        let random = hex(uuid::Uuid::new_v4().as_bytes());
        object.etag = format!("{random}-{}", object.parts.len());
    }
    if scene.text("x-amz-mp-object-size").is_some_and(|told| told.parse() != Ok(object.length)) {
        let message = "The provided 'x-amz-mp-object-size' header value does not match what was computed.";
        return Err(Failure::new(400, "InvalidRequest", message));
    }
    if let Some(checksum) = &object.attributes.checksum {
        let told = scene.text(checksum.algorithm.header());
        if told.is_some_and(|told| told != checksum.value) {
            return Err(super::checksums::mismatch(checksum.algorithm));
        }
    }
    let object = write::place(scene, object)?;
    scene.simulator.objects().uploads.end(id);
    let request = scene.request;
    let inside = Xml::default()
        .text("Location", &format!("https://{}.s3.{}.amazonaws.com/{}", request.bucket, scene.region, request.key))
        .text("Bucket", &request.bucket)
        .text("Key", &request.key)
        .text("ETag", &format!("\"{}\"", object.etag));
    let inside = object.attributes.checksum.iter().fold(inside, |xml, checksum| {
        xml.text(checksum.algorithm.element(), &checksum.value).text("ChecksumType", checksum.kind.name())
    });
    let answer = Answer::xml(Xml::default().element("CompleteMultipartUploadResult", NAMESPACE, inside));
    Ok(answer.with_all(object.attributes.encryption()))
}

/// Answers `AbortMultipartUpload`.
pub(super) fn abort(scene: &Scene<'_>) -> Result<Answer, Failure> {
    let (id, _) = scene.upload()?;
    scene.simulator.objects().uploads.end(id);
    Ok(Answer::empty(204))
}

/// Answers `ListParts`.
pub(super) fn list_parts(scene: &Scene<'_>) -> Result<Answer, Failure> {
    let request = scene.request;
    let (id, upload) = scene.upload()?;
    let most = request.number("max-parts", 1000, 1000)?;
    let marker = request.number("part-number-marker", 0, u32::MAX)?;
    let behind: Vec<(&u32, &Part)> = upload.parts.range(marker.saturating_add(1)..).collect();
    let page = &behind[..behind.len().min(most as usize)];
    let is_cut = page.len() < behind.len();
    let mut xml = Xml::default()
        .text("Bucket", &request.bucket)
        .text("Key", &request.key)
        .text("UploadId", id)
        .text("StorageClass", "STANDARD")
        .text("PartNumberMarker", &marker.to_string());
    if let Some((last, _)) = page.last() {
        xml = xml.text("NextPartNumberMarker", &last.to_string());
    }
    xml = xml.text("MaxParts", &most.to_string()).text("IsTruncated", if is_cut { "true" } else { "false" });
    if let Some((algorithm, kind)) = upload.checksum {
        xml = xml.text("ChecksumAlgorithm", algorithm.name()).text("ChecksumType", kind.name());
    }
    for (number, part) in page {
        let mut told = Xml::default()
            .text("PartNumber", &number.to_string())
            .text("LastModified", &time(part.modified))
            .text("ETag", &format!("\"{}\"", part.etag))
            .text("Size", &part.length.to_string());
        if upload.checksum.is_some() {
            told = told.text(part.algorithm.element(), &part.checksum().value);
        }
        xml = xml.element("Part", "", told);
    }
    Ok(Answer::xml(Xml::default().element("ListPartsResult", NAMESPACE, xml)))
}
