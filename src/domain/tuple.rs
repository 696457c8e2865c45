//! The frame of PostgreSQL's binary COPY format and the fields inside a tuple.
//!
//! Layout: <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format". Values are never
//! decoded here; a field is its bytes, NULL is `None`.

use std::ops::Range;

/// The 19 bytes before the first tuple: signature, no flags, no header extension.
pub const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The two bytes after the last tuple.
pub const TRAILER: &[u8] = &[0xff, 0xff];

/// A stream that is not binary COPY, or ends too early.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TupleFault {
    /// The signature is wrong.
    #[error("the COPY stream does not begin with the binary signature")]
    Signature,
    /// The stream ended without its trailer.
    #[error("the COPY stream ended before its trailer")]
    Short,
    /// A length field points outside its tuple.
    #[error("a COPY tuple has a malformed length")]
    Length,
}

fn read_i16(bytes: &[u8], at: usize) -> Option<i16> {
    Some(i16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn read_i32(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// One row, where it lies in the buffer of its [`TupleReader`].
#[derive(Debug, Clone, Copy)]
pub struct Tuple<'a> {
    framed: &'a [u8],
}

impl<'a> Tuple<'a> {
    /// Returns an iterator over the fields in order.
    pub fn fields(self) -> Fields<'a> {
        Fields::new(self.framed)
    }

    /// Returns the framed fields (length words included), without the field count.
    pub fn framed_fields(self) -> &'a [u8] {
        self.framed
    }
}

/// Iterates over framed fields.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Starts at framed fields without a field count.
    pub fn new(framed: &'a [u8]) -> Self {
        Fields { rest: framed }
    }

    /// Returns the framed bytes that were not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Option<&'a [u8]>, TupleFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some(length) = read_i32(self.rest, 0) else {
            self.rest = &[];
            return Some(Err(TupleFault::Length));
        };
        let Ok(length) = usize::try_from(length) else {
            self.rest = &self.rest[4..];
            return Some(Ok(None));
        };
        let Some(field) = self.rest.get(4..4 + length) else {
            self.rest = &[];
            return Some(Err(TupleFault::Length));
        };
        self.rest = &self.rest[4 + length..];
        Some(Ok(Some(field)))
    }
}

/// Buffers beyond this size are given back once a huge row is through.
pub(super) const KEPT_CAPACITY: usize = 1024 * 1024;

/// Cuts a chunked binary COPY stream into tuples, however it is chunked.
///
/// Chunks are gathered in one buffer: PostgreSQL sends each row as its own chunk, and copying a row costs
/// less than sharing the ownership of its bytes.
#[derive(Debug, Default)]
pub struct TupleReader {
    buffer: Vec<u8>,
    /// The row that was cut last, without its field count.
    current: Range<usize>,
    saw_header: bool,
    saw_trailer: bool,
}

impl TupleReader {
    /// Takes the next chunk; the row that was cut last is gone then.
    pub fn push(&mut self, chunk: &[u8]) {
        if self.current.end > 0 {
            self.buffer.drain(..self.current.end);
            self.buffer.shrink_to(KEPT_CAPACITY);
            self.current = 0..0;
        }
        self.buffer.extend_from_slice(chunk);
    }

    /// Moves to the next whole tuple; `false` when more chunks are needed.
    ///
    /// # Errors
    /// The bytes are not binary COPY.
    pub fn advance(&mut self) -> Result<bool, TupleFault> {
        let mut rest = &self.buffer[self.current.end..];
        if !self.saw_header {
            if rest.len() < HEADER.len() {
                return Ok(false);
            }
            if rest[..11] != HEADER[..11] {
                return Err(TupleFault::Signature);
            }
            rest = &rest[HEADER.len()..];
            self.current = HEADER.len()..HEADER.len();
            self.saw_header = true;
        }
        let Some(field_count) = read_i16(rest, 0) else {
            return Ok(false);
        };
        if field_count < 0 {
            self.saw_trailer = true;
            return Ok(false);
        }
        let mut at = 2;
        for _ in 0..field_count {
            let Some(length) = read_i32(rest, at) else {
                return Ok(false);
            };
            at += 4 + usize::try_from(length).unwrap_or(0);
        }
        if rest.len() < at {
            return Ok(false);
        }
        let begin = self.current.end;
        self.current = begin + 2..begin + at;
        Ok(true)
    }

    /// Returns the row to which [`TupleReader::advance`] moved.
    pub fn tuple(&self) -> Tuple<'_> {
        Tuple {
            framed: &self.buffer[self.current.clone()],
        }
    }

    /// Checks that the stream was complete.
    ///
    /// # Errors
    /// The trailer never came.
    pub fn finish(&self) -> Result<(), TupleFault> {
        if self.saw_trailer {
            Ok(())
        } else {
            Err(TupleFault::Short)
        }
    }
}

/// Appends one framed field.
pub fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        Some(bytes) => {
            let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

/// Returns the first 16 bytes of blake3 over [`PROJECTION_VERSION`] and the framed fields, which the caller keeps
/// in one piece: that is hashed fastest.
pub fn row_hash(version_and_fields: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&blake3::hash(version_and_fields).as_bytes()[..16]);
    hash
}

/// The version of the canonical row; a change of its layout changes every row hash.
pub const PROJECTION_VERSION: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(rows: &[Vec<Option<Vec<u8>>>]) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        for row in rows {
            out.extend_from_slice(&i16::try_from(row.len()).unwrap().to_be_bytes());
            for field in row {
                put_field(&mut out, field.as_deref());
            }
        }
        out.extend_from_slice(TRAILER);
        out
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_rows(
            rows in prop::collection::vec(
                prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), 0..4), 0..6),
            sizes in prop::collection::vec(1_usize..40, 1..8),
        ) {
            let encoded = encode(&rows);
            let mut reader = TupleReader::default();
            let (mut at, mut turn, mut read) = (0, 0, Vec::new());
            while at < encoded.len() {
                let end = (at + sizes[turn % sizes.len()]).min(encoded.len());
                reader.push(&encoded[at..end]);
                (at, turn) = (end, turn + 1);
                while reader.advance().unwrap() {
                    let row: Vec<Option<Vec<u8>>> =
                        reader.tuple().fields().map(|field| field.unwrap().map(<[u8]>::to_vec)).collect();
                    read.push(row);
                }
            }
            prop_assert!(reader.finish().is_ok());
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = TupleReader::default();
            reader.push(&[HEADER, &bytes].concat());
            while let Ok(true) = reader.advance() {
                let _ = reader.tuple().fields().count();
            }
        }
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let encoded = encode(&[vec![Some(vec![1])]]);
        let mut reader = TupleReader::default();
        reader.push(&encoded[..encoded.len() - 2]);
        assert!(reader.advance().unwrap());
        assert!(!reader.advance().unwrap());
        assert_eq!(reader.finish(), Err(TupleFault::Short));
    }

    #[test]
    fn null_empty_and_moved_bytes_hash_differently() {
        let hash = |fields: &[Option<&[u8]>]| {
            let mut framed = Vec::new();
            fields
                .iter()
                .for_each(|field| put_field(&mut framed, *field));
            row_hash(&framed)
        };
        assert_ne!(hash(&[None]), hash(&[Some(b"")]));
        assert_ne!(
            hash(&[Some(b"x0"), Some(b"y")]),
            hash(&[Some(b"x"), Some(b"0y")])
        );
    }
}
