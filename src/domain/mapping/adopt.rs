//! How rows that older scripts have moved are tied to their source keys: the keys `adopt` and `match`.

use super::column::Literal;
use super::reader::{Reader, Section};
use super::rule::literal;
use super::{SourceRelation, Spot};

/// A table of the target that says which source key became which target row.
#[derive(Debug, Clone)]
pub struct MappingsTable {
    /// The table, as written.
    pub table: String,
    /// The column that tells whose keys a row is about, and the text it holds for this entity.
    pub discriminator: Option<(String, String)>,
    /// The columns with the source key, in key order.
    pub source_id: Vec<String>,
    /// The column with the target id.
    pub target_id: String,
}

/// The key `adopt` of an entity.
#[derive(Debug, Clone)]
pub struct AdoptRule {
    /// Where the ids were noted, if they were.
    pub table: Option<MappingsTable>,
    /// Values by which the target rows of this entity are known from those of others in the same table.
    pub only: Vec<(String, Literal)>,
    /// Whether rows that are there are nobody's by the mapping's own words: `adopt = "never"`.
    pub is_declined: bool,
    /// Where it stands.
    pub spot: Spot,
}

/// What `[defaults]` says of the mappings table.
#[derive(Debug, Clone, Default)]
pub(crate) struct AdoptDefaults {
    table: Option<String>,
    entity: Option<String>,
    source_id: Vec<String>,
    target_id: Option<String>,
}

/// Reads `adopt` of `[defaults]`.
pub(super) fn read_defaults(reader: &mut Reader<'_>, section: &Section<'_>) -> AdoptDefaults {
    let Some(adopt) = section
        .has("adopt")
        .then(|| section.section(reader, "adopt"))
        .flatten()
    else {
        return AdoptDefaults::default();
    };
    adopt.only(reader, &["table", "entity", "source_id", "target_id"]);
    AdoptDefaults {
        table: adopt.required_string(reader, "table"),
        entity: adopt.string(reader, "entity"),
        source_id: names(reader, &adopt, "source_id"),
        target_id: adopt.string(reader, "target_id"),
    }
}

/// Reads `adopt` of an entity: a table, `false` where the default does not hold, or `"never"`.
pub(super) fn read(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    defaults: &AdoptDefaults,
    source: &SourceRelation,
) -> AdoptRule {
    let spot = reader.spot(section.offset_of("adopt"));
    let nothing = AdoptRule {
        table: None,
        only: Vec::new(),
        is_declined: false,
        spot,
    };
    let is_refused = section
        .get("adopt")
        .is_some_and(|it| it.get_ref().as_bool() == Some(false));
    if is_refused {
        return nothing;
    }
    let is_text = section
        .get("adopt")
        .is_some_and(|it| it.get_ref().as_str().is_some());
    if is_text {
        let is_never = section.word(reader, "adopt", &[("never", true)]);
        return AdoptRule {
            is_declined: is_never.is_some(),
            ..nothing
        };
    }
    let adopt = match section.has("adopt") {
        true => match section.section(reader, "adopt") {
            Some(adopt) => Some(adopt),
            None => return nothing,
        },
        false => None,
    };
    let mut only = Vec::new();
    if let Some(adopt) = &adopt {
        adopt.only(
            reader,
            &["table", "entity", "value", "source_id", "target_id", "only"],
        );
        if let Some(columns) = adopt.section(reader, "only") {
            for (column, _, _) in columns.entries() {
                let value = literal(reader, &columns, column);
                only.extend(value.map(|value| (column.to_owned(), value)));
            }
        }
    }
    AdoptRule {
        table: read_table(reader, section, adopt.as_ref(), defaults, source),
        only,
        is_declined: false,
        spot,
    }
}

fn read_table(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    adopt: Option<&Section<'_>>,
    defaults: &AdoptDefaults,
    source: &SourceRelation,
) -> Option<MappingsTable> {
    let text = |reader: &mut Reader<'_>, key: &str| adopt.and_then(|it| it.string(reader, key));
    let own = text(reader, "table");
    let is_own = own.is_some();
    // Another table has columns of its own.
    let default = |value: &Option<String>| value.clone().filter(|_| !is_own);
    let table = own.or_else(|| defaults.table.clone());
    let entity = text(reader, "entity").or_else(|| default(&defaults.entity));
    let value = text(reader, "value");
    let mut source_id = adopt.map_or_else(Vec::new, |it| names(reader, it, "source_id"));
    if source_id.is_empty() && !is_own {
        source_id.clone_from(&defaults.source_id);
    }
    let target_id = text(reader, "target_id").or_else(|| default(&defaults.target_id));
    let here = adopt.unwrap_or(section);
    let Some(table) = table else {
        for key in ["entity", "value", "source_id", "target_id"] {
            if adopt.is_some_and(|it| it.has(key)) {
                here.fault(
                    reader,
                    key,
                    "it belongs to a `table`, which is missing",
                    None,
                );
            }
        }
        return None;
    };
    if value.is_some() && entity.is_none() {
        let message = "`value` needs `entity`, the column that holds it";
        here.fault(reader, "value", message, None);
    }
    for (key, is_missing) in [
        ("source_id", source_id.is_empty()),
        ("target_id", target_id.is_none()),
    ] {
        if is_missing {
            here.fault(reader, key, format!("`{key}` of {table} is missing"), None);
        }
    }
    let value = value.unwrap_or_else(|| match source {
        SourceRelation::Table(name) => name.rsplit('.').next().unwrap_or(name).to_owned(),
        SourceRelation::Query { .. } => section.name().to_owned(),
    });
    Some(MappingsTable {
        table,
        discriminator: entity.map(|column| (column, value)),
        source_id,
        target_id: target_id?,
    })
}

/// Reads one name or a list of names.
fn names(reader: &mut Reader<'_>, section: &Section<'_>, key: &str) -> Vec<String> {
    let is_list = section
        .get(key)
        .is_some_and(|value| value.get_ref().is_array());
    if is_list {
        return section.strings(reader, key).unwrap_or_default();
    }
    section.string(reader, key).into_iter().collect()
}
