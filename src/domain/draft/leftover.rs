//! What is left of both sides: tables without a counterpart, source columns without a use.

use super::column::Work;
use super::likeness::like;
use super::pairing::Pairing;
use super::shape::{Class, class};
use super::{Unmatched, Unused};

/// Target tables that nothing feeds.
pub(super) fn targets(pairing: &Pairing<'_>) -> Vec<Unmatched> {
    let all = pairing.targets.iter().enumerate();
    let open = all.filter(|(at, _)| !pairing.pairs.iter().any(|it| it.target == *at));
    open.map(|(at, side)| Unmatched {
        table: side.relation.table.name.clone(),
        nearest: pairing.nearest_source(at),
    })
    .collect()
}

/// Source tables that feed nothing.
pub(super) fn sources(pairing: &Pairing<'_>) -> Vec<Unmatched> {
    let all = pairing.sources.iter().enumerate();
    let open = all.filter(|(at, _)| !pairing.pairs.iter().any(|it| it.source == *at));
    open.map(|(at, side)| Unmatched {
        table: side.relation.table.name.clone(),
        nearest: pairing.nearest_target(at),
    })
    .collect()
}

/// Words of columns that say that a row is gone, without it being gone.
const GONE: &[&str] = &[
    "archived", "deleted", "removed", "draft", "hidden", "inactive", "obsolete",
];

impl Work<'_> {
    /// Lists the source columns that nothing uses, and why.
    pub(super) fn list_unused(&mut self) {
        let used = self.used();
        let (source, target) = (self.head.source, self.head.target);
        for (at, column) in source.relation.table.columns.iter().enumerate() {
            if used.contains(&column.name) {
                continue;
            }
            let near = target.shapes.iter().filter_map(|shape| {
                let (score, _) = like(&source.shapes[at], shape)?;
                Some((score, shape.name.clone()))
            });
            let near = near.max_by(|a, b| a.0.total_cmp(&b.0));
            let why = match near {
                Some((_, name)) => {
                    format!("nearest: `{name}`, which is filled otherwise or has another type")
                }
                None => "no column of the target is like it".to_owned(),
            };
            self.draft.ignore.push(Unused {
                column: column.name.clone(),
                reason: why,
            });
            let says_gone = source.shapes[at]
                .core
                .iter()
                .any(|it| GONE.contains(&it.as_str()));
            if says_gone && class(&column.column_type) == Class::Bool {
                let name = super::render::sql_name(&column.name);
                let hint = format!(
                    "where = \"not {}.{name}\", if such rows stay behind",
                    self.draft.alias
                );
                self.draft.hints.push(hint);
            }
        }
    }
}
