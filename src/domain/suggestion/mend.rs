//! What helps against single changes: types, labels, keys.

use super::text::{key, string};
use super::{Builder, Deed, Wish};
use crate::domain::catalog::Column;
use crate::domain::connection::Side;
use crate::domain::drift::{Change, Severity, What};
use crate::domain::identifier::{QualifiedName, printable};
use crate::domain::mapping::uses::Place;
use crate::domain::mapping::{Entity, Fallback, Rule};

/// Marks a comment that stands above a rule until somebody has decided.
const DECIDE: &str = "# decide:";

impl Builder<'_> {
    pub(super) fn mend(&mut self, change: &Change) {
        let difference = &change.difference;
        let table = &difference.table;
        if change.severity == Severity::Harmless {
            return;
        }
        match (difference.side, &difference.what) {
            (Side::Source, What::ColumnRetyped { to, .. }) => self.follow_type(table, to, change),
            (Side::Target, What::ColumnRetyped { from, to }) => {
                let wish = Wish {
                    table: table.clone(),
                    column: to.name.clone(),
                    type_now: Some(to.column_type.clone()),
                    deed: Deed::ChangeType(from.column_type.clone()),
                    why: format!("takes the change back: {}", change.reason),
                    is_choice: true,
                };
                self.wish(wish);
                self.notes.push(change.sentence());
            }
            (Side::Source, What::KeyChanged { from, .. }) => self.keep_key(table, from),
            (Side::Source, What::LabelAdded(column, label)) => {
                self.take_label(table, column, label)
            }
            (Side::Target, What::LabelRemoved(column, label)) => {
                let wish = label_wish(table, column, label, "the mapping writes it");
                self.wish(wish);
            }
            (Side::Source, What::LabelRenamed { column, from, to }) => {
                self.rename_code(table, column, from, to);
            }
            (Side::Target, What::LabelRenamed { column, from, to }) => {
                self.rename_label(table, column, from, to);
            }
            (_, What::ColumnAdded(_) | What::ColumnDropped(_) | What::ColumnRenamed { .. }) => {}
            (_, What::TableRenamed(_)) => {}
            _ => self.notes.push(change.sentence()),
        }
    }

    /// A source column has another type: the target column takes it where every value still fits, else somebody
    /// has to write another rule.
    fn follow_type(&mut self, table: &QualifiedName, column: &Column, change: &Change) {
        for it in self
            .wanted
            .usage
            .of_column(Side::Source, table, &column.name)
        {
            let Place::Rule(rule) = it.place else {
                continue;
            };
            let Some(target) = self.target_column(it.entity, &rule.target).cloned() else {
                continue;
            };
            let path = format!("entities.{}.columns.{}", it.entity.name, rule.target);
            let issue = self.wanted.issues.iter().find(|it| it.path == path);
            let is_plain = matches!(rule.rule, Rule::Column(_))
                && rule.codes.is_none()
                && rule.normalize.is_empty();
            if let Some(issue) = issue {
                let advice = issue.hint.clone().unwrap_or_default();
                let message = format!("{} ({advice})", issue.message);
                self.decide(it.entity, &rule.target, &message, &target);
            } else if change.severity == Severity::Loss && is_plain && is_wider(&target, column) {
                let wish = Wish {
                    table: self.wanted.usage.target(it.entity),
                    column: target.name.clone(),
                    type_now: Some(target.column_type.clone()),
                    deed: Deed::ChangeType(column.column_type.clone()),
                    why: format!(
                        "the source column {} has larger values now; the table is rewritten unless PostgreSQL knows better",
                        printable(&column.name)
                    ),
                    is_choice: false,
                };
                self.wish(wish);
            }
        }
    }

    /// Leaves a comment above a rule that cannot stay as it is.
    fn decide(&mut self, entity: &Entity, rule: &str, message: &str, target: &Column) {
        let mut lines = format!("{DECIDE} {}", printable(message));
        if let Some(labels) = &target.column_type.enum_labels {
            let codes: Vec<String> = labels
                .iter()
                .map(|it| format!("? = {}", string(it)))
                .collect();
            lines.push_str(&format!("\n#   codes = {{ {} }}", codes.join(", ")));
        }
        self.notes.push(format!(
            "{}.columns.{}: {}",
            entity.name,
            printable(rule),
            printable(message)
        ));
        if let Some(entry) = self.text.entry(&entity.name, &["columns", rule]) {
            self.text.add_above(&entry, &lines);
        }
    }

    /// Names the old key where the entity took the primary key.
    fn keep_key(&mut self, table: &QualifiedName, key: &[String]) {
        let names: Vec<String> = key.iter().map(|it| string(it)).collect();
        for entity in self.wanted.usage.of_own(Side::Source, table) {
            if entity.key.is_none() {
                let line = format!("key = [{}]", names.join(", "));
                self.text.add_lines(&entity.name, None, &line);
                self.notes.push(format!(
                    "{}: its ledger has the old key, which must still be unique and not NULL",
                    entity.name
                ));
            }
        }
    }

    /// A label of a target enum has another name, in its rows as well: rules write that.
    fn rename_label(&mut self, table: &QualifiedName, column: &Column, from: &str, to: &str) {
        for it in self
            .wanted
            .usage
            .of_column(Side::Target, table, &column.name)
        {
            let path = ["columns", column.name.as_str()];
            let Some(entry) = self.text.entry(&it.entity.name, &path) else {
                continue;
            };
            let is_here = self.text.rename_text(&entry.value, from, to);
            if !is_here {
                self.notes.push(format!(
                    "{}.{}: \"{}\" is called \"{}\" in the target; say which value becomes it",
                    it.entity.name,
                    it.place.path(),
                    printable(from),
                    printable(to)
                ));
            }
        }
    }

    /// A label of a source enum has another name, in its rows as well: codes translate that.
    fn rename_code(&mut self, table: &QualifiedName, column: &Column, from: &str, to: &str) {
        for it in self
            .wanted
            .usage
            .of_column(Side::Source, table, &column.name)
        {
            let Place::Rule(rule) = it.place else {
                continue;
            };
            let path = ["columns", rule.target.as_str(), "codes", from];
            match self.text.entry(&it.entity.name, &path) {
                Some(entry) => self.text.replace(entry.key, key(to)),
                None => self.notes.push(format!(
                    "{}.{}: \"{}\" is called \"{}\" in the source; say what becomes of it",
                    it.entity.name,
                    it.place.path(),
                    printable(from),
                    printable(to)
                )),
            }
        }
    }

    /// A source enum has a label that a rule does not know.
    fn take_label(&mut self, table: &QualifiedName, column: &Column, label: &str) {
        for it in self
            .wanted
            .usage
            .of_column(Side::Source, table, &column.name)
        {
            let Place::Rule(rule) = it.place else {
                continue;
            };
            let Some(target) = self.target_column(it.entity, &rule.target).cloned() else {
                continue;
            };
            if let Some((codes, unknown)) = &rule.codes {
                let is_known = codes.pairs.iter().any(|(code, _)| code == label);
                if !is_known && *unknown == Fallback::Error {
                    let message =
                        format!("the source has a new label, \"{label}\"; add it to the codes");
                    self.decide(it.entity, &rule.target, &message, &target);
                }
                continue;
            }
            let labels = target.column_type.enum_labels.as_ref();
            if labels.is_some_and(|labels| !labels.iter().any(|it| it == label)) {
                let own = self.wanted.usage.target(it.entity);
                let wish = label_wish(&own, &target, label, "the source has a new label");
                self.wish(wish);
            }
        }
    }
}

fn label_wish(table: &QualifiedName, column: &Column, label: &str, why: &str) -> Wish {
    Wish {
        table: table.clone(),
        column: column.name.clone(),
        type_now: Some(column.column_type.clone()),
        deed: Deed::AddLabel(label.to_owned()),
        why: why.to_owned(),
        is_choice: false,
    }
}

/// Tells whether a target column can take the type of its source without losing anything.
fn is_wider(target: &Column, source: &Column) -> bool {
    let (to, from) = (&target.column_type, &source.column_type);
    let integers = ["int2", "int4", "int8"];
    let texts = ["varchar", "bpchar", "text"];
    let same = |family: &[&str]| {
        family.contains(&to.base.as_str()) && family.contains(&from.base.as_str())
    };
    from.is_builtin
        && !to.is_domain
        && (same(&integers)
            || same(&texts)
            || same(&["numeric", "int4", "int8"]) && from.base == "numeric")
}
