//! The preflight: everything that stands in the way of a migration, at once. It changes nothing on either side.

mod fit;
mod notebook;
mod rows;
mod source;
mod target;
mod visit;

use crate::context::{MappingPart, Parts, Selection, refuse_same_database};
use crate::domain::connection::Side;
use crate::domain::doctor::server::{ServerFacts, judge_pair};
use crate::domain::doctor::{Finding, Place, Severity, code, count, sort, verdict};
use crate::domain::event::Event;
use crate::domain::mapping::{Entity, Mapping, MappingIssue};
use crate::error::{Kind, Result};
use chrono::{DateTime, Utc};
use notebook::Notebook;
use serde::Serialize;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedSender;
use visit::{Visit, visit};

/// What to look at, and for how long.
#[derive(Debug, Clone)]
pub struct DoctorRequest {
    /// Which entities.
    pub selection: Selection,
    /// How many entities a migration would work on at the same time.
    pub max_concurrent: u8,
    /// How long one look may take; zero means as long as it needs.
    pub limit: Duration,
    /// How many rows of an entity are looked at.
    pub rows: u64,
    /// From which age on an open transaction is spoken of.
    pub long_transaction: Duration,
}

impl Default for DoctorRequest {
    fn default() -> Self {
        DoctorRequest {
            selection: Selection::default(),
            max_concurrent: 3,
            limit: Duration::from_secs(10),
            rows: 1_000_000,
            long_transaction: Duration::from_secs(3_600),
        }
    }
}

/// What was found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// When.
    pub examined_at: DateTime<Utc>,
    /// Whether a migration could begin.
    pub ready: bool,
    /// How many findings block a migration.
    pub blockers: usize,
    /// How many are warnings.
    pub warnings: usize,
    /// How many are notes.
    pub notes: usize,
    /// The servers that could be reached.
    pub servers: Vec<ServerFacts>,
    /// What was found, blockers first.
    pub findings: Vec<Finding>,
}

impl Diagnosis {
    fn new(mut findings: Vec<Finding>, servers: Vec<ServerFacts>) -> Diagnosis {
        sort(&mut findings);
        Diagnosis {
            examined_at: Utc::now(),
            ready: verdict(&findings, false).is_none(),
            blockers: count(&findings, Severity::Blocker),
            warnings: count(&findings, Severity::Warning),
            notes: count(&findings, Severity::Note),
            servers,
            findings,
        }
    }

    /// Returns the kind that decides the exit code; nothing when nothing blocks.
    pub fn verdict(&self, strict: bool) -> Option<Kind> {
        verdict(&self.findings, strict)
    }
}

/// Examines both databases and the mapping, as far as they can be reached.
///
/// # Errors
/// An entity that is not in the mapping (exit 2). Everything else is a finding.
pub async fn doctor(
    request: &DoctorRequest,
    parts: Parts,
    events: &UnboundedSender<Event>,
) -> Result<Diagnosis> {
    let mut notebook = Notebook::new(request.limit);
    let mapping = read(parts.mapping, &mut notebook);
    if let Some(mapping) = &mapping {
        let names = mapping.entities.iter().map(|it| it.name.as_str());
        request.selection.refuse_unknown(names)?;
    }
    let schemas = mapping.as_ref().map_or(("", ""), |it| {
        (it.source_schema.as_str(), it.target_schema.as_str())
    });
    let (mut source, mut target) = tokio::join!(
        visit(Side::Source, parts.source, schemas.0, request),
        visit(Side::Target, parts.target, schemas.1, request)
    );
    compare(&mut source, &mut target, &mut notebook).await;
    if let Some(mapping) = &mapping {
        let examination = Examination {
            mapping,
            request,
            chosen: chosen(mapping, &request.selection),
        };
        let (source_catalog, target_catalog) = tokio::join!(
            source::tables(&mut source, &examination),
            target::tables(&mut target, &examination)
        );
        target::disk(&mut target, &examination, source_catalog.as_ref()).await;
        match (&source_catalog, &target_catalog) {
            (Some(ours), Some(theirs)) => {
                let entities = fit::fit(&mut source, &examination, (&ours.catalog, theirs)).await;
                rows::look(&mut source, &mut target, &examination, &entities, events).await;
            }
            (Some(ours), None) => {
                let side = Side::Source;
                fit::missing_tables(&mut notebook, side, &ours.catalog, &examination);
            }
            (None, Some(theirs)) => {
                fit::missing_tables(&mut notebook, Side::Target, theirs, &examination);
            }
            (None, None) => {}
        }
    }
    let mut findings = notebook.findings;
    let mut servers = Vec::new();
    for visit in [source, target] {
        findings.extend(visit.notebook.findings);
        servers.extend(visit.facts);
    }
    Ok(Diagnosis::new(findings, servers))
}

/// What the looks at tables and rows share.
struct Examination<'a> {
    mapping: &'a Mapping,
    request: &'a DoctorRequest,
    chosen: Vec<&'a Entity>,
}

fn chosen<'a>(mapping: &'a Mapping, selection: &Selection) -> Vec<&'a Entity> {
    let all = mapping.entities.iter();
    all.filter(|it| selection.includes(&it.name)).collect()
}

fn read(part: MappingPart, notebook: &mut Notebook) -> Option<Mapping> {
    match part {
        MappingPart::Parsed(mapping) => return Some(mapping),
        MappingPart::Faulty(issues) => {
            for issue in issues {
                let finding = of_issue(code::MAPPING_INVALID, &issue);
                notebook.findings.push(finding);
            }
        }
        MappingPart::Unreadable(error) => {
            let finding = Finding::of_error(code::MAPPING_INVALID, Place::Mapping, &error);
            notebook.findings.push(finding);
        }
    }
    None
}

/// Makes a finding of a problem of the mapping file.
fn of_issue(code: code::Code, issue: &MappingIssue) -> Finding {
    let place = format!("line {}, column {}", issue.spot.line, issue.spot.column);
    let mut finding = Finding::new(code, Place::Mapping, format!("{place}: {}", issue.message));
    let parts: Vec<&str> = issue.path.splitn(3, '.').collect();
    if let ["entities", entity, ..] = parts.as_slice() {
        finding = finding.of_entity(*entity);
    }
    if !issue.path.is_empty() {
        finding = finding.about(&issue.path);
    }
    match &issue.hint {
        Some(hint) => finding.mended_by(format!("-- {hint}")),
        None => finding.mended_by(format!(
            "-- correct line {} of the mapping",
            issue.spot.line
        )),
    }
}

/// Looks at what both servers are to each other.
async fn compare(source: &mut Visit, target: &mut Visit, notebook: &mut Notebook) {
    if let (Some(ours), Some(theirs)) = (&source.facts, &target.facts) {
        notebook.findings.extend(judge_pair(ours, theirs));
    }
    let (Some(reader), Some(writer)) = (&mut source.connection, &mut target.connection) else {
        return;
    };
    let comparing = refuse_same_database(reader, writer);
    let compared = notebook.wait(Side::Source, comparing).await;
    match compared {
        Err(error) if error.kind() == Kind::Guard => {
            let finding = Finding::of_error(code::SAME_DATABASE, Place::Target, &error);
            notebook.findings.push(finding);
        }
        compared => {
            notebook.keep(
                Side::Source,
                "whether both databases are the same",
                compared,
            );
        }
    }
}
