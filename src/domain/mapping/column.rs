//! The rules that give a target column its value.

use super::Spot;
use super::template::{NullPolicy, TemplatePart};
use crate::domain::expression::Expression;

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
    /// The column refers to another parent until its own arrives.
    Fallback,
}

impl Missing {
    /// Tells whether the row stays out of the target until its parent is there.
    pub fn keeps_out(self) -> bool {
        matches!(self, Missing::Hold | Missing::Quarantine)
    }
}

/// A source row on the way to a parent: found by its key, it names the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// An entity or a source table, as written.
    pub relation: String,
    /// Its column with the next key.
    pub column: String,
}

/// One kind of parent of a generic reference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolyTarget {
    /// The value of the type column, as text.
    pub code: String,
    /// The parent entity.
    pub entity: String,
}

/// One member of an object that a rule builds.
#[derive(Debug, Clone)]
pub enum JsonMember {
    /// A source column.
    Column(ColumnRef),
    /// The same for every row.
    Const(Literal),
    /// A SQL expression over the source row.
    Expr(Expression),
    /// An object inside the object.
    Object(Vec<(String, JsonMember)>),
}

impl JsonMember {
    /// Returns the values of an object and of the objects inside it.
    pub fn leaves(members: &[(String, JsonMember)]) -> Vec<&JsonMember> {
        let mut leaves = Vec::new();
        for (_, member) in members {
            match member {
                JsonMember::Object(inner) => leaves.extend(JsonMember::leaves(inner)),
                other => leaves.push(other),
            }
        }
        leaves
    }
}

/// What a text must look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// An address with one `@` and a domain with a dot.
    Email,
    /// A uuid as PostgreSQL reads it.
    Uuid,
    /// `http` or `https` and a host.
    Url,
    /// A regular expression of PostgreSQL, matched anywhere unless it is anchored.
    Pattern(String),
}

/// What becomes of a value that does not have its format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invalid {
    /// The row goes to quarantine. The default.
    Quarantine,
    /// NULL.
    Null,
    /// It stays as it is.
    Keep,
}

/// The bounds of a number; `None` leaves that side open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clamp {
    /// Smaller values become this.
    pub low: Option<String>,
    /// Larger values become this.
    pub high: Option<String>,
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
    /// An object made of several values.
    Json {
        /// Names and values in order.
        members: Vec<(String, JsonMember)>,
        /// Whether members that are NULL are left out.
        omit_nulls: bool,
        /// Whether an object without any value is NULL.
        null_if_empty: bool,
    },
    /// One value inside a JSON document.
    JsonPath {
        /// The column with the document: `jsonb`, `json` or text.
        column: ColumnRef,
        /// Names of members and positions in arrays, from the outside in.
        path: Vec<String>,
        /// What malformed text becomes: quarantine or NULL.
        on_error: JsonFallback,
        /// Whether `''` is NULL instead of malformed.
        empty_is_null: bool,
    },
    /// A key of another entity.
    Reference {
        /// The parent entity.
        entity: String,
        /// The source columns with the parent's key, in its order, or the one with the key of the first hop.
        by: Vec<ColumnRef>,
        /// Source rows that lie between this one and the parent.
        via: Vec<Hop>,
        /// When the parent is not there.
        missing: Missing,
        /// The key of the parent to fall back on; empty unless `missing` says so.
        fallback: Vec<Literal>,
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
    /// A factor, as written.
    pub scale: Option<String>,
    /// Bounds of the number.
    pub clamp: Option<Clamp>,
    /// Texts are cut to this many characters.
    pub truncate: Option<u32>,
    /// What the text must look like, and what happens if it does not.
    pub format: Option<(Format, Invalid)>,
    /// Whether digits may be rounded away and texts cut.
    pub allow_loss: bool,
    /// What a naive timestamp means.
    pub time_zone: Option<String>,
    /// Written on insert only, never compared.
    pub target_owned: bool,
}

impl ColumnRule {
    /// Tells whether the value is a number after its modifiers.
    pub fn makes_number(&self) -> bool {
        self.scale.is_some() || self.clamp.is_some()
    }

    /// Names a modifier that changes the value, if there is one.
    pub fn first_modifier(&self) -> Option<&'static str> {
        let all = [
            ("codes", self.codes.is_some()),
            ("normalize", !self.normalize.is_empty()),
            ("scale", self.scale.is_some()),
            ("clamp", self.clamp.is_some()),
            ("truncate", self.truncate.is_some()),
            ("format", self.format.is_some()),
            ("default", self.default.is_some()),
        ];
        all.iter().find_map(|(name, there)| there.then_some(*name))
    }
}
