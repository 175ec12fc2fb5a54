//! Bytes that come in pieces, as lines.
//!
//! A byte order mark at the start and the carriage return of a line break belong to no line, and the last line needs no
//! break. Of a line no more is kept than the limit says, and only where it lies in several pieces: one that is longer is
//! measured and told, not held. Invariant: [`RawLine::offset`] and [`RawLine::length`] are where the same bytes lie in the
//! source, so that a line can be read again by a range.

use std::ops::Range;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};

use crate::error::Result;

/// The most bytes of a record's line: what the gateway takes as the body of one call, and more than AWS takes.
pub const MAX_LINE: usize = 25 << 20;

const MARK: &[u8] = b"\xef\xbb\xbf";

/// A line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawLine<'a> {
    /// From 1.
    pub number: u64,
    /// Where its first byte is.
    pub offset: u64,
    /// How many bytes it has, without its break.
    pub length: u64,
    /// The bytes; none: there are more than the limit allows.
    pub bytes: Option<&'a [u8]>,
}

impl RawLine<'_> {
    /// Whether nothing is in it but white space.
    pub fn is_blank(&self) -> bool {
        self.bytes.is_some_and(|bytes| bytes.trim_ascii().is_empty())
    }
}

/// Cuts pieces into lines.
#[derive(Debug)]
pub(super) struct Cutter {
    limit: usize,
    /// The number of the line that is under way.
    number: u64,
    /// Where it begins.
    start: u64,
    /// Its bytes from earlier pieces, or those of the line that was told last.
    kept: Vec<u8>,
    /// How many bytes of it were in earlier pieces.
    length: u64,
    /// Whether `kept` holds a line that was told.
    is_told: bool,
}

/// A line, and where its bytes are.
struct Cut {
    number: u64,
    offset: u64,
    length: u64,
    place: Place,
}

enum Place {
    Piece(Range<usize>),
    Kept(Range<usize>),
    Nowhere,
}

impl Cutter {
    /// Lines of at most `limit` bytes, of what begins at `offset` of a source.
    pub(super) fn new(limit: usize, offset: u64) -> Self {
        Self { limit, number: 1, start: offset, kept: Vec::new(), length: 0, is_told: false }
    }

    /// Shows each line that ends in `piece`.
    pub(super) fn push<E>(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(RawLine<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = 0;
        while let Some(cut) = self.cut(piece, &mut at) {
            each(self.shown(&cut, piece))?;
        }
        Ok(())
    }

    /// The last line, where no break ends it.
    pub(super) fn last(&mut self) -> Option<RawLine<'_>> {
        let cut = self.cut_last()?;
        Some(self.shown(&cut, &[]))
    }

    /// The next line that ends in `piece` behind `at`, which is moved on. `None`: the rest of the piece is kept.
    fn cut(&mut self, piece: &[u8], at: &mut usize) -> Option<Cut> {
        self.forget_told();
        let rest = piece.get(*at..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest) else {
            *at = piece.len();
            self.keep(rest);
            return None;
        };
        let begin = *at;
        *at += end + 1;
        if self.length == 0 {
            return Some(self.end(&rest[..end], 1, Some(begin)));
        }
        self.keep(&rest[..end]);
        Some(self.end_kept(1))
    }

    fn cut_last(&mut self) -> Option<Cut> {
        self.forget_told();
        (self.length > 0).then(|| self.end_kept(0))
    }

    fn forget_told(&mut self) {
        if std::mem::take(&mut self.is_told) {
            // A line of 25 MiB is rare; what it needed is not held for the next.
            self.kept.clear();
            self.kept.shrink_to(64 << 10);
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        // A byte order mark and a carriage return may come on top.
        if self.length <= self.limit as u64 + 4 {
            self.kept.extend_from_slice(bytes);
        }
    }

    fn end_kept(&mut self, line_break: u64) -> Cut {
        let kept = std::mem::take(&mut self.kept);
        let cut = self.end(&kept, line_break, None);
        self.kept = kept;
        self.is_told = true;
        cut
    }

    /// Ends the line under way. `bytes` are all of it unless it is too long; `begin`, where they lie in the piece.
    fn end(&mut self, bytes: &[u8], line_break: u64, begin: Option<usize>) -> Cut {
        let whole = self.length.max(bytes.len() as u64);
        let is_whole = bytes.len() as u64 == whole;
        let front = if self.number == 1 && self.start == 0 && bytes.starts_with(MARK) { MARK.len() } else { 0 };
        let back = usize::from(is_whole && bytes.len() > front && bytes.ends_with(b"\r"));
        let range = front..bytes.len() - back;
        let (offset, length) = (self.start + front as u64, whole - (front + back) as u64);
        let place = match begin {
            _ if length > self.limit as u64 || !is_whole => Place::Nowhere,
            Some(begin) => Place::Piece(begin + range.start..begin + range.end),
            None => Place::Kept(range),
        };
        let cut = Cut { number: self.number, offset, length, place };
        self.number += 1;
        self.start += whole + line_break;
        self.length = 0;
        cut
    }

    fn shown<'a>(&'a self, cut: &Cut, piece: &'a [u8]) -> RawLine<'a> {
        let bytes = match &cut.place {
            Place::Piece(range) => piece.get(range.clone()),
            Place::Kept(range) => self.kept.get(range.clone()),
            Place::Nowhere => None,
        };
        RawLine { number: cut.number, offset: cut.offset, length: cut.length, bytes }
    }
}

/// The lines of a stream of bytes.
#[derive(Debug)]
pub struct LineReader<S> {
    source: S,
    cutter: Cutter,
    piece: Bytes,
    at: usize,
    is_over: bool,
}

impl<S: Stream<Item = Result<Bytes>> + Unpin> LineReader<S> {
    /// The lines of all of `source`, each at most [`MAX_LINE`] long.
    pub fn new(source: S) -> Self {
        Self::within(source, MAX_LINE, 0)
    }

    /// The lines of `source`, each at most `limit` bytes long. It begins at the byte `offset`, from which the lines'
    /// offsets are counted.
    pub fn within(source: S, limit: usize, offset: u64) -> Self {
        Self { source, cutter: Cutter::new(limit, offset), piece: Bytes::new(), at: 0, is_over: false }
    }

    /// The next line; `None` behind the last. Fails as the source does, and is not to be asked again then.
    pub async fn next(&mut self) -> Result<Option<RawLine<'_>>> {
        let cut = loop {
            if let Some(cut) = self.cutter.cut(&self.piece, &mut self.at) {
                break cut;
            }
            if self.is_over {
                return Ok(None);
            }
            if let Some(piece) = self.source.next().await {
                (self.piece, self.at) = (piece?, 0);
                continue;
            }
            (self.piece, self.at, self.is_over) = (Bytes::new(), 0, true);
            match self.cutter.cut_last() {
                Some(cut) => break cut,
                None => return Ok(None),
            }
        };
        Ok(Some(self.cutter.shown(&cut, &self.piece)))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    type Told = (u64, u64, u64, Option<Vec<u8>>);

    fn read(text: &[u8], piece: usize, limit: usize) -> Vec<Told> {
        let mut cutter = Cutter::new(limit, 0);
        let mut told = Vec::new();
        let mut tell = |line: RawLine<'_>| {
            told.push((line.number, line.offset, line.length, line.bytes.map(<[u8]>::to_vec)));
            Ok::<_, ()>(())
        };
        for piece in text.chunks(piece.max(1)) {
            cutter.push(piece, &mut tell).unwrap();
        }
        cutter.last().map(&mut tell);
        told
    }

    fn line(number: u64, offset: u64, text: &str) -> Told {
        (number, offset, text.len() as u64, Some(text.as_bytes().to_vec()))
    }

    #[test]
    fn marks_and_breaks_belong_to_no_line_however_the_bytes_are_cut() {
        for piece in 1..30 {
            assert_eq!(
                read(b"\xef\xbb\xbfone\r\n\r\n\ntwo\rx\nthree", piece, 100),
                [line(1, 3, "one"), line(2, 8, ""), line(3, 10, ""), line(4, 11, "two\rx"), line(5, 17, "three")],
                "{piece}"
            );
            assert_eq!(read(b"one\n", piece, 100), [line(1, 0, "one")]);
            assert_eq!(read(b"\r\n\xef\xbb\xbf\r", piece, 100), [line(1, 0, ""), line(2, 2, "\u{feff}")]);
            assert_eq!(read(b"", piece, 100), []);
        }
    }

    #[test]
    fn a_line_beyond_the_limit_is_measured_and_not_held() {
        for piece in 1..40 {
            assert_eq!(
                read(b"12345\r\n123456\r\nab\n1234567890123", piece, 5),
                [line(1, 0, "12345"), (2, 7, 6, None), line(3, 15, "ab"), (4, 18, 13, None)],
                "{piece}"
            );
        }
        let mut cutter = Cutter::new(1000, 0);
        for _ in 0..1000 {
            cutter.push(&[b'x'; 500], |_| Err(())).unwrap();
        }
        assert!(cutter.kept.capacity() < 4096, "{}", cutter.kept.capacity());
        assert_eq!(cutter.last().unwrap(), RawLine { number: 1, offset: 0, length: 500_000, bytes: None });
        assert!(cutter.last().is_none());
    }

    #[tokio::test]
    async fn a_stream_is_read_line_by_line_from_where_it_begins() {
        let pieces = ["a\nb", "", "b\n", "\ncc"].map(|piece| Ok(Bytes::from(piece)));
        let mut lines = LineReader::within(stream::iter(pieces), 10, 70);
        let mut told = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            told.push((line.number, line.offset, String::from_utf8(line.bytes.unwrap().to_vec()).unwrap()));
        }
        let expected = [(1, 70, "a"), (2, 72, "bb"), (3, 75, ""), (4, 76, "cc")];
        assert_eq!(told, expected.map(|(number, offset, text)| (number, offset, text.to_owned())));
        assert!(lines.next().await.unwrap().is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn each_line_lies_where_it_says(text in "[ab\r\n]{0,60}", piece in 1_usize..20) {
            let told = read(text.as_bytes(), piece, 1000);
            for (number, offset, length, bytes) in &told {
                let range = usize::try_from(*offset).unwrap()..usize::try_from(offset + length).unwrap();
                prop_assert_eq!(&text.as_bytes()[range], bytes.as_deref().unwrap(), "line {}", number);
            }
            let mut expected: Vec<_> = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)).collect();
            expected.pop_if(|_| text.is_empty() || text.ends_with('\n'));
            let found: Vec<_> = told.iter().map(|(.., bytes)| std::str::from_utf8(bytes.as_deref().unwrap()).unwrap()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
