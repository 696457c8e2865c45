//! The mapping file as parsed: what the operator asked for, not yet bound to any database.

pub mod adopt;
pub mod column;
pub mod dedupe;
pub mod entity;
pub mod issue;
pub mod reader;
mod reference;
mod rule;
pub mod template;
pub mod uses;
pub mod validate;

pub use adopt::{AdoptRule, MappingsTable};
pub use column::{
    CaseArm, Clamp, Codes, ColumnRef, ColumnRule, Fallback, Format, Hop, Invalid, JsonFallback,
    JsonMember, Literal, Missing, Normalize, PolyTarget, Rule,
};
pub use dedupe::{Dedupe, Preference};
pub use entity::{DeletePolicy, Entity, IdRule, IdStrategy, Join, JoinKind, SourceRelation};
pub use issue::{MappingIssue, Spot};
pub use template::{NullPolicy, TemplatePart, TextFilter};
pub use validate::{Demand, Validation};

use super::identifier::QualifiedName;
use reader::{Reader, Section};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What happens when both sides of a row changed since the last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// The edit in the target stays; the row is reported. The default.
    KeepTarget,
    /// The source overwrites the edit.
    SourceWins,
    /// The edit in the target stays; the row is quarantined.
    Quarantine,
}

/// A whole mapping file.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The schema of unqualified source tables; `public` by default.
    pub source_schema: String,
    /// What naive timestamps of the source mean, unless a column says otherwise.
    pub source_time_zone: Option<String>,
    /// The schema of unqualified target tables; `public` by default.
    pub target_schema: String,
    /// The entities in file order.
    pub entities: Vec<Entity>,
    /// blake3 of the file's text, hexadecimal.
    pub digest: String,
    /// The file's text.
    pub text: String,
}

impl Mapping {
    /// Returns the tables that an entity reads, as written: its own, joined and watched ones, and those on the way
    /// to its parents.
    pub fn source_tables<'a>(&'a self, entity: &'a Entity) -> Vec<&'a str> {
        let mut names: Vec<&str> = entity.joins.iter().map(|it| it.table.as_str()).collect();
        names.extend(entity.own_tables());
        for rule in &entity.columns {
            let Rule::Reference { via, .. } = &rule.rule else {
                continue;
            };
            for hop in via {
                match self.entities.iter().find(|it| it.name == hop.relation) {
                    Some(entity) => names.extend(entity.own_tables()),
                    None => names.push(&hop.relation),
                }
            }
        }
        names
    }

    /// Returns the source tables that an entity reads.
    pub fn read_tables(&self, entity: &Entity) -> BTreeSet<QualifiedName> {
        let names = self.source_tables(entity).into_iter();
        let parsed = names.map(|name| QualifiedName::parse(name, &self.source_schema));
        parsed.collect()
    }

    /// Returns the target table of an entity.
    pub fn target_table(&self, entity: &Entity) -> QualifiedName {
        QualifiedName::parse(&entity.target, &self.target_schema)
    }
}

/// Values that hold for every entity that does not say otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    pub delete: DeletePolicy,
    pub conflict: ConflictPolicy,
    pub adopt: adopt::AdoptDefaults,
    pub codes: BTreeMap<String, Codes>,
}

/// Parses a mapping file.
///
/// # Errors
/// Every problem of the text at once, in file order; columns and tables are checked later, against the catalogs.
pub fn parse(text: &str) -> Result<Mapping, Vec<MappingIssue>> {
    let mut reader = Reader::new(text);
    let table = match toml::de::DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            reader.report(at, "", error.message(), None);
            return Err(reader.issues);
        }
    };
    let mapping = read_mapping(&mut reader, &table);
    if reader.issues.is_empty() {
        Ok(mapping)
    } else {
        reader.issues.sort_by_key(|issue| issue.spot);
        Err(reader.issues)
    }
}

/// Returns every key that an entity and a column's rule may have, for the description of the language.
pub fn vocabulary() -> (Vec<&'static str>, Vec<&'static str>) {
    (entity::KNOWN.to_vec(), rule::known())
}

/// Masks passwords in URLs that somebody has left in the file; the text is kept in the target.
pub fn without_passwords(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + "://".len());
        masked.push_str(before);
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\''));
        let (authority, tail) = after.split_at(end.unwrap_or(after.len()));
        match authority
            .rsplit_once('@')
            .and_then(|(account, host)| Some((account.split_once(':')?.0, host)))
        {
            Some((user, host)) => masked.push_str(&format!("{user}:***@{host}")),
            None => masked.push_str(authority),
        }
        rest = tail;
    }
    masked.push_str(rest);
    masked
}

fn read_mapping(reader: &mut Reader<'_>, table: &toml::Spanned<toml::de::DeTable<'_>>) -> Mapping {
    let root = Section::root(table);
    root.only(
        reader,
        &[
            "version", "source", "target", "defaults", "codes", "entities",
        ],
    );
    match root.integer(reader, "version") {
        Some(1) => {}
        Some(_) => root.fault(reader, "version", "this diffmig reads version 1 only", None),
        None => root.fault(reader, "version", "`version = 1` is missing", None),
    }
    let source = root.section(reader, "source");
    let target = root.section(reader, "target");
    if let Some(source) = &source {
        source.only(reader, &["schema", "time_zone"]);
    }
    if let Some(target) = &target {
        target.only(reader, &["schema"]);
    }
    let schema_of = |reader: &mut Reader<'_>, section: &Option<Section<'_>>| {
        let named = section.as_ref().and_then(|it| it.string(reader, "schema"));
        named.unwrap_or_else(|| "public".into())
    };
    let source_schema = schema_of(reader, &source);
    let target_schema = schema_of(reader, &target);
    let source_time_zone = source.and_then(|it| it.string(reader, "time_zone"));
    let defaults = read_defaults(reader, &root);
    let mut entities = Vec::new();
    match root.section(reader, "entities") {
        Some(all) => {
            for section in all.sections(reader) {
                entities.extend(entity::read(reader, &section, &defaults));
            }
        }
        None => root.fault(reader, "entities", "the mapping names no entity", None),
    }
    Mapping {
        source_schema,
        source_time_zone,
        target_schema,
        entities,
        digest: blake3::hash(reader.text.as_bytes()).to_hex().to_string(),
        text: reader.text.to_owned(),
    }
}

fn read_defaults(reader: &mut Reader<'_>, root: &Section<'_>) -> Defaults {
    let mut defaults = Defaults {
        delete: DeletePolicy::Ignore,
        conflict: ConflictPolicy::KeepTarget,
        adopt: adopt::AdoptDefaults::default(),
        codes: BTreeMap::new(),
    };
    if let Some(section) = root.section(reader, "defaults") {
        section.only(reader, &["delete", "conflict", "adopt"]);
        defaults.adopt = adopt::read_defaults(reader, &section);
        if let Some(policy) = entity::read_delete(reader, &section) {
            defaults.delete = policy;
        }
        if let Some(policy) = entity::read_conflict(reader, &section) {
            defaults.conflict = policy;
        }
    }
    if let Some(section) = root.section(reader, "codes") {
        for table in section.sections(reader) {
            let codes = rule::read_code_table(reader, &table);
            defaults.codes.insert(table.name().to_owned(), codes);
        }
    }
    defaults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_masked() {
        let text = "# postgres://legacy:s3cret@db/app, https://example.org/a:b@c\nx = \"redis://u:p@ss@h\"";
        let masked =
            "# postgres://legacy:***@db/app, https://example.org/a:b@c\nx = \"redis://u:***@h\"";
        assert_eq!(without_passwords(text), masked);
    }
}
