//! How both databases have changed since a session ended well.

use crate::db::control::catalog_snapshot::{self, Latest};
use crate::db::control::mapping_version;
use crate::db::server::Connection;
use crate::domain::catalog::{Catalog, Column};
use crate::domain::connection::Side;
use crate::domain::drift::{
    CatalogSnapshot, Change, Difference, Former, Judge, Severity, Usage, What, compare, former,
    judge, named_tables,
};
use crate::domain::identifier::QualifiedName;
use crate::domain::mapping::{Mapping, MappingIssue, parse};
use crate::domain::resolve::{Catalogs, ResolvedEntity, resolve};
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;

/// What is known of the past, what is there now, and the way between.
#[derive(Debug, Clone, Default)]
pub struct Drift {
    /// What the last session saw.
    pub latest: Latest,
    /// What is there now; source and target.
    pub now: Option<(CatalogSnapshot, CatalogSnapshot)>,
    /// What was there, where it was something else.
    pub before: Vec<(Side, CatalogSnapshot)>,
    /// What changed, the gravest first.
    pub changes: Vec<Change>,
    /// What the last session made of each entity, by name, where something is another way now.
    pub former: BTreeMap<String, ResolvedEntity>,
}

impl Drift {
    /// Compares both catalogs with the latest snapshots; what is as it was costs one query.
    ///
    /// # Errors
    /// The control schema cannot be read.
    pub async fn look(
        connection: &mut Connection,
        mapping: &Mapping,
        catalogs: &(Catalog, Catalog),
        issues: &[MappingIssue],
        refused: &[String],
    ) -> Result<Drift> {
        match catalog_snapshot::is_kept(connection).await? {
            true => Drift::measure(connection, mapping, catalogs, issues, refused).await,
            false => Ok(Drift {
                now: Some(now(mapping, catalogs)),
                ..Drift::default()
            }),
        }
    }

    /// As [`Drift::look`], where the control schema is known to be there.
    ///
    /// # Errors
    /// The query fails.
    pub async fn measure(
        connection: &mut Connection,
        mapping: &Mapping,
        catalogs: &(Catalog, Catalog),
        issues: &[MappingIssue],
        refused: &[String],
    ) -> Result<Drift> {
        let now = now(mapping, catalogs);
        let latest = catalog_snapshot::latest(connection).await?;
        let sides = [
            (Side::Source, &now.0, &catalogs.0),
            (Side::Target, &now.1, &catalogs.1),
        ];
        let mut before = Vec::new();
        let mut differences: Vec<Difference> = Vec::new();
        for (side, snapshot, catalog) in sides {
            let digest = snapshot.digest();
            let Some(taken) = latest.of(side).filter(|it| it.digest != digest) else {
                continue;
            };
            let structure = catalog_snapshot::structure(connection, side, &taken.digest).await?;
            if let Some(structure) = structure {
                differences.extend(compare(side, &structure, catalog));
                before.push((side, structure));
            }
        }
        let columns = |name: &QualifiedName| columns_of(&before, &catalogs.0, name);
        let usage = Usage::new(mapping, &columns);
        let judge_by = Judge {
            usage: &usage,
            source: &catalogs.0,
            target: &catalogs.1,
            issues,
            refused,
        };
        let changes = judge(&judge_by, differences);
        Ok(Drift {
            latest,
            now: Some(now),
            before,
            changes,
            former: BTreeMap::new(),
        })
    }

    /// Finds out what the last session made of each entity, when the mapping or a catalog is another one now: row
    /// hashes of then can only be compared with what is made the same way.
    ///
    /// # Errors
    /// The query fails.
    pub async fn remember_former(
        &mut self,
        connection: &mut Connection,
        mapping: &Mapping,
        catalogs: &(Catalog, Catalog),
    ) -> Result<()> {
        let Some(last) = self.latest.mapping.clone() else {
            return Ok(());
        };
        // What somebody accepted since was seen by no session.
        let seen = |side: Side| {
            let taken = self.latest.of(side);
            taken.is_some_and(|it| it.session == Some(last.session))
        };
        let as_it_was = self.before.is_empty() && seen(Side::Source) && seen(Side::Target);
        if as_it_was && last.digest == mapping.digest {
            return Ok(());
        }
        let Some(applied) = mapping_version::latest(connection).await? else {
            return Ok(());
        };
        let source = catalog_snapshot::seen_by(connection, Side::Source, last.session).await?;
        let target = catalog_snapshot::seen_by(connection, Side::Target, last.session).await?;
        let (Some(source), Some(target)) = (source, target) else {
            return Ok(());
        };
        let source = source.to_catalog(catalogs.0.server_version);
        let target = target.to_catalog(catalogs.1.server_version);
        let Ok(mapping) = parse(&applied.text) else {
            return Ok(());
        };
        let catalogs = Catalogs {
            source: &source,
            target: &target,
            // What a query returned then is not known any more.
            query_columns: &BTreeMap::new(),
        };
        let resolved = resolve(&mapping, catalogs).unwrap_or_default();
        let whole = resolved.into_iter().filter(|entity| {
            let declared = mapping.entities.iter().find(|it| it.name == entity.name);
            declared.is_some_and(|it| it.columns.len() == entity.columns.len())
        });
        self.former = whole.map(|it| (it.name.clone(), it)).collect();
        Ok(())
    }

    /// Returns what the last session made of an entity, as far as the target can still be read that way.
    pub fn former(&self, now: &ResolvedEntity, target: &Catalog) -> Option<Former> {
        let old = self.former.get(&now.name)?;
        let changes = self.changes.iter().map(|it| &it.difference);
        let own = changes.filter(|it| it.side == Side::Target && it.table == old.target);
        let renamed = own.filter_map(|it| match &it.what {
            What::ColumnRenamed { from, to, .. } => Some((from.name.clone(), to.name.clone())),
            _ => None,
        });
        former(old, now, target.table(&now.target)?, &renamed.collect())
    }

    /// Lists the columns that a source table has or had.
    pub fn source_columns(&self, source: &Catalog, table: &QualifiedName) -> Vec<Column> {
        columns_of(&self.before, source, table)
    }

    /// Adds to a refusal of the source what has changed, when that is what it is about.
    pub(super) async fn explain(
        error: Error,
        connection: &mut Connection,
        mapping: &Mapping,
        catalogs: &(Catalog, Catalog),
    ) -> Error {
        if !matches!(error.kind(), Kind::Drift | Kind::Unexpected) {
            return error;
        }
        let entities = mapping.entities.iter().map(|it| &it.name);
        let refused: Vec<String> = entities
            .filter(|it| error.what().contains(*it))
            .cloned()
            .collect();
        let looked = Drift::look(connection, mapping, catalogs, &[], &refused).await;
        // What cannot be found out about the past does not change what is wrong now.
        let drift = looked.unwrap_or_default();
        let felt = drift
            .changes
            .iter()
            .filter(|it| it.severity > Severity::Harmless);
        let felt: Vec<String> = felt.map(Drift::line).collect();
        if felt.is_empty() {
            return error;
        }
        let cause = error.cause_text().unwrap_or_default();
        let cause = format!(
            "{cause}\nwhat has changed {}:\n{}",
            drift.since(),
            felt.join("\n")
        );
        error.cause(cause)
    }

    /// Tells whether a side is another database than the one that was seen before.
    pub fn is_of_another(&self, catalogs: &(Catalog, Catalog)) -> bool {
        self.before.iter().any(|(side, it)| match side {
            Side::Source => it.identity != catalogs.0.identity,
            Side::Target => it.identity != catalogs.1.identity,
        })
    }

    /// Says since when, as `since session 12`.
    pub fn since(&self) -> String {
        let taken = [&self.latest.source, &self.latest.target];
        let sessions = taken.into_iter().flatten().map(|it| it.session);
        match sessions.max().flatten() {
            Some(number) => format!("since session {number}"),
            None => "since the last look".to_owned(),
        }
    }

    /// Writes a change with what helps.
    pub fn line(change: &Change) -> String {
        match &change.fix {
            Some(fix) => format!("{}; {fix}", change.sentence()),
            None => change.sentence(),
        }
    }
}

fn columns_of(
    before: &[(Side, CatalogSnapshot)],
    source: &Catalog,
    name: &QualifiedName,
) -> Vec<Column> {
    let before = before.iter().filter(|(side, _)| *side == Side::Source);
    let before = before.filter_map(|(_, it)| it.table(name));
    let tables = before.chain(source.table(name));
    tables.flat_map(|it| it.columns.clone()).collect()
}

fn now(mapping: &Mapping, catalogs: &(Catalog, Catalog)) -> (CatalogSnapshot, CatalogSnapshot) {
    let of = |side, catalog| CatalogSnapshot::of(catalog, &named_tables(mapping, side));
    (of(Side::Source, &catalogs.0), of(Side::Target, &catalogs.1))
}
