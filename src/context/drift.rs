//! How both databases have changed since a session ended well.

use crate::db::control::catalog_snapshot::{self, Latest};
use crate::db::server::Connection;
use crate::domain::catalog::{Catalog, Column};
use crate::domain::connection::Side;
use crate::domain::drift::{
    CatalogSnapshot, Change, Difference, Judge, Usage, compare, judge, named_tables,
};
use crate::domain::identifier::QualifiedName;
use crate::domain::mapping::{Mapping, MappingIssue};
use crate::error::Result;

/// What is known of the past, what is there now, and the way between.
#[derive(Debug, Clone, Default)]
pub struct Drift {
    /// What the last session saw.
    pub latest: Latest,
    /// What is there now; source and target.
    pub now: Option<(CatalogSnapshot, CatalogSnapshot)>,
    /// What changed, the gravest first.
    pub changes: Vec<Change>,
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
        let columns = |name: &QualifiedName| -> Vec<Column> {
            let before = before.iter().filter(|(side, _)| *side == Side::Source);
            let before = before.filter_map(|(_, it)| it.table(name));
            let tables = before.chain(catalogs.0.table(name));
            tables.flat_map(|it| it.columns.clone()).collect()
        };
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
            changes,
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

fn now(mapping: &Mapping, catalogs: &(Catalog, Catalog)) -> (CatalogSnapshot, CatalogSnapshot) {
    let of = |side, catalog| CatalogSnapshot::of(catalog, &named_tables(mapping, side));
    (
        of(Side::Source, &catalogs.0),
        of(Side::Target, &catalogs.1),
    )
}
