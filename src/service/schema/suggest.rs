//! A patch of the mapping and SQL for the target that would make both fit. Neither is carried out.

use super::diff::{Looked, Problem, look};
use crate::context::Survey;
use crate::db::statement::ddl;
use crate::domain::drift::Usage;
use crate::domain::identifier::{printable, quote_identifier};
use crate::domain::mapping::{MappingIssue, parse};
use crate::domain::resolve::{Catalogs, resolve};
use crate::domain::suggestion::patch::unified;
use crate::domain::suggestion::{Deed, Suggestion, Wanted, Wish, grant, suggest as work_out};
use crate::error::{Error, Kind, Result};
use chrono::Utc;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What to suggest.
#[derive(Debug, Clone, Default)]
pub struct SuggestRequest {
    /// New columns of the source are ignored instead of mapped.
    pub ignore_new: bool,
}

/// A file that could be written.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SuggestedFile {
    /// Its name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// What would make the mapping fit.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SchemaSuggestion {
    /// A unified diff of the mapping file; null when it can stay as it is.
    pub mapping: Option<SuggestedFile>,
    /// Statements for the target; null when it can stay as it is.
    pub sql: Option<SuggestedFile>,
    /// What somebody has to decide.
    pub notes: Vec<String>,
    /// What does not fit even then.
    pub left: Vec<Problem>,
    /// The files that were written.
    pub written: Vec<PathBuf>,
}

/// Works out what would make the mapping fit.
///
/// # Errors
/// A database cannot be read.
pub async fn suggest(survey: Survey, request: &SuggestRequest) -> Result<SchemaSuggestion> {
    let looked = look(survey).await?;
    let suggestion = work(&looked, request);
    let mapping = &looked.survey.mapping;
    let file = looked.survey.file_name();
    let patch = unified(&file, &mapping.text, &suggestion.text);
    let left = match patch.is_empty() && suggestion.wishes.is_empty() {
        true => looked.problems.clone(),
        false => left(&looked, &suggestion),
    };
    Ok(SchemaSuggestion {
        mapping: Some(patch)
            .filter(|it| !it.is_empty())
            .map(|text| SuggestedFile {
                name: format!("{file}.patch"),
                text,
            }),
        sql: sql(&suggestion.wishes),
        notes: suggestion.notes,
        left,
        written: Vec::new(),
    })
}

fn work(looked: &Looked, request: &SuggestRequest) -> Suggestion {
    let (source, target) = &looked.survey.catalogs;
    let columns = |name: &_| looked.drift.source_columns(source, name);
    let usage = Usage::new(&looked.survey.mapping, &columns);
    work_out(&Wanted {
        usage: &usage,
        source,
        target,
        issues: &looked.survey.issues,
        changes: &looked.drift.changes,
        ignore_new: request.ignore_new,
    })
}

/// Checks the suggestion against the databases as they would be.
fn left(looked: &Looked, suggestion: &Suggestion) -> Vec<Problem> {
    let mut target = looked.survey.catalogs.1.clone();
    grant(&mut target, &suggestion.wishes);
    let checked: Result<_, Vec<MappingIssue>> = parse(&suggestion.text).and_then(|mapping| {
        let catalogs = Catalogs {
            source: &looked.survey.catalogs.0,
            target: &target,
            query_columns: &looked.survey.query_columns,
        };
        resolve(&mapping, catalogs)
    });
    let issues = checked.err().unwrap_or_default();
    issues.iter().map(Problem::from).collect()
}

/// Writes the statements with their reasons, the way Supabase names its migrations.
fn sql(wishes: &[Wish]) -> Option<SuggestedFile> {
    if wishes.is_empty() {
        return None;
    }
    let what = match wishes {
        [only] => slug(only),
        _ => "follow_source".to_owned(),
    };
    let mut text = String::from(
        "-- Suggested by diffmig schema suggest, and run by nobody yet. Read it before you do.\n",
    );
    if let Some(schema) = schema_beside(wishes) {
        // Types are written as they are read with this path.
        let path = quote_identifier(schema);
        text.push_str(&format!("set search_path = {path}, public, extensions;\n"));
    }
    for wish in wishes {
        text.push_str(&format!("\n-- {}\n", printable(&wish.why)));
        if let Some(warning) = warning(wish) {
            text.push_str(&format!("-- {warning}\n"));
        }
        // What has to be chosen stays a comment, whatever line breaks names hold.
        let statement = ddl::of_wish(wish);
        match wish.is_choice {
            true => text.push_str(&format!("-- {};\n", printable(statement.as_str()))),
            false => text.push_str(&format!("{};\n", statement.as_str())),
        }
    }
    text.push_str(&format!("\n{};\n", ddl::reload().as_str()));
    let name = format!("{}_diffmig_{what}.sql", Utc::now().format("%Y%m%d%H%M%S"));
    Some(SuggestedFile { name, text })
}

/// The schema that migrations do not look into by themselves.
fn schema_beside(wishes: &[Wish]) -> Option<&str> {
    let mut schemas = wishes.iter().map(|it| it.table.schema.as_str());
    schemas.find(|it| *it != "public")
}

fn slug(wish: &Wish) -> String {
    let deed = match &wish.deed {
        Deed::AddColumn { .. } => "add",
        Deed::ChangeType(_) => "widen",
        Deed::AllowNull => "allow_null",
        Deed::AddLabel(_) => "add_label",
    };
    let text = format!("{deed}_{}_{}", wish.table.name, wish.column);
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    text.chars().map(plain).take(60).collect()
}

fn warning(wish: &Wish) -> Option<&'static str> {
    match &wish.deed {
        Deed::ChangeType(_) => Some(
            "The table is locked while it is rewritten; views on the column have to be made anew.",
        ),
        Deed::AllowNull => Some("Readers of the table may not expect NULL there."),
        Deed::AddLabel(_) => Some("A label cannot be taken away again."),
        Deed::AddColumn {
            references: Some(_),
            ..
        } => Some("Give it an index if rows are looked up by it."),
        Deed::AddColumn { .. } => None,
    }
}

/// Writes the files of a suggestion into a directory; files that are there already stay as they are.
///
/// # Errors
/// A file is there already, or cannot be written (exit 2 or 15).
pub fn write(suggestion: &mut SchemaSuggestion, directory: &Path) -> Result<()> {
    let failed = |path: &Path, error: &std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::NotFound => Kind::Usage,
            _ => Kind::Resources,
        };
        Error::new(kind, format!("cannot write {}", path.display()))
            .cause(error.to_string())
            .state("nothing was changed in the databases")
            .next("name another directory")
    };
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, &error))?;
    let files = [&suggestion.mapping, &suggestion.sql];
    for file in files.into_iter().flatten() {
        let path = directory.join(&file.name);
        let written = std::fs::File::create_new(&path)
            .and_then(|mut it| std::io::Write::write_all(&mut it, file.text.as_bytes()));
        written.map_err(|error| failed(&path, &error))?;
        suggestion.written.push(path);
    }
    Ok(())
}
