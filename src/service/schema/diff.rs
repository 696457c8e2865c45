//! Both databases beside what the last session saw.

use crate::context::{Drift, Survey};
use crate::db::control::catalog_snapshot::{self, Taken};
use crate::db::control::{mapping_version, schema};
use crate::domain::connection::Side;
use crate::domain::drift::{Change, Severity};
use crate::domain::mapping::MappingIssue;
use crate::domain::suggestion::patch::unified;
use crate::error::{Error, Kind, Result};
use chrono::{DateTime, Utc};
use serde::Serialize;

/// What to do beside looking.
#[derive(Debug, Clone, Default)]
pub struct DiffRequest {
    /// Takes what is there now as known, without a migration.
    pub accept: bool,
}

/// When a side was seen last.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenAt {
    /// The number of the session; nothing when somebody accepted it.
    pub session: Option<i32>,
    /// When.
    pub seen_at: DateTime<Utc>,
}

impl From<&Taken> for SeenAt {
    fn from(taken: &Taken) -> SeenAt {
        SeenAt {
            session: taken.session,
            seen_at: taken.seen_at,
        }
    }
}

/// One change.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeReport {
    /// How much it matters.
    pub severity: Severity,
    /// `source` or `target`.
    pub side: &'static str,
    /// The table, by the name it had.
    pub table: String,
    /// The column or constraint.
    pub name: Option<String>,
    /// What happened, as `column_dropped`.
    pub kind: &'static str,
    /// What it was.
    pub was: Option<String>,
    /// What it is.
    pub now: Option<String>,
    /// The entities that it concerns.
    pub entities: Vec<String>,
    /// The change in a sentence.
    pub what: String,
    /// Why it matters.
    pub reason: Option<String>,
    /// What helps.
    pub fix: Option<String>,
}

impl From<&Change> for ChangeReport {
    fn from(change: &Change) -> ChangeReport {
        let difference = &change.difference;
        let some = |text: &String| Some(text.clone()).filter(|it| !it.is_empty());
        ChangeReport {
            severity: change.severity,
            side: difference.side.word(),
            table: difference.table.to_string(),
            name: difference.what.name().map(str::to_owned),
            kind: difference.what.word(),
            was: difference.what.was(),
            now: difference.what.now(),
            entities: change.entities.clone(),
            what: difference.sentence(),
            reason: some(&change.reason),
            fix: change.fix.clone(),
        }
    }
}

/// Something of the mapping that does not fit.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The line of the mapping file.
    pub line: usize,
    /// The key, as `entities.clients.columns.email`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl From<&MappingIssue> for Problem {
    fn from(issue: &MappingIssue) -> Problem {
        Problem {
            line: issue.spot.line,
            path: issue.path.clone(),
            message: issue.message.clone(),
            hint: issue.hint.clone(),
        }
    }
}

/// What differs from what the last session saw.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaDiff {
    /// When the source was seen last; null before the first session has ended.
    pub source: Option<SeenAt>,
    /// When the target was seen last.
    pub target: Option<SeenAt>,
    /// The gravest of all changes.
    pub severity: Option<Severity>,
    /// The changes, the gravest first.
    pub changes: Vec<ChangeReport>,
    /// What of the mapping does not fit the databases as they are.
    pub problems: Vec<Problem>,
    /// How the mapping has changed since it was applied, as a unified diff; null when it was never applied.
    pub mapping_patch: Option<String>,
    /// Whether what is there is known from now on.
    pub accepted: bool,
}

impl SchemaDiff {
    /// Tells whether somebody has to do something.
    pub fn needs_care(&self) -> bool {
        let grave = self.severity.is_some_and(|it| it > Severity::Harmless);
        !self.problems.is_empty() || grave && !self.accepted
    }
}

/// Everything that is known when both databases were looked at.
pub(super) struct Looked {
    pub survey: Survey,
    pub drift: Drift,
    pub problems: Vec<Problem>,
}

/// Looks at both databases, lets the source check the projections, and compares.
pub(super) async fn look(mut survey: Survey) -> Result<Looked> {
    let mut problems: Vec<Problem> = survey.issues.iter().map(Problem::from).collect();
    let mut refused = Vec::new();
    for (name, error) in survey.refusals().await? {
        let mut entities = survey.mapping.entities.iter();
        let spot = entities.find(|it| it.name == name).map(|it| it.spot);
        problems.push(Problem {
            line: spot.unwrap_or_default().line,
            path: format!("entities.{name}"),
            message: error.cause_text().unwrap_or(error.what()).to_owned(),
            hint: Some("the source refuses to compute its rules".to_owned()),
        });
        refused.push(name);
    }
    let drift = survey.drift(&refused).await?;
    Ok(Looked {
        survey,
        drift,
        problems,
    })
}

/// Compares both databases with what the last session saw; nothing is changed unless it is asked for.
///
/// # Errors
/// A database cannot be read; or what does not fit should be accepted (exit 13).
pub async fn diff(survey: Survey, request: &DiffRequest) -> Result<SchemaDiff> {
    let mut looked = look(survey).await?;
    let (survey, drift) = (&mut looked.survey, &looked.drift);
    let mut mapping_patch = None;
    if drift.latest.of(Side::Target).is_some() {
        let applied = mapping_version::latest(&mut survey.writer).await?;
        let file = survey.file_name();
        mapping_patch = applied.map(|it| unified(&file, &it.text, &survey.mapping.text));
    }
    if request.accept {
        accept(&mut looked).await?;
    }
    let drift = &looked.drift;
    Ok(SchemaDiff {
        source: drift.latest.of(Side::Source).map(SeenAt::from),
        target: drift.latest.of(Side::Target).map(SeenAt::from),
        severity: drift.changes.first().map(|it| it.severity),
        changes: drift.changes.iter().map(ChangeReport::from).collect(),
        problems: looked.problems,
        mapping_patch,
        accepted: request.accept,
    })
}

async fn accept(looked: &mut Looked) -> Result<()> {
    if let Some(first) = looked.problems.first() {
        return Err(Error::new(
            Kind::Drift,
            "what the mapping does not fit cannot be accepted",
        )
        .cause(format!("{}: {}", first.path, first.message))
        .state("nothing was changed")
        .next("diffmig schema suggest prints what would make it fit"));
    }
    let writer = &mut looked.survey.writer;
    schema::ensure(writer).await?;
    if let Some((source, target)) = &looked.drift.now {
        catalog_snapshot::save(writer, Side::Source, source, None).await?;
        catalog_snapshot::save(writer, Side::Target, target, None).await?;
    }
    Ok(())
}
