//! The target side of a staged row: stage columns, references, written and compared values.

use super::ledger::fallback_id;
use super::{key_names, stored_key_equality};
use crate::domain::identifier::{quote_identifier, quote_literal};
use crate::domain::key::KeyType;
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
    /// The types of the parent's key.
    pub key_types: Vec<KeyType>,
    /// The id of the parent to fall back on, as a scalar query.
    pub fallback: Option<String>,
}

impl Reference {
    /// Tells whether the parent is the entity itself.
    pub fn is_self(&self, entity: &ResolvedEntity) -> bool {
        self.entity == entity.name
    }

    /// The condition that a row with key columns is the parent of a staged row.
    pub fn matches(&self, parent: &str, staged: &str) -> String {
        let key = format!("{staged}.{}", self.key);
        match self.key_types.len() {
            1 => format!("{parent}.k0 = {key}"),
            _ => stored_key_equality(parent, &self.key_types, &format!("{key}::jsonb")),
        }
    }

    /// The parent's key of a staged row, as keys are stored.
    pub fn stored_key(&self, staged: &str) -> String {
        match self.key_types.len() {
            1 => format!("jsonb_build_array({staged}.{})", self.key),
            _ => format!("{staged}.{}::jsonb", self.key),
        }
    }

    /// The name of the id that stands in while the parent is not there.
    pub fn stand_in(&self) -> String {
        format!("{}_else", self.found)
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
                key_field_type(&column.key_types).to_owned()
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
        key_types: column.key_types.clone(),
        fallback: fallback_id(column),
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
            let found = references.iter().flat_map(|it| {
                let own = format!("{alias}.{}", it.found);
                let other = it.fallback.as_ref();
                std::iter::once(own).chain(other.map(|_| format!("{alias}.{}", it.stand_in())))
            });
            let found: Vec<String> = found.collect();
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

/// The type in which the key of a parent travels: its own, or text with a JSON array for several columns.
pub(super) fn key_field_type(types: &[KeyType]) -> &'static str {
    match types {
        [single] => single.sql_type(),
        _ => "text",
    }
}

/// Counts the rows of the target table.
pub fn count_target(entity: &ResolvedEntity) -> super::Statement {
    super::Statement::new(format!("select count(*) from {}", entity.target.sql()))
}
