//! The objects of all buckets, by bucket and key, and the multipart uploads that are open. What is asked over S3's wire and what
//! the simulator's own batch jobs read and write are the same objects. Knows nothing of HTTP, callers or permissions.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::super::sigv4::hex;
use super::checksums::Checksum;
use super::files::{Draft, Folder, Piece, Reader, cut};
use super::uploads::Uploads;

/// The objects of one simulator.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    folder: Arc<Folder>,
    kept: Mutex<BTreeMap<String, Bucket>>,
    pub(super) uploads: Uploads,
}

type Bucket = BTreeMap<String, Arc<Object>>;

/// An object as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(super) pieces: Vec<Piece>,
    /// In bytes.
    pub(crate) length: u64,
    /// Without its quotes.
    pub(crate) etag: String,
    pub(crate) modified: Timestamp,
    pub(crate) attributes: Attributes,
    /// The lengths of the parts that a multipart upload was made of.
    pub(super) parts: Vec<u64>,
}

/// What is told about an object beside its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// `content-type`, `cache-control`, ... as they were told.
    pub(super) headers: BTreeMap<&'static str, String>,
    /// `x-amz-meta-...`, without the prefix.
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) checksum: Option<Checksum>,
    /// The KMS key; without one S3's own keys encrypt.
    pub(super) key: Option<String>,
}

impl Object {
    /// Reads a range of it, which may be all.
    pub(crate) fn read(&self, range: &Range<u64>) -> Reader {
        Reader::new(cut(&self.pieces, range))
    }
}

impl Objects {
    /// Begins an object of the media type `binary/octet-stream`, which is there from [`Writer::finish`] on, instead of one of
    /// that key.
    pub(crate) fn write(self: &Arc<Self>, bucket: &str, key: &str) -> io::Result<Writer> {
        Ok(Writer { draft: self.draft()?, objects: Arc::clone(self), bucket: bucket.to_owned(), key: key.to_owned() })
    }

    /// An object's bytes and their number.
    pub(crate) fn open(&self, bucket: &str, key: &str) -> Option<(Reader, u64)> {
        let object = self.object(bucket, key)?;
        Some((object.read(&(0..object.length)), object.length))
    }

    /// Keys that begin with `prefix`, in order, and their bytes.
    pub(crate) fn list(&self, bucket: &str, prefix: &str) -> Vec<(String, u64)> {
        self.from(bucket, prefix, |keys| {
            let found = keys.take_while(|(key, _)| key.starts_with(prefix));
            found.map(|(key, object)| (key.clone(), object.length)).collect()
        })
    }

    /// The object of a key.
    pub(crate) fn object(&self, bucket: &str, key: &str) -> Option<Arc<Object>> {
        self.lock().get(bucket)?.get(key).cloned()
    }

    /// Forgets an object; whether there was one.
    pub(crate) fn delete(&self, bucket: &str, key: &str) -> bool {
        self.lock().get_mut(bucket).is_some_and(|objects| objects.remove(key).is_some())
    }

    /// Keeps an object when `allows` agrees to the one that it would replace.
    pub(super) fn place<E>(
        &self,
        (bucket, key): (&str, &str),
        object: Object,
        allows: impl FnOnce(Option<&Object>) -> Result<(), E>,
    ) -> Result<Arc<Object>, E> {
        let mut kept = self.lock();
        let objects = kept.entry(bucket.to_owned()).or_default();
        allows(objects.get(key).map(Arc::as_ref))?;
        let object = Arc::new(object);
        objects.insert(key.to_owned(), Arc::clone(&object));
        Ok(object)
    }

    /// Reads the keys of a bucket from `first` on, in the order of their bytes.
    pub(super) fn from<T>(
        &self,
        bucket: &str,
        first: &str,
        read: impl for<'k> FnOnce(&mut dyn Iterator<Item = (&'k String, &'k Arc<Object>)>) -> T,
    ) -> T {
        match self.lock().get(bucket) {
            Some(objects) => read(&mut objects.range(first.to_owned()..)),
            None => read(&mut std::iter::empty()),
        }
    }

    /// A file for bytes that may become an object.
    pub(super) fn draft(&self) -> io::Result<Draft> {
        Draft::begin(&self.folder)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bucket>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An object under way. Dropped before [`Writer::finish`], it never was.
#[derive(Debug)]
pub(crate) struct Writer {
    draft: Draft,
    objects: Arc<Objects>,
    bucket: String,
    key: String,
}

impl Writer {
    /// The object is there, with all that was written, as modified at `at`.
    pub(crate) fn finish(self, at: Timestamp) -> Arc<Object> {
        let (piece, md5) = self.draft.end();
        let attributes = Attributes {
            headers: BTreeMap::from([("content-type", DEFAULT_TYPE.to_owned())]),
            ..Attributes::default()
        };
        let object = Object {
            length: piece.length,
            pieces: vec![piece],
            etag: hex(&md5),
            modified: at,
            attributes,
            parts: Vec::new(),
        };
        let Ok(object) = self.objects.place((&self.bucket, &self.key), object, |_| Ok::<_, Infallible>(()));
        object
    }
}

/// What S3 takes an object for when nobody says.
pub(super) const DEFAULT_TYPE: &str = "binary/octet-stream";

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.draft.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.draft.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn write(objects: &Arc<Objects>, key: &str, text: &str) {
        let mut writer = objects.write("files", key).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
        writer.finish(Timestamp::UNIX_EPOCH);
    }

    fn read(objects: &Objects, key: &str) -> Option<(String, u64)> {
        let (mut reader, length) = objects.open("files", key)?;
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        Some((text, length))
    }

    #[test]
    fn an_object_is_there_once_it_is_finished_and_read_as_it_was_when_opened() {
        let objects = Arc::<Objects>::default();
        let mut half = objects.write("files", "a").unwrap();
        half.write_all(b"half").unwrap();
        assert_eq!(read(&objects, "a"), None);
        drop(half);
        assert_eq!(read(&objects, "a"), None);
        write(&objects, "a", "first");
        let (mut before, _) = objects.open("files", "a").unwrap();
        let mut start = [0; 2];
        before.read_exact(&mut start).unwrap();
        write(&objects, "a", "second");
        let mut rest = String::new();
        before.read_to_string(&mut rest).unwrap();
        assert_eq!((&start, rest.as_str()), (b"fi", "rst"));
        assert_eq!(read(&objects, "a"), Some(("second".to_owned(), 6)));
        assert_eq!(objects.object("files", "a").unwrap().etag, "a9f0e61a137d86aa9db53465e0801612");
    }

    #[test]
    fn keys_are_listed_by_prefix_in_the_order_of_their_bytes() {
        let objects = Arc::<Objects>::default();
        for key in ["b/2", "b/10", "a", "b/é", "c", "b"] {
            write(&objects, key, "x");
        }
        let keys = |prefix: &str| objects.list("files", prefix).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys("b/"), ["b/10", "b/2", "b/é"]);
        assert_eq!(keys(""), ["a", "b", "b/10", "b/2", "b/é", "c"]);
        assert!(objects.list("other", "").is_empty());
        assert!(objects.delete("files", "b/2") && !objects.delete("files", "b/2"));
        assert_eq!(keys("b/"), ["b/10", "b/é"]);
    }
}
