//! The loop that every row goes through, fed from memory: cut, key, hash, merge.
//!
//! `make bench-rows` runs it. Rows have the shape of the tables of the other bench, and each is a chunk of its
//! own, as the driver hands it over. What the driver and the network cost is not in here.

#![allow(clippy::unwrap_used, reason = "it is a program")]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use diffmig::db::TupleStream;
use diffmig::domain::canonical::{CanonicalRow, RowShape};
use diffmig::domain::catalog::{
    Catalog, Column, ColumnType, DatabaseIdentity, RelationKind, Table,
};
use diffmig::domain::connection::Side;
use diffmig::domain::detection::DetectionCounts;
use diffmig::domain::identifier::QualifiedName;
use diffmig::domain::mapping;
use diffmig::domain::resolve::{Catalogs, ResolvedEntity, resolve};
use diffmig::domain::tuple::{HEADER, TRAILER, TupleReader, put_field};
use diffmig::service::detect::ledger_rows::LedgerRows;
use diffmig::service::detect::merge::Merge;
use diffmig::service::detect::verdict::judge;
use diffmig::service::rows::SourceRows;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hint::black_box;

/// Columns after the key, as name, type and number of bytes on the wire.
type Columns = &'static [(&'static str, &'static str, usize)];

const NARROW: Columns = &[
    ("account_id", "int8", 8),
    ("kind", "int4", 4),
    ("amount", "numeric", 12),
    ("booked_at", "timestamptz", 8),
    ("note", "text", 8),
];
const WIDE: Columns = &[
    ("name", "text", 11),
    ("email", "text", 24),
    ("status", "text", 4),
    ("score", "float8", 8),
    ("amount", "numeric", 12),
    ("quantity", "int4", 4),
    ("active", "bool", 1),
    ("created_at", "timestamptz", 8),
    ("updated_at", "timestamptz", 8),
    ("code", "uuid", 16),
    ("born", "date", 4),
    ("body", "text", 198),
    ("payload", "jsonb", 62),
];

/// An entity with its rows on both sides, none of them changed.
struct Case {
    entity: ResolvedEntity,
    source: Vec<Bytes>,
    ledger: Vec<Bytes>,
    rows: u64,
    /// The bytes of both streams.
    bytes: u64,
}

fn entity(columns: Columns) -> ResolvedEntity {
    let mut text = String::from(
        "version = 1\n[entities.t]\nsource = \"t\"\ntarget = \"t\"\n\
         id = { column = \"id\", strategy = \"same\" }\n[entities.t.columns]\n",
    );
    for (name, _, _) in columns {
        text.push_str(&format!("{name} = {{}}\n"));
    }
    let catalog = catalog(columns);
    let catalogs = Catalogs {
        source: &catalog,
        target: &catalog,
        query_columns: &BTreeMap::new(),
    };
    let mut entities = resolve(&mapping::parse(&text).unwrap(), catalogs).unwrap();
    entities.remove(0)
}

fn catalog(columns: Columns) -> Catalog {
    let column = |name: &str, base: &str| Column {
        name: name.to_owned(),
        column_type: ColumnType {
            display: base.to_owned(),
            base: base.to_owned(),
            modifier: String::new(),
            enum_labels: None,
            is_domain: false,
            is_builtin: true,
        },
        not_null: true,
        has_default: false,
        is_generated: false,
        identity_always: false,
        number: 0,
        default: None,
    };
    let name = QualifiedName::new("public", "t");
    let others = columns.iter().map(|(name, base, _)| column(name, base));
    let table = Table {
        foreign_keys: Vec::new(),
        constraints: Vec::new(),
        is_partition: false,
        name: name.clone(),
        oid: 1,
        kind: RelationKind::Table,
        columns: std::iter::once(column("id", "int8"))
            .chain(others)
            .collect(),
        primary_key: vec!["id".to_owned()],
        referrers: Vec::new(),
        unique_columns: Vec::new(),
        estimated_rows: -1,
    };
    Catalog {
        identity: DatabaseIdentity {
            system_identifier: String::new(),
            database_oid: 1,
            database: String::new(),
        },
        server_version: 150_000,
        tables: BTreeMap::from([(name, table)]),
    }
}

fn tuple(fields: &[Option<&[u8]>]) -> Vec<u8> {
    let count = i16::try_from(fields.len()).unwrap();
    let mut out = count.to_be_bytes().to_vec();
    fields.iter().for_each(|field| put_field(&mut out, *field));
    out
}

/// Puts header and trailer around rows, and all of it into one piece of memory, of which each chunk is a part.
fn framed(rows: &[Vec<u8>]) -> Vec<Bytes> {
    let whole = Bytes::from([HEADER, &rows.concat(), TRAILER].concat());
    let lengths = rows.iter().map(Vec::len);
    let lengths = std::iter::once(HEADER.len()).chain(lengths);
    let mut rest = whole;
    let chunks = lengths.chain([TRAILER.len()]);
    chunks.map(|length| rest.split_to(length)).collect()
}

impl Case {
    fn new(columns: Columns, rows: u64) -> Case {
        let entity = entity(columns);
        let source = (1..=rows).map(|number| {
            let values = columns
                .iter()
                .map(|(_, _, width)| number.to_be_bytes().repeat(width / 8 + 1)[..*width].to_vec());
            let values: Vec<Vec<u8>> = values.collect();
            let key = number.to_be_bytes();
            let mut fields = vec![Some(key.as_slice())];
            fields.extend(values.iter().map(|it| Some(it.as_slice())));
            // No fault.
            fields.push(None);
            tuple(&fields)
        });
        let source = framed(&source.collect::<Vec<_>>());
        let mut row = CanonicalRow::new(RowShape::new(&entity));
        let mut reader = TupleReader::default();
        let mut ledger = Vec::new();
        for chunk in &source {
            reader.push(chunk);
            while reader.advance().unwrap() {
                row.read(reader.tuple()).unwrap();
                let key = i64::try_from(ledger.len()).unwrap() + 1;
                let key = key.to_be_bytes();
                ledger.push(tuple(&[Some(&key), Some(row.hash()), Some(b"a")]));
            }
        }
        let ledger = framed(&ledger);
        let bytes = source.iter().chain(&ledger).map(|it| it.len() as u64).sum();
        Case {
            entity,
            source,
            ledger,
            rows,
            bytes,
        }
    }

    fn throughput(&self) -> Throughput {
        Throughput::ElementsAndBytes {
            elements: self.rows,
            bytes: self.bytes,
        }
    }
}

/// Merges both streams as detection does.
async fn merge(entity: &ResolvedEntity, source: Vec<Bytes>, ledger: Vec<Bytes>) -> DetectionCounts {
    let source = TupleStream::of_chunks(Side::Source, "rows", source);
    let ledger = TupleStream::of_chunks(Side::Target, "the ledger", ledger);
    let rows = SourceRows::new(source, RowShape::new(entity), &entity.name);
    let known = LedgerRows::new(ledger, entity.key_types());
    let mut both = Merge::new(rows, known);
    let mut counts = DetectionCounts::default();
    while let Some(order) = both.next().await.unwrap() {
        match order {
            Ordering::Less => counts.new += 1,
            Ordering::Equal => judge(both.rows.row().hash(), both.known.row()).count(&mut counts),
            Ordering::Greater => counts.deleted += 1,
        }
    }
    counts
}

/// Reads the source alone: what a load does with each row before it packs it.
async fn read(entity: &ResolvedEntity, source: Vec<Bytes>) -> u64 {
    let source = TupleStream::of_chunks(Side::Source, "rows", source);
    let mut rows = SourceRows::new(source, RowShape::new(entity), &entity.name);
    while rows.advance().await.unwrap() {
        black_box(rows.row().staged());
    }
    rows.row_count()
}

fn benches(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for (name, columns, rows) in [("narrow", NARROW, 100_000), ("wide", WIDE, 20_000)] {
        let case = Case::new(columns, rows);
        let counts = runtime.block_on(merge(
            &case.entity,
            case.source.clone(),
            case.ledger.clone(),
        ));
        assert_eq!(
            counts.unchanged, rows,
            "every row is the same on both sides"
        );
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        group.throughput(case.throughput());
        group.bench_function("merge", |bench| {
            bench.iter_batched(
                || (case.source.clone(), case.ledger.clone()),
                |(source, ledger)| runtime.block_on(merge(&case.entity, source, ledger)),
                BatchSize::LargeInput,
            );
        });
        let bytes = case.source.iter().map(|it| it.len() as u64).sum();
        group.throughput(Throughput::ElementsAndBytes {
            elements: rows,
            bytes,
        });
        group.bench_function("read", |bench| {
            bench.iter_batched(
                || case.source.clone(),
                |source| runtime.block_on(read(&case.entity, source)),
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

criterion_group!(rows, benches);
criterion_main!(rows);
