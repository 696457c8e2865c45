//! Rows in and out by binary COPY; the transport behind one small module.

use super::failure::explain;
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
        Ok(TupleStream {
            side,
            chunks: chunks.map_err(|error| explain(side, &format!("reading {what}"), &error))?,
            what,
            reader: TupleReader::default(),
            ended: false,
        })
    }

    fn broken(&self, cause: String) -> Error {
        let what = format!("{}: reading {} was cut short", self.side.word(), self.what);
        Error::new(Kind::Connect, what).cause(cause)
    }

    /// Returns the next row, or `None` after the server confirmed the end.
    ///
    /// # Errors
    /// A server error, silence, or a stream that ended early: a short read is never an end.
    pub async fn next(&mut self) -> Result<Option<Tuple>> {
        loop {
            if self.ended {
                return Ok(None);
            }
            match self.reader.next_tuple() {
                Ok(Some(tuple)) => return Ok(Some(tuple)),
                Ok(None) => {}
                Err(fault) => return Err(self.broken(fault.to_string())),
            }
            // A timer for every row would cost more than the row; what has arrived needs none.
            let chunk = match self.chunks.next().now_or_never() {
                Some(chunk) => Ok(chunk),
                None => tokio::time::timeout(SILENCE_LIMIT, self.chunks.next()).await,
            };
            match chunk {
                Err(_) => return Err(self.broken("the server stopped answering".into())),
                Ok(Some(Ok(chunk))) => self.reader.push(chunk),
                Ok(Some(Err(error))) => {
                    return Err(explain(
                        self.side,
                        &format!("reading {}", self.what),
                        &error,
                    ));
                }
                Ok(None) => {
                    self.ended = true;
                    if let Err(fault) = self.reader.finish() {
                        return Err(self.broken(fault.to_string()));
                    }
                }
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
