//! The rules that give a target column its value.

use super::issue::did_you_mean;
use super::reader::{Reader, Section};
use super::template::{NullPolicy, TemplatePart, parse_template};
use super::{Defaults, Spot};
use crate::domain::expression::{Expression, parse_expression};
use toml::Spanned;
use toml::de::DeValue;

/// A column of the source as written in the mapping: `alias.column` or `column`, verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnRef {
    /// The alias; `None` means the entity's own source.
    pub table: Option<String>,
    /// The column's exact name.
    pub column: String,
}

impl ColumnRef {
    /// Splits at the first dot; names are taken as they stand, without quotes or case folding.
    pub fn parse(text: &str) -> Self {
        match text.split_once('.') {
            Some((table, column)) => ColumnRef {
                table: Some(table.to_owned()),
                column: column.to_owned(),
            },
            None => ColumnRef {
                table: None,
                column: text.to_owned(),
            },
        }
    }
}

/// A constant of the mapping file.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// A text.
    Text(String),
    /// A number as written.
    Number(String),
    /// `true` or `false`.
    Bool(bool),
}

/// What stands in for a value no rule covers.
#[derive(Debug, Clone, PartialEq)]
pub enum Fallback {
    /// The row goes to quarantine. The default.
    Error,
    /// NULL.
    Null,
    /// A fixed value.
    Value(Literal),
}

/// A code table.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    /// Source code (as text) and target value.
    pub pairs: Vec<(String, String)>,
}

/// One arm of a `case`.
#[derive(Debug, Clone)]
pub struct CaseArm {
    /// The condition.
    pub when: Expression,
    /// The value.
    pub then: Literal,
}

/// A change to a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalize {
    /// White space off both ends.
    Trim,
    /// Lower case.
    Lower,
    /// Upper case.
    Upper,
    /// Only the digits.
    Digits,
    /// Runs of white space become one blank.
    Collapse,
    /// Unicode normal form C (a UTF-8 source of PostgreSQL 13 or newer).
    Nfc,
    /// `''` becomes NULL.
    EmptyToNull,
}

/// What becomes of JSON text that does not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonFallback {
    /// The row goes to quarantine. The default.
    Error,
    /// NULL.
    Null,
    /// An object with the text under this key.
    Wrap(String),
}

/// What becomes of a row whose parent is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The row waits. The default.
    Hold,
    /// The column is NULL until the parent arrives.
    Null,
    /// The row goes to quarantine.
    Quarantine,
}

/// One kind of parent of a generic reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolyTarget {
    /// The value of the type column, as text.
    pub code: String,
    /// The parent entity.
    pub entity: String,
}

/// How a value is made.
#[derive(Debug, Clone)]
pub enum Rule {
    /// A source column.
    Column(ColumnRef),
    /// The same for every row.
    Const(Literal),
    /// A SQL expression over the source row.
    Expr(Expression),
    /// The first condition that holds.
    Case {
        /// The arms in order.
        arms: Vec<CaseArm>,
        /// When none holds.
        otherwise: Fallback,
    },
    /// Text with holes.
    Template {
        /// The pieces.
        parts: Vec<TemplatePart>,
        /// What NULL does.
        nulls: NullPolicy,
    },
    /// Text that holds JSON.
    JsonParse {
        /// The text column.
        column: ColumnRef,
        /// What malformed text becomes.
        on_error: JsonFallback,
        /// Whether `''` is NULL instead of malformed.
        empty_is_null: bool,
    },
    /// A key of another entity.
    Reference {
        /// The parent entity.
        entity: String,
        /// The source column with the parent's key.
        by: ColumnRef,
        /// When the parent is not there.
        missing: Missing,
    },
    /// A key whose entity depends on a type column.
    Poly {
        /// The type column.
        type_column: ColumnRef,
        /// The key column.
        id_column: ColumnRef,
        /// Types and entities.
        targets: Vec<PolyTarget>,
        /// When the parent is not there or the type is unknown.
        missing: Missing,
    },
}

/// A rule with everything that modifies it.
#[derive(Debug, Clone)]
pub struct ColumnRule {
    /// The target column.
    pub target: String,
    /// Where the rule stands.
    pub spot: Spot,
    /// How the value is made.
    pub rule: Rule,
    /// Replaces NULL.
    pub default: Option<Literal>,
    /// Translates codes; with what happens to unknown ones.
    pub codes: Option<(Codes, Fallback)>,
    /// Changes to the text, in order.
    pub normalize: Vec<Normalize>,
    /// What a naive timestamp means.
    pub time_zone: Option<String>,
    /// Written on insert only, never compared.
    pub target_owned: bool,
}

const KNOWN: &[&str] = &[
    "column",
    "const",
    "expr",
    "case",
    "else",
    "template",
    "nulls",
    "json_parse",
    "on_error",
    "empty",
    "ref",
    "by",
    "poly",
    "missing",
    "codes",
    "default",
    "normalize",
    "time_zone",
    "owner",
];

const RULES: &[&str] = &[
    "column",
    "const",
    "expr",
    "case",
    "template",
    "json_parse",
    "ref",
    "poly",
];

/// Keys of the mapping language that this version does not carry out yet; they are refused by name.
const PLANNED: &[&str] = &[
    "format",
    "invalid",
    "scale",
    "clamp",
    "truncate",
    "allow_loss",
    "json",
    "json_path",
    "path",
    "via",
    "null_if_empty",
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
    refuse_unknown(reader, &section);
    let named: Vec<&str> = RULES
        .iter()
        .copied()
        .filter(|rule| section.has(rule))
        .collect();
    if named.len() > 1 {
        let message = format!("more than one rule: {}", named.join(", "));
        reader.report(offset, &path, message, Some("keep one of them".into()));
        return None;
    }
    let rule = match named.first().copied() {
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
        target: target.to_owned(),
        spot,
        rule,
        default: section
            .get("default")
            .filter(|_| codes.is_none())
            .and_then(|_| literal(reader, &section, "default")),
        codes,
        normalize: read_normalize(reader, &section),
        time_zone: section.string(reader, "time_zone"),
        target_owned: owner.unwrap_or(false),
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
        time_zone: None,
        target_owned: false,
    }
}

fn refuse_unknown(reader: &mut Reader<'_>, section: &Section<'_>) {
    for (key, at, _) in section.entries() {
        let path = section.path_of(key);
        if PLANNED.contains(&key) {
            let message = "this rule is not supported by this version";
            reader.report(at, &path, message, Some("`expr` may express it".into()));
        } else if !KNOWN.contains(&key) {
            let hint = did_you_mean(key, KNOWN.iter().copied());
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
        "json_parse" => read_json_parse(reader, section),
        "ref" => Some(Rule::Reference {
            entity: section.string(reader, "ref")?,
            by: column_ref(reader, section, "by")?,
            missing: read_missing(reader, section),
        }),
        _ => read_poly(reader, section),
    }
}

fn column_ref(reader: &mut Reader<'_>, section: &Section<'_>, key: &str) -> Option<ColumnRef> {
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

pub(super) fn literal(
    reader: &mut Reader<'_>,
    section: &Section<'_>,
    key: &str,
) -> Option<Literal> {
    let found = match section.get(key)?.get_ref() {
        DeValue::String(text) => Some(Literal::Text(text.as_ref().to_owned())),
        DeValue::Boolean(flag) => Some(Literal::Bool(*flag)),
        DeValue::Integer(number) if number.radix() == 10 => {
            Some(Literal::Number(number.as_str().to_owned()))
        }
        DeValue::Float(number) => {
            let text = number.as_str();
            let plain = !text.contains(|c: char| c.is_alphabetic() && c != 'e' && c != 'E');
            plain.then(|| Literal::Number(text.to_owned()))
        }
        _ => None,
    };
    if found.is_none() {
        let message = "expected a string, a decimal number or a boolean";
        section.fault(reader, key, message, None);
    }
    found
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

fn read_json_parse(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Rule> {
    let is_table = section
        .get("on_error")
        .is_some_and(|value| value.get_ref().is_table());
    let on_error = if is_table {
        let wrap = section.section(reader, "on_error")?;
        wrap.only(reader, &["wrap"]);
        wrap.required_string(reader, "wrap").map(JsonFallback::Wrap)
    } else {
        let word = section.word(reader, "on_error", &[("error", false), ("null", true)]);
        word.map(|null| {
            if null {
                JsonFallback::Null
            } else {
                JsonFallback::Error
            }
        })
    };
    let empty = section.word(reader, "empty", &[("null", true), ("error", false)]);
    Some(Rule::JsonParse {
        column: column_ref(reader, section, "json_parse")?,
        on_error: on_error.unwrap_or(JsonFallback::Error),
        empty_is_null: empty.unwrap_or(false),
    })
}

fn read_missing(reader: &mut Reader<'_>, section: &Section<'_>) -> Missing {
    let words = [
        ("hold", Missing::Hold),
        ("null", Missing::Null),
        ("quarantine", Missing::Quarantine),
    ];
    section
        .word(reader, "missing", &words)
        .unwrap_or(Missing::Hold)
}

fn read_poly(reader: &mut Reader<'_>, section: &Section<'_>) -> Option<Rule> {
    let poly = section.section(reader, "poly")?;
    poly.only(reader, &["type", "id", "map"]);
    let map = poly.section(reader, "map")?;
    let mut targets = Vec::new();
    for (code, _, _) in map.entries() {
        if let Some(entity) = map.string(reader, code) {
            targets.push(PolyTarget {
                code: code.to_owned(),
                entity,
            });
        }
    }
    Some(Rule::Poly {
        type_column: column_ref(reader, &poly, "type")?,
        id_column: column_ref(reader, &poly, "id")?,
        targets,
        missing: read_missing(reader, section),
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
