//! The documents that S3 is sent, held to its schema: which objects to delete, and which parts an object is.

use quick_xml::de::from_str;
use serde::Deserialize;

use super::super::errors::Failure;
use super::checksums::Algorithm;
use super::uploads::{MOST_PARTS, Named};

/// The most keys of one deletion.
const MOST_KEYS: usize = 1000;

/// The body of `DeleteObjects`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Delete {
    #[serde(rename = "@xmlns")]
    _xmlns: Option<String>,
    #[serde(rename = "Object", default)]
    pub(super) objects: Vec<Key>,
    #[serde(rename = "Quiet", default)]
    pub(super) quiet: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    #[serde(rename = "Key")]
    pub(super) key: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Completion {
    #[serde(rename = "@xmlns")]
    _xmlns: Option<String>,
    #[serde(rename = "Part", default)]
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    #[serde(rename = "PartNumber")]
    number: u32,
    #[serde(rename = "ETag")]
    etag: String,
    #[serde(rename = "ChecksumCRC32")]
    crc32: Option<String>,
    #[serde(rename = "ChecksumCRC32C")]
    crc32c: Option<String>,
    #[serde(rename = "ChecksumCRC64NVME")]
    crc64nvme: Option<String>,
    #[serde(rename = "ChecksumSHA256")]
    sha256: Option<String>,
}

/// Which keys to delete.
pub(super) fn delete(body: &[u8]) -> Result<Delete, Failure> {
    let document: Delete = std::str::from_utf8(body).ok().and_then(|text| from_str(text).ok()).ok_or_else(malformed)?;
    let fits =
        (1..=MOST_KEYS).contains(&document.objects.len()) && document.objects.iter().all(|key| !key.key.is_empty());
    if fits { Ok(document) } else { Err(malformed()) }
}

/// Which parts an object is.
pub(super) fn completion(body: &[u8]) -> Result<Vec<Named>, Failure> {
    let document: Completion =
        std::str::from_utf8(body).ok().and_then(|text| from_str(text).ok()).ok_or_else(malformed)?;
    if document.parts.is_empty() || document.parts.len() > MOST_PARTS as usize {
        return Err(malformed());
    }
    let named = document.parts.into_iter().map(|part| {
        let checksums = [
            (Algorithm::Crc32, part.crc32),
            (Algorithm::Crc32c, part.crc32c),
            (Algorithm::Crc64Nvme, part.crc64nvme),
            (Algorithm::Sha256, part.sha256),
        ];
        Named {
            number: part.number,
            etag: part.etag.trim_matches('"').to_owned(),
            checksum: checksums.into_iter().find_map(|(algorithm, value)| Some((algorithm, value?))),
        }
    });
    Ok(named.collect())
}

fn malformed() -> Failure {
    let message = "The XML you provided was not well-formed or did not validate against our published schema";
    Failure::new(400, "MalformedXML", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const XMLNS: &str = "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"";

    #[test]
    fn documents_are_read_with_their_escapes() {
        let text = format!(
            "<?xml version=\"1.0\"?><Delete {XMLNS}><Object><Key>a&amp;b c</Key></Object><Object><Key>d</Key></Object><Quiet>true</Quiet></Delete>"
        );
        let document = delete(text.as_bytes()).unwrap();
        let keys: Vec<&str> = document.objects.iter().map(|key| key.key.as_str()).collect();
        assert_eq!((keys, document.quiet), (vec!["a&b c", "d"], true));
        let text = "<CompleteMultipartUpload><Part><ETag>&quot;e&quot;</ETag><PartNumber>2</PartNumber><ChecksumCRC32>c</ChecksumCRC32></Part>\
                    <Part><PartNumber>1</PartNumber><ETag>f</ETag></Part></CompleteMultipartUpload>";
        let named = completion(text.as_bytes()).unwrap();
        assert_eq!(
            named[0],
            Named { number: 2, etag: "e".to_owned(), checksum: Some((Algorithm::Crc32, "c".to_owned())) }
        );
        assert_eq!((named[1].number, named[1].etag.as_str(), &named[1].checksum), (1, "f", &None));
    }

    #[test]
    fn what_the_schema_does_not_know_is_malformed() {
        for text in
            ["", "<Delete/>", "<Delete><Object><Name>a</Name></Object></Delete>", "<Delete><Object><Key>a</Key>", "{}"]
        {
            assert_eq!(delete(text.as_bytes()).unwrap_err().name, "MalformedXML", "{text}");
        }
        for text in [
            "",
            "<CompleteMultipartUpload/>",
            "<CompleteMultipartUpload><Part><ETag>e</ETag></Part></CompleteMultipartUpload>",
            "<CompleteMultipartUpload><Part><ETag>e</ETag><PartNumber>x</PartNumber></Part></CompleteMultipartUpload>",
        ] {
            assert_eq!(completion(text.as_bytes()).unwrap_err().name, "MalformedXML", "{text}");
        }
    }
}
