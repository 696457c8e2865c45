//! Rows of the source that the mapping cannot take as they are.

use super::code::{self, Code};
use super::{Finding, FoundValue, Place};
use crate::domain::identifier::{QualifiedName, printable, quote_identifier};

/// What a column does not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// A code that the mapping does not know.
    UnknownCode,
    /// No arm of a `case` is for the row.
    NoCase,
    /// A kind of a generic reference that the mapping does not know.
    UnknownKind,
    /// No label of the enum.
    NotALabel,
    /// The number does not fit.
    OutOfRange,
    /// The text is too long.
    TooLong,
    /// The text is no value of the type.
    NotConvertible,
    /// NULL where it is refused.
    Null,
    /// Digits would be lost.
    Lossy,
    /// A time is rounded.
    Rounded,
    /// The text does not have its format.
    NotInFormat,
    /// A validation of the mapping does not hold.
    Validation,
    /// A row on the way to the parent is missing.
    LostOnTheWay,
}

impl Trouble {
    /// Tells the trouble from the reason that the projection gives.
    pub fn of_reason(reason: &str) -> Trouble {
        match reason {
            "22023|unknown code" => Trouble::UnknownCode,
            "22023|no case applies" => Trouble::NoCase,
            "22023|unknown type of a generic reference" => Trouble::UnknownKind,
            "22P02|not a label of the enum" => Trouble::NotALabel,
            "22003|out of range" => Trouble::OutOfRange,
            "22001|longer than the column" => Trouble::TooLong,
            "22003|digits would be lost" => Trouble::Lossy,
            "22023|not in the format" => Trouble::NotInFormat,
            "22003|outside the range of a validation" | "23514|a validation does not hold" => {
                Trouble::Validation
            }
            _ if reason.starts_with("23503") => Trouble::LostOnTheWay,
            _ if reason.starts_with("23502") => Trouble::Null,
            _ => Trouble::NotConvertible,
        }
    }

    fn code(self) -> Code {
        match self {
            Trouble::UnknownCode => code::UNKNOWN_CODES,
            Trouble::NoCase => code::NO_CASE_APPLIES,
            Trouble::UnknownKind => code::UNKNOWN_REFERENCE_KIND,
            Trouble::NotALabel => code::NOT_A_LABEL,
            Trouble::OutOfRange => code::OUT_OF_RANGE,
            Trouble::TooLong => code::TOO_LONG,
            Trouble::NotConvertible => code::NOT_CONVERTIBLE,
            Trouble::Null => code::NULL_IN_REQUIRED_COLUMN,
            Trouble::Lossy | Trouble::Rounded => code::LOSSY_CAST,
            Trouble::NotInFormat => code::NOT_IN_FORMAT,
            Trouble::Validation => code::VALIDATION_FAILS,
            Trouble::LostOnTheWay => code::LOST_ON_THE_WAY,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Trouble::UnknownCode => "a code that the mapping does not know",
            Trouble::NoCase => "no arm of the case applies",
            Trouble::UnknownKind => "a reference to a kind that the mapping does not know",
            Trouble::NotALabel => "a text that is no label of the enum",
            Trouble::OutOfRange => "a number that does not fit",
            Trouble::TooLong => "a text that is too long",
            Trouble::NotConvertible => "a text that is no value of the type",
            Trouble::Null => "NULL where the target refuses it",
            Trouble::Lossy => "a number that would lose digits",
            Trouble::Rounded => "a time that is rounded to the precision of the target",
            Trouble::NotInFormat => "a text that does not have its format",
            Trouble::Validation => "a validation of the mapping does not hold",
            Trouble::LostOnTheWay => "the row that leads to the parent is not there",
        }
    }
}

/// Where a rule stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RulePlace {
    /// The entity.
    pub entity: String,
    /// The target table.
    pub table: QualifiedName,
    /// The target column.
    pub column: String,
    /// The line of the mapping file.
    pub line: usize,
}

/// How many rows have a trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Troubled {
    /// What it is.
    pub trouble: Trouble,
    /// Rows that have it.
    pub rows: u64,
    /// Rows that were looked at.
    pub of: u64,
    /// The longest text, in characters.
    pub longest: Option<u64>,
    /// The values, when they are codes.
    pub values: Vec<FoundValue>,
}

/// Judges one trouble of a column.
pub fn judge(place: &RulePlace, found: Troubled) -> Finding {
    let fate = match found.trouble {
        Trouble::Rounded => "",
        _ => "; such a row is quarantined",
    };
    let text = format!(
        "{} of {}: {}{fate}",
        counted(found.rows, "row"),
        found.of,
        found.trouble.words()
    );
    let side = match found.trouble {
        Trouble::TooLong | Trouble::OutOfRange | Trouble::Lossy | Trouble::Rounded => Place::Target,
        Trouble::NotConvertible | Trouble::Validation | Trouble::LostOnTheWay => Place::Source,
        _ => Place::Mapping,
    };
    let mut finding = Finding::new(found.trouble.code(), side, text)
        .of_entity(&place.entity)
        .about(match place.column.as_str() {
            "" => place.table.to_string(),
            column => format!("{}.{}", place.table, printable(column)),
        });
    finding.mend = mend(place, &found);
    finding.values = found.values;
    finding
}

fn mend(place: &RulePlace, found: &Troubled) -> Vec<String> {
    let line = place.line;
    let in_mapping = |what: &str| vec![format!("-- line {line} of the mapping: {what}")];
    match found.trouble {
        Trouble::UnknownCode => {
            let known = found.values.iter().filter_map(|it| it.value.as_deref());
            let pairs: Vec<String> = known
                .map(|it| format!("{} = \"...\"", toml_key(it)))
                .collect();
            match pairs.is_empty() {
                true => in_mapping("add the codes, or a default"),
                false => in_mapping(&format!(
                    "add to the codes: {}; or a default",
                    pairs.join(", ")
                )),
            }
        }
        Trouble::UnknownKind => {
            let known = found.values.iter().filter_map(|it| it.value.as_deref());
            let pairs: Vec<String> = known
                .map(|it| format!("{} = \"...\"", toml_key(it)))
                .collect();
            in_mapping(&format!(
                "add to the map of the reference: {}; or missing = \"null\"",
                pairs.join(", ")
            ))
        }
        Trouble::NoCase => in_mapping("add an arm, or an else that is not \"error\""),
        Trouble::NotALabel => {
            in_mapping("translate them with codes, or add labels to the enum of the target")
        }
        Trouble::TooLong => {
            let widened = found
                .longest
                .map_or("text".to_owned(), |it| format!("varchar({it})"));
            vec![format!(
                "alter table {} alter column {} type {widened};",
                place.table.sql(),
                quote_identifier(&place.column)
            )]
        }
        Trouble::OutOfRange => {
            in_mapping("scale or guard it with expr, or widen the column of the target")
        }
        Trouble::Lossy => {
            in_mapping("set allow_loss = true, or give the column of the target more digits")
        }
        Trouble::Rounded => in_mapping("give the column of the target more digits, if they matter"),
        Trouble::NotInFormat => {
            in_mapping("correct the rows of the source, or say what invalid ones become")
        }
        Trouble::Validation => {
            vec!["-- correct the rows of the source, or the validation of the mapping".to_owned()]
        }
        Trouble::LostOnTheWay => {
            in_mapping("correct the rows of the source, or set missing = \"null\"")
        }
        Trouble::NotConvertible => {
            in_mapping("guard it with expr, or correct the rows of the source")
        }
        Trouble::Null => in_mapping(
            "give it a value with default or expr, drop not null in the target, or correct the rows of the source",
        ),
    }
}

/// Writes a number with its noun.
fn counted(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// Writes a code the way it stands in front of `=` in the mapping.
fn toml_key(code: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match !code.is_empty() && code.chars().all(is_bare) {
        true => code.to_owned(),
        false => format!(
            "\"{}\"",
            printable(code).replace('\\', "\\\\").replace('"', "\\\"")
        ),
    }
}

/// Rows that share values which a unique index of the target keeps apart.
pub fn judge_duplicates(
    entity: &str,
    table: &QualifiedName,
    index: &str,
    columns: &[String],
    rows: u64,
) -> Finding {
    let columns: Vec<String> = columns.iter().map(|it| printable(it)).collect();
    let found = format!(
        "{}: the same {} as another row of the entity, which {} keeps unique; such a row is quarantined (23505)",
        counted(rows, "row"),
        columns.join(", "),
        printable(index)
    );
    Finding::new(code::DUPLICATES, Place::Source, found)
        .of_entity(entity)
        .about(table.to_string())
        .mended_by("-- merge the rows of the source, or tell them apart in the mapping")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> RulePlace {
        RulePlace {
            entity: "tickets".into(),
            table: QualifiedName::new("public", "tickets"),
            column: "status".into(),
            line: 12,
        }
    }

    fn troubled(trouble: Trouble) -> Troubled {
        Troubled {
            trouble,
            rows: 3,
            of: 10,
            longest: None,
            values: Vec::new(),
        }
    }

    #[test]
    fn unknown_codes_come_with_the_lines_that_are_missing() {
        let mut found = troubled(Trouble::UnknownCode);
        let values = [Some("9"), Some("in work"), None];
        found.values = values
            .map(|value| FoundValue {
                value: value.map(str::to_owned),
                rows: 1,
            })
            .to_vec();
        let finding = judge(&place(), found);
        assert_eq!(
            (finding.code, finding.side),
            ("unknown-codes", Place::Mapping)
        );
        assert_eq!(
            finding.mend,
            [
                "-- line 12 of the mapping: add to the codes: 9 = \"...\", \"in work\" = \"...\"; or a default"
            ]
        );
        assert!(
            finding.found.starts_with("3 rows of 10:"),
            "{}",
            finding.found
        );
    }

    #[test]
    fn a_text_limit_is_widened_to_what_is_there() {
        let mut found = troubled(Trouble::TooLong);
        found.longest = Some(42);
        let finding = judge(&place(), found);
        assert_eq!(
            finding.mend,
            ["alter table \"public\".\"tickets\" alter column \"status\" type varchar(42);"]
        );
    }

    #[test]
    fn every_reason_of_the_projection_has_its_trouble() {
        assert_eq!(
            Trouble::of_reason("22023|unknown code"),
            Trouble::UnknownCode
        );
        assert_eq!(
            Trouble::of_reason("22P02|not a uuid"),
            Trouble::NotConvertible
        );
        let null = Trouble::of_reason("23502|NULL in a required column");
        assert_eq!(null, Trouble::Null);
    }
}
