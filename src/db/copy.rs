//! Rows in and out by binary COPY; the transport behind one small module.

use super::failure::explain;
use super::failure::explain_rows;
use super::server::Connection;
use super::statement::Statement;
use crate::domain::connection::Side;
use crate::domain::tuple::{Tuple, TupleReader};
use crate::error::{Error, Kind, Result};
use crate::failpoint::pass;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use std::time::Duration;

/// How long the server may be silent inside a stream; a sort before the first row counts as silence.
const SILENCE_LIMIT: Duration = Duration::from_secs(1800);
/// How long a staged batch may take to be sent.
const SEND_LIMIT: Duration = Duration::from_secs(600);

/// How many bytes are taken from the driver at a time; they stay in the processor's cache until they are read.
const BLOCK: usize = 16 * 1024;

/// The rows of one `COPY ... TO STDOUT (FORMAT binary)`.
pub struct TupleStream<'c> {
    side: Side,
    what: String,
    chunks: BoxStream<'c, sqlx::Result<Bytes>>,
    reader: TupleReader,
    ended: bool,
}

impl<'c> TupleStream<'c> {
    /// Starts the statement. `what` names the rows in errors.
    ///
    /// # Errors
    /// The server refuses the statement.
    pub async fn open(
        side: Side,
        connection: &'c mut Connection,
        statement: &Statement,
        what: impl Into<String>,
    ) -> Result<TupleStream<'c>> {
        let what = what.into();
        let copy = format!("copy ({}) to stdout (format binary)", statement.as_str());
        let chunks = connection.copy_out_raw(&copy).await;
        let chunks = chunks
            .map_err(|error| explain_rows(side, &format!("reading {what}"), &what, &error))?;
        Ok(TupleStream::new(side, what, chunks))
    }

    /// Reads binary COPY that did not come from a server.
    pub fn of_chunks(side: Side, what: &str, chunks: Vec<Bytes>) -> TupleStream<'static> {
        let chunks = futures::stream::iter(chunks).map(Ok).boxed();
        TupleStream::new(side, what.to_owned(), chunks)
    }

    fn new(side: Side, what: String, chunks: BoxStream<'c, sqlx::Result<Bytes>>) -> Self {
        TupleStream {
            side,
            what,
            chunks,
            reader: TupleReader::default(),
            ended: false,
        }
    }

    fn broken(&self, cause: String) -> Error {
        let what = format!("{}: reading {} was cut short", self.side.word(), self.what);
        Error::new(Kind::Connect, what).cause(cause)
    }

    /// Returns the next row, or `None` after the server confirmed the end.
    ///
    /// # Errors
    /// A server error, silence, or a stream that ended early: a short read is never an end.
    pub async fn next(&mut self) -> Result<Option<Tuple<'_>>> {
        while !self.cut()? {
            if self.ended {
                let complete = self.reader.finish();
                return complete
                    .map(|()| None)
                    .map_err(|fault| self.broken(fault.to_string()));
            }
            if self.gather()? {
                continue;
            }
            match tokio::time::timeout(SILENCE_LIMIT, self.chunks.next()).await {
                Ok(chunk) => self.take(chunk)?,
                Err(_) => return Err(self.broken("the server stopped answering".into())),
            };
        }
        Ok(Some(self.reader.tuple()))
    }

    /// Moves to the next row among the bytes that are here.
    fn cut(&mut self) -> Result<bool> {
        self.reader
            .advance()
            .map_err(|fault| self.broken(fault.to_string()))
    }

    /// Takes what the driver has at hand, up to a block; `false` when that is nothing.
    ///
    /// Rows are asked for without a waker, so that nobody is woken for what will be asked for anyway.
    fn gather(&mut self) -> Result<bool> {
        let mut size = 0;
        while size < BLOCK && !self.ended {
            let Some(chunk) = self.chunks.next().now_or_never() else {
                return Ok(size > 0);
            };
            size += self.take(chunk)?;
        }
        Ok(true)
    }

    /// Keeps a chunk and returns its size.
    fn take(&mut self, chunk: Option<sqlx::Result<Bytes>>) -> Result<usize> {
        match chunk {
            Some(Ok(chunk)) => {
                self.reader.push(&chunk);
                Ok(chunk.len())
            }
            Some(Err(error)) => Err(explain_rows(
                self.side,
                &format!("reading {}", self.what),
                &self.what,
                &error,
            )),
            None => {
                self.ended = true;
                Ok(0)
            }
        }
    }
}

/// Sends one buffer of binary COPY, header and trailer included; returns the rows the server took.
///
/// # Errors
/// The server refuses the rows, or does not take them in time.
pub async fn copy_in(
    connection: &mut Connection,
    statement: &Statement,
    buffer: &[u8],
) -> Result<u64> {
    let sending = async {
        let mut copy = connection.copy_in_raw(statement.as_str()).await?;
        copy.send(buffer).await?;
        pass!("stage.mid_copy");
        copy.finish().await
    };
    match tokio::time::timeout(SEND_LIMIT, sending).await {
        Ok(sent) => sent.map_err(|error| explain(Side::Target, "staging a batch", &error)),
        Err(_) => Err(Error::new(Kind::Connect, "the target stopped taking rows")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tuple::{HEADER, TRAILER, put_field};

    /// A row per chunk, many more than are taken at a time.
    fn chunks() -> Vec<Bytes> {
        let rows = (0..2000_u32).map(|number| {
            let mut row = 1_i16.to_be_bytes().to_vec();
            put_field(&mut row, Some(&number.to_be_bytes().repeat(16)));
            Bytes::from(row)
        });
        let edges = |bytes| std::iter::once(Bytes::from_static(bytes));
        edges(HEADER).chain(rows).chain(edges(TRAILER)).collect()
    }

    async fn read(chunks: Vec<Bytes>) -> (u32, Result<()>) {
        let mut stream = TupleStream::of_chunks(Side::Source, "rows", chunks);
        let mut rows = 0_u32;
        loop {
            match stream.next().await {
                Ok(Some(tuple)) => {
                    assert!(tuple.framed_fields()[4..].starts_with(&rows.to_be_bytes()))
                }
                Ok(None) => return (rows, Ok(())),
                Err(error) => return (rows, Err(error)),
            }
            rows += 1;
        }
    }

    #[tokio::test]
    async fn every_row_comes_once_and_in_order() {
        let (rows, ended) = read(chunks()).await;
        assert_eq!(rows, 2000);
        assert!(ended.is_ok());
    }

    #[tokio::test]
    async fn a_short_read_is_an_error_after_the_rows_that_came() {
        let mut chunks = chunks();
        chunks.truncate(1501);
        let (rows, ended) = read(chunks).await;
        assert_eq!(rows, 1500);
        assert_eq!(ended.unwrap_err().kind(), Kind::Connect);
    }
}
