//! Pages of keys: `ListObjectsV2` and `ListMultipartUploads`, with keys rolled up at a delimiter.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::errors::Failure;
use super::super::form::Xml;
use super::objects::{Object, Objects};
use super::request::Request;
use super::uploads::Upload;
use super::{NAMESPACE, time};

const MOST: u32 = 1000;
/// What `encoding-type=url` leaves as it is, beside letters and digits.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// An entry of a page: one thing by its key, or all whose keys begin alike.
#[derive(Clone, Debug)]
enum Entry<T> {
    One(String, T),
    Common(String),
}

/// Some of a listing, and where to go on.
struct Page<T> {
    entries: Vec<Entry<T>>,
    /// The last key or common prefix, if there is more behind it.
    next: Option<String>,
}

/// How to list.
struct Asked<'a> {
    prefix: &'a str,
    delimiter: &'a str,
    most: usize,
    /// Nothing up to this key, nor anything that begins with it if it is a common prefix.
    after: Option<String>,
}

impl Asked<'_> {
    /// The first page of what is asked for, of things in the order of their keys.
    fn page<'t, T: Clone + 't>(&self, things: impl Iterator<Item = (&'t String, &'t T)>) -> Page<T> {
        let mut page = Page { entries: Vec::new(), next: None };
        let mut last: Option<&str> = None;
        let mut common: Option<&str> = None;
        for (key, thing) in things {
            let Some(rest) = key.strip_prefix(self.prefix) else { continue };
            let rolled = match self.delimiter {
                "" => None,
                delimiter => rest.find(delimiter).map(|at| &key[..self.prefix.len() + at + delimiter.len()]),
            };
            let after = self.after.as_deref();
            // What was told under this prefix is told.
            if rolled.is_some_and(|rolled| common == Some(rolled) || after == Some(rolled))
                || after.is_some_and(|after| key.as_str() <= after)
            {
                continue;
            }
            if page.entries.len() == self.most {
                page.next = last.map(str::to_owned);
                return page;
            }
            common = rolled;
            last = Some(rolled.unwrap_or(key));
            page.entries.push(match rolled {
                Some(rolled) => Entry::Common(rolled.to_owned()),
                None => Entry::One(key.clone(), thing.clone()),
            });
        }
        page
    }
}

/// How names are written.
struct Names {
    are_encoded: bool,
}

impl Names {
    fn read(request: &Request) -> Result<Self, Failure> {
        match request.query.get("encoding-type").map(String::as_str) {
            None => Ok(Self { are_encoded: false }),
            Some("url") => Ok(Self { are_encoded: true }),
            Some(_) => Err(Failure::new(400, "InvalidArgument", "Invalid Encoding Method specified in Request")),
        }
    }

    fn write(&self, name: &str) -> String {
        if self.are_encoded { utf8_percent_encode(name, PLAIN).to_string() } else { name.to_owned() }
    }

    fn common<T>(&self, xml: Xml, entries: &[Entry<T>]) -> Xml {
        entries.iter().fold(xml, |xml, entry| match entry {
            Entry::Common(prefix) => {
                xml.element("CommonPrefixes", "", Xml::default().text("Prefix", &self.write(prefix)))
            }
            Entry::One(..) => xml,
        })
    }
}

/// Answers `ListObjectsV2`.
pub(super) fn objects(request: &Request, objects: &Objects) -> Result<Xml, Failure> {
    if request.member("list-type") != "2" {
        return Err(Failure::new(501, "NotImplemented", "The first version of the listing is not simulated."));
    }
    let (names, most) = (Names::read(request)?, request.number("max-keys", MOST, MOST)?);
    let token = request.query.get("continuation-token");
    let after = match token {
        Some(token) => Some(
            read_token(token)
                .ok_or_else(|| Failure::new(400, "InvalidArgument", "The continuation token provided is incorrect"))?,
        ),
        None => request.query.get("start-after").cloned(),
    };
    let (prefix, delimiter) = (request.member("prefix"), request.member("delimiter"));
    let asked = Asked { prefix, delimiter, most: most as usize, after };
    let first = asked.after.as_deref().map_or(prefix, |after| after.max(prefix));
    let page: Page<Arc<Object>> =
        objects.from(&request.bucket, first, |keys| asked.page(keys.take_while(|(key, _)| key.starts_with(prefix))));
    let mut xml = Xml::default().text("Name", &request.bucket).text("Prefix", &names.write(prefix));
    if let Some(start) = request.query.get("start-after") {
        xml = xml.text("StartAfter", &names.write(start));
    }
    if let Some(token) = token {
        xml = xml.text("ContinuationToken", token);
    }
    if let Some(last) = page.next.as_ref().filter(|_| most > 0) {
        xml = xml.text("NextContinuationToken", &write_token(last));
    }
    xml = xml.text("KeyCount", &page.entries.len().to_string()).text("MaxKeys", &most.to_string());
    if !delimiter.is_empty() {
        xml = xml.text("Delimiter", &names.write(delimiter));
    }
    if names.are_encoded {
        xml = xml.text("EncodingType", "url");
    }
    xml = xml.text("IsTruncated", if page.next.is_some() { "true" } else { "false" });
    for entry in &page.entries {
        if let Entry::One(key, object) = entry {
            xml = xml.element("Contents", "", contents(&names.write(key), object));
        }
    }
    Ok(Xml::default().element("ListBucketResult", NAMESPACE, names.common(xml, &page.entries)))
}

fn contents(key: &str, object: &Object) -> Xml {
    let mut xml = Xml::default()
        .text("Key", key)
        .text("LastModified", &time(object.modified))
        .text("ETag", &format!("\"{}\"", object.etag));
    if let Some(checksum) = &object.attributes.checksum {
        xml = xml.text("ChecksumAlgorithm", checksum.algorithm.name()).text("ChecksumType", checksum.kind.name());
    }
    xml.text("Size", &object.length.to_string()).text("StorageClass", "STANDARD")
}

fn write_token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("after {last}"))
}

fn read_token(token: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    text.strip_prefix("after ").map(str::to_owned)
}

/// Answers `ListMultipartUploads`.
pub(super) fn uploads(request: &Request, objects: &Objects) -> Result<Xml, Failure> {
    let (names, most) = (Names::read(request)?, request.number("max-uploads", MOST, MOST)?);
    let (key_marker, id_marker) = (request.member("key-marker"), request.member("upload-id-marker"));
    let all = objects.uploads.list(&request.bucket);
    // Of the key at the marker come those behind the upload of that id.
    let passed = |key: &str| {
        let of_key = all.iter().filter(|(_, upload)| upload.key == key);
        of_key.map(|(id, _)| id.as_str()).take_while(|id| *id != id_marker).chain([id_marker]).collect::<Vec<_>>()
    };
    let passed = if id_marker.is_empty() { Vec::new() } else { passed(key_marker) };
    let rest = all.iter().filter(|(id, upload)| {
        upload.key.as_str() > key_marker
            || (!id_marker.is_empty() && upload.key == key_marker && !passed.contains(&id.as_str()))
    });
    let things: Vec<(String, (String, Upload))> =
        rest.map(|(id, upload)| (upload.key.clone(), (id.clone(), upload.clone()))).collect();
    let (prefix, delimiter) = (request.member("prefix"), request.member("delimiter"));
    let asked = Asked { prefix, delimiter, most: most as usize, after: None };
    let page = asked.page(things.iter().map(|(key, thing)| (key, thing)));
    let mut xml = Xml::default()
        .text("Bucket", &request.bucket)
        .text("KeyMarker", &names.write(key_marker))
        .text("UploadIdMarker", id_marker);
    if let Some(last) = &page.next {
        xml = xml.text("NextKeyMarker", &names.write(last));
        if let Some(Entry::One(_, (id, _))) = page.entries.last() {
            xml = xml.text("NextUploadIdMarker", id);
        }
    }
    xml = xml.text("Prefix", &names.write(prefix));
    if !delimiter.is_empty() {
        xml = xml.text("Delimiter", &names.write(delimiter));
    }
    if names.are_encoded {
        xml = xml.text("EncodingType", "url");
    }
    xml = xml
        .text("MaxUploads", &most.to_string())
        .text("IsTruncated", if page.next.is_some() { "true" } else { "false" });
    for entry in &page.entries {
        if let Entry::One(key, (id, upload)) = entry {
            let told = Xml::default()
                .text("Key", &names.write(key))
                .text("UploadId", id)
                .text("StorageClass", "STANDARD")
                .text("Initiated", &time(upload.initiated));
            xml = xml.element("Upload", "", told);
        }
    }
    Ok(Xml::default().element("ListMultipartUploadsResult", NAMESPACE, names.common(xml, &page.entries)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn told(
        keys: &[&str],
        prefix: &str,
        delimiter: &str,
        most: usize,
        after: Option<&str>,
    ) -> (Vec<String>, Option<String>) {
        #[expect(clippy::zero_sized_map_values, reason = "what is under a key does not matter here")]
        let things: BTreeMap<String, ()> = keys.iter().map(|key| ((*key).to_owned(), ())).collect();
        let page = Asked { prefix, delimiter, most, after: after.map(str::to_owned) }.page(things.iter());
        let names = page.entries.into_iter().map(|entry| match entry {
            Entry::One(key, ()) => key,
            Entry::Common(prefix) => format!("[{prefix}]"),
        });
        (names.collect(), page.next)
    }

    #[test]
    fn pages_follow_one_another_without_gap_or_repetition() {
        let keys = ["a", "b/1", "b/2", "b/x/1", "c", "d/1"];
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let (page, next) = told(&keys, "", "/", 1, after.as_deref());
            all.extend(page);
            after = next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(all, ["a", "[b/]", "c", "[d/]"]);
        assert_eq!(told(&keys, "b/", "/", 10, None).0, ["b/1", "b/2", "[b/x/]"]);
        assert_eq!(told(&keys, "b", "", 2, Some("b/1")), (vec!["b/2".to_owned(), "b/x/1".to_owned()], None));
        assert_eq!(told(&keys, "", "", 2, None).1.as_deref(), Some("b/1"));
    }

    #[test]
    fn a_token_is_read_as_it_was_written() {
        assert_eq!(read_token(&write_token("a/ü b")).as_deref(), Some("a/ü b"));
        assert_eq!(read_token("nonsense"), None);
    }
}
