//! An entity: one source relation that feeds one target table.

use super::adopt::{self, AdoptRule};
use super::column::{ColumnRef, ColumnRule, Literal};
use super::dedupe::{self, Dedupe};
use super::issue::did_you_mean;
use super::reader::{Reader, Section};
use super::template::{TemplatePart, parse_template};
use super::validate::{self, Validation};
use super::{ConflictPolicy, Defaults, Spot, rule};
use crate::domain::expression::{Expression, SourceQuery, parse_query};
use crate::domain::watermark::OVERLAP_SECS;
use uuid::Uuid;

/// Where the rows come from.
#[derive(Debug, Clone)]
pub enum SourceRelation {
    /// A table or view, as written.
    Table(String),
    /// A query; `watch` names the tables whose changes matter.
    Query {
        /// The query.
        query: SourceQuery,
        /// Tables as written.
        watch: Vec<String>,
    },
}

/// How a join treats rows without a partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// They stay. The default.
    Left,
    /// They are filtered, and counted as such.
    Inner,
}

/// A joined table.
#[derive(Debug, Clone)]
pub struct Join {
    /// The table, as written.
    pub table: String,
    /// Its alias.
    pub alias: String,
    /// The condition.
    pub on: Expression,
    /// What happens to rows without a partner.
    pub kind: JoinKind,
    /// Where it stands.
    pub spot: Spot,
}

/// How target ids are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdStrategy {
    /// A deterministic UUIDv8 in the order of the source keys. The default.
    Ordered,
    /// The source key is the target key.
    Same,
    /// A UUIDv5 of a namespace and a name made of the source key.
    Named,
    /// A random UUIDv4 that only the ledger knows.
    Random,
}

/// The target key.
#[derive(Debug, Clone)]
pub struct IdRule {
    /// The target column; `id` by default.
    pub column: String,
    /// How it is made.
    pub strategy: IdStrategy,
    /// A timestamp column that orders the ids instead of the key.
    pub time: Option<ColumnRef>,
    /// The namespace of derived ids.
    pub namespace: Option<Uuid>,
    /// The name of a row, with key columns in braces; the key columns joined by `:` when absent.
    pub name: Option<Vec<TemplatePart>>,
    /// Where it stands.
    pub spot: Spot,
}

/// What the target does when a source row is gone.
#[derive(Debug, Clone, PartialEq)]
pub enum DeletePolicy {
    /// Nothing; the row is remembered as gone. The default.
    Ignore,
    /// Columns are set; `"now"` in a timestamp column is the time of the batch.
    Retire(Vec<(String, Literal)>),
    /// The row is deleted.
    Delete,
}

/// The source column that tells when a row was changed last.
#[derive(Debug, Clone)]
pub struct UpdatedAt {
    /// The column.
    pub column: ColumnRef,
    /// How far before the watermark rows are read again, in seconds; [`OVERLAP_SECS`] by default.
    pub overlap_secs: i64,
    /// Where it stands.
    pub spot: Spot,
}

/// One source relation that feeds one target table.
#[derive(Debug, Clone)]
pub struct Entity {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub spot: Spot,
    /// Where its rows come from.
    pub source: SourceRelation,
    /// The alias of the source relation.
    pub alias: String,
    /// Joined tables.
    pub joins: Vec<Join>,
    /// Rows for which this is not true are filtered.
    pub filter: Option<Expression>,
    /// Key columns; the primary key when absent.
    pub key: Option<Vec<String>>,
    /// The target table, as written.
    pub target: String,
    /// The target key.
    pub id: IdRule,
    /// Source key column and the target column that carries it.
    pub legacy: Vec<(String, String)>,
    /// How rows that other scripts have moved are tied to their source keys.
    pub adopt: AdoptRule,
    /// Target columns whose values tell which row is meant where no key does.
    pub natural_key: Vec<String>,
    /// What happens to rows that are gone.
    pub delete: DeletePolicy,
    /// What happens when both sides changed.
    pub conflict: ConflictPolicy,
    /// What tells when a row was changed last.
    pub updated_at: Option<UpdatedAt>,
    /// Source columns that are deliberately not migrated.
    pub ignore: Vec<String>,
    /// The rules of the target columns.
    pub columns: Vec<ColumnRule>,
    /// What every row must keep.
    pub validations: Vec<Validation>,
    /// Which rows are one.
    pub dedupe: Option<Dedupe>,
}

impl Entity {
    /// Returns the tables of its own source, as written.
    pub fn own_tables(&self) -> Vec<&str> {
        match &self.source {
            SourceRelation::Table(name) => vec![name],
            SourceRelation::Query { watch, .. } => watch.iter().map(String::as_str).collect(),
        }
    }
}

/// Every key that an entity may have.
pub(super) const KNOWN: &[&str] = &[
    "source",
    "as",
    "join",
    "where",
    "key",
    "target",
    "id",
    "legacy",
    "adopt",
    "match",
    "delete",
    "conflict",
    "ignore",
    "columns",
    "updated_at",
    "validate",
    "dedupe",
];

pub(super) fn read(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    defaults: &Defaults,
) -> Option<Entity> {
    refuse_unknown(reader, section);
    let name = section.name().to_owned();
    check_name(reader, section, &name);
    let source = read_source(reader, section);
    let alias = section.string(reader, "as");
    let filter = section
        .has("where")
        .then(|| rule::expression(reader, section, "where"))
        .flatten();
    let joins = read_joins(reader, section);
    let columns = read_columns(reader, section, defaults);
    let target = section.required_string(reader, "target");
    let id = read_id(reader, section);
    let legacy = read_legacy(reader, section);
    let delete = read_delete(reader, section).unwrap_or_else(|| defaults.delete.clone());
    let conflict = read_conflict(reader, section).unwrap_or(defaults.conflict);
    let key = section.strings(reader, "key");
    let updated_at = read_updated_at(reader, section);
    let ignore = section.strings(reader, "ignore").unwrap_or_default();
    let validations = validate::read(reader, section);
    let dedupe = dedupe::read(reader, section);
    let natural_key = section.strings(reader, "match").unwrap_or_default();
    let source = source?;
    let adopt = adopt::read(reader, section, &defaults.adopt, &source);
    let alias = alias.unwrap_or_else(|| match &source {
        SourceRelation::Table(table) => table.rsplit('.').next().unwrap_or(table).to_owned(),
        SourceRelation::Query { .. } => name.clone(),
    });
    Some(Entity {
        spot: reader.spot(section.offset()),
        name,
        source,
        alias,
        joins,
        filter,
        key,
        target: target?,
        id,
        legacy,
        adopt,
        natural_key,
        delete,
        conflict,
        updated_at,
        ignore,
        columns,
        validations,
        dedupe,
    })
}

fn refuse_unknown(reader: &mut Reader<'_>, section: &Section<'_>) {
    for (key, at, _) in section.entries() {
        let path = section.path_of(key);
        if !KNOWN.contains(&key) {
            let hint = did_you_mean(key, KNOWN.iter().copied());
            reader.report(at, &path, "unknown key", hint);
        }
    }
}

/// The name becomes part of a ledger table's name, so it must fit into PostgreSQL's 63 bytes.
fn check_name(reader: &mut Reader<'_>, section: &Section<'_>, name: &str) {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.is_empty() || name.len() > 48 || !name.chars().all(is_plain) {
        let message = "an entity name has 1 to 48 characters of a-z, 0-9 and _";
        reader.report(section.offset(), section.path(), message, None);
    }
}

fn read_source(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<SourceRelation> {
    let is_table = section
        .get("source")
        .is_some_and(|value| value.get_ref().is_table());
    if !is_table {
        let name = section.required_string(reader, "source")?;
        return Some(SourceRelation::Table(name));
    }
    let source = section.section(reader, "source")?;
    source.only(reader, &["query", "watch"]);
    let text = source.required_string(reader, "query")?;
    let watch = source.strings(reader, "watch");
    if watch.as_ref().is_none_or(Vec::is_empty) {
        let message = "a query names the tables it reads in `watch`";
        source.fault(reader, "watch", message, None);
    }
    match parse_query(&text) {
        Ok(query) => Some(SourceRelation::Query {
            query,
            watch: watch.unwrap_or_default(),
        }),
        Err(fault) => {
            let hint = fault.hint.clone();
            source.fault(reader, "query", fault.to_string(), hint);
            None
        }
    }
}

fn read_joins(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<Join> {
    let mut joins = Vec::new();
    for join in section.section_list(reader, "join") {
        join.only(reader, &["table", "as", "on", "kind"]);
        let kinds = [("left", JoinKind::Left), ("inner", JoinKind::Inner)];
        let kind = join.word(reader, "kind", &kinds).unwrap_or(JoinKind::Left);
        let alias = join.string(reader, "as");
        let table = join.required_string(reader, "table");
        let on = rule::expression(reader, &join, "on");
        if let (Some(table), Some(on)) = (table, on) {
            joins.push(Join {
                alias: alias
                    .unwrap_or_else(|| table.rsplit('.').next().unwrap_or(&table).to_owned()),
                table,
                on,
                kind,
                spot: reader.spot(join.offset()),
            });
        }
    }
    joins
}

fn read_columns(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    defaults: &Defaults,
) -> Vec<ColumnRule> {
    let Some(columns) = section.section(reader, "columns") else {
        return Vec::new();
    };
    let mut rules = Vec::new();
    for (target, offset, value) in columns.entries() {
        rules.extend(rule::read(
            reader, &columns, target, offset, value, defaults,
        ));
    }
    rules
}

fn read_id(reader: &mut Reader<'_>, section: &Section<'_>) -> IdRule {
    let mut rule = IdRule {
        column: "id".into(),
        strategy: IdStrategy::Ordered,
        time: None,
        namespace: None,
        name: None,
        spot: reader.spot(section.offset_of("id")),
    };
    let Some(id) = section.section(reader, "id") else {
        return rule;
    };
    id.only(reader, &["column", "strategy", "time", "namespace", "name"]);
    if let Some(column) = id.string(reader, "column") {
        rule.column = column;
    }
    let words = [
        ("ordered", IdStrategy::Ordered),
        ("same", IdStrategy::Same),
        ("v5", IdStrategy::Named),
        ("random", IdStrategy::Random),
    ];
    rule.strategy = id.word(reader, "strategy", &words).unwrap_or(rule.strategy);
    rule.time = id
        .string(reader, "time")
        .map(|text| ColumnRef::parse(&text));
    rule.namespace = read_namespace(reader, &id);
    if let Some(text) = id.string(reader, "name") {
        match parse_template(&text) {
            Ok(parts) => rule.name = Some(parts),
            Err(message) => id.fault(reader, "name", message, None),
        }
    }
    let is_named = rule.strategy == IdStrategy::Named;
    if is_named && !id.has("namespace") {
        let hint = Some("a uuid, or one of dns, url, oid, x500".to_owned());
        id.fault(reader, "namespace", "`v5` needs a namespace", hint);
    }
    for (key, works) in [
        ("namespace", is_named),
        ("name", is_named),
        ("time", rule.strategy == IdStrategy::Ordered),
    ] {
        if id.has(key) && !works {
            let message = format!("`{key}` has no effect with this strategy");
            id.fault(reader, key, message, Some("remove it".into()));
        }
    }
    rule
}

fn read_namespace(reader: &mut Reader<'_>, id: &Section<'_>) -> Option<Uuid> {
    let text = id.string(reader, "namespace")?;
    let known = match text.as_str() {
        "dns" => Some(Uuid::NAMESPACE_DNS),
        "url" => Some(Uuid::NAMESPACE_URL),
        "oid" => Some(Uuid::NAMESPACE_OID),
        "x500" => Some(Uuid::NAMESPACE_X500),
        other => Uuid::parse_str(other).ok(),
    };
    if known.is_none() {
        let message = format!("`{text}` is no namespace");
        let hint = Some("a uuid, or one of dns, url, oid, x500".to_owned());
        id.fault(reader, "namespace", message, hint);
    }
    known
}

/// Reads `updated_at = "column"` or `updated_at = { column = "column", overlap = 900 }`.
fn read_updated_at(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<UpdatedAt> {
    let value = section.get("updated_at")?;
    let spot = reader.spot(section.offset_of("updated_at"));
    if !value.get_ref().is_table() {
        let column = section.string(reader, "updated_at")?;
        return Some(UpdatedAt {
            column: ColumnRef::parse(&column),
            overlap_secs: OVERLAP_SECS,
            spot,
        });
    }
    let rule = section.section(reader, "updated_at")?;
    rule.only(reader, &["column", "overlap"]);
    let column = rule.required_string(reader, "column")?;
    let overlap_secs = match rule.has("overlap") {
        true => rule.integer(reader, "overlap")?,
        false => OVERLAP_SECS,
    };
    if !(0..=31_536_000).contains(&overlap_secs) {
        let message = "a number of seconds, from 0 to a year";
        rule.fault(reader, "overlap", message, None);
    }
    Some(UpdatedAt {
        column: ColumnRef::parse(&column),
        overlap_secs,
        spot,
    })
}

fn read_legacy(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<(String, String)> {
    let Some(legacy) = section.section(reader, "legacy") else {
        return Vec::new();
    };
    let keys: Vec<&str> = legacy.entries().map(|(key, _, _)| key).collect();
    keys.into_iter()
        .filter_map(|key| Some((key.to_owned(), legacy.string(reader, key)?)))
        .collect()
}

/// Reads `conflict`.
pub(super) fn read_conflict(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
) -> Option<ConflictPolicy> {
    let words = [
        ("keep_target", ConflictPolicy::KeepTarget),
        ("source_wins", ConflictPolicy::SourceWins),
        ("quarantine", ConflictPolicy::Quarantine),
    ];
    section.word(reader, "conflict", &words)
}

/// Reads `delete`.
pub(super) fn read_delete(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<DeletePolicy> {
    let value = section.get("delete")?;
    if !value.get_ref().is_table() {
        let delete = section.word(reader, "delete", &[("ignore", false), ("delete", true)])?;
        return Some(if delete {
            DeletePolicy::Delete
        } else {
            DeletePolicy::Ignore
        });
    }
    let delete = section.section(reader, "delete")?;
    delete.only(reader, &["retire"]);
    let retire = delete.section(reader, "retire")?;
    let mut settings = Vec::new();
    for (column, _, _) in retire.entries() {
        settings
            .extend(rule::literal(reader, &retire, column).map(|value| (column.to_owned(), value)));
    }
    if settings.is_empty() {
        delete.fault(reader, "retire", "names no column to set", None);
    }
    Some(DeletePolicy::Retire(settings))
}
