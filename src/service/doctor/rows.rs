//! Rows of the source: codes that nobody translates, values that do not fit, values that are there twice.

use super::Examination;
use super::fit::refused;
use super::notebook::{Notebook, within};
use super::visit::Visit;
use crate::db::doctor::relation::uniques;
use crate::db::doctor::rows as asked;
use crate::db::server::Connection;
use crate::db::statement::doctor::{
    RowCheck, count_duplicates, count_troubled, row_checks, values_of,
};
use crate::domain::connection::Side;
use crate::domain::doctor::relation::Unique;
use crate::domain::doctor::rows::{RulePlace, Troubled, judge, judge_duplicates};
use crate::domain::doctor::{Finding, Place, code};
use crate::domain::event::{Event, Progress};
use crate::domain::identifier::QualifiedName;
use crate::domain::resolve::ResolvedEntity;
use crate::error::{Error, Kind, Result};
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;

const SIDE: Side = Side::Source;

/// Looks at the rows of the chosen entities, one entity after the other.
pub(super) async fn look(
    source: &mut Visit,
    target: &mut Visit,
    examination: &Examination<'_>,
    entities: &[ResolvedEntity],
    events: &UnboundedSender<Event>,
) {
    let selection = &examination.request.selection;
    let chosen: Vec<&ResolvedEntity> = entities
        .iter()
        .filter(|it| selection.includes(&it.name))
        .collect();
    let tables: Vec<QualifiedName> = chosen.iter().map(|it| it.target.clone()).collect();
    let uniques = match &mut target.connection {
        Some(connection) => {
            let asking = uniques(connection, &tables);
            let looked = target
                .notebook
                .look(Side::Target, "the unique indexes", asking);
            looked.await.unwrap_or_default()
        }
        None => Vec::new(),
    };
    let Some(connection) = &mut source.connection else {
        return;
    };
    for entity in chosen {
        let advance = |rows: u64, finished| {
            // Nobody listening is no fault.
            let _ = events.send(Event::Advanced(Progress {
                entity: entity.name.clone(),
                phase: "check",
                rows_done: rows,
                rows_total: rows,
                finished,
            }));
        };
        advance(0, false);
        let looks = Looks {
            entity,
            connection,
            most: examination.request.rows,
            limit: examination.request.limit,
        };
        let rows = looks.all(&mut source.notebook, &uniques).await;
        advance(rows, true);
    }
}

struct Looks<'a> {
    entity: &'a ResolvedEntity,
    connection: &'a mut Connection,
    /// How many rows are looked at.
    most: u64,
    /// How long one statement may take.
    limit: Duration,
}

impl Looks<'_> {
    async fn all(mut self, notebook: &mut Notebook, uniques: &[Unique]) -> u64 {
        let checks = row_checks(self.entity);
        let rows = match self.troubles(&checks, true).await {
            Ok((rows, findings)) => {
                notebook.findings.extend(findings);
                rows
            }
            Err(error) if error.kind() == Kind::Unexpected => {
                self.note(notebook, &error);
                self.column_by_column(notebook, &checks).await
            }
            Err(error) => {
                self.note(notebook, &error);
                return 0;
            }
        };
        if rows >= self.most {
            let found = format!("only the first {} rows were looked at", self.most);
            let finding = Finding::new(code::PARTLY_LOOKED_AT, SIDE, found);
            notebook.add(finding.of_entity(&self.entity.name));
        }
        match self.duplicates(uniques).await {
            Ok(findings) => notebook.findings.extend(findings),
            Err(error) => self.note(notebook, &error),
        }
        rows
    }

    /// What one column cannot be asked for, the others can.
    async fn column_by_column(&mut self, notebook: &mut Notebook, checks: &[RowCheck]) -> u64 {
        let mut most = 0;
        for own in RowCheck::by_column(checks) {
            match self.troubles(&own, false).await {
                Ok((rows, findings)) => {
                    notebook.findings.extend(findings);
                    most = rows;
                }
                // That some rule fails is noted already.
                Err(error) if error.kind() == Kind::Unexpected => {}
                Err(error) => {
                    self.note(notebook, &error);
                    break;
                }
            }
        }
        most
    }

    fn note(&self, notebook: &mut Notebook, error: &Error) {
        if error.kind() != Kind::Unexpected {
            return refused(notebook, &self.entity.name, error);
        }
        let cause = error.cause_text().unwrap_or_default();
        let found = format!(
            "a rule cannot be computed for some row ({cause}): each run searches such rows and quarantines them, and \
             more than 1,000 of them stop it; what the rule makes of other rows was not counted"
        );
        let finding = Finding::new(code::RULE_FAILS, Place::Mapping, found);
        notebook.add(
            finding
                .of_entity(&self.entity.name)
                .mended_by("-- guard the expressions of the entity with case when"),
        );
    }

    /// Counts what each column does not accept, and lists the values where they are codes.
    async fn troubles(&mut self, checks: &[RowCheck], whole: bool) -> Result<(u64, Vec<Finding>)> {
        let name = &self.entity.name;
        let statement = count_troubled(self.entity, checks, whole, self.most);
        let counts = within(
            self.limit,
            SIDE,
            asked::counts(self.connection, name, &statement),
        )
        .await?;
        let of = counts.first().copied().unwrap_or(0);
        let mut findings = Vec::new();
        for (index, check) in checks.iter().enumerate() {
            let at = |offset: usize| counts.get(2 * index + offset).copied().unwrap_or(0);
            let (rows, longest) = (at(1), at(2));
            if rows == 0 {
                continue;
            }
            let values = match values_of(self.entity, checks, index, self.most) {
                Some(statement) => {
                    within(
                        self.limit,
                        SIDE,
                        asked::values(self.connection, name, &statement),
                    )
                    .await?
                }
                None => Vec::new(),
            };
            let place = RulePlace {
                entity: name.clone(),
                table: self.entity.target.clone(),
                column: check.column.clone(),
                line: check.line,
            };
            let troubled = Troubled {
                trouble: check.trouble,
                rows,
                of,
                longest: (longest > 0).then_some(longest),
                values,
            };
            findings.push(judge(&place, troubled));
        }
        Ok((of, findings))
    }

    /// Counts rows that a unique index of the target would not let in.
    async fn duplicates(&mut self, uniques: &[Unique]) -> Result<Vec<Finding>> {
        let entity = self.entity;
        let mut findings = Vec::new();
        // Rows that are one share their values on purpose.
        if entity.source.dedupe.is_some() {
            return Ok(findings);
        }
        for unique in uniques.iter().filter(|it| it.table == entity.target) {
            let Some(statement) = count_duplicates(entity, &unique.columns, self.most) else {
                continue;
            };
            let counting = asked::count(self.connection, &entity.name, &statement);
            let rows = within(self.limit, SIDE, counting).await?;
            if rows > 0 {
                findings.push(judge_duplicates(
                    &entity.name,
                    &entity.target,
                    &unique.name,
                    &unique.columns,
                    rows,
                ));
            }
        }
        Ok(findings)
    }
}
