//! Rules that rows must keep; a row that breaks one goes to quarantine.

use super::Spot;
use super::column::{Format, Literal};
use super::issue::did_you_mean;
use super::reader::{Reader, Section};
use super::rule::{expression, format_of, literal};
use crate::domain::expression::Expression;

/// What must hold.
#[derive(Debug, Clone)]
pub enum Demand {
    /// The value is there.
    Required,
    /// The value is in no other row; a unique index of the target makes sure of it.
    Unique,
    /// The value has a format.
    Format(Format),
    /// The value lies between two bounds; `None` leaves that side open.
    Range(Option<Literal>, Option<Literal>),
    /// A condition over the source row is true.
    Condition(Expression),
}

/// One `[[entities.NAME.validate]]`.
#[derive(Debug, Clone)]
pub struct Validation {
    /// The target column; `None` for a condition.
    pub column: Option<String>,
    /// What must hold.
    pub demand: Demand,
    /// Where it stands.
    pub spot: Spot,
}

const RULES: &[&str] = &["required", "unique", "format", "range", "expr"];

/// Reads the list of an entity.
pub(super) fn read(reader: &mut Reader<'_>, entity: &Section<'_>) -> Vec<Validation> {
    let mut validations = Vec::new();
    for section in entity.section_list(reader, "validate") {
        let Some(rule) = section.required_string(reader, "rule") else {
            continue;
        };
        let column = section.string(reader, "column");
        if column.is_none() && rule != "expr" {
            section.fault(reader, "column", "this key is missing", None);
        }
        let demand = read_demand(reader, &section, &rule);
        validations.extend(demand.map(|demand| Validation {
            column,
            demand,
            spot: reader.spot(section.offset()),
        }));
    }
    validations
}

fn read_demand(reader: &mut Reader<'_>, section: &Section<'_>, rule: &str) -> Option<Demand> {
    let own: &[&str] = match rule {
        "format" => &["rule", "column", "format"],
        "range" => &["rule", "column", "min", "max"],
        "expr" => &["rule", "expr"],
        _ => &["rule", "column"],
    };
    section.only(reader, own);
    match rule {
        "required" => Some(Demand::Required),
        "unique" => Some(Demand::Unique),
        "format" => {
            let format = section.required_string(reader, "format")?;
            Some(Demand::Format(format_of(&format)))
        }
        "range" => {
            let mut bound = |key| {
                let there = section.has(key);
                there.then(|| literal(reader, section, key)).flatten()
            };
            let (low, high) = (bound("min"), bound("max"));
            if low.is_none() && high.is_none() {
                section.fault(reader, "rule", "a range has `min`, `max` or both", None);
            }
            Some(Demand::Range(low, high))
        }
        "expr" => expression(reader, section, "expr").map(Demand::Condition),
        other => {
            let message = format!("`{other}` is not one of {}", RULES.join(", "));
            let hint = did_you_mean(other, RULES.iter().copied());
            section.fault(reader, "rule", message, hint);
            None
        }
    }
}
