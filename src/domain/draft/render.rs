//! Writes a draft as a mapping file with comments.

use super::{Codes, ColumnDraft, Draft, EntityDraft, RuleDraft, Unmatched};
use crate::domain::identifier::{QualifiedName, printable, quote_identifier};

const RULE: &str = "# ---------------------------------------------------------------------------------------------------------------------\n";

/// Writes a text for TOML.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Writes a key for TOML.
pub(super) fn key(text: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(is_bare) {
        return text.to_owned();
    }
    quoted(text)
}

/// Words that need quotes as a column's name in an expression.
const RESERVED: &[&str] = &[
    "all",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "between",
    "case",
    "cast",
    "check",
    "collate",
    "column",
    "cross",
    "current_date",
    "current_time",
    "current_user",
    "default",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "false",
    "fetch",
    "for",
    "foreign",
    "from",
    "grant",
    "group",
    "having",
    "in",
    "interval",
    "into",
    "is",
    "join",
    "left",
    "like",
    "limit",
    "not",
    "null",
    "offset",
    "on",
    "or",
    "order",
    "primary",
    "references",
    "right",
    "select",
    "session_user",
    "some",
    "table",
    "then",
    "to",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "when",
    "where",
    "window",
    "with",
];

/// Writes a name for an expression.
pub(super) fn sql_name(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain && !RESERVED.contains(&name) {
        return name.to_owned();
    }
    quote_identifier(name)
}

/// Writes a column with its alias for an expression.
pub(super) fn sql_column(alias: &str, column: &str) -> String {
    format!("{alias}.{}", sql_name(column))
}

/// Writes a table the way the mapping reads it: without its schema when that is the usual one.
fn table(name: &QualifiedName, schema: &str) -> String {
    if name.schema == schema && !name.name.contains('.') {
        return quoted(&name.name);
    }
    quoted(&format!("{}.{}", name.schema, name.name))
}

/// Writes a comment; what would end its line is escaped.
fn comment(text: &str) -> String {
    format!("# {}", printable(text))
}

/// The text of a file with everything in it.
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn remark(&mut self, text: &str) {
        let line = comment(text);
        self.line(&line);
    }

    /// A line of the file with its reason behind it.
    fn with_reason(&mut self, text: &str, reason: &str) {
        if reason.is_empty() {
            self.line(text);
        } else {
            self.line(&format!("{text}    {}", comment(reason)));
        }
    }
}

/// Writes the mapping file.
pub fn render(draft: &Draft) -> String {
    let mut page = Page {
        text: String::new(),
    };
    head(&mut page, draft);
    for entity in &draft.entities {
        page.line("");
        page.text.push_str(RULE);
        write_entity(&mut page, draft, entity);
    }
    tail(
        &mut page,
        "Target tables that nothing of the source is like:",
        &draft.unmatched_targets,
    );
    tail(
        &mut page,
        "Source tables that no entity reads:",
        &draft.unmatched_sources,
    );
    page.text
}

fn head(page: &mut Page, draft: &Draft) {
    page.remark("A draft of a mapping, made by `diffmig init`. Every guess has its reason beside it and a score from 0 to 1.");
    page.remark(
        "Read it through. Lines with CHECK are guesses that may be wrong although they work.",
    );
    let count: usize = draft.entities.iter().map(|it| it.todo.len()).sum();
    if count > 0 {
        page.remark(&format!("Lines with TODO ({count}) need a word from you: every command refuses the file until then."));
    }
    page.remark("Then: diffmig migrate --dry-run");
    page.line("version = 1");
    page.line("");
    page.line("[source]");
    page.line(&format!("schema = {}", quoted(&draft.source_schema)));
    if let Some(zone) = &draft.time_zone {
        page.with_reason(&format!("time_zone = {}", quoted(&zone.name)), &zone.reason);
    }
    page.line("");
    page.line("[target]");
    page.line(&format!("schema = {}", quoted(&draft.target_schema)));
    page.line("");
    page.line("[defaults]");
    page.with_reason(
        "delete = \"ignore\"",
        "rows that are gone from the source stay; decide for each entity: \"delete\" or { retire = { ... } }",
    );
}

fn write_entity(page: &mut Page, draft: &Draft, entity: &EntityDraft) {
    page.remark(&format!(
        "{} from {}, {:.2}: {}",
        entity.target.name,
        entity.source.name,
        entity.score,
        entity.reasons.join("; ")
    ));
    for hint in &entity.hints {
        page.remark(&format!("Perhaps: {hint}"));
    }
    page.line(&format!("[entities.{}]", entity.entity));
    page.line(&format!(
        "source = {}",
        table(&entity.source, &draft.source_schema)
    ));
    page.line(&format!("as = {}", quoted(&entity.alias)));
    if let Some(join) = &entity.join {
        page.line(&format!(
            "join = [{{ table = {}, as = {}, on = {} }}]",
            table(&join.table, &draft.source_schema),
            quoted(&join.alias),
            quoted(&join.on)
        ));
    }
    write_keys(page, draft, entity);
    if !entity.ignore.is_empty() {
        page.line("ignore = [");
        for it in &entity.ignore {
            page.with_reason(&format!("    {},", quoted(&it.column)), &it.reason);
        }
        page.line("]");
    }
    page.line("");
    write_columns(page, entity);
}

/// What names a row on both sides, and what tells that it was changed.
fn write_keys(page: &mut Page, draft: &Draft, entity: &EntityDraft) {
    todo_of(page, entity, "key");
    if let Some(names) = &entity.key {
        let names: Vec<String> = names.iter().map(|it| quoted(it)).collect();
        page.with_reason(
            &format!("key = [{}]", names.join(", ")),
            "a unique key; there is no primary key",
        );
    }
    page.line(&format!(
        "target = {}",
        table(&entity.target, &draft.target_schema)
    ));
    todo_of(page, entity, "id");
    let time = entity.id.time.as_ref();
    let time = time.map(|it| format!(", time = {}", own(entity, it)));
    let id = format!(
        "id = {{ column = {}, strategy = \"{}\"{} }}",
        quoted(&entity.id.column),
        entity.id.strategy,
        time.unwrap_or_default()
    );
    page.with_reason(&id, &entity.id.reason);
    if !entity.legacy.is_empty() {
        let pairs = entity.legacy.iter();
        let pairs = pairs.map(|(column, target)| format!("{} = {}", key(column), quoted(target)));
        page.line(&format!(
            "legacy = {{ {} }}",
            pairs.collect::<Vec<_>>().join(", ")
        ));
    }
    if let Some(column) = &entity.updated_at {
        page.with_reason(
            &format!("updated_at = {}", own(entity, column)),
            "for `detect --mode timestamp` only",
        );
    }
}

fn write_columns(page: &mut Page, entity: &EntityDraft) {
    page.line(&format!("[entities.{}.columns]", entity.entity));
    for column in &entity.columns {
        todo_of(page, entity, &format!("columns.{}", column.column));
        let reason = format!("{:.2} {}", column.score, column.reason);
        page.with_reason(&rule(entity, column), &reason);
    }
    todo_of(page, entity, "columns");
    for it in &entity.left {
        page.remark(&format!(
            "{} is left to the target: {}",
            it.column, it.reason
        ));
    }
}

fn todo_of(page: &mut Page, entity: &EntityDraft, key: &str) {
    for todo in entity.todo.iter().filter(|it| it.key == key) {
        page.remark(&format!("TODO {}", todo.need));
    }
}

/// Writes a column of the own source.
fn own(entity: &EntityDraft, column: &str) -> String {
    quoted(&format!("{}.{column}", entity.alias))
}

fn code_table(codes: &Codes) -> String {
    let pairs = codes.iter().map(|(code, label)| {
        let label = label.as_deref().unwrap_or("TODO");
        format!("{} = {}", key(code), quoted(label))
    });
    format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
}

fn rule(entity: &EntityDraft, column: &ColumnDraft) -> String {
    let name = key(&column.column);
    let value = match &column.rule {
        RuleDraft::Column {
            column: own,
            normalize,
        } if normalize.is_empty() && *own == column.column => "{}".to_owned(),
        RuleDraft::Column { column, normalize } if normalize.is_empty() => {
            format!("{{ column = {} }}", own(entity, column))
        }
        RuleDraft::Column { column, normalize } => {
            let steps: Vec<String> = normalize.iter().map(|it| quoted(it)).collect();
            format!(
                "{{ column = {}, normalize = [{}] }}",
                own(entity, column),
                steps.join(", ")
            )
        }
        RuleDraft::Codes { column, codes } => {
            format!(
                "{{ column = {}, codes = {} }}",
                own(entity, column),
                code_table(codes)
            )
        }
        RuleDraft::JsonParse { column } => format!("{{ json_parse = {} }}", own(entity, column)),
        RuleDraft::Ref {
            entity: parent,
            by,
            is_soft,
        } => {
            let missing = if *is_soft { ", missing = \"null\"" } else { "" };
            format!(
                "{{ ref = {}, by = {}{missing} }}",
                quoted(parent),
                own(entity, by)
            )
        }
        RuleDraft::Poly {
            type_column,
            id_column,
            map,
        } => format!(
            "{{ poly = {{ type = {}, id = {}, map = {} }} }}",
            own(entity, type_column),
            own(entity, id_column),
            code_table(map)
        ),
        RuleDraft::Expr { sql, .. } => format!("{{ expr = {} }}", quoted(sql)),
        RuleDraft::Template { template, .. } => format!(
            "{{ template = {}, nulls = \"empty\", normalize = [\"collapse\", \"trim\", \"empty_to_null\"] }}",
            quoted(template)
        ),
        RuleDraft::Const { value } => format!("{{ const = {} }}", quoted(value)),
    };
    format!("{name} = {value}")
}

fn tail(page: &mut Page, title: &str, tables: &[Unmatched]) {
    if tables.is_empty() {
        return;
    }
    page.line("");
    page.text.push_str(RULE);
    page.remark(title);
    for it in tables {
        let nearest = match &it.nearest {
            Some(it) => format!("nearest: {} ({:.2})", it.table.name, it.score),
            None => "nothing is near".to_owned(),
        };
        page.remark(&format!("  {}: {nearest}", it.table.name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_keys_of_any_name_stay_what_they_are() {
        for text in ["plain", "a \"b\"\\c", "line\nbreak\u{7f}", "", "ü.ß"] {
            let line = format!("{} = {}", key(text), quoted(text));
            let table: toml::Table = line.parse().unwrap();
            assert_eq!(
                table.get(text).and_then(|it| it.as_str()),
                Some(text),
                "{line}"
            );
        }
        assert!(!comment("a\nversion = 2").contains('\n'));
        assert_eq!(sql_column("t", "order"), "t.\"order\"");
        assert_eq!(sql_column("t", "mimeType"), "t.\"mimeType\"");
    }
}
