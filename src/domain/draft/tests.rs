//! Small catalogs, written down as texts, and the drafts that come of them.

use super::*;
use crate::domain::catalog::{Column, ColumnType, ForeignKey, RelationKind};

/// Reads `numeric(10,2)` or `enum(a,b)`.
pub(super) fn column_type(text: &str) -> ColumnType {
    let (base, modifier) = match text.split_once('(') {
        Some((base, rest)) => (base, format!("({rest}")),
        None => (text, String::new()),
    };
    let labels = || {
        let inner = modifier.trim_matches(['(', ')']);
        inner.split(',').map(str::to_owned).collect()
    };
    let is_enum = base == "enum";
    ColumnType {
        display: text.to_owned(),
        base: base.to_owned(),
        enum_labels: is_enum.then(labels),
        modifier: if is_enum { String::new() } else { modifier.clone() },
        is_domain: false,
        is_builtin: !is_enum,
    }
}

/// Reads `name id:int4:pk parent_id:int4>parents title:text! seen_at:timestamptz=`; `!` is NOT NULL, `=` a default.
pub(super) fn relation(text: &str) -> Relation {
    let mut words = text.split_whitespace();
    let name = QualifiedName::new("public", words.next().unwrap());
    let mut table = Table {
        name: name.clone(),
        oid: 0,
        kind: RelationKind::Table,
        columns: Vec::new(),
        primary_key: Vec::new(),
        referrers: Vec::new(),
        foreign_keys: Vec::new(),
        estimated_rows: -1,
    };
    for word in words {
        let (word, parent) = match word.split_once('>') {
            Some((word, parent)) => (word, Some(parent)),
            None => (word, None),
        };
        let (column, rest) = word.split_once(':').unwrap();
        let is_key = rest.ends_with(":pk");
        let rest = rest.trim_end_matches(":pk");
        table.columns.push(Column {
            name: column.to_owned(),
            column_type: column_type(rest.trim_end_matches(['!', '='])),
            not_null: is_key || rest.contains('!'),
            has_default: rest.contains('='),
            is_generated: false,
            identity_always: false,
        });
        if is_key {
            table.primary_key.push(column.to_owned());
        }
        table.foreign_keys.extend(parent.map(|parent| ForeignKey {
            name: format!("{column}_fkey"),
            columns: vec![column.to_owned()],
            referenced: QualifiedName::new("public", parent),
            referenced_columns: vec!["id".to_owned()],
            is_deferrable: false,
        }));
    }
    Relation {
        unique_keys: Vec::new(),
        is_touched: false,
        table,
    }
}

fn known(source: &[&str], target: &[&str]) -> Known {
    Known {
        source_schema: "public".to_owned(),
        target_schema: "public".to_owned(),
        source: source.iter().map(|it| relation(it)).collect(),
        target: target.iter().map(|it| relation(it)).collect(),
        time_zone: ZoneDraft {
            name: "UTC".to_owned(),
            reason: "a test".to_owned(),
        },
        answers: BTreeMap::new(),
    }
}
