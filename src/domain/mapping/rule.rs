//! Reads the rule of a target column from the file.

use super::column::{
    CaseArm, Clamp, Codes, ColumnRef, ColumnRule, Fallback, Format, Invalid, JsonFallback,
    JsonMember, Literal, Normalize, Rule,
};
use super::issue::did_you_mean;
use super::reader::{Reader, Section};
use super::reference::{read_poly, read_reference};
use super::template::{NullPolicy, parse_template};
use super::{Defaults, Spot};
use crate::domain::expression::{Expression, parse_expression};
use toml::Spanned;
use toml::de::DeValue;

/// Keys that change a value before it is converted, and that rules for plain values share.
const MODIFIERS: &[&str] = &[
    "codes",
    "default",
    "normalize",
    "scale",
    "clamp",
    "truncate",
    "format",
    "invalid",
    "allow_loss",
    "time_zone",
];

/// Every rule, the keys that belong to it alone, and whether modifiers work on it.
const RULES: &[(&str, &[&str], bool)] = &[
    ("column", &[], true),
    ("const", &[], true),
    ("expr", &[], true),
    ("case", &["else"], true),
    ("template", &["nulls"], true),
    ("json", &["nulls", "null_if_empty"], false),
    ("json_parse", &["on_error", "empty"], false),
    ("json_path", &["path", "on_error", "empty"], true),
    ("ref", &["by", "via", "missing"], false),
    ("poly", &["missing"], false),
];

/// Reads the rule of one target column.
pub(super) fn read(
    reader: &mut Reader<'_>,
    entity: &Section<'_>,
    target: &str,
    offset: usize,
    value: &Spanned<DeValue<'_>>,
    defaults: &Defaults,
) -> Option<ColumnRule> {
    let spot = reader.spot(offset);
    let path = format!("{}.{target}", entity.path());
    if let Some(column) = value.get_ref().as_str() {
        return Some(plain(target, spot, Rule::Column(ColumnRef::parse(column))));
    }
    let Some(section) = Section::of(value, path.clone()) else {
        let found = value.get_ref().type_str();
        let hint = Some("write \"column\" or a table such as { column = \"a.b\" }".into());
        reader.report(
            offset,
            &path,
            format!("expected a rule, found {found}"),
            hint,
        );
        return None;
    };
    let named: Vec<&str> = RULES
        .iter()
        .map(|(name, ..)| *name)
        .filter(|rule| section.has(rule))
        .collect();
    if named.len() > 1 {
        let message = format!("more than one rule: {}", named.join(", "));
        reader.report(offset, &path, message, Some("keep one of them".into()));
        return None;
    }
    let name = named.first().copied();
    refuse_unknown(reader, &section, name.unwrap_or("column"));
    let rule = match name {
        // The name of a target column has no alias in front, whatever dots it holds.
        None => Rule::Column(ColumnRef {
            table: None,
            column: target.to_owned(),
        }),
        Some(name) => read_rule(reader, &section, name)?,
    };
    let codes = read_codes(reader, &section, defaults);
    let owner = section.word(reader, "owner", &[("target", true)]);
    Some(ColumnRule {
        default: section
            .get("default")
            .filter(|_| codes.is_none())
            .and_then(|_| literal(reader, &section, "default")),
        codes,
        normalize: read_normalize(reader, &section),
        scale: number(reader, &section, "scale"),
        clamp: read_clamp(reader, &section),
        truncate: read_truncate(reader, &section),
        format: read_format(reader, &section),
        allow_loss: section.boolean(reader, "allow_loss").unwrap_or(false),
        time_zone: section.string(reader, "time_zone"),
        target_owned: owner.unwrap_or(false),
        ..plain(target, spot, rule)
    })
}

fn plain(target: &str, spot: Spot, rule: Rule) -> ColumnRule {
    ColumnRule {
        target: target.to_owned(),
        spot,
        rule,
        default: None,
        codes: None,
        normalize: Vec::new(),
        scale: None,
        clamp: None,
        truncate: None,
        format: None,
        allow_loss: false,
        time_zone: None,
        target_owned: false,
    }
}

/// Returns every key that a rule may have.
pub(super) fn known() -> Vec<&'static str> {
    let rules = RULES
        .iter()
        .flat_map(|(name, own, _)| [*name].into_iter().chain(own.iter().copied()));
    let mut all: Vec<&str> = rules.chain(MODIFIERS.iter().copied()).collect();
    all.push("owner");
    all.sort_unstable();
    all.dedup();
    all
}

/// Refuses keys that nobody knows, and keys that would change nothing beside this rule.
fn refuse_unknown(reader: &mut Reader<'_>, section: &Section<'_>, rule: &str) {
    let own = RULES.iter().find(|(name, ..)| *name == rule);
    let (own, takes_modifiers) = own.map_or((&[][..], false), |(_, own, takes)| (*own, *takes));
    let all = known();
    for (key, at, _) in section.entries() {
        let works = key == rule
            || key == "owner"
            || own.contains(&key)
            || (takes_modifiers && MODIFIERS.contains(&key));
        if works {
            continue;
        }
        let path = section.path_of(key);
        if all.contains(&key) {
            let message = format!("`{key}` has no effect beside `{rule}`");
            reader.report(at, &path, message, Some("remove it".into()));
        } else {
            let hint = did_you_mean(key, all.iter().copied());
            reader.report(at, &path, "unknown key", hint);
        }
    }
}

fn read_rule(reader: &mut Reader<'_>, section: &Section<'_>, name: &str) -> Option<Rule> {
    match name {
        "column" => column_ref(reader, section, "column").map(Rule::Column),
        "const" => literal(reader, section, "const").map(Rule::Const),
        "expr" => expression(reader, section, "expr").map(Rule::Expr),
        "case" => read_case(reader, section),
        "template" => read_template(reader, section),
        "json" => read_json(reader, section),
        "json_parse" => read_json_parse(reader, section),
        "json_path" => read_json_path(reader, section),
        "ref" => read_reference(reader, section),
        _ => read_poly(reader, section),
    }
}

pub(super) fn column_ref(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
) -> Option<ColumnRef> {
    let text = section.required_string(reader, key)?;
    Some(ColumnRef::parse(&text))
}

/// Reads a SQL expression and reports what is not allowed in it.
pub(super) fn expression(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
) -> Option<Expression> {
    let text = section.required_string(reader, key)?;
    match parse_expression(&text) {
        Ok(expression) => Some(expression),
        Err(fault) => {
            section.fault(reader, key, fault.to_string(), fault.hint.clone());
            None
        }
    }
}

fn plain_number(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Float(number) => {
            let text = number.as_str();
            let plain = !text.contains(|c: char| c.is_alphabetic() && c != 'e' && c != 'E');
            plain.then(|| text.to_owned())
        }
        _ => None,
    }
}

pub(super) fn literal(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
) -> Option<Literal> {
    let found = literal_of(section.get(key)?.get_ref());
    if found.is_none() {
        let message = "expected a string, a decimal number or a boolean";
        section.fault(reader, key, message, None);
    }
    found
}

pub(super) fn literal_of(value: &DeValue<'_>) -> Option<Literal> {
    match value {
        DeValue::String(text) => Some(Literal::Text(text.as_ref().to_owned())),
        DeValue::Boolean(flag) => Some(Literal::Bool(*flag)),
        other => plain_number(other).map(Literal::Number),
    }
}

fn fallback(reader: &mut Reader<'_>, section: &Section<'_>, key: &str) -> Fallback {
    if !section.has(key) {
        return Fallback::Error;
    }
    match literal(reader, section, key) {
        Some(Literal::Text(text)) if text == "error" => Fallback::Error,
        Some(Literal::Text(text)) if text == "null" => Fallback::Null,
        Some(value) => Fallback::Value(value),
        None => Fallback::Error,
    }
}

fn read_case(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Rule> {
    let mut arms = Vec::new();
    for arm in section.section_list(reader, "case") {
        arm.only(reader, &["when", "then"]);
        let when = expression(reader, &arm, "when");
        if !arm.has("then") {
            arm.fault(reader, "then", "this key is missing", None);
        }
        if let (Some(when), Some(then)) = (when, literal(reader, &arm, "then")) {
            arms.push(CaseArm { when, then });
        }
    }
    if arms.is_empty() {
        section.fault(reader, "case", "a case needs at least one arm", None);
        return None;
    }
    let otherwise = fallback(reader, section, "else");
    Some(Rule::Case { arms, otherwise })
}

fn read_template(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Rule> {
    let text = section.string(reader, "template")?;
    let words = [("null", NullPolicy::Null), ("empty", NullPolicy::Empty)];
    let nulls = section.word(reader, "nulls", &words);
    match parse_template(&text) {
        Ok(parts) => Some(Rule::Template {
            parts,
            nulls: nulls.unwrap_or(NullPolicy::Null),
        }),
        Err(message) => {
            section.fault(reader, "template", message, None);
            None
        }
    }
}

fn read_json(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Rule> {
    let object = section.section(reader, "json")?;
    let members = read_members(reader, &object);
    if members.is_empty() {
        section.fault(reader, "json", "names no member", None);
    }
    let words = [("null", false), ("omit", true)];
    Some(Rule::Json {
        members,
        omit_nulls: section.word(reader, "nulls", &words).unwrap_or(false),
        null_if_empty: section.boolean(reader, "null_if_empty").unwrap_or(false),
    })
}

/// Reads the members of an object: `"column"`, `{ const = .. }`, `{ expr = .. }` or `{ json = { .. } }`.
fn read_members(reader: &mut Reader<'_>, object: &Section<'_>) -> Vec<(String, JsonMember)> {
    let mut members = Vec::new();
    for (name, _, value) in object.entries() {
        if let Some(column) = value.get_ref().as_str() {
            members.push((
                name.to_owned(),
                JsonMember::Column(ColumnRef::parse(column)),
            ));
            continue;
        }
        let Some(member) = object.section(reader, name) else {
            continue;
        };
        member.only(reader, &["const", "expr", "json"]);
        let read = if member.has("const") {
            literal(reader, &member, "const").map(JsonMember::Const)
        } else if member.has("expr") {
            expression(reader, &member, "expr").map(JsonMember::Expr)
        } else if let Some(inner) = member.section(reader, "json") {
            Some(JsonMember::Object(read_members(reader, &inner)))
        } else {
            let hint = Some("a column, or { const = .. }, { expr = .. }, { json = { .. } }".into());
            object.fault(reader, name, "this member has no value", hint);
            None
        };
        members.extend(read.map(|it| (name.to_owned(), it)));
    }
    members
}

fn read_on_error(reader: &mut Reader<'_>, section: &Section<'_>) -> JsonFallback {
    let words = [("error", JsonFallback::Error), ("null", JsonFallback::Null)];
    let words = words.each_ref().map(|(word, it)| (*word, it));
    let found = section.word(reader, "on_error", &words);
    found.cloned().unwrap_or(JsonFallback::Error)
}

fn read_empty(reader: &mut Reader<'_>, section: &Section<'_>) -> bool {
    let empty = section.word(reader, "empty", &[("null", true), ("error", false)]);
    empty.unwrap_or(false)
}

fn read_json_parse(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Rule> {
    let is_table = section
        .get("on_error")
        .is_some_and(|value| value.get_ref().is_table());
    let on_error = if is_table {
        let wrap = section.section(reader, "on_error")?;
        wrap.only(reader, &["wrap"]);
        JsonFallback::Wrap(wrap.required_string(reader, "wrap")?)
    } else {
        read_on_error(reader, section)
    };
    Some(Rule::JsonParse {
        column: column_ref(reader, section, "json_parse")?,
        on_error,
        empty_is_null: read_empty(reader, section),
    })
}

fn read_json_path(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Rule> {
    let column = column_ref(reader, section, "json_path");
    let path = match section.get("path") {
        Some(value) if value.get_ref().is_array() => section.strings(reader, "path")?,
        _ => {
            let text = section.required_string(reader, "path")?;
            text.split('.').map(str::to_owned).collect()
        }
    };
    if path.is_empty() || path.iter().any(String::is_empty) {
        section.fault(reader, "path", "a path names at least one member", None);
    }
    Some(Rule::JsonPath {
        column: column?,
        path,
        on_error: read_on_error(reader, section),
        empty_is_null: read_empty(reader, section),
    })
}

fn read_codes(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    defaults: &Defaults,
) -> Option<(Codes, Fallback)> {
    let value = section.get("codes")?;
    let unknown = fallback(reader, section, "default");
    if value.get_ref().is_table() {
        let table = section.section(reader, "codes")?;
        return Some((read_code_table(reader, &table), unknown));
    }
    let name = section.string(reader, "codes")?;
    if let Some(codes) = defaults.codes.get(&name) {
        return Some((codes.clone(), unknown));
    }
    let hint = did_you_mean(&name, defaults.codes.keys().map(String::as_str));
    section.fault(
        reader,
        "codes",
        format!("no code table [codes.{name}]"),
        hint,
    );
    None
}

/// Reads a table of codes.
pub(super) fn read_code_table(reader: &mut Reader<'_>, table: &Section<'_>) -> Codes {
    let keys: Vec<&str> = table.entries().map(|(key, _, _)| key).collect();
    let pairs = keys
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), table.string(reader, key)?)))
        .collect();
    Codes { pairs }
}

fn read_normalize(reader: &mut Reader<'_>, section: &Section<'_>) -> Vec<Normalize> {
    const STEPS: &[(&str, Normalize)] = &[
        ("trim", Normalize::Trim),
        ("lower", Normalize::Lower),
        ("upper", Normalize::Upper),
        ("digits", Normalize::Digits),
        ("collapse", Normalize::Collapse),
        ("nfc", Normalize::Nfc),
        ("empty_to_null", Normalize::EmptyToNull),
    ];
    let mut steps = Vec::new();
    for word in section.strings(reader, "normalize").unwrap_or_default() {
        match STEPS.iter().find(|(name, _)| *name == word) {
            Some((_, step)) => steps.push(*step),
            None => {
                let hint = did_you_mean(&word, STEPS.iter().map(|(name, _)| *name));
                section.fault(reader, "normalize", format!("unknown step `{word}`"), hint);
            }
        }
    }
    steps
}

/// Reads a decimal number as it is written.
fn number(reader: &mut Reader<'_>, section: &Section<'_>, key: &str) -> Option<String> {
    match literal(reader, section, key)? {
        Literal::Number(number) => Some(number.replace('_', "")),
        _ => {
            section.fault(reader, key, "expected a decimal number", None);
            None
        }
    }
}

/// Reads `clamp = [low, high]` or `clamp = { min = low }`, `{ max = high }`.
fn read_clamp(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Clamp> {
    let value = section.get("clamp")?.get_ref();
    let (low, high) = if value.is_table() {
        let bounds = section.section(reader, "clamp")?;
        bounds.only(reader, &["min", "max"]);
        let read = |reader: &mut Reader<'_>, key| {
            let there = bounds.has(key);
            there.then(|| number(reader, &bounds, key)).flatten()
        };
        (read(reader, "min"), read(reader, "max"))
    } else {
        let bounds = value.as_array().and_then(|items| match &items[..] {
            [low, high] => Some((plain_number(low.get_ref())?, plain_number(high.get_ref())?)),
            _ => None,
        });
        bounds.map_or((None, None), |(low, high)| (Some(low), Some(high)))
    };
    if low.is_none() && high.is_none() {
        let message = "expected [low, high] or { min = low, max = high }";
        section.fault(reader, "clamp", message, None);
        return None;
    }
    let value_of = |text: &Option<String>| text.as_ref().and_then(|it| it.parse::<f64>().ok());
    if let (Some(from), Some(to)) = (value_of(&low), value_of(&high))
        && from > to
    {
        section.fault(
            reader,
            "clamp",
            "the lower bound is above the upper one",
            None,
        );
    }
    Some(Clamp { low, high })
}

fn read_truncate(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<u32> {
    if !section.has("truncate") {
        return None;
    }
    let length = section.integer(reader, "truncate")?;
    let found = u32::try_from(length)
        .ok()
        .filter(|it| (1..=10_000_000).contains(it));
    if found.is_none() {
        let message = "a number of characters, from 1 to 10000000";
        section.fault(reader, "truncate", message, None);
    } else if section.boolean(reader, "allow_loss") != Some(true) {
        let hint = Some("add allow_loss = true if that is what you want".to_owned());
        section.fault(
            reader,
            "truncate",
            "cutting a text loses what is cut off",
            hint,
        );
    }
    found
}

fn read_format(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<(Format, Invalid)> {
    let words = [
        ("quarantine", Invalid::Quarantine),
        ("null", Invalid::Null),
        ("keep", Invalid::Keep),
    ];
    let invalid = section
        .has("invalid")
        .then(|| section.word(reader, "invalid", &words));
    if invalid.is_some() && !section.has("format") {
        section.fault(
            reader,
            "invalid",
            "says what happens to a `format` that is missing",
            None,
        );
    }
    let format = format_of(&section.string(reader, "format")?);
    Some((format, invalid.flatten().unwrap_or(Invalid::Quarantine)))
}

/// Returns the format that a word names; anything else is a regular expression.
pub(super) fn format_of(text: &str) -> Format {
    match text {
        "email" => Format::Email,
        "uuid" => Format::Uuid,
        "url" => Format::Url,
        pattern => Format::Pattern(pattern.to_owned()),
    }
}
