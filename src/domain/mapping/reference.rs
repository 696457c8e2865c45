//! Reads the rules that refer to parents.

use super::reader::{Reader, Section};
use super::rule::{column_ref, literal, literal_of};
use super::{ColumnRef, Hop, Literal, Missing, PolyTarget, Rule};

pub(super) fn read_reference(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Rule> {
    let entity = section.string(reader, "ref")?;
    let is_list = section.get("by").is_some_and(|it| it.get_ref().is_array());
    let by = match is_list {
        true => {
            let names = section.strings(reader, "by")?;
            if names.is_empty() {
                section.fault(reader, "by", "no column is named", None);
                return None;
            }
            names.iter().map(|name| ColumnRef::parse(name)).collect()
        }
        false => vec![column_ref(reader, section, "by")?],
    };
    let is_fallback = section
        .get("missing")
        .is_some_and(|it| it.get_ref().is_table());
    let (missing, fallback) = match is_fallback {
        true => (Missing::Fallback, read_fallback_key(reader, section)?),
        false => (read_missing(reader, section), Vec::new()),
    };
    Some(Rule::Reference {
        entity,
        by,
        via: read_via(reader, section),
        missing,
        fallback,
    })
}

/// Reads the key of the parent to fall back on: `{ default = 7 }`, or a list for a key of several columns.
fn read_fallback_key(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Vec<Literal>> {
    let inner = section.section(reader, "missing")?;
    inner.only(reader, &["default"]);
    let Some(items) = inner.get("default").and_then(|it| it.get_ref().as_array()) else {
        if !inner.has("default") {
            inner.fault(
                reader,
                "default",
                "the key of the parent is not named",
                None,
            );
        }
        return literal(reader, &inner, "default").map(|it| vec![it]);
    };
    let parts: Option<Vec<Literal>> = items.iter().map(|it| literal_of(it.get_ref())).collect();
    let parts = parts.filter(|it| !it.is_empty());
    if parts.is_none() {
        let message = "expected the parts of a key: strings and numbers";
        inner.fault(reader, "default", message, None);
    }
    parts
}

/// Reads the steps that lead from the row to the parent's key: `table.column` or `entity.column`.
fn read_via(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<Hop> {
    let mut hops = Vec::new();
    for step in section.strings(reader, "via").unwrap_or_default() {
        match step.rsplit_once('.') {
            Some((relation, column)) if !relation.is_empty() && !column.is_empty() => {
                hops.push(Hop {
                    relation: relation.to_owned(),
                    column: column.to_owned(),
                });
            }
            _ => {
                let message = format!("`{step}` is not \"entity.column\" or \"table.column\"");
                section.fault(reader, "via", message, None);
            }
        }
    }
    hops
}

fn read_missing(reader: &mut Reader<'_>, section: &Section<'_>) -> Missing {
    let words = [
        ("hold", Missing::Hold),
        ("null", Missing::Null),
        ("quarantine", Missing::Quarantine),
    ];
    section
        .word(reader, "missing", &words)
        .unwrap_or(Missing::Hold)
}

pub(super) fn read_poly(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Rule> {
    let poly = section.section(reader, "poly")?;
    poly.only(reader, &["type", "id", "map"]);
    let map = poly.section(reader, "map")?;
    let mut targets = Vec::new();
    for (code, _, _) in map.entries() {
        if let Some(entity) = map.string(reader, code) {
            targets.push(PolyTarget {
                code: code.to_owned(),
                entity,
            });
        }
    }
    Some(Rule::Poly {
        type_column: column_ref(reader, &poly, "type")?,
        id_column: column_ref(reader, &poly, "id")?,
        targets,
        missing: read_missing(reader, section),
    })
}
