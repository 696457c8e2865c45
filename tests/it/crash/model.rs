//! What the target must hold, worked out without a database: one small state per key.

use std::collections::BTreeMap;

/// The tables that histories change. Lines refer to orders; everything else stands for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    Orders,
    Lines,
    Tags,
}

/// In the order in which they are applied.
pub const TABLES: [Table; 3] = [Table::Orders, Table::Lines, Table::Tags];

/// A source row without its key: the texts of its columns.
pub type Content = Vec<Option<String>>;

/// The row of a key in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct There {
    pub content: Content,
    pub is_active: bool,
    /// Whether somebody changed it since diffmig last wrote it.
    pub is_edited: bool,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Applied,
    SetAside,
    Held,
}

#[derive(Debug, Clone, Default)]
struct Entry {
    source: Option<Content>,
    /// The source row as it was last looked at, and what became of it; `None` once the key was gone.
    looked_at: Option<(Content, Outcome)>,
    there: Option<There>,
}

/// Source, target and what diffmig remembers.
#[derive(Debug, Clone, Default)]
pub struct Model {
    entries: BTreeMap<(Table, String), Entry>,
}

fn number(content: &Content, column: usize) -> f64 {
    content[column].as_deref().unwrap().parse().unwrap()
}

/// The rows that the mapping leaves out.
fn is_filtered(table: Table, content: &Content) -> bool {
    table == Table::Tags && content[1].as_deref() == Some("true")
}

/// The rows that a check constraint of the target refuses.
fn is_refused(table: Table, content: &Content) -> bool {
    match table {
        Table::Orders => number(content, 2) < 0.0,
        Table::Lines => number(content, 2) <= 0.0,
        Table::Tags => false,
    }
}

impl Model {
    /// Changes a source row; `None` deletes it.
    pub fn set(&mut self, table: Table, key: &str, content: Option<Content>) {
        let entry = self.entries.entry((table, key.to_owned())).or_default();
        entry.source = content;
    }

    pub fn there(&self, table: Table, key: &str) -> Option<&There> {
        self.entries.get(&(table, key.to_owned()))?.there.as_ref()
    }

    /// Somebody changes a column of a target row.
    pub fn edit(&mut self, table: Table, key: &str, column: usize, value: &str) {
        let entry = self.entries.get_mut(&(table, key.to_owned())).unwrap();
        let there = entry.there.as_mut().unwrap();
        there.content[column] = Some(value.to_owned());
        there.is_edited = true;
    }

    /// What is in the target: content and whether the row is active.
    pub fn target(&self, table: Table) -> BTreeMap<String, (Content, bool)> {
        let of_table = self.entries.iter().filter(|((it, _), _)| *it == table);
        of_table
            .filter_map(|((_, key), entry)| {
                let there = entry.there.as_ref()?;
                Some((key.clone(), (there.content.clone(), there.is_active)))
            })
            .collect()
    }

    /// A migration that comes to its end. Rows are retired last, as a retired parent is still a parent.
    pub fn migrate(&mut self) {
        for table in TABLES {
            let keys: Vec<_> = self
                .entries
                .keys()
                .filter(|it| it.0 == table)
                .cloned()
                .collect();
            for key in keys {
                let entry = &self.entries[&key];
                let row = entry.source.clone();
                match row.filter(|row| !is_filtered(table, row)) {
                    Some(row) => {
                        let has_parent = self.has_parent(table, &row);
                        self.entries
                            .get_mut(&key)
                            .unwrap()
                            .look(table, row, has_parent);
                    }
                    None => self.entries.get_mut(&key).unwrap().retire(),
                }
            }
        }
    }

    fn has_parent(&self, table: Table, row: &Content) -> bool {
        table != Table::Lines
            || self
                .there(Table::Orders, row[0].as_deref().unwrap())
                .is_some()
    }
}

impl Entry {
    /// A source row that passes the filter is new, changed, or was held before.
    fn look(&mut self, table: Table, row: Content, has_parent: bool) {
        if let Some((known, outcome)) = &self.looked_at
            && *known == row
            && !(*outcome == Outcome::Held && has_parent)
        {
            return;
        }
        let was_gone = self.looked_at.is_none();
        let outcome = if !has_parent {
            Outcome::Held
        } else if is_refused(table, &row) && !self.is_in_conflict(table, &row, was_gone) {
            Outcome::SetAside
        } else {
            self.write(table, &row, was_gone)
        };
        self.looked_at = Some((row, outcome));
    }

    /// A row that somebody edited is not even tried.
    fn is_in_conflict(&self, table: Table, row: &Content, was_gone: bool) -> bool {
        self.there.as_ref().is_some_and(|there| {
            there.is_edited && (was_gone || there.content != carried(table, row))
        })
    }

    fn write(&mut self, table: Table, row: &Content, was_gone: bool) -> Outcome {
        if self.is_in_conflict(table, row, was_gone) {
            return Outcome::SetAside;
        }
        self.there = Some(There {
            content: carried(table, row),
            is_active: true,
            is_edited: false,
        });
        Outcome::Applied
    }

    /// The key is gone: its row is retired unless somebody edited it.
    fn retire(&mut self) {
        let was_there = self.looked_at.take().is_some();
        if let Some(there) = self.there.as_mut().filter(|it| was_there && !it.is_edited) {
            there.is_active = false;
        }
    }
}

/// The columns of a source row that the target carries.
fn carried(table: Table, row: &Content) -> Content {
    match table {
        Table::Tags => row[..1].to_vec(),
        Table::Orders | Table::Lines => row.clone(),
    }
}
