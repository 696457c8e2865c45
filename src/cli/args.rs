//! The flags that every command knows, and the small languages of their values.

use crate::context::Selection;
use crate::domain::detection::{DetectMode, RowLimit};
use chrono::{DateTime, NaiveDate, Utc};
use clap::{ArgAction, Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// For programs; the contract is in docs/json-output.md.
    Json,
    /// For spreadsheets.
    Csv,
}

/// How diagnostics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One line each.
    Text,
    /// One JSON object each.
    Json,
}

/// From which level on diagnostics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Faults.
    Error,
    /// What somebody should look at.
    Warn,
    /// What happens.
    Info,
    /// Details.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Returns the word that filters understand.
    pub fn word(self) -> &'static str {
        match self {
            LogLevel::Off => "off",
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// The mapping file
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = "diffmig.toml"
    )]
    pub config: PathBuf,

    /// The legacy database; better given as DIFFMIG_SOURCE_URL (or ..._URL_FILE) in the environment or in .env
    #[arg(long, global = true, value_name = "URL")]
    pub source_url: Option<String>,

    /// The Supabase database; better given as DIFFMIG_TARGET_URL (or ..._URL_FILE) in the environment or in .env
    #[arg(long, global = true, value_name = "URL")]
    pub target_url: Option<String>,

    /// Allow connections to other hosts without verifying their certificates
    #[arg(long, global = true)]
    pub insecure: bool,

    /// How data is printed on standard output
    #[arg(short, long, global = true, value_name = "FORMAT", value_enum, default_value_t = Format::Table, hide_possible_values = true)]
    #[arg(help = "How data is printed on standard output: table, json or csv")]
    pub output: Format,

    /// The same as --output json
    #[arg(long, global = true, conflicts_with = "output")]
    pub json: bool,

    /// Print no progress and no remarks; data and errors are printed
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Show more: warnings of the execution log as they come; twice, all of it
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,

    /// From which level on diagnostics go to standard error: off, error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL", value_enum, default_value_t = LogLevel::Warn, hide_possible_values = true)]
    pub log_level: LogLevel,

    /// How diagnostics are written: text or json
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text, hide_possible_values = true)]
    pub log_format: LogFormat,

    /// No colours and no bars; NO_COLOR and TERM=dumb do the same
    #[arg(long, global = true)]
    pub no_color: bool,
}

impl Globals {
    /// Returns how data is printed.
    pub fn format(&self) -> Format {
        if self.json { Format::Json } else { self.output }
    }
}

/// How a source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The cheapest mode that misses nothing; one slice of the keys is read in full with each run.
    Auto,
    /// Every row.
    Full,
    /// Rows that were written since the watermark.
    Xmin,
    /// Rows whose `updated_at` is not before the watermark.
    Timestamp,
}

impl From<Mode> for DetectMode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Auto => DetectMode::Auto,
            Mode::Full => DetectMode::Full,
            Mode::Xmin => DetectMode::Xmin,
            Mode::Timestamp => DetectMode::Timestamp,
        }
    }
}

/// The choice of entities.
#[derive(Debug, Clone, Default, Args)]
pub struct EntityArgs {
    /// Only these entities, separated by commas [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub entities: Vec<String>,

    /// Not these entities
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub exclude: Vec<String>,
}

impl EntityArgs {
    /// Returns the choice for the services.
    pub fn selection(&self) -> Selection {
        Selection {
            only: self.entities.clone(),
            except: self.exclude.clone(),
        }
    }
}

/// Reads `500ms`, `30s`, `10m`, `1h` or `0`.
///
/// # Errors
/// What is expected instead.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a number and ms, s, m or h, like 30s, 10m or 1h".to_owned();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "" if number == 0 => Some(0),
        _ => None,
    };
    let millis = millis.and_then(|factor: u64| number.checked_mul(factor));
    millis.map(Duration::from_millis).ok_or_else(wrong)
}

/// Reads a moment: `2026-11-21T04:00:00Z`, or a day.
///
/// # Errors
/// What is expected instead.
pub fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Ok(moment.with_timezone(&Utc));
    }
    let day = text.parse::<NaiveDate>().ok();
    let midnight = day.and_then(|it| it.and_hms_opt(0, 0, 0));
    midnight.map(|it| it.and_utc()).ok_or_else(|| {
        "write a time like 2026-11-21T04:00:00Z, or a day like 2026-11-21".to_owned()
    })
}

/// Reads a moment, or how long ago it was: `2h`, `30m`, `3d`.
///
/// # Errors
/// What is expected instead.
pub fn moment_or_ago(text: &str) -> Result<DateTime<Utc>, String> {
    let days = text.strip_suffix('d').and_then(|it| it.parse::<u32>().ok());
    let ago = match days {
        Some(days) => Some(Duration::from_secs(86_400 * u64::from(days))),
        None => duration(text).ok(),
    };
    let ago = ago.and_then(|it| chrono::Duration::from_std(it).ok());
    if let Some(at) = ago.and_then(|it| Utc::now().checked_sub_signed(it)) {
        return Ok(at);
    }
    moment(text).map_err(|_| {
        "write a time like 2026-11-21T04:00:00Z, a day like 2026-11-21, or how long ago, like 2h".to_owned()
    })
}

/// Reads a percentage from 0 to 100, with or without the sign.
///
/// # Errors
/// What is expected instead.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
    match number {
        Ok(number) if (0.0..=100.0).contains(&number) => Ok(number),
        _ => Err("write a percentage from 0 to 100".to_owned()),
    }
}

/// Reads a number of rows, or a share like `0.5%`.
///
/// # Errors
/// What is expected instead.
pub fn row_limit(text: &str) -> Result<RowLimit, String> {
    if text.ends_with('%') {
        return percent(text).map(RowLimit::Percent);
    }
    let rows = text.parse().map(RowLimit::Rows);
    rows.map_err(|_| "write a number of rows, or a share like 0.5%".to_owned())
}

/// Reads `ENTITY=N`.
///
/// # Errors
/// What is expected instead.
pub fn entity_limit(text: &str) -> Result<(String, u64), String> {
    let wrong = || "write ENTITY=N, like clients=250".to_owned();
    let (entity, limit) = text.split_once('=').ok_or_else(wrong)?;
    let limit = limit.trim().parse().map_err(|_| wrong())?;
    let entity = entity.trim();
    if entity.is_empty() {
        return Err(wrong());
    }
    Ok((entity.to_owned(), limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_rows_or_shares() {
        assert_eq!(row_limit("0"), Ok(RowLimit::Rows(0)));
        assert_eq!(row_limit("0.5%"), Ok(RowLimit::Percent(0.5)));
        for wrong in ["", "-1", "0.5", "101%", "%", "many"] {
            assert!(row_limit(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        for wrong in [
            "",
            "5",
            "s",
            "-1s",
            "1.5h",
            "10 m",
            "1d",
            "1h30m",
            "99999999999999999h",
        ] {
            assert!(duration(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn moments_are_given_or_counted_back_from_now() {
        let close = |text: &str, secs: i64| {
            let at = moment_or_ago(text).unwrap();
            (Utc::now() - at).num_seconds().abs_diff(secs) <= 1
        };
        assert!(close("2h", 7_200) && close("90s", 90) && close("3d", 259_200) && close("0", 0));
        let day = moment_or_ago("2026-11-21").unwrap();
        assert_eq!(day.to_rfc3339(), "2026-11-21T00:00:00+00:00");
        let local = moment_or_ago("2026-11-21T04:00:00+01:00").unwrap();
        assert_eq!(local.to_rfc3339(), "2026-11-21T03:00:00+00:00");
        for wrong in [
            "",
            "yesterday",
            "2",
            "-2h",
            "2026-13-01",
            "d",
            "99999999999d",
        ] {
            assert!(moment_or_ago(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn percentages_are_bounded() {
        assert_eq!(percent("2.5%"), Ok(2.5));
        assert_eq!(percent("0"), Ok(0.0));
        for wrong in ["", "101", "-1", "NaN", "inf", "ten"] {
            assert!(percent(wrong).is_err(), "{wrong:?} was accepted");
        }
    }

    #[test]
    fn limits_name_an_entity_and_a_number() {
        assert_eq!(entity_limit("clients=25"), Ok(("clients".to_owned(), 25)));
        for wrong in ["clients", "=3", "clients=", "clients=-1", "clients=all"] {
            assert!(entity_limit(wrong).is_err(), "{wrong:?} was accepted");
        }
    }
}
