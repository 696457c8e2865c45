//! What is known of an entity before it is read: its watermark, and whether the source still stands on its ground.

use super::entity::{Hands, Pass};
use crate::db::control::watermark::{self, StoredWatermark};
use crate::db::source;
use crate::db::standing::shape;
use crate::db::statement::source::SourceStatements;
use crate::db::statement::source::newer::count_table;
use crate::domain::catalog::{RelationKind, Table};
use crate::domain::connection::Side;
use crate::domain::identifier::QualifiedName;
use crate::domain::resolve::{JoinFrom, ResolvedEntity};
use crate::domain::watermark::{Ground, Standing, Watermark};
use crate::error::Result;
use std::collections::BTreeMap;

/// Everything the choice of a mode rests on.
pub(super) struct Basis {
    pub standing: Standing,
    pub stored: Option<StoredWatermark>,
    /// Whether a sample of the keys parts the rows: they are those of a table, and none has no key.
    pub can_be_parted: bool,
    /// Tables beside the entity's own: joined ones, or those that its query reads.
    pub beside: Vec<QualifiedName>,
}

/// Looks where the source and the entity's watermark stand.
pub(super) async fn basis(
    pass: &Pass<'_>,
    entity: &ResolvedEntity,
    statements: &SourceStatements,
    hands: &mut Hands,
) -> Result<Basis> {
    let catalog = &pass.context.catalogs.0;
    let clock = pass.snapshot.clock();
    let tables = entity.source.watched.iter();
    let tables: Vec<_> = tables.filter_map(|name| catalog.table(name)).collect();
    let oids: Vec<i64> = tables.iter().map(|table| table.oid).collect();
    let (shape, is_plain) = shape(&mut hands.reader, &oids).await?;
    let unfit = tables.iter().find_map(|table| match table.kind {
        RelationKind::Table | RelationKind::Partitioned => None,
        RelationKind::View => Some("it reads a view, whose rows have no xmin"),
        RelationKind::Foreign => Some("it reads a foreign table, whose rows have no xmin"),
    });
    let no_xmin = if catalog.identity.system_identifier.is_empty() || clock.timeline.is_empty() {
        Some(
            "the role may not know which server this is (pg_control_system, pg_control_checkpoint)",
        )
    } else if unfit.is_none() && !is_plain {
        Some("it has foreign partitions, whose rows have no xmin")
    } else {
        unfit
    };
    let stored = match pass.ledgers.is_empty() {
        true => None,
        false => watermark::find(&mut hands.target, &entity.name).await?,
    };
    let own = entity.source.own_table();
    // A table that is joined to itself is watched like any other joined table.
    let joins_itself = entity.source.joins.iter().any(|it| match &it.from {
        JoinFrom::Table(table) => Some(table) == own,
        JoinFrom::Groups(source, _) => own.is_some_and(|own| source.watched.contains(own)),
    });
    let beside = entity.source.watched.iter();
    let beside = beside.filter(|name| Some(*name) != own || joins_itself);
    let table = own.and_then(|name| catalog.table(name));
    let has_key = |table: &Table| {
        let mut columns = entity.source.key.iter().map(|(name, _)| table.column(name));
        columns.all(|column| column.is_some_and(|it| it.not_null))
    };
    Ok(Basis {
        beside: beside.cloned().collect(),
        can_be_parted: unfit.is_none() && is_plain && table.is_some_and(has_key),
        standing: Standing {
            ground: Ground {
                identity: catalog.identity.clone(),
                server_version: catalog.server_version,
                timeline: clock.timeline.clone(),
                shape,
                projection: Ground::digest(&statements.projection()),
            },
            next_xid: clock.next_xid,
            no_xmin,
            has_updated_at: entity.updated_at.is_some(),
            ledger_rows: stored.as_ref().map_or(0, |it| it.live_rows),
        },
        stored,
    })
}

impl Basis {
    /// The watermark of the last run that applied the entity to its end.
    pub fn before(&self) -> Option<&Watermark> {
        self.stored.as_ref().map(|it| &it.watermark)
    }

    /// Makes the watermark of this pass; the tables beside are counted for it.
    pub async fn fresh_watermark(&self, pass: &Pass<'_>, hands: &mut Hands) -> Result<Watermark> {
        let mut watched_rows = BTreeMap::new();
        if pass.detection_id.is_some() && self.standing.no_xmin.is_none() {
            for table in &self.beside {
                let rows =
                    source::count_on(Side::Source, &mut hands.reader, &count_table(table)).await?;
                watched_rows.insert(table.to_string(), rows);
            }
        }
        Ok(self.watermark(pass, watched_rows))
    }

    /// Makes the watermark of this pass from counts that were taken already.
    pub fn watermark(&self, pass: &Pass<'_>, watched_rows: BTreeMap<String, u64>) -> Watermark {
        let clock = pass.snapshot.clock();
        let before = self.before();
        let same_keys = before.filter(|it| it.ground.shape == self.standing.ground.shape);
        Watermark {
            horizon: clock.horizon,
            seen_at: clock.now,
            ground: self.standing.ground.clone(),
            watched_rows,
            slice: before.map_or(0, |it| it.slice),
            slice_keys: same_keys.and_then(|it| it.slice_keys.clone()),
            distrust: same_keys.and_then(|it| it.distrust.clone()),
        }
    }
}
