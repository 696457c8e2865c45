//! `diffmig demo`: the whole story on two throw-away servers, through the same services as every command.

mod check;

use super::args::Format;
use super::failure::{Ended, Ending, Stop};
use super::front::Front;
use super::output::Output;
use super::table::{Sheet, count, seconds};
use super::{analyze, detect, help, migrate};
use crate::config::{Settings, url};
use crate::context::Selection;
use crate::domain::connection::Side;
use crate::domain::mapping;
use crate::error::{Error, Kind, Result};
use crate::service::analyze::Baseline;
use crate::service::detect::DetectRequest;
use crate::service::migrate::{MigrateReport, MigrateRequest};
use crate::service::workshop::{MAPPING, Workshop};
use check::{Checks, Expected};
use clap::Args;
use std::path::{Path, PathBuf};
use std::time::Instant;

const EXAMPLES: &[&str] = &[
    "diffmig demo",
    "diffmig demo --keep        then try the commands yourself",
    "diffmig demo --scale perf",
];
/// The mapping's name in messages; it is read from memory.
const MAPPING_NAME: &str = "fixtures/diffmig.toml";

/// Tell the whole story on two throw-away PostgreSQL servers; needs PostgreSQL's server programs
#[derive(Debug, Args)]
#[command(after_help = help::of_command(EXAMPLES, &[0, 1, 2, 10, 15, 130]))]
pub struct DemoArgs {
    /// Leave the servers running and say how to use and how to stop them
    #[arg(long)]
    keep: bool,

    /// How much data: small (35,000 rows), perf (30 times that) or a factor from 1 to 1000
    #[arg(long, value_name = "SCALE", default_value = "small", value_parser = scale)]
    scale: u32,
}

fn scale(text: &str) -> Result<u32, String> {
    match text {
        "small" => Ok(1),
        "perf" => Ok(30),
        number => match number.parse() {
            Ok(number @ 1..=1000) => Ok(number),
            _ => Err("write small, perf or a number from 1 to 1000".to_owned()),
        },
    }
}

struct Story<'a> {
    front: &'a Front,
    workshop: Workshop,
    began: Instant,
}

/// Runs the command.
pub async fn run(front: &Front, args: &DemoArgs) -> Ended {
    if front.output.format != Format::Table {
        let error = Error::new(Kind::Usage, "the demo is told in words")
            .state("nothing was started")
            .next("leave --output and --json away");
        return Err(Stop::Failed(error));
    }
    let began = Instant::now();
    let output = &front.output;
    output.data(
        "diffmig demo: an old workshop database moves to Supabase while both stay in use.\n",
    )?;
    heading(
        output,
        "1. Two throw-away servers: the legacy PostgreSQL and a stand-in for Supabase",
    )?;
    let workshop = Box::pin(Workshop::start()).await?;
    let story = Story {
        front,
        workshop,
        began,
    };
    story.line(&format!("up after {}", story.elapsed()))?;
    Box::pin(story.day1(args.scale)).await?;
    Box::pin(story.day2(args.scale)).await?;
    story.line(&format!("everything adds up ({})", story.elapsed()))?;
    if args.keep {
        story.keep()?;
    }
    Ok(Ending::Done)
}

fn heading(output: &Output, text: &str) -> Result<(), Stop> {
    output.data(&format!("\n{text}\n"))
}

impl Story<'_> {
    fn heading(&self, text: &str) -> Result<(), Stop> {
        heading(&self.front.output, text)
    }

    fn line(&self, text: &str) -> Result<(), Stop> {
        self.front.output.data(&format!("   {text}\n"))
    }

    fn table(&self, sheet: &Sheet) -> Result<(), Stop> {
        let indented = sheet
            .table()
            .lines()
            .map(|line| format!("   {line}\n"))
            .collect::<String>();
        self.front.output.data(&indented)
    }

    fn elapsed(&self) -> String {
        seconds(self.began.elapsed().as_secs_f64())
    }

    fn settings(&self) -> Result<Settings> {
        let path = PathBuf::from(MAPPING_NAME);
        let parsed = mapping::parse(MAPPING);
        Ok(Settings {
            source: url::parse(Side::Source, &self.workshop.source_url(), false)?,
            target: url::parse(Side::Target, &self.workshop.target_url(), false)?,
            mapping: parsed
                .map_err(|issues| crate::config::environment::mapping_error(&path, &issues))?,
            config: path,
        })
    }

    async fn day1(&self, scale: u32) -> Result<(), Stop> {
        let expected = Expected::read()?.day1(scale);
        self.heading(
            "2. The first day: the legacy database is full, the target has rows of its own",
        )?;
        self.workshop.load_day1(scale).await?;
        self.line(&format!("loaded after {}", self.elapsed()))?;
        self.heading("3. diffmig analyze: nothing was migrated yet")?;
        let baseline = self.analyze().await?;
        Checks::new("the analysis of day 1")
            .missing(&baseline)
            .end()?;
        self.heading("4. diffmig migrate: the first load")?;
        let report = self.migrate().await?;
        let checks = Checks::new("the migration of day 1");
        checks
            .detected(&report, &expected)
            .accounted(&report, &expected)
            .end()?;
        self.line("Rows that cannot be applied are set aside with their reason, never dropped in silence.")
    }

    async fn day2(&self, scale: u32) -> Result<(), Stop> {
        let expected = Expected::read()?.day2(scale);
        self.heading(
            "5. The second day: rows are added, changed, mended and deleted on both sides",
        )?;
        self.workshop.load_day2().await?;
        self.heading("6. diffmig detect: what changed, from the content of the rows")?;
        let (context, progress) = self.front.open_with(self.settings()?).await?;
        let request = DetectRequest {
            max_concurrent: MigrateRequest::default().max_concurrent,
            store: true,
            ..DetectRequest::default()
        };
        let found = Box::pin(crate::service::detect::detect(&context, &request)).await;
        progress.finish().await;
        let detection = found?;
        self.table(&detect::sheet(&detection.entities))?;
        let checks = Checks::new("the detection of day 2");
        checks.found(&detection.entities, &expected).end()?;
        self.heading("7. diffmig migrate: only the differences")?;
        let report = self.migrate().await?;
        Checks::new("the migration of day 2")
            .accounted(&report, &expected)
            .end()?;
        self.heading("8. diffmig analyze: every row is accounted for")?;
        let baseline = self.analyze().await?;
        Checks::new("the analysis of day 2")
            .synced(&baseline)
            .end()?;
        self.heading("9. diffmig migrate, once more: there is nothing to do")?;
        let report = self.migrate().await?;
        Ok(Checks::new("the second migration of day 2")
            .idle(&report)
            .end()?)
    }

    async fn analyze(&self) -> Result<Baseline, Stop> {
        let (context, progress) = self.front.open_with(self.settings()?).await?;
        let everything = Selection::default();
        let taken = crate::service::analyze::analyze(&context, &everything);
        let taken = Box::pin(taken).await;
        progress.finish().await;
        let baseline = taken?;
        self.table(&analyze::sheet(&baseline, false))?;
        Ok(baseline)
    }

    async fn migrate(&self) -> Result<MigrateReport, Stop> {
        let (context, progress) = self.front.open_with(self.settings()?).await?;
        let request = MigrateRequest::default();
        let done = Box::pin(crate::service::migrate::migrate(&context, &request)).await;
        progress.finish().await;
        let report = done?;
        self.table(&migrate::sheet(&report))?;
        self.line(&migrate::accounting(&report).line())?;
        self.line(&migrate::summary(&report))?;
        Ok(report)
    }

    /// Says how to go on with the servers.
    fn keep(self) -> Result<(), Stop> {
        let (source, target) = (self.workshop.source_url(), self.workshop.target_url());
        let output = &self.front.output;
        let stop = self.workshop.keep()?;
        let mapping = mapping_beside(&stop);
        let mapping = mapping
            .as_deref()
            .unwrap_or(Path::new(MAPPING_NAME))
            .display();
        output.data(&format!(
            "\nThe servers keep running. To try the commands yourself:\n\n\
             export DIFFMIG_SOURCE_URL='{source}'\n\
             export DIFFMIG_TARGET_URL='{target}'\n\
             diffmig --config {mapping} analyze\n\
             diffmig --config {mapping} detect\n\
             diffmig --config {mapping} migrate\n\
             diffmig status\n\
             diffmig quarantine list --summary\n\
             diffmig logs --level warn\n\n\
             To stop and remove them:\n\n{stop}\n"
        ))
    }
}

/// Puts the mapping next to the script that removes the servers, so that it goes with them.
fn mapping_beside(stop: &str) -> Option<PathBuf> {
    let script = Path::new(stop.strip_prefix("sh ")?);
    let path = script.parent()?.join("diffmig.toml");
    std::fs::write(&path, MAPPING).ok()?;
    Some(path)
}

/// Says how many rows of a kind there are and should be.
fn difference(what: &str, found: i128, wanted: i128) -> Option<String> {
    (found != wanted).then(|| format!("{what}: {} instead of {}", count(found), count(wanted)))
}
