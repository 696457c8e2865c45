//! Reads source rows again and packs them into batches, ahead of the worker that applies them.

use crate::db::control::batch::BatchTimes;
use crate::db::server::Connection;
use crate::db::source;
use crate::db::statement::Statement;
use crate::domain::canonical::{CanonicalRow, RowShape};
use crate::domain::key::Key;
use crate::domain::mapping::IdStrategy;
use crate::domain::resolve::ResolvedEntity;
use crate::domain::target_id::{named_target_id, ordered_target_id};
use crate::domain::tuple::{HEADER, TRAILER, put_field};
use crate::error::{Error, Kind, Result};
use crate::service::rows::SourceRows;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;
use uuid::Uuid;

/// A batch never grows beyond so many bytes, whatever its number of rows.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// One that is loaded directly is not as large: several lanes hold some of them at a time.
const DIRECT_BYTES: usize = 1024 * 1024;

/// Rows ready to be staged: one buffer of binary COPY.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Whether rows are among them that cannot go as they are.
    pub is_faulty: bool,
    /// The COPY data, header and trailer included.
    pub buffer: Vec<u8>,
    /// Rows in it; their ordinals are 0 to `row_count - 1`.
    pub row_count: usize,
    /// The key of the last row.
    pub last_key: Key,
    /// Where the time went until it was full.
    pub times: BatchTimes,
}

impl Batch {
    /// The staged rows alone.
    pub fn tuples(&self) -> &[u8] {
        let end = self.buffer.len() - TRAILER.len();
        &self.buffer[HEADER.len()..end]
    }
}

/// What a reader needs to know of its entity.
#[derive(Debug, Clone)]
pub(crate) struct Packer {
    pub entity: ResolvedEntity,
    pub installation_id: Uuid,
    pub batch_size: usize,
    /// Whether rows that cannot go as they are get batches of their own, so that the others can go directly.
    pub sorts_out: bool,
    /// The ordinal of the first row when the batches gather in one stage; otherwise each begins at 0.
    pub gathers_from: Option<usize>,
}

/// Appends the id that the target row of a source row gets, as a field.
pub(crate) fn put_target_id(
    entity: &ResolvedEntity,
    installation_id: Uuid,
    row: &CanonicalRow,
    out: &mut Vec<u8>,
) -> Result<()> {
    let types = entity.key_types();
    match entity.id_strategy {
        IdStrategy::Ordered => {
            let time = row.time_millis();
            let id = ordered_target_id(installation_id, &entity.name, row.key(), &types, time);
            put_field(out, Some(id.as_bytes()));
        }
        IdStrategy::Named => {
            let named = entity.id_named.as_ref();
            let id = named.map(|rule| named_target_id(rule, row.key(), &types));
            let id = id.transpose().map_err(|fault| {
                Error::new(Kind::Unexpected, "a key cannot be read").cause(fault.to_string())
            })?;
            put_field(out, id.as_ref().map(|it| it.as_bytes().as_slice()));
        }
        IdStrategy::Random => put_field(out, Some(Uuid::new_v4().as_bytes())),
        IdStrategy::Same => {
            let fields = row.key().fields(&types).map_err(|fault| {
                Error::new(Kind::Unexpected, "a key cannot be read").cause(fault.to_string())
            })?;
            let field = fields.first().map(Vec::as_slice).unwrap_or_default();
            // The target key may be a narrower integer than the bigint in which keys travel.
            let width = match entity.id_type.as_str() {
                "int2" => 2,
                "int4" => 4,
                _ => field.len(),
            };
            put_field(out, Some(&field[field.len().saturating_sub(width)..]));
        }
    }
    Ok(())
}

impl Packer {
    fn start(&self) -> Batch {
        Batch {
            is_faulty: false,
            buffer: HEADER.to_vec(),
            row_count: 0,
            last_key: Key::default(),
            times: BatchTimes::default(),
        }
    }

    /// The ordinal of the next row of a batch, when so many rows were read before it.
    fn ordinal(&self, batch: &Batch, read_before: u64) -> i32 {
        let ordinal = match self.gathers_from {
            Some(first) => usize::try_from(read_before).map_or(usize::MAX, |it| first + it),
            None => batch.row_count,
        };
        i32::try_from(ordinal).unwrap_or(i32::MAX)
    }

    fn push(
        &self,
        batch: &mut Batch,
        row: &CanonicalRow,
        ordinal: i32,
        field_count: i16,
    ) -> Result<()> {
        batch.buffer.extend_from_slice(&field_count.to_be_bytes());
        batch.buffer.extend_from_slice(row.staged());
        put_target_id(&self.entity, self.installation_id, row, &mut batch.buffer)?;
        put_field(&mut batch.buffer, Some(row.hash()));
        put_field(&mut batch.buffer, Some(&ordinal.to_be_bytes()));
        batch.row_count += 1;
        batch.is_faulty |= row.is_faulty();
        batch.last_key.0.clear();
        batch.last_key.0.extend_from_slice(&row.key().0);
        Ok(())
    }

    /// Streams the rows of a statement as batches; returns the connection and how many rows there were.
    ///
    /// # Errors
    /// The source cannot be read to its end.
    pub async fn pack(
        &self,
        connection: &mut Connection,
        statement: &Statement,
        out: &Sender<Batch>,
    ) -> Result<u64> {
        let shape = RowShape::new(&self.entity);
        let fields = shape.staged_fields() + 3;
        let field_count = i16::try_from(fields).map_err(|_| {
            Error::new(
                Kind::Usage,
                format!("{} has too many columns", self.entity.name),
            )
        })?;
        let stream = source::rows(connection, statement, &self.entity.name).await?;
        let mut rows = SourceRows::new(stream, shape, &self.entity.name);
        let most_bytes = match self.sorts_out {
            true => DIRECT_BYTES,
            false => BATCH_BYTES,
        };
        let (mut batch, mut faulty) = (self.start(), self.start());
        let mut clock = Clock::start();
        while rows.advance().await? {
            let batch = match rows.row().is_faulty() && self.sorts_out {
                true => &mut faulty,
                false => &mut batch,
            };
            let ordinal = self.ordinal(batch, rows.row_count() - 1);
            let packing = rows.is_sampled().then(Instant::now);
            self.push(batch, rows.row(), ordinal, field_count)?;
            if let Some(began) = packing {
                rows.add_sample(began.elapsed());
            }
            if batch.row_count >= self.batch_size || batch.buffer.len() >= most_bytes {
                let mut full = std::mem::replace(batch, self.start());
                full.times = clock.read(rows.busy());
                if !send(out, full).await {
                    return Ok(rows.row_count());
                }
                clock.go_on();
            }
        }
        batch.times = clock.read(rows.busy());
        for rest in [batch, faulty] {
            if rest.row_count > 0 && !send(out, rest).await {
                break;
            }
        }
        Ok(rows.row_count())
    }
}

/// Measures how long a batch took to be filled, without the time in which nobody took it.
struct Clock {
    since: Instant,
    busy_before: Duration,
}

impl Clock {
    fn start() -> Clock {
        Clock {
            since: Instant::now(),
            busy_before: Duration::ZERO,
        }
    }

    /// Parts the time since the last batch into waiting for the source and our own work.
    fn read(&mut self, busy: Duration) -> BatchTimes {
        let filled = self.since.elapsed();
        let hash = busy.saturating_sub(self.busy_before).min(filled);
        self.busy_before = busy;
        BatchTimes {
            source: filled.saturating_sub(hash),
            hash,
            ..BatchTimes::default()
        }
    }

    fn go_on(&mut self) {
        self.since = Instant::now();
    }
}

/// Hands a batch over; `false` when the worker has stopped.
async fn send(out: &Sender<Batch>, mut batch: Batch) -> bool {
    batch.buffer.extend_from_slice(TRAILER);
    out.send(batch).await.is_ok()
}
