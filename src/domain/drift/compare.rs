//! What differs between a snapshot and the present catalog, without asking whom it concerns.

use super::snapshot::CatalogSnapshot;
use super::{Difference, What};
use crate::domain::catalog::{Catalog, Column, ColumnType, Constraint, ForeignKey, Table};
use crate::domain::connection::Side;
use crate::domain::identifier::QualifiedName;
use std::collections::BTreeMap;

/// How alike two names must be for a dropped and a new column to be taken for one.
const ALIKE: f64 = 0.8;

/// Compares a side with what it looked like.
pub fn compare(side: Side, before: &CatalogSnapshot, now: &Catalog) -> Vec<Difference> {
    let mut found = Comparison {
        side,
        same_database: before.identity == now.identity,
        renamed: BTreeMap::new(),
        found: Vec::new(),
    };
    found.find_renamed_tables(before, now);
    for old in &before.tables {
        match now.table(&found.name_now(&old.name)) {
            Some(table) => found.table(old, table),
            None => found.note(&old.name, What::TableDropped),
        }
    }
    for other in &before.others {
        if now.table(&found.name_now(&other.name)).is_none() {
            found.note(&other.name, What::TableDropped);
        }
    }
    for (name, table) in &now.tables {
        let renamed = found.renamed.values().any(|it| it == name);
        if !before.knows(name) && !table.is_partition && !renamed {
            found.note(name, What::TableAdded);
        }
    }
    found.found
}

/// Tells whether a table has the columns of one that is gone.
fn is_alike(old: &Table, new: &Table) -> bool {
    let names = |table: &Table| -> Vec<String> {
        let columns = table.columns.iter().map(|it| it.name.clone());
        columns.collect()
    };
    names(old) == names(new) && old.primary_key == new.primary_key
}

/// Tells whether two types are one, however they are printed.
fn same_type(old: &ColumnType, new: &ColumnType) -> bool {
    let same = old.base == new.base && old.modifier == new.modifier;
    same && old.is_domain == new.is_domain && (old.is_builtin || old.display == new.display)
}

struct Comparison {
    side: Side,
    same_database: bool,
    /// Old names of tables and their new ones.
    renamed: BTreeMap<QualifiedName, QualifiedName>,
    found: Vec<Difference>,
}

impl Comparison {
    fn name_now(&self, old: &QualifiedName) -> QualifiedName {
        self.renamed.get(old).unwrap_or(old).clone()
    }

    fn find_renamed_tables(&mut self, before: &CatalogSnapshot, now: &Catalog) {
        let others = before.others.iter().map(|it| (&it.name, it.oid, None));
        let tables = before.tables.iter();
        let all = tables.map(|it| (&it.name, it.oid, Some(it))).chain(others);
        for (name, oid, old) in all.filter(|(name, ..)| now.table(name).is_none()) {
            let new = now.tables.values().find(|it| {
                let is_same = self.same_database && it.oid == oid;
                let is_alike = old.is_some_and(|old| is_alike(old, it));
                !before.knows(&it.name) && (is_same || is_alike)
            });
            if let Some(new) = new {
                self.renamed.insert(name.clone(), new.name.clone());
                self.note(name, What::TableRenamed(new.name.clone()));
            }
        }
    }

    fn note(&mut self, table: &QualifiedName, what: What) {
        self.found.push(Difference {
            side: self.side,
            table: table.clone(),
            what,
        });
    }

    fn table(&mut self, old: &Table, new: &Table) {
        // A table that was made anew numbers its columns anew.
        let numbered = self.same_database && old.oid == new.oid;
        let renamed = renamed_columns(old, new, numbered);
        for (from, to) in &renamed {
            let what = What::ColumnRenamed {
                from: (*from).clone(),
                to: (*to).clone(),
                is_sure: numbered && from.number == to.number,
            };
            self.note(&old.name, what);
            self.column(&old.name, from, to);
        }
        for column in &old.columns {
            let Some(found) = new.column(&column.name) else {
                if !renamed.iter().any(|(from, _)| from.name == column.name) {
                    self.note(&old.name, What::ColumnDropped(column.clone()));
                }
                continue;
            };
            if renamed.iter().any(|(_, to)| to.name == column.name) {
                continue;
            }
            if numbered && column.number != found.number {
                self.note(&old.name, What::ColumnRecreated(found.clone()));
            }
            self.column(&old.name, column, found);
        }
        for column in &new.columns {
            let is_renamed = renamed.iter().any(|(_, to)| to.name == column.name);
            if old.column(&column.name).is_none() && !is_renamed {
                self.note(&old.name, What::ColumnAdded(column.clone()));
            }
        }
        let mut new = new.clone();
        new.primary_key = back(&new.primary_key, &renamed);
        if old.primary_key != new.primary_key {
            let what = What::KeyChanged {
                from: old.primary_key.clone(),
                to: new.primary_key.clone(),
            };
            self.note(&old.name, what);
        }
        for it in &mut new.constraints {
            it.columns = back(&it.columns, &renamed);
        }
        for it in &mut new.foreign_keys {
            it.columns = back(&it.columns, &renamed);
            let before = self.renamed.iter().find(|(_, now)| **now == it.referenced);
            if let Some((before, _)) = before {
                it.referenced = before.clone();
            }
        }
        self.constraints(old, &new);
        self.foreign_keys(old, &new);
    }

    fn column(&mut self, table: &QualifiedName, old: &Column, new: &Column) {
        if !same_type(&old.column_type, &new.column_type) {
            let what = What::ColumnRetyped {
                from: old.clone(),
                to: new.clone(),
            };
            self.note(table, what);
        } else {
            self.labels(table, old, new);
        }
        if old.not_null != new.not_null {
            self.note(table, What::NullsChanged(new.clone()));
        }
        if old.is_generated != new.is_generated {
            self.note(table, What::GeneratedChanged(new.clone()));
        } else if old.default != new.default || old.has_default != new.has_default {
            let what = What::DefaultChanged {
                from: old.default.clone(),
                to: new.clone(),
            };
            self.note(table, what);
        }
    }

    fn labels(&mut self, table: &QualifiedName, old: &Column, new: &Column) {
        let none = Vec::new();
        let before = old.column_type.enum_labels.as_ref().unwrap_or(&none);
        let now = new.column_type.enum_labels.as_ref().unwrap_or(&none);
        let gone = before.iter().filter(|it| !now.contains(it));
        let mut come: Vec<&String> = now.iter().filter(|it| !before.contains(it)).collect();
        for label in gone {
            let place = before.iter().position(|it| it == label);
            let same_place = place.and_then(|place| now.get(place));
            // Labels keep their order, so of as many as before, a new one in the old place is the old one.
            let renamed = same_place.filter(|it| before.len() == now.len() && come.contains(it));
            let what = match renamed {
                Some(to) => {
                    come.retain(|it| *it != to);
                    What::LabelRenamed {
                        column: new.clone(),
                        from: label.clone(),
                        to: to.clone(),
                    }
                }
                None => What::LabelRemoved(new.clone(), label.clone()),
            };
            self.note(table, what);
        }
        for label in come {
            self.note(table, What::LabelAdded(new.clone(), label.clone()));
        }
    }

    fn constraints(&mut self, old: &Table, new: &Table) {
        // Compared by what they say: a rename of a constraint concerns nobody.
        let lacks = |all: &[Constraint], it: &Constraint| {
            !all.iter()
                .any(|other| other.definition == it.definition && other.columns == it.columns)
        };
        for it in old
            .constraints
            .iter()
            .filter(|it| lacks(&new.constraints, it))
        {
            self.note(&old.name, What::ConstraintDropped(it.clone()));
        }
        for it in new
            .constraints
            .iter()
            .filter(|it| lacks(&old.constraints, it))
        {
            self.note(&old.name, What::ConstraintAdded(it.clone()));
        }
    }

    fn foreign_keys(&mut self, old: &Table, new: &Table) {
        let same = |a: &ForeignKey, b: &ForeignKey| {
            a.columns == b.columns && a.referenced == b.referenced && deeds(a) == deeds(b)
        };
        let gone: Vec<&ForeignKey> = old
            .foreign_keys
            .iter()
            .filter(|a| !new.foreign_keys.iter().any(|b| same(a, b)))
            .collect();
        let mut come: Vec<&ForeignKey> = new
            .foreign_keys
            .iter()
            .filter(|a| !old.foreign_keys.iter().any(|b| same(a, b)))
            .collect();
        for key in gone {
            let instead = come
                .iter()
                .position(|it| it.name == key.name || it.columns == key.columns);
            let what = match instead {
                Some(at) => What::ForeignKeyChanged {
                    from: key.clone(),
                    to: come.remove(at).clone(),
                },
                None => What::ForeignKeyDropped(key.clone()),
            };
            self.note(&old.name, what);
        }
        for key in come {
            self.note(&old.name, What::ForeignKeyAdded(key.clone()));
        }
    }
}

/// Gives renamed columns their old names.
fn back(names: &[String], renamed: &[(&Column, &Column)]) -> Vec<String> {
    let back = |name: &String| {
        let renamed = renamed.iter().find(|(_, to)| to.name == *name);
        renamed.map_or_else(|| name.clone(), |(from, _)| from.name.clone())
    };
    names.iter().map(back).collect()
}

/// What a foreign key does beside checking, and when it checks.
pub fn deeds(key: &ForeignKey) -> &str {
    &key.definition
}

/// Pairs columns that are gone with new ones that are the same.
fn renamed_columns<'a>(
    old: &'a Table,
    new: &'a Table,
    numbered: bool,
) -> Vec<(&'a Column, &'a Column)> {
    let gone = old.columns.iter().enumerate();
    let gone: Vec<_> = gone
        .filter(|(_, it)| new.column(&it.name).is_none())
        .collect();
    let come = new.columns.iter().enumerate();
    let mut come: Vec<_> = come
        .filter(|(_, it)| old.column(&it.name).is_none())
        .collect();
    let mut pairs = Vec::new();
    for (place, column) in gone {
        let found = come.iter().position(|(other, it)| {
            let same_place = match numbered {
                true => it.number == column.number,
                false => place == *other && same_type(&column.column_type, &it.column_type),
            };
            let alike = strsim::jaro_winkler(&column.name, &it.name) >= ALIKE;
            same_place || alike && same_type(&column.column_type, &it.column_type)
        });
        if let Some(at) = found {
            pairs.push((column, come.remove(at).1));
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::catalog::{DatabaseIdentity, RelationKind};
    use crate::domain::drift::CatalogSnapshot;
    use std::collections::BTreeSet;

    fn column(name: &str, number: i16, base: &str) -> Column {
        Column {
            name: name.to_owned(),
            column_type: ColumnType {
                display: base.to_owned(),
                base: base.to_owned(),
                modifier: String::new(),
                enum_labels: None,
                is_domain: false,
                is_builtin: true,
            },
            not_null: false,
            has_default: false,
            is_generated: false,
            identity_always: false,
            number,
            default: None,
        }
    }

    fn catalog(oid: i64, columns: Vec<Column>) -> Catalog {
        let name = QualifiedName::new("public", "t");
        let table = Table {
            name: name.clone(),
            oid,
            kind: RelationKind::Table,
            columns,
            primary_key: vec!["id".to_owned()],
            referrers: Vec::new(),
            foreign_keys: Vec::new(),
            unique_columns: Vec::new(),
            constraints: Vec::new(),
            is_partition: false,
            estimated_rows: 7,
        };
        Catalog {
            identity: DatabaseIdentity {
                system_identifier: "7".to_owned(),
                database_oid: 5,
                database: "shop".to_owned(),
            },
            server_version: 150_000,
            tables: BTreeMap::from([(name, table)]),
        }
    }

    fn words(before: &Catalog, now: &Catalog) -> Vec<String> {
        let named: BTreeSet<QualifiedName> = before.tables.keys().cloned().collect();
        let before = CatalogSnapshot::of(before, &named);
        let found = compare(Side::Source, &before, now);
        let words =
            |it: &Difference| format!("{} {}", it.what.word(), it.what.name().unwrap_or(""));
        found.iter().map(words).collect()
    }

    #[test]
    fn a_column_that_kept_its_number_was_renamed_whatever_its_name() {
        let before = catalog(1, vec![column("id", 1, "int4"), column("phone", 2, "text")]);
        let now = catalog(1, vec![column("id", 1, "int4"), column("zzz", 2, "text")]);
        assert_eq!(words(&before, &now), ["column_renamed phone"]);
        // In a table that was made anew, the place and the type must do.
        let anew = catalog(2, vec![column("id", 1, "int4"), column("zzz", 2, "text")]);
        assert_eq!(words(&before, &anew), ["column_renamed phone"]);
        let other = catalog(2, vec![column("id", 1, "int4"), column("zzz", 2, "int4")]);
        assert_eq!(
            words(&before, &other),
            ["column_dropped phone", "column_added zzz"]
        );
    }

    #[test]
    fn a_column_of_another_number_is_renamed_only_when_its_name_is_alike() {
        let before = catalog(1, vec![column("id", 1, "int4"), column("phone", 2, "text")]);
        let like = catalog(
            1,
            vec![column("id", 1, "int4"), column("phone_no", 3, "text")],
        );
        assert_eq!(words(&before, &like), ["column_renamed phone"]);
        let unlike = catalog(1, vec![column("id", 1, "int4"), column("city", 3, "text")]);
        assert_eq!(
            words(&before, &unlike),
            ["column_dropped phone", "column_added city"]
        );
    }

    #[test]
    fn a_column_that_was_made_anew_is_another_one() {
        let before = catalog(1, vec![column("id", 1, "int4"), column("phone", 2, "text")]);
        let anew = catalog(1, vec![column("id", 1, "int4"), column("phone", 3, "text")]);
        assert_eq!(words(&before, &anew), ["column_recreated phone"]);
        // A restored dump numbers its columns anew, and its tables as well.
        let restored = catalog(9, vec![column("id", 1, "int4"), column("phone", 3, "text")]);
        assert_eq!(words(&before, &restored), Vec::<String>::new());
    }

    #[test]
    fn what_a_constraint_says_is_compared_and_not_how_it_is_called() {
        let mut before = catalog(1, vec![column("id", 1, "int4"), column("phone", 2, "text")]);
        let mut now = catalog(1, vec![column("id", 1, "int4"), column("tel", 2, "text")]);
        let check = |name: &str, column: &str| Constraint {
            name: name.to_owned(),
            columns: vec![column.to_owned()],
            definition: "check #1".to_owned(),
        };
        for table in before.tables.values_mut() {
            table.constraints.push(check("a", "phone"));
        }
        for table in now.tables.values_mut() {
            table.constraints.push(check("b", "tel"));
            table.constraints.push(check("c", "id"));
        }
        assert_eq!(
            words(&before, &now),
            ["column_renamed phone", "constraint_added c"]
        );
    }

    #[test]
    fn a_label_in_an_old_place_is_the_old_one_under_another_name() {
        let labelled = |labels: [&str; 3]| {
            let mut it = column("mood", 2, "mood");
            it.column_type.enum_labels = Some(labels.map(str::to_owned).to_vec());
            catalog(1, vec![column("id", 1, "int4"), it])
        };
        let before = labelled(["a", "b", "c"]);
        assert_eq!(
            words(&before, &labelled(["a", "x", "c"])),
            ["label_renamed mood"]
        );
        assert_eq!(
            words(&before, &labelled(["a", "c", "d"])),
            ["label_removed mood", "label_added mood"]
        );
    }

    #[test]
    fn counts_are_no_structure() {
        let before = catalog(1, vec![column("id", 1, "int4")]);
        let mut now = before.clone();
        for table in now.tables.values_mut() {
            table.estimated_rows = 9_000;
        }
        let named: BTreeSet<QualifiedName> = before.tables.keys().cloned().collect();
        let digest = |it: &Catalog| CatalogSnapshot::of(it, &named).digest();
        assert_eq!(digest(&before), digest(&now));
    }
}
