//! What stands in the way of a migration: findings, and what they add up to.

pub mod code;
pub mod relation;
pub mod room;
pub mod rows;
pub mod server;

use super::connection::Side;
use crate::error::{Error, Kind};
use code::Code;
use serde::Serialize;

/// Where a finding has to be mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The legacy database.
    Source,
    /// The Supabase database.
    Target,
    /// The mapping file.
    Mapping,
}

impl Place {
    /// Returns the word used in messages and output.
    pub fn word(self) -> &'static str {
        match self {
            Place::Source => "source",
            Place::Target => "target",
            Place::Mapping => "mapping",
        }
    }
}

impl From<Side> for Place {
    fn from(side: Side) -> Place {
        match side {
            Side::Source => Place::Source,
            Side::Target => Place::Target,
        }
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// `migrate` would fail.
    Blocker,
    /// `migrate` would run; rows are set aside, or it is slow, or somebody else notices.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// Returns the word used in output.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Blocker => "blocker",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// A value of the source that no rule covers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FoundValue {
    /// The value; null stands for all that are too long to be codes.
    pub value: Option<String>,
    /// How many rows have it.
    pub rows: u64,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is; the words are stable.
    pub code: &'static str,
    /// Where it is mended.
    pub side: Place,
    /// How much it matters.
    pub severity: Severity,
    /// The entity, if it is about one.
    pub entity: Option<String>,
    /// The table, column, role or setting that it is about.
    pub object: Option<String>,
    /// In words.
    pub found: String,
    /// What mends it, line by line: SQL for that side, a `diffmig` command, or a remark behind `--`.
    pub mend: Vec<String>,
    /// Values that no rule covers, the most frequent first.
    pub values: Vec<FoundValue>,
    /// What it does to the exit code.
    #[serde(skip)]
    pub kind: Kind,
}

impl Finding {
    /// Makes a finding with the severity that its code usually has.
    pub fn new(code: Code, side: impl Into<Place>, found: impl Into<String>) -> Finding {
        Finding {
            code: code.word,
            side: side.into(),
            severity: code.severity,
            entity: None,
            object: None,
            found: found.into(),
            mend: Vec::new(),
            values: Vec::new(),
            kind: code.kind,
        }
    }

    /// Makes a finding of something that failed; its kind decides the exit code.
    pub fn of_error(code: Code, side: impl Into<Place>, error: &Error) -> Finding {
        let found = match error.cause_text().filter(|it| !it.is_empty()) {
            Some(cause) => format!("{}: {cause}", error.what()),
            None => error.what().to_owned(),
        };
        let mut finding = Finding::new(code, side, found);
        finding.kind = error.kind();
        if let Some(next) = error.next_text() {
            finding.mend = next.lines().map(remark_unless_sql).collect();
        }
        finding
    }

    /// Names the table, column, role or setting.
    pub fn about(mut self, object: impl Into<String>) -> Finding {
        self.object = Some(object.into());
        self
    }

    /// Names the entity.
    pub fn of_entity(mut self, entity: impl Into<String>) -> Finding {
        self.entity = Some(entity.into());
        self
    }

    /// Gives it another weight than usual.
    pub fn weighing(mut self, severity: Severity) -> Finding {
        self.severity = severity;
        self
    }

    /// Adds a line that mends it.
    pub fn mended_by(mut self, line: impl Into<String>) -> Finding {
        self.mend.push(line.into());
        self
    }

    fn rank(&self) -> (Severity, Place, usize) {
        let order = code::ALL.iter().position(|it| it.word == self.code);
        (self.severity, self.side, order.unwrap_or(usize::MAX))
    }
}

/// Advice in words becomes a comment, so that all lines can be given to `psql`.
fn remark_unless_sql(line: &str) -> String {
    let statement = line.trim_end().ends_with(';');
    match statement || line.starts_with("diffmig ") || line.starts_with("--") {
        true => line.to_owned(),
        false => format!("-- {line}"),
    }
}

/// Brings findings into their order: what blocks first, then by side and code.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let objects = (&a.entity, &a.object).cmp(&(&b.entity, &b.object));
        a.rank().cmp(&b.rank()).then(objects)
    });
}

/// In which order the kinds decide: as a migration would meet them.
const KINDS: &[Kind] = &[
    Kind::Usage,
    Kind::Connect,
    Kind::Guard,
    Kind::Permission,
    Kind::Drift,
    Kind::ControlState,
    Kind::Resources,
];

/// Returns the kind that decides the exit code; nothing when nothing blocks.
///
/// With `strict` warnings block too, but what really blocks decides.
pub fn verdict(findings: &[Finding], strict: bool) -> Option<Kind> {
    let worst_of = |severity: Severity| {
        let kinds = findings.iter().filter(|it| it.severity == severity);
        let rank = |kind: &Kind| KINDS.iter().position(|it| it == kind);
        kinds
            .map(|it| it.kind)
            .min_by_key(|kind| rank(kind).unwrap_or(KINDS.len()))
    };
    let warnings = || worst_of(Severity::Warning).filter(|_| strict);
    worst_of(Severity::Blocker).or_else(warnings)
}

/// Counts the findings of one weight.
pub fn count(findings: &[Finding], severity: Severity) -> usize {
    findings.iter().filter(|it| it.severity == severity).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(code: Code) -> Finding {
        Finding::new(code, Place::Target, "x")
    }

    #[test]
    fn the_first_obstacle_of_a_migration_decides() {
        assert_eq!(verdict(&[], true), None);
        assert_eq!(verdict(&[found(code::ROW_TRIGGERS)], true), None);
        let both = [found(code::READ_ONLY), found(code::MISSING_GRANTS)];
        assert_eq!(verdict(&both, false), Some(Kind::Permission));
        let pooled = [found(code::MISSING_GRANTS), found(code::TRANSACTION_POOLER)];
        assert_eq!(verdict(&pooled, false), Some(Kind::Guard));
    }

    #[test]
    fn warnings_count_only_when_asked_for_and_never_before_blockers() {
        let warning = found(code::UNKNOWN_CODES);
        assert_eq!(verdict(std::slice::from_ref(&warning), false), None);
        let strict = verdict(std::slice::from_ref(&warning), true);
        assert_eq!(strict, Some(Kind::Drift));
        let both = [warning, found(code::READ_ONLY)];
        assert_eq!(verdict(&both, true), Some(Kind::Resources));
    }

    #[test]
    fn blockers_come_first_and_advice_in_words_is_a_comment() {
        let mut all = [
            found(code::ROW_TRIGGERS),
            found(code::UNKNOWN_CODES),
            found(code::READ_ONLY),
        ];
        sort(&mut all);
        let codes = all.each_ref().map(|it| it.code);
        assert_eq!(codes, ["read-only", "unknown-codes", "row-triggers"]);
        let error = Error::new(Kind::Permission, "no").next("let the owner run:\ngrant a to b;");
        let finding = Finding::of_error(code::MISSING_GRANTS, Side::Source, &error);
        assert_eq!(finding.mend, ["-- let the owner run:", "grant a to b;"]);
    }
}
