//! The frame of PostgreSQL's binary COPY format and the fields inside a tuple.
//!
//! Layout: <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format". Values are never
//! decoded here; a field is its bytes, NULL is `None`.

use bytes::{Buf, Bytes, BytesMut};

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

/// One row: its field count and fields, without copying.
#[derive(Debug, Clone)]
pub struct Tuple {
    bytes: Bytes,
}

impl Tuple {
    /// Returns an iterator over the fields in order.
    pub fn fields(&self) -> Fields<'_> {
        Fields {
            rest: &self.bytes[2..],
        }
    }

    /// Returns the framed fields (length words included), without the field count.
    pub fn framed_fields(&self) -> &[u8] {
        &self.bytes[2..]
    }

    /// Returns the size of the tuple in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Tells whether the tuple has no bytes; it never does.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
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

/// Cuts a chunked binary COPY stream into tuples.
///
/// PostgreSQL sends one row per chunk, which is then passed on without a copy; any other chunking works too.
#[derive(Debug, Default)]
pub struct TupleReader {
    pending: BytesMut,
    chunk: Bytes,
    saw_header: bool,
    saw_trailer: bool,
}

impl TupleReader {
    /// Takes the next chunk; the earlier ones must have been drained with [`TupleReader::next_tuple`].
    pub fn push(&mut self, chunk: Bytes) {
        if self.pending.is_empty() && self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.pending.extend_from_slice(&self.chunk);
            self.pending.extend_from_slice(&chunk);
            self.chunk = self.pending.split().freeze();
        }
    }

    /// Returns the next whole tuple, or `None` when more chunks are needed.
    ///
    /// # Errors
    /// The bytes are not binary COPY.
    pub fn next_tuple(&mut self) -> Result<Option<Tuple>, TupleFault> {
        if !self.saw_header {
            if self.chunk.len() < HEADER.len() {
                return Ok(None);
            }
            if self.chunk[..11] != HEADER[..11] {
                return Err(TupleFault::Signature);
            }
            self.chunk.advance(HEADER.len());
            self.saw_header = true;
        }
        let Some(field_count) = read_i16(&self.chunk, 0) else {
            return Ok(None);
        };
        if field_count < 0 {
            self.saw_trailer = true;
            self.chunk.clear();
            return Ok(None);
        }
        let mut at = 2;
        for _ in 0..field_count {
            let Some(length) = read_i32(&self.chunk, at) else {
                return Ok(None);
            };
            at += 4 + usize::try_from(length).unwrap_or(0);
        }
        if self.chunk.len() < at {
            return Ok(None);
        }
        Ok(Some(Tuple {
            bytes: self.chunk.split_to(at),
        }))
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

/// Returns the first 16 bytes of blake3 over the projection version and the framed fields.
pub fn row_hash(framed: &[u8]) -> [u8; 16] {
    // Most rows fit into one chunk of blake3, which is hashed fastest from one piece.
    let mut piece = [0; 1024];
    let full = match piece.get_mut(..=framed.len()) {
        Some(piece) => {
            piece[0] = PROJECTION_VERSION;
            piece[1..].copy_from_slice(framed);
            blake3::hash(piece)
        }
        None => {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&[PROJECTION_VERSION]);
            hasher.update(framed);
            hasher.finalize()
        }
    };
    let mut hash = [0; 16];
    hash.copy_from_slice(&full.as_bytes()[..16]);
    hash
}

/// The version of the canonical row; a change of its layout changes every row hash.
pub const PROJECTION_VERSION: u8 = 1;

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
                reader.push(Bytes::copy_from_slice(&encoded[at..end]));
                (at, turn) = (end, turn + 1);
                while let Some(tuple) = reader.next_tuple().unwrap() {
                    let row: Vec<Option<Vec<u8>>> =
                        tuple.fields().map(|field| field.unwrap().map(<[u8]>::to_vec)).collect();
                    read.push(row);
                }
            }
            prop_assert!(reader.finish().is_ok());
            prop_assert_eq!(read, rows);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = TupleReader::default();
            reader.push(Bytes::from([HEADER, &bytes].concat()));
            while let Ok(Some(tuple)) = reader.next_tuple() {
                let _ = tuple.fields().count();
            }
        }
    }

    #[test]
    fn a_cut_stream_is_an_error() {
        let encoded = encode(&[vec![Some(vec![1])]]);
        let mut reader = TupleReader::default();
        reader.push(Bytes::copy_from_slice(&encoded[..encoded.len() - 2]));
        assert!(reader.next_tuple().unwrap().is_some());
        assert!(reader.next_tuple().unwrap().is_none());
        assert_eq!(reader.finish(), Err(TupleFault::Short));
    }

    #[test]
    fn long_and_short_rows_are_hashed_alike() {
        for length in [0, 1, 63, 64, 1022, 1023, 1024, 5000] {
            let framed: Vec<u8> = (0..=250).cycle().take(length).collect();
            let whole = blake3::hash(&[&[PROJECTION_VERSION], framed.as_slice()].concat());
            assert_eq!(row_hash(&framed), whole.as_bytes()[..16], "{length}");
        }
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
