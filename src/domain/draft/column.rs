//! The rules of one entity's columns.

use super::cast::{Fit, fit};
use super::entity::Head;
use super::identity::{Carried, carried, updated_at};
use super::likeness::{ENOUGH, like};
use super::pairing::Pairing;
use super::reference;
use super::render::{sql_column, sql_name};
use super::shape::{Class, class};
use super::{ColumnDraft, EntityDraft, Known, Question, RuleDraft, Todo, Unused};
use crate::domain::catalog::{Column, ColumnType};
use std::collections::BTreeSet;

/// An entity on its way.
pub(super) struct Work<'a> {
    pub known: &'a Known,
    pub pairing: &'a Pairing<'a>,
    pub heads: &'a [Head<'a>],
    pub head: &'a Head<'a>,
    pub draft: EntityDraft,
    /// Source columns that an ordinary rule uses.
    pub taken: BTreeSet<String>,
    pub questions: BTreeSet<Question>,
    pub needs_zone: bool,
}

impl<'a> Work<'a> {
    pub fn new(
        known: &'a Known,
        pairing: &'a Pairing<'a>,
        heads: &'a [Head<'a>],
        head: &'a Head<'a>,
        draft: EntityDraft,
    ) -> Work<'a> {
        Work {
            known,
            pairing,
            heads,
            head,
            draft,
            taken: BTreeSet::new(),
            questions: BTreeSet::new(),
            needs_zone: false,
        }
    }

    /// Finds rules for as many target columns as it can, the surest first.
    pub fn fill(&mut self) {
        self.draft.updated_at = updated_at(self.head.source);
        self.fill_legacy();
        self.fill_references();
        self.fill_generic();
        self.fill_alike();
        self.fill_guesses();
    }

    /// Lists what is left, puts rules into the order of the table and gives the entity back.
    pub fn finish(mut self) -> EntityDraft {
        self.list_open();
        self.list_unused();
        let place = |name: &str| {
            let columns = &self.head.target.relation.table.columns;
            columns.iter().position(|it| it.name == name)
        };
        self.draft.columns.sort_by_key(|it| place(&it.column));
        self.draft
    }

    /// Target columns that want a rule and have none.
    pub fn open(&self) -> Vec<(usize, &'a Column)> {
        let draft = &self.draft;
        let columns = self.head.target.relation.table.columns.iter().enumerate();
        columns
            .filter(|(_, it)| !it.is_generated && it.name != draft.id.column)
            .filter(|(_, it)| !draft.columns.iter().any(|rule| rule.column == it.name))
            .filter(|(_, it)| !draft.legacy.values().any(|name| *name == it.name))
            .filter(|(_, it)| !draft.left.iter().any(|left| left.column == it.name))
            .collect()
    }

    /// Source columns that are used for anything.
    pub fn used(&self) -> BTreeSet<String> {
        let rules = self.draft.columns.iter().flat_map(|it| it.rule.columns());
        let mut used: BTreeSet<String> = rules.map(str::to_owned).collect();
        used.extend(self.head.key.iter().cloned());
        used.extend(self.draft.updated_at.clone());
        used.extend(self.draft.id.time.clone());
        used.extend(self.draft.join.as_ref().map(|it| it.by.clone()));
        used
    }

    fn put(&mut self, column: &str, rule: RuleDraft, score: f64, reason: String) {
        for name in rule.columns() {
            self.taken.insert(name.to_owned());
        }
        self.draft.columns.push(ColumnDraft {
            column: column.to_owned(),
            rule,
            score,
            reason,
        });
    }

    fn fill_legacy(&mut self) {
        let many = self.pairing.sources_of(&self.draft.target).count() > 1;
        for (_, column) in self.open() {
            let found = carried(self.head.source, column, &self.head.key, many);
            match found {
                Some(Carried::Key(key)) if !self.draft.legacy.contains_key(&key) => {
                    self.draft.legacy.insert(key, column.name.clone());
                }
                Some(Carried::Key(key)) => {
                    let source = self.head.source.relation.table.column(&key);
                    let fits = source.and_then(|it| fit(&it.column_type, &column.column_type));
                    if fits == Some(Fit::Plain) {
                        self.draft.columns.push(ColumnDraft {
                            column: column.name.clone(),
                            rule: RuleDraft::column(&key),
                            score: 0.8,
                            reason: "the source's key once more".to_owned(),
                        });
                    }
                }
                Some(Carried::Rule(rule)) => self.draft.columns.push(rule),
                None => {}
            }
        }
    }

    fn fill_references(&mut self) {
        for (_, column) in self.open() {
            let Some(parent) = reference::parent_table(self.pairing, self.head, column) else {
                continue;
            };
            let found = reference::find(self.heads, self.head, column, &parent);
            match found {
                Some(found) => {
                    let rule = RuleDraft::Ref {
                        entity: found.entity,
                        by: found.by,
                        is_soft: false,
                    };
                    self.put(&column.name, rule, found.score, found.reason);
                }
                None if !reference::leads_away(self.head, column) => {}
                None if !column.not_null => {
                    let why = format!(
                        "no column of the source is a key of what feeds {}",
                        parent.name
                    );
                    self.leave(column, why);
                }
                None => {}
            }
        }
    }

    fn leave(&mut self, column: &Column, reason: String) {
        self.draft.left.push(Unused {
            column: column.name.clone(),
            reason,
        });
    }

    pub fn need(&mut self, column: &str, need: String) {
        self.draft.todo.push(Todo {
            key: format!("columns.{column}"),
            need,
        });
    }

    /// Every pair of columns that are alike, the most alike first; a source column is used once.
    fn fill_alike(&mut self) {
        let (source, target) = (self.head.source, self.head.target);
        let mut all = Vec::new();
        for (at, column) in self.open() {
            if reference::leads_away(self.head, column) {
                continue;
            }
            if self.is_kept_by_trigger(at, column) {
                let why = "a trigger of the target keeps it".to_owned();
                self.leave(column, why);
                continue;
            }
            for (own, candidate) in source.relation.table.columns.iter().enumerate() {
                let Some((score, reason)) = like(&source.shapes[own], &target.shapes[at]) else {
                    continue;
                };
                if let Some(score) = adjusted(score, &candidate.column_type, &column.column_type) {
                    all.push((score, column, candidate, reason));
                }
            }
        }
        all.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut done = BTreeSet::new();
        for (score, column, candidate, reason) in all {
            let is_key = self.head.key.contains(&candidate.name) && score < 0.95;
            if is_key || done.contains(&column.name) {
                continue;
            }
            if self.taken.contains(&candidate.name) && score < 1.0 {
                continue;
            }
            done.insert(column.name.clone());
            self.fill_from(column, candidate, score, reason);
        }
    }

    fn is_kept_by_trigger(&self, at: usize, column: &Column) -> bool {
        let core = &self.head.target.shapes[at].core;
        self.head.target.relation.is_touched
            && column.has_default
            && class(&column.column_type) == Class::Time
            && core.iter().any(|it| it == "updated")
    }

    /// Fills a target column from a source column, in the way their types need.
    pub fn fill_from(
        &mut self,
        column: &Column,
        candidate: &Column,
        score: f64,
        mut reason: String,
    ) {
        let Some(fit) = fit(&candidate.column_type, &column.column_type) else {
            return;
        };
        let own = sql_column(&self.draft.alias, &candidate.name);
        let note = |reason: &mut String, text: &str| {
            if !text.is_empty() {
                reason.push_str(&format!("; {text}"));
            }
        };
        let expr = |sql: &str| RuleDraft::Expr {
            sql: sql.replace("{}", &own),
            columns: vec![candidate.name.clone()],
        };
        let rule = match fit {
            Fit::Json => RuleDraft::JsonParse {
                column: candidate.name.clone(),
            },
            Fit::Expr(sql, text) => {
                note(&mut reason, text);
                expr(&sql)
            }
            Fit::InTimeZone => {
                self.needs_zone = true;
                note(&mut reason, "a naive time, see [source] time_zone");
                RuleDraft::column(&candidate.name)
            }
            Fit::Plain | Fit::Codes => match &column.column_type.enum_labels {
                Some(labels) => self.labels(column, candidate, labels, &mut reason),
                None => RuleDraft::column(&candidate.name),
            },
        };
        if column.not_null && !candidate.not_null {
            note(&mut reason, "NULL goes to quarantine");
        }
        self.put(&column.name, rule, score, reason);
    }

    /// Says of every target column that is still open why, and what is needed where it must be filled.
    fn list_open(&mut self) {
        for (at, column) in self.open() {
            if column.not_null && !column.has_default {
                let near = self.nearest(at);
                let near = near.map_or(String::new(), |it| format!("; nearest: `{it}`"));
                let parent = reference::parent_table(self.pairing, self.head, column);
                let why = match parent {
                    Some(parent) => {
                        format!("no source column is a key of what feeds {}", parent.name)
                    }
                    None => format!("no source column is like it{near}"),
                };
                let need = format!(
                    "{} ({}, NOT NULL, no default): {why}: write a rule",
                    column.name, column.column_type.display
                );
                self.draft.todo.push(Todo {
                    key: "columns".to_owned(),
                    need,
                });
                continue;
            }
            let why = match column.has_default {
                true => "the target's default",
                false => "no column of the source is like it",
            };
            let core = self.head.target.shapes[at].core.concat();
            let ends = ["deleted", "retired", "archived", "removed"].contains(&core.as_str());
            if ends && class(&column.column_type) == Class::Time {
                let name = super::render::key(&column.name);
                let hint = format!("delete = {{ retire = {{ {name} = \"now\" }} }}");
                self.draft.hints.push(hint);
            }
            self.leave(column, why.to_owned());
        }
    }

    fn nearest(&self, at: usize) -> Option<String> {
        let target = &self.head.target.shapes[at];
        let shapes = self.head.source.shapes.iter();
        let scores = shapes.map(|it| (super::name::likeness(&it.common, &target.common), it));
        let best = scores.max_by(|a, b| a.0.total_cmp(&b.0));
        best.filter(|it| it.0 > 0.85).map(|it| it.1.name.clone())
    }

    /// Writes a column of the own source as it stands in an expression.
    pub fn own(&self, column: &str) -> String {
        format!("{}.{}", self.draft.alias, sql_name(column))
    }
}

/// Lowers the likeness of two columns whose types differ; nothing is left of it when no value can be carried over.
fn adjusted(score: f64, source: &ColumnType, target: &ColumnType) -> Option<f64> {
    let fit = fit(source, target)?;
    let is_alike = class(source) == class(target)
        || matches!(fit, Fit::Json | Fit::Codes)
        || target.enum_labels.is_some();
    let score = match fit {
        Fit::Plain | Fit::InTimeZone if is_alike => score,
        // A number can always be written as a text; that alone says nothing.
        Fit::Plain if score < 0.84 => return None,
        _ if is_alike => score,
        _ => score - 0.03,
    };
    (score >= ENOUGH).then_some(score)
}
