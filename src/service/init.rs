//! A first mapping: both catalogs are read, compared, and written down as a draft that was checked.

use crate::context::pair::Pair;
use crate::db::draft::{answer, relations, time_zone};
use crate::db::source::probe_time_zone;
use crate::domain::catalog::Catalog;
use crate::domain::connection::{ConnectionSpec, Side};
use crate::domain::draft::{Draft, Known, Relation, ZoneDraft, draft, render};
use crate::domain::identifier::printable;
use crate::domain::mapping::parse;
use crate::domain::plan::plan;
use crate::domain::resolve::{Catalogs, resolve};
use crate::error::{Error, Kind, Result};
use serde::Serialize;
use std::collections::BTreeMap;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct InitRequest {
    /// The schema of the source.
    pub source_schema: String,
    /// The schema of the target.
    pub target_schema: String,
    /// What naive times of the source mean; found out when absent.
    pub time_zone: Option<String>,
    /// Whether the distinct values of columns with codes may be read.
    pub read_codes: bool,
}

/// A draft and what still stands in its way.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InitReport {
    /// The draft.
    #[serde(flatten)]
    pub draft: Draft,
    /// What the check of the mapping objects to.
    pub problems: Vec<Problem>,
    /// The mapping file.
    #[serde(skip)]
    pub text: String,
}

/// A place of the file that the check of the mapping objects to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The line.
    pub line: usize,
    /// The key.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

/// Schemas of the target that belong to Supabase, to PostgreSQL or to diffmig.
const FOREIGN_SCHEMAS: &[&str] = &[
    "auth",
    "storage",
    "realtime",
    "vault",
    "extensions",
    "graphql",
    "graphql_public",
    "net",
    "cron",
    "pgbouncer",
    "pgsodium",
    "pgsodium_masks",
    "pgtle",
    "supabase_functions",
    "supabase_migrations",
    "_analytics",
    "_realtime",
    "information_schema",
    "pg_catalog",
    "diffmig",
];

/// Drafts a mapping. Nothing is written anywhere.
///
/// # Errors
/// No connection, a schema that is not the user's (exit 2), or nothing that corresponds (exit 13).
pub async fn init(
    specs: (ConnectionSpec, ConnectionSpec),
    request: &InitRequest,
) -> Result<InitReport> {
    if FOREIGN_SCHEMAS.contains(&request.target_schema.as_str()) {
        let what = format!("the schema {} is not yours to fill", request.target_schema);
        return Err(Error::new(Kind::Usage, what)
            .cause("it belongs to Supabase, to PostgreSQL or to diffmig")
            .state("nothing was written")
            .next("name the schema of your own tables with --target-schema"));
    }
    let schemas = (
        request.source_schema.as_str(),
        request.target_schema.as_str(),
    );
    let mut pair = Pair::open(specs, schemas).await?;
    let source = tables(Side::Source, &mut pair, schemas.0).await?;
    let target = tables(Side::Target, &mut pair, schemas.1).await?;
    let mut known = Known {
        source_schema: request.source_schema.clone(),
        target_schema: request.target_schema.clone(),
        source: source.1,
        target: target.1,
        time_zone: zone(&mut pair, request).await?,
        answers: BTreeMap::new(),
    };
    let mut drafted = draft(&known);
    if request.read_codes && !drafted.questions.is_empty() {
        for question in &drafted.questions {
            if let Some(codes) = answer(&mut pair.source, question).await? {
                known.answers.insert(question.clone(), codes);
            }
        }
        drafted = draft(&known);
    }
    if drafted.entities.is_empty() {
        return Err(Error::new(
            Kind::Drift,
            "no table of the target is like one of the source",
        )
        .cause(format!(
            "{} tables were compared with {}",
            known.source.len(),
            known.target.len()
        ))
        .state("nothing was written")
        .next("is it the right pair of databases and schemas? Else write the mapping by hand"));
    }
    let text = render(&drafted);
    let problems = check(&text, &source.0, &target.0)?;
    Ok(InitReport {
        draft: drafted,
        problems,
        text,
    })
}

async fn tables(side: Side, pair: &mut Pair, schema: &str) -> Result<(Catalog, Vec<Relation>)> {
    let connection = match side {
        Side::Source => &mut pair.source,
        Side::Target => &mut pair.target,
    };
    let read = relations(side, connection, schema).await?;
    if !read.1.is_empty() {
        return Ok(read);
    }
    let flag = match side {
        Side::Source => "--schema",
        Side::Target => "--target-schema",
    };
    let what = format!(
        "{}: no table in the schema {}",
        side.word(),
        printable(schema)
    );
    Err(Error::new(Kind::Drift, what)
        .state("nothing was written")
        .next(format!("name the schema with {flag}")))
}

async fn zone(pair: &mut Pair, request: &InitRequest) -> Result<ZoneDraft> {
    let Some(name) = &request.time_zone else {
        return time_zone(&mut pair.source).await;
    };
    probe_time_zone(&mut pair.source, "--time-zone", name).await?;
    Ok(ZoneDraft {
        name: name.clone(),
        reason: "what naive times mean".to_owned(),
    })
}

/// Reads the draft the way every other command will.
fn check(text: &str, source: &Catalog, target: &Catalog) -> Result<Vec<Problem>> {
    let mapping = parse(text).map_err(|issues| {
        let lines: Vec<String> = issues.iter().map(ToString::to_string).collect();
        Error::new(
            Kind::Unexpected,
            "the draft is no mapping; that is a defect of diffmig",
        )
        .cause(lines.join("\n"))
        .state("nothing was written")
    })?;
    let none = BTreeMap::new();
    let catalogs = Catalogs {
        source,
        target,
        query_columns: &none,
    };
    let entities = match resolve(&mapping, catalogs) {
        Ok(entities) => entities,
        Err(issues) => {
            let issues = issues.into_iter();
            return Ok(issues
                .map(|it| Problem {
                    line: it.spot.line,
                    key: it.path,
                    message: it.message,
                })
                .collect());
        }
    };
    let circle = plan(&entities).err().map(|cycle| Problem {
        line: 1,
        key: "entities".to_owned(),
        message: cycle.to_string(),
    });
    Ok(circle.into_iter().collect())
}
