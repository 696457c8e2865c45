//! The target side of a staged row: stage columns, references, written and compared values.

use super::key_names;
use crate::domain::identifier::{quote_identifier, quote_literal};
use crate::domain::mapping::Missing;
use crate::domain::resolve::{ResolvedColumn, ResolvedEntity, ResolvedValue};

/// A translation of one stage column through one parent's ledger.
#[derive(Debug, Clone)]
pub struct Reference {
    /// The target column.
    pub column: String,
    /// The parent entity.
    pub entity: String,
    /// The stage column with the parent's key.
    pub key: String,
    /// The stage column that names the entity of a generic reference.
    pub kind: Option<String>,
    /// The alias of the parent's ledger.
    pub alias: String,
    /// The name of the translated id.
    pub found: String,
    /// When the parent is not there.
    pub missing: Missing,
}

impl Reference {
    /// Tells whether the parent is the entity itself.
    pub fn is_self(&self, entity: &ResolvedEntity) -> bool {
        self.entity == entity.name
    }

    /// For a generic reference, the condition that this parent is meant; otherwise empty.
    pub fn kind_condition(&self, alias: &str) -> String {
        match &self.kind {
            Some(kind) => format!(" and {alias}.{kind} = {}", quote_literal(&self.entity)),
            None => String::new(),
        }
    }
}

#[derive(Debug, Clone)]
struct WrittenColumn {
    name: String,
    /// The expression over `p`, cast where assignment needs it.
    value: String,
    /// Whether the target's value differs, over `t` and `r`; `None` for columns owned by the target.
    difference: Option<String>,
}

/// How a staged row becomes a target row.
#[derive(Debug, Clone)]
pub struct TargetRow {
    /// Name and type of every stage column, in the order of the staged fields.
    pub stage_columns: Vec<(String, String)>,
    /// The translations.
    pub references: Vec<Reference>,
    columns: Vec<WrittenColumn>,
    legacy: Vec<(String, String)>,
}

impl TargetRow {
    /// Compiles the entity.
    pub fn new(entity: &ResolvedEntity) -> Self {
        let keys = entity.key_types();
        let mut stage_columns: Vec<(String, String)> = key_names(keys.len())
            .into_iter()
            .zip(&keys)
            .map(|(name, key_type)| {
                (
                    name,
                    format!("{}{}", key_type.sql_type(), key_type.order_suffix()),
                )
            })
            .collect();
        let mut references = Vec::new();
        let mut columns = Vec::new();
        let compared = entity.compared_count();
        for (index, column) in entity.columns.iter().enumerate() {
            if index == compared {
                stage_columns.push(("fault".into(), "text".into()));
            }
            let own = references_of(index, column);
            let stage_type = if own.is_empty() {
                column.transport.sql.clone()
            } else {
                column.key_type.sql_type().to_owned()
            };
            stage_columns.push((format!("c{index}"), stage_type));
            if matches!(column.value, ResolvedValue::Poly { .. }) {
                stage_columns.push((format!("c{index}e"), "text".into()));
            }
            columns.push(written(index, column, &own));
            references.extend(own);
        }
        if entity.columns.len() == compared {
            stage_columns.push(("fault".into(), "text".into()));
        }
        stage_columns.push(("new_id".into(), entity.id_type.clone()));
        stage_columns.push(("row_hash".into(), "bytea".into()));
        stage_columns.push(("n".into(), "integer".into()));
        let legacy = entity.legacy.iter();
        TargetRow {
            stage_columns,
            references,
            columns,
            legacy: legacy
                .map(|(key, column)| (column.clone(), format!("p.k{key}")))
                .collect(),
        }
    }

    /// Returns columns and values of an insert.
    pub fn inserted_values(&self) -> Vec<(String, String)> {
        let columns = self
            .columns
            .iter()
            .map(|it| (it.name.clone(), it.value.clone()));
        self.legacy.iter().cloned().chain(columns).collect()
    }

    /// Returns columns and values of an update.
    pub fn updated_values(&self) -> Vec<(String, String)> {
        let compared = self.columns.iter().filter(|it| it.difference.is_some());
        compared
            .map(|it| (it.name.clone(), it.value.clone()))
            .collect()
    }

    /// Returns the condition that target `t` and staged row `r` differ.
    pub fn difference(&self) -> String {
        let parts: Vec<&str> = self
            .columns
            .iter()
            .filter_map(|it| it.difference.as_deref())
            .collect();
        if parts.is_empty() {
            "false".into()
        } else {
            parts.join(" or ")
        }
    }
}

fn references_of(index: usize, column: &ResolvedColumn) -> Vec<Reference> {
    let reference = |entity: &str, nth: usize, kind: Option<String>, missing: Missing| Reference {
        column: column.name.clone(),
        entity: entity.to_owned(),
        key: format!("c{index}"),
        kind,
        alias: format!("r{index}_{nth}"),
        found: format!("f{index}_{nth}"),
        missing,
    };
    match &column.value {
        ResolvedValue::Reference {
            entity, missing, ..
        } => {
            vec![reference(entity, 0, None, *missing)]
        }
        ResolvedValue::Poly {
            targets, missing, ..
        } => {
            let mut seen = Vec::new();
            for target in targets {
                if !seen.contains(&target.entity.as_str()) {
                    seen.push(target.entity.as_str());
                }
            }
            let kind = Some(format!("c{index}e"));
            seen.iter()
                .enumerate()
                .map(|(nth, entity)| reference(entity, nth, kind.clone(), *missing))
                .collect()
        }
        _ => Vec::new(),
    }
}

fn written(index: usize, column: &ResolvedColumn, references: &[Reference]) -> WrittenColumn {
    let name = quote_identifier(&column.name);
    let (value, difference) = if references.is_empty() {
        let cast = column.transport.assignment_cast.as_ref();
        let value = format!(
            "p.c{index}{}",
            cast.map(|it| format!("::{it}")).unwrap_or_default()
        );
        let difference = if column.transport.compares_as_text() {
            let sql = &column.transport.sql;
            format!(
                "t.{name}::{sql}::text collate \"C\" is distinct from r.c{index}::text collate \"C\""
            )
        } else if column.transport.base == "text" {
            format!("t.{name}::text collate \"C\" is distinct from r.c{index} collate \"C\"")
        } else {
            format!("t.{name} is distinct from r.c{index}")
        };
        (value, difference)
    } else {
        let found = |alias: &str| {
            let found: Vec<String> = references
                .iter()
                .map(|it| format!("{alias}.{}", it.found))
                .collect();
            format!("coalesce({})", found.join(", "))
        };
        (
            found("p"),
            format!("t.{name} is distinct from {}", found("r")),
        )
    };
    WrittenColumn {
        name: column.name.clone(),
        value,
        difference: (!column.rule.target_owned).then_some(difference),
    }
}

/// Counts the rows of the target table.
pub fn count_target(entity: &ResolvedEntity) -> super::Statement {
    super::Statement::new(format!("select count(*) from {}", entity.target.sql()))
}
