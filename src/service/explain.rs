//! One row on its way: source, mapping, target, and what the ledger knows. It shows values, because they were asked for.

use crate::context::{Context, Selection};
use crate::db::TupleStream;
use crate::db::control::quarantine::{self, Choice};
use crate::db::control::schema::{self, Installed};
use crate::db::server::Connection;
use crate::db::source::{self, Snapshot, texts};
use crate::db::standing::{begin_ledger_view, end_ledger_view};
use crate::db::statement::content::ContentStatements;
use crate::db::statement::explain as statements;
use crate::db::statement::source::SourceStatements;
use crate::domain::canonical::{CanonicalRow, RowShape};
use crate::domain::connection::Side;
use crate::domain::key::Key;
use crate::domain::quarantine::{ANY_STATUS, meant_keys, written_key};
use crate::domain::resolve::{ResolvedEntity, ResolvedValue};
use crate::domain::verification::differing_columns;
use crate::error::{Error, Kind, Result};
use crate::service::quarantine::{LedgerState, Waiting};
use crate::service::rows::SourceRows;
use serde::Serialize;

/// A column and its value as text.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NamedValue {
    /// The column.
    pub column: String,
    /// The value; null is NULL.
    pub value: Option<String>,
}

/// What the mapping makes of one target column, and what is there.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExplainedColumn {
    /// The target column; a generic reference has one line for its key and one for its kind.
    pub column: String,
    /// The line of the mapping file that says so.
    pub line: usize,
    /// The SQL that makes the value on the source.
    pub sql: String,
    /// The value it makes; references are still source keys.
    pub mapped: Option<String>,
    /// The value that is read back from the target in the same form.
    pub found: Option<String>,
    /// Whether both are the same to the byte; nothing when one side has no row.
    pub equal: Option<bool>,
}

/// Why a row is set aside.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Aside {
    /// `open`, `held`, `conflict` or `waived`.
    pub status: String,
    /// The SQLSTATE.
    pub sqlstate: String,
    /// In words.
    pub reason: String,
    /// How often.
    pub attempts: i32,
}

/// Everything about one row.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The entity.
    pub entity: String,
    /// The key, the way commands take it.
    pub key: String,
    /// The source relation.
    pub source: String,
    /// The target table.
    pub target: String,
    /// The source row; empty when there is none.
    pub source_row: Vec<NamedValue>,
    /// Whether it passes joins and filter.
    pub passes: bool,
    /// What the mapping objects to, as `sqlstate|reason|column`.
    pub fault: Option<String>,
    /// The mapped columns.
    pub columns: Vec<ExplainedColumn>,
    /// The target row; empty when there is none.
    pub target_row: Vec<NamedValue>,
    /// What the ledger knows; nothing when no batch has seen the key.
    pub ledger: Option<LedgerState>,
    /// Why it is set aside.
    pub aside: Option<Aside>,
    /// What it waits for.
    pub waits_for: Vec<Waiting>,
}

/// Explains one row.
///
/// # Errors
/// The entity or the key is not known (exit 2), or a side cannot be read.
pub async fn explain(context: &Context, entity: &str, written: &str) -> Result<Explanation> {
    let chosen = context.select(&Selection {
        only: vec![entity.to_owned()],
        except: Vec::new(),
    })?;
    let Some(entity) = chosen.first() else {
        return Err(Error::new(Kind::Usage, "no entity was chosen"));
    };
    let (key, written) = parse_key(entity, written)?;
    let tables = crate::service::detect::watched(&chosen);
    let snapshot = Snapshot::take(&context.source, &tables).await?;
    let mut one = One {
        entity,
        key,
        reader: snapshot.reader().await?,
        target: context.target.open().await?,
    };
    let mut explanation = one.source_side(written).await?;
    let installed = schema::look(&mut one.target).await?;
    let ledgers = match installed {
        Installed::Absent => Vec::new(),
        Installed::Present { .. } => schema::ledgers(&mut one.target).await?,
    };
    if ledgers.contains(&entity.name) {
        one.target_side(&mut explanation).await?;
    }
    drop(one);
    snapshot.release().await?;
    if explanation.source_row.is_empty() && explanation.ledger.is_none() {
        let what = format!("{} has no row {}", explanation.entity, explanation.key);
        return Err(Error::new(Kind::Usage, what)
            .cause("neither the source nor the ledger knows the key")
            .state("nothing was changed"));
    }
    Ok(explanation)
}

fn parse_key(entity: &ResolvedEntity, written: &str) -> Result<(Key, String)> {
    let types = entity.key_types();
    let mut meant = meant_keys(written);
    // `1,2` is the short form of `[1,2]`.
    meant.extend(serde_json::from_str(&format!("[{written}]")));
    let mut keys = meant.iter().filter_map(|value| {
        let key = Key::from_json(value, &types).ok()?;
        Some((key, written_key(value)))
    });
    keys.next().ok_or_else(|| {
        let columns: Vec<&str> = entity
            .source
            .key
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let what = format!("`{written}` is no key of {}", entity.name);
        Error::new(Kind::Usage, what)
            .cause(format!("its key is ({})", columns.join(", ")))
            .state("nothing was changed")
            .next("write one value, or a JSON array like '[1, \"a\"]' for several columns")
    })
}

/// One row with the connections to look at it.
struct One<'a> {
    entity: &'a ResolvedEntity,
    key: Key,
    reader: Connection,
    target: Connection,
}

fn named(rows: Vec<(String, Option<String>)>) -> Vec<NamedValue> {
    let rows = rows.into_iter();
    rows.map(|(column, value)| NamedValue { column, value })
        .collect()
}

/// The names and lines of the compared fields, in the order of the projection.
fn compared(entity: &ResolvedEntity) -> Vec<(String, usize)> {
    let mut names = Vec::new();
    for column in &entity.columns[..entity.compared_count()] {
        names.push((column.name.clone(), column.rule.spot.line));
        if matches!(column.value, ResolvedValue::Poly { .. }) {
            names.push((format!("{} (kind)", column.name), column.rule.spot.line));
        }
    }
    names
}

impl One<'_> {
    fn unreadable(&self) -> impl Fn(crate::domain::key::KeyFault) -> Error + use<> {
        let name = self.entity.name.clone();
        move |fault| {
            Error::new(Kind::Unexpected, format!("a key of {name} cannot be read"))
                .cause(fault.to_string())
        }
    }

    async fn source_side(&mut self, written: String) -> Result<Explanation> {
        let unreadable = self.unreadable();
        let select = SourceStatements::new(self.entity);
        let statement = statements::source_row(&select, &self.key).map_err(&unreadable)?;
        let source_row = named(texts(Side::Source, &mut self.reader, &statement).await?);
        let statement =
            statements::mapped_row(self.entity, &select, &self.key).map_err(&unreadable)?;
        let mapped = texts(Side::Source, &mut self.reader, &statement).await?;
        let sql = statements::field_sql(self.entity);
        let names = compared(self.entity);
        let value = |at: usize| mapped.get(at).and_then(|(_, value)| value.clone());
        let fault = value(names.len());
        let columns = names.into_iter().zip(sql).enumerate();
        let columns = columns.map(|(at, ((column, line), sql))| ExplainedColumn {
            column,
            line,
            sql,
            mapped: value(at),
            found: None,
            equal: None,
        });
        Ok(Explanation {
            entity: self.entity.name.clone(),
            key: written,
            source: self.entity.source.label(),
            target: self.entity.target.to_string(),
            passes: !mapped.is_empty(),
            source_row,
            fault,
            columns: columns.collect(),
            target_row: Vec::new(),
            ledger: None,
            aside: None,
            waits_for: Vec::new(),
        })
    }

    async fn target_side(&mut self, explanation: &mut Explanation) -> Result<()> {
        let unreadable = self.unreadable();
        let contents = ContentStatements::new(self.entity);
        begin_ledger_view(&mut self.target).await?;
        let statement = statements::target_row(self.entity, &self.key).map_err(&unreadable)?;
        explanation.target_row = named(texts(Side::Target, &mut self.target, &statement).await?);
        let statement =
            statements::read_back(&contents, self.entity, &self.key).map_err(&unreadable)?;
        let found = texts(Side::Target, &mut self.target, &statement).await?;
        for (column, (_, value)) in explanation.columns.iter_mut().zip(found) {
            column.found = value;
        }
        if explanation.passes && !explanation.target_row.is_empty() {
            let differing = self.differing(&contents).await?;
            for column in &mut explanation.columns {
                let name = column.column.trim_end_matches(" (kind)");
                column.equal = Some(!differing.iter().any(|it| it == name));
            }
        }
        self.known(explanation).await?;
        end_ledger_view(&mut self.target).await
    }

    /// Compares the row the way the engine does.
    async fn differing(&mut self, contents: &ContentStatements) -> Result<Vec<String>> {
        let unreadable = self.unreadable();
        let keys = [self.key.clone()];
        let select = SourceStatements::new(self.entity);
        let statement = select.keys(&keys).map_err(&unreadable)?;
        let name = &self.entity.name;
        let stream = source::rows(&mut self.reader, &statement, name).await?;
        let mut rows = SourceRows::new(stream, RowShape::new(self.entity), name);
        let statement = contents.of_keys(&keys).map_err(&unreadable)?;
        let mut stream =
            TupleStream::open(Side::Target, &mut self.target, &statement, name.clone()).await?;
        let mut differing = Vec::new();
        while let Some(tuple) = stream.next().await? {
            let mut found = CanonicalRow::new(RowShape::of_target(self.entity));
            let read = found.read(tuple);
            read.map_err(|fault| {
                let what = format!("a target row of {name} cannot be read back");
                Error::new(Kind::Unexpected, what).cause(fault.to_string())
            })?;
            if rows.advance().await? {
                differing = differing_columns(self.entity, rows.row(), &found);
            }
        }
        while rows.advance().await? {}
        Ok(differing)
    }

    async fn known(&mut self, explanation: &mut Explanation) -> Result<()> {
        let name = &self.entity.name;
        let stored = self.key.to_json(&self.entity.key_types());
        let stored = stored.map_err(self.unreadable())?;
        let entry = quarantine::entry(&mut self.target, name, &stored).await?;
        explanation.ledger = entry.map(LedgerState::from);
        let choice = Choice {
            statuses: ANY_STATUS,
            entity: Some(name.clone()),
            reason: None,
            keys: Some(vec![stored.clone()]),
        };
        let rows = quarantine::list(&mut self.target, &choice, Some(1)).await?;
        explanation.aside = rows
            .into_iter()
            .find(|it| it.status != "resolved")
            .map(|it| Aside {
                status: it.status,
                sqlstate: it.sqlstate,
                reason: it.reason,
                attempts: it.attempts,
            });
        let waits = quarantine::waits(&mut self.target, name, &stored).await?;
        explanation.waits_for = waits.into_iter().map(Waiting::from).collect();
        Ok(())
    }
}
