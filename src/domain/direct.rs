//! Staged rows as tuples of target and ledger, for a first load that needs no stage.
//!
//! This works for rows whose target values are known without asking the target: values that travel in
//! the binary form of their column, and references to parents whose ids are computed from their keys.
//! That such a parent is there is proven by the foreign key, so there must be one.

use super::catalog::{ColumnType, Table};
use super::identifier::QualifiedName;
use super::key::{Key, KeyType, encode_field};
use super::mapping::IdStrategy;
use super::resolve::{ResolvedColumn, ResolvedEntity, ResolvedValue, Transport};
use super::target_id::ordered_target_id;
use super::tuple::{Fields, put_field};
use uuid::Uuid;

/// Where a field of a target tuple comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// The staged field of this number, as it stands.
    Staged(usize),
    /// A staged `bigint` that the column takes in so many bytes.
    Narrowed(usize, usize),
    /// The id of the parent whose key is in the staged field.
    Parent(usize, KeyType, String),
}

/// A reference that its foreign key has to prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenReference {
    /// The referring column.
    pub column: String,
    /// The table of the parents.
    pub parent: QualifiedName,
    /// Its key column.
    pub parent_id: String,
}

/// What is the same in all rows of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    /// The installation, from which ids are computed.
    pub installation_id: Uuid,
    /// The transaction that writes them.
    pub xid: u32,
    /// The session's short number.
    pub session_number: i32,
}

/// How the rows of an entity are written without a stage.
#[derive(Debug, Clone)]
pub struct DirectRows {
    /// The target's columns, in the order of the tuples.
    pub columns: Vec<String>,
    /// References that are computed.
    pub references: Vec<ProvenReference>,
    origins: Vec<Origin>,
    key_fields: usize,
    fault: usize,
    id: usize,
}

/// Tells whether a value travels in the binary form in which the column takes it.
fn travels_as_is(transport: &Transport, column: &ColumnType) -> bool {
    if transport.assignment_cast.is_some() {
        return column.enum_labels.is_some()
            || matches!(column.base.as_str(), "json" | "citext") && !column.is_domain;
    }
    match transport.base.as_str() {
        "text" => matches!(column.base.as_str(), "text" | "varchar" | "bpchar"),
        base => column.is_builtin && base == column.base && !TEXT_ARRAYS.contains(&base),
    }
}

/// Arrays that travel as `text[]`, whose binary form names another element type.
const TEXT_ARRAYS: &[&str] = &["_varchar", "_bpchar", "_name"];

fn integer_width(base: &str) -> Option<usize> {
    match base {
        "int2" => Some(2),
        "int4" => Some(4),
        _ => None,
    }
}

/// Where a part of the source key comes from that the target keeps in a column.
fn legacy(index: usize, key_type: KeyType, column: &ColumnType) -> Option<Origin> {
    let base = column.base.as_str();
    let fits = match key_type {
        KeyType::Integer => base == "int8",
        KeyType::Text => matches!(base, "text" | "varchar" | "bpchar"),
        KeyType::Uuid => base == "uuid",
        KeyType::Date => base == "date",
    };
    if fits {
        return Some(Origin::Staged(index));
    }
    let width = integer_width(base).filter(|_| key_type == KeyType::Integer);
    width.map(|width| Origin::Narrowed(index, width))
}

impl DirectRows {
    /// Finds out how an entity's rows can be written directly; `None` when some value needs the target.
    pub fn of(
        entity: &ResolvedEntity,
        target: &Table,
        entities: &[ResolvedEntity],
    ) -> Option<DirectRows> {
        let keys = entity.key_types();
        let id = target.column(&entity.id_column)?;
        if Transport::of(&id.column_type).sql != entity.id_type
            || !travels_as_is(&Transport::of(&id.column_type), &id.column_type)
        {
            return None;
        }
        let mut rows = DirectRows {
            columns: vec![entity.id_column.clone()],
            references: Vec::new(),
            origins: Vec::new(),
            key_fields: keys.len(),
            fault: keys.len() + entity.compared_count(),
            id: keys.len() + entity.columns.len() + 1,
        };
        for (index, name) in &entity.legacy {
            let column = &target.column(name)?.column_type;
            rows.columns.push(name.clone());
            rows.origins.push(legacy(*index, keys[*index], column)?);
        }
        for (number, column) in entity.columns.iter().enumerate() {
            let field = keys.len() + number + usize::from(number >= entity.compared_count());
            let origin = rows.origin(entity, column, field, target, entities)?;
            rows.columns.push(column.name.clone());
            rows.origins.push(origin);
        }
        Some(rows)
    }

    fn origin(
        &mut self,
        entity: &ResolvedEntity,
        column: &ResolvedColumn,
        field: usize,
        target: &Table,
        entities: &[ResolvedEntity],
    ) -> Option<Origin> {
        match &column.value {
            ResolvedValue::Scalar | ResolvedValue::Json { .. } => {
                let column_type = &target.column(&column.name)?.column_type;
                travels_as_is(&column.transport, column_type).then_some(Origin::Staged(field))
            }
            ResolvedValue::Reference { entity: name, .. }
                if *name != entity.name && column.fallback().is_empty() =>
            {
                let [key_type] = column.key_types[..] else {
                    return None;
                };
                let parent = entities.iter().find(|it| it.name == *name)?;
                let is_computed = parent.id_strategy == IdStrategy::Ordered
                    && parent.id_time.is_none()
                    && parent.key_types() == [key_type];
                let column_type = &target.column(&column.name)?.column_type;
                if !is_computed || column_type.base != "uuid" || !column_type.is_builtin {
                    return None;
                }
                self.references.push(ProvenReference {
                    column: column.name.clone(),
                    parent: parent.target.clone(),
                    parent_id: parent.id_column.clone(),
                });
                Some(Origin::Parent(field, key_type, name.clone()))
            }
            _ => None,
        }
    }
}

/// Writes the rows of one batch; its buffers are used again for every row.
#[derive(Debug)]
pub struct DirectWriter<'a> {
    rows: &'a DirectRows,
    stamp: Stamp,
    target_fields: [u8; 2],
    ledger_fields: [u8; 2],
    /// The ledger's fields that are the same in all rows.
    ledger_tail: Vec<u8>,
    parent_key: Key,
}

/// The fields of a staged tuple that are wanted, framed: length word and bytes.
struct Framed<'a>(Vec<&'a [u8]>);

impl<'a> DirectWriter<'a> {
    /// Prepares to write rows.
    pub fn new(rows: &'a DirectRows, stamp: Stamp) -> Self {
        let count = |fields: usize| i16::try_from(fields).unwrap_or(i16::MAX).to_be_bytes();
        let mut ledger_tail = Vec::new();
        put_field(&mut ledger_tail, Some(&stamp.xid.to_be_bytes()));
        put_field(&mut ledger_tail, Some(&stamp.session_number.to_be_bytes()));
        DirectWriter {
            target_fields: count(rows.origins.len() + 1),
            ledger_fields: count(rows.key_fields + 4),
            rows,
            stamp,
            ledger_tail,
            parent_key: Key::default(),
        }
    }

    /// Turns staged rows, without header and trailer, into tuples of target and ledger, until the target has
    /// more than so many bytes or nothing is left; `false` when a row is one for the stage.
    pub fn write(
        &mut self,
        staged: &mut &[u8],
        limit: usize,
        target: &mut Vec<u8>,
        ledger: &mut Vec<u8>,
    ) -> bool {
        let mut fields = Framed(Vec::with_capacity(self.rows.id + 3));
        while target.len() <= limit
            && let Some((count, rest)) = staged.split_first_chunk::<2>()
        {
            let Ok(count) = usize::try_from(i16::from_be_bytes(*count)) else {
                return false;
            };
            let Some(rest) = fields.cut(count, rest) else {
                return false;
            };
            *staged = rest;
            if self.write_row(&fields, target, ledger).is_none() {
                return false;
            }
        }
        // Less than a row at the end is none.
        target.len() > limit || staged.is_empty()
    }

    fn write_row(
        &mut self,
        fields: &Framed<'_>,
        target: &mut Vec<u8>,
        ledger: &mut Vec<u8>,
    ) -> Option<()> {
        let rows = self.rows;
        if fields.value(rows.fault)?.is_some() {
            return None;
        }
        let id = fields.framed(rows.id)?;
        target.extend_from_slice(&self.target_fields);
        target.extend_from_slice(id);
        for origin in &rows.origins {
            match origin {
                Origin::Staged(field) => target.extend_from_slice(fields.framed(*field)?),
                Origin::Narrowed(field, width) => narrow(fields.value(*field)?, *width, target)?,
                Origin::Parent(field, key_type, parent) => {
                    let id = match fields.value(*field)? {
                        None => None,
                        key => Some(self.parent_id(parent, *key_type, key)?),
                    };
                    put_field(target, id.as_ref().map(|it| it.as_bytes().as_slice()));
                }
            }
        }
        ledger.extend_from_slice(&self.ledger_fields);
        for key in 0..rows.key_fields {
            ledger.extend_from_slice(fields.framed(key)?);
        }
        ledger.extend_from_slice(id);
        ledger.extend_from_slice(fields.framed(rows.id + 1)?);
        ledger.extend_from_slice(&self.ledger_tail);
        Some(())
    }

    fn parent_id(&mut self, parent: &str, key_type: KeyType, key: Option<&[u8]>) -> Option<Uuid> {
        self.parent_key.0.clear();
        encode_field(key_type, key, &mut self.parent_key.0).ok()?;
        let installation = self.stamp.installation_id;
        Some(ordered_target_id(
            installation,
            parent,
            &self.parent_key,
            &[key_type],
            None,
        ))
    }
}

impl<'a> Framed<'a> {
    /// Takes the fields of one tuple; returns what follows it.
    fn cut(&mut self, count: usize, tuple: &'a [u8]) -> Option<&'a [u8]> {
        self.0.clear();
        let mut fields = Fields::new(tuple);
        let mut before = tuple;
        for _ in 0..count {
            fields.next()?.ok()?;
            let rest = fields.rest();
            self.0.push(&before[..before.len() - rest.len()]);
            before = rest;
        }
        Some(before)
    }

    fn framed(&self, field: usize) -> Option<&'a [u8]> {
        self.0.get(field).copied()
    }

    /// The value of a field, NULL as `None` within.
    fn value(&self, field: usize) -> Option<Option<&'a [u8]>> {
        Fields::new(self.framed(field)?).next()?.ok()
    }
}

/// Appends a `bigint` in fewer bytes, if it fits.
fn narrow(value: Option<&[u8]>, width: usize, out: &mut Vec<u8>) -> Option<()> {
    let Some(value) = value else {
        put_field(out, None);
        return Some(());
    };
    let number = i64::from_be_bytes(value.try_into().ok()?);
    let bits = u32::try_from(width * 8 - 1).ok()?;
    if !(-(1_i64 << bits)..1_i64 << bits).contains(&number) {
        return None;
    }
    put_field(out, Some(&value[value.len() - width..]));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rows() -> DirectRows {
        DirectRows {
            columns: Vec::new(),
            references: Vec::new(),
            origins: vec![
                Origin::Narrowed(0, 4),
                Origin::Staged(1),
                Origin::Parent(3, KeyType::Integer, "parents".into()),
            ],
            key_fields: 1,
            fault: 2,
            id: 4,
        }
    }

    fn stamp() -> Stamp {
        Stamp {
            installation_id: Uuid::nil(),
            xid: 77,
            session_number: 5,
        }
    }

    fn staged(key: i64, fault: Option<&[u8]>, parent: Option<i64>) -> Vec<u8> {
        let mut out = 7_i16.to_be_bytes().to_vec();
        put_field(&mut out, Some(&key.to_be_bytes()));
        put_field(&mut out, Some(b"text"));
        put_field(&mut out, fault);
        put_field(
            &mut out,
            parent
                .map(i64::to_be_bytes)
                .as_ref()
                .map(|it| it.as_slice()),
        );
        put_field(&mut out, Some(&[9; 16]));
        put_field(&mut out, Some(&[8; 16]));
        put_field(&mut out, Some(&0_i32.to_be_bytes()));
        out
    }

    fn values(tuple: &[u8]) -> Vec<Option<Vec<u8>>> {
        let fields = Fields::new(&tuple[2..]);
        fields.map(|it| it.unwrap().map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn a_row_becomes_one_tuple_each() {
        let rows = rows();
        let (mut target, mut ledger) = (Vec::new(), Vec::new());
        let mut writer = DirectWriter::new(&rows, stamp());
        assert!(writer.write(
            &mut staged(3, None, Some(6)).as_slice(),
            0,
            &mut target,
            &mut ledger
        ));
        let mut parent = Vec::new();
        encode_field(KeyType::Integer, Some(&6_i64.to_be_bytes()), &mut parent).unwrap();
        let parent = ordered_target_id(
            Uuid::nil(),
            "parents",
            &Key(parent),
            &[KeyType::Integer],
            None,
        );
        let expected = [
            Some(vec![9; 16]),
            Some(3_i32.to_be_bytes().to_vec()),
            Some(b"text".to_vec()),
            Some(parent.as_bytes().to_vec()),
        ];
        assert_eq!(values(&target), expected);
        let expected = [
            Some(3_i64.to_be_bytes().to_vec()),
            Some(vec![9; 16]),
            Some(vec![8; 16]),
            Some(77_u32.to_be_bytes().to_vec()),
            Some(5_i32.to_be_bytes().to_vec()),
        ];
        assert_eq!(values(&ledger), expected);
        assert_eq!(
            (target[..2].to_vec(), ledger[..2].to_vec()),
            (vec![0, 4], vec![0, 5])
        );
    }

    #[test]
    fn a_row_without_parent_keeps_its_null() {
        let rows = rows();
        let (mut target, mut ledger) = (Vec::new(), Vec::new());
        let mut writer = DirectWriter::new(&rows, stamp());
        assert!(writer.write(
            &mut staged(3, None, None).as_slice(),
            0,
            &mut target,
            &mut ledger
        ));
        assert_eq!(values(&target)[3], None);
    }

    #[test]
    fn rows_for_the_stage_are_noticed() {
        let rows = rows();
        let write = |mut staged: &[u8]| {
            let mut writer = DirectWriter::new(&rows, stamp());
            writer.write(&mut staged, 0, &mut Vec::new(), &mut Vec::new())
        };
        assert!(!write(&staged(3, Some(b"22P02|bad|column"), None)));
        assert!(!write(&staged(1 << 40, None, None)));
        assert!(!write(&staged(3, None, None)[..30]));
        assert!(write(&[]));
    }

    proptest! {
        #[test]
        fn narrowing_keeps_the_number(number in i64::from(i16::MIN) - 9..=i64::from(i16::MAX) + 9) {
            let mut out = Vec::new();
            let fits = narrow(Some(&number.to_be_bytes()), 2, &mut out).is_some();
            prop_assert_eq!(fits, i16::try_from(number).is_ok());
            if fits {
                let kept = i16::from_be_bytes(out[4..].try_into().unwrap());
                prop_assert_eq!(i64::from(kept), number);
            }
        }
    }
}
