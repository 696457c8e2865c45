//! Flags, environment and files become settings.

use super::url::parse;
use crate::domain::connection::{ConnectionSpec, Side};
use crate::domain::identifier::printable;
use crate::domain::mapping::{Mapping, MappingIssue, parse as parse_mapping};
use crate::error::{Error, Kind, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the command line gave.
#[derive(Debug, Clone, Default)]
pub struct SettingsInput {
    /// The mapping file.
    pub config: PathBuf,
    /// `--source-url`.
    pub source_url: Option<String>,
    /// `--target-url`.
    pub target_url: Option<String>,
    /// `--insecure`.
    pub insecure: bool,
}

/// Everything a command needs to begin.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The mapping file's path, for messages.
    pub config: PathBuf,
    /// The legacy database.
    pub source: ConnectionSpec,
    /// The Supabase database.
    pub target: ConnectionSpec,
    /// The parsed mapping.
    pub mapping: Mapping,
}

/// The mapping as far as it could be read.
#[derive(Debug)]
pub enum MappingPart {
    /// The whole of it.
    Parsed(Mapping),
    /// Its text has problems.
    Faulty(Vec<MappingIssue>),
    /// There is no such file, or it is no mapping.
    Unreadable(Error),
}

/// The settings one by one, for whoever goes on when one of them is wrong.
#[derive(Debug)]
pub struct Parts {
    /// The legacy database.
    pub source: Result<ConnectionSpec>,
    /// The Supabase database.
    pub target: Result<ConnectionSpec>,
    /// The mapping.
    pub mapping: MappingPart,
}

/// The largest mapping file that is read, in bytes.
const MAX_MAPPING_BYTES: u64 = 4 * 1024 * 1024;

/// Reads a `.env` file: `NAME=value`, optional quotes, `#` comments. A missing file is empty.
fn read_dotenv(path: &Path) -> BTreeMap<String, String> {
    let Ok(text) = std::fs::read_to_string(path) else {
        return BTreeMap::new();
    };
    let pairs = text.lines().filter_map(|line| {
        let line = line.trim();
        let (name, value) = line
            .strip_prefix("export ")
            .unwrap_or(line)
            .split_once('=')?;
        let value = value.trim();
        let unquoted = ['"', '\'']
            .iter()
            .find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        let is_name = !name.starts_with('#') && !name.trim().is_empty();
        is_name.then(|| (name.trim().to_owned(), unquoted.unwrap_or(value).to_owned()))
    });
    pairs.collect()
}

fn find_url(
    side: Side,
    flag: Option<&String>,
    dotenv: &BTreeMap<String, String>,
) -> Result<String> {
    let name = format!("DIFFMIG_{}_URL", side.word().to_uppercase());
    let file_name = format!("{name}_FILE");
    if let Some(url) = flag {
        return Ok(url.clone());
    }
    // The real environment wins over the file, whichever of the two names it uses.
    // A variable that is set to nothing is not set.
    let given = |text: &String| !text.trim().is_empty();
    let real = |name: &str| std::env::var(name).ok().filter(given);
    let stored = |name: &str| dotenv.get(name).cloned().filter(given);
    let (url, file) = match (real(&name), real(&file_name)) {
        (None, None) => (stored(&name), stored(&file_name)),
        found => found,
    };
    match (url, file) {
        (Some(url), _) => Ok(url),
        (None, Some(file)) => std::fs::read_to_string(&file)
            .map(|text| text.trim().to_owned())
            .map_err(|error| {
                Error::new(
                    Kind::Usage,
                    format!("cannot read the file that {file_name} names"),
                )
                .cause(match error.kind() {
                    std::io::ErrorKind::NotFound => format!("{}: no such file", printable(&file)),
                    _ => format!("{}: {error}", printable(&file)),
                })
                .state("nothing was started")
                .next("name a file that holds the URL and nothing else")
            }),
        (None, None) => {
            let side = side.word();
            Err(
                Error::new(Kind::Usage, format!("the {side} database is not given"))
                    .state("nothing was started")
                    .next(format!(
                        "set {name} in the environment or in .env, or use --{side}-url"
                    )),
            )
        }
    }
}

/// Reads the text of the mapping file.
fn read_mapping(path: &Path) -> Result<String> {
    let unreadable = |error: std::io::Error| {
        Error::new(
            Kind::Usage,
            format!("cannot read the mapping {}", path.display()),
        )
        .cause(match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            _ => error.to_string(),
        })
        .state("nothing was started")
        .next("name it with --config, or let `diffmig init` write a draft")
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_MAPPING_BYTES {
        return Err(
            Error::new(Kind::Usage, format!("{} is not a mapping", path.display()))
                .cause(format!(
                    "it has {size} bytes, at most {MAX_MAPPING_BYTES} are read"
                ))
                .state("nothing was started"),
        );
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned())
}

/// Reads and parses the mapping file.
///
/// # Errors
/// The file is missing or has problems; all of them are listed.
pub fn load_mapping(path: &Path) -> Result<Mapping> {
    let text = read_mapping(path)?;
    parse_mapping(&text).map_err(|issues| mapping_error(path, &issues))
}

/// Lists the problems of a mapping file as one error.
pub fn mapping_error(path: &Path, issues: &[MappingIssue]) -> Error {
    let lines: Vec<String> = issues
        .iter()
        .map(|issue| format!("{}:{issue}", path.display()))
        .collect();
    let noun = if issues.len() == 1 {
        "problem"
    } else {
        "problems"
    };
    Error::new(
        Kind::Usage,
        format!("the mapping has {} {noun}", issues.len()),
    )
    .cause(lines.join("\n"))
    .state("nothing was started")
    .next("correct the file and run the same command again")
}

/// Parses a URL and looks at the certificate it names, before anything is connected to.
fn read_url(side: Side, text: &str, insecure: bool) -> Result<ConnectionSpec> {
    let spec = parse(side, text, insecure)?;
    if let Some(file) = &spec.root_certificate {
        let refuse = |cause: String| {
            let what = format!("the {} URL's sslrootcert cannot be used", side.word());
            Error::new(Kind::Usage, what)
                .cause(cause)
                .state("nothing was started")
                .next("name a file with the authority's certificate in PEM form")
        };
        let shown = printable(file);
        let bytes = std::fs::read(file).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => refuse(format!("{shown}: no such file")),
            _ => refuse(format!("{shown}: {error}")),
        })?;
        if !String::from_utf8_lossy(&bytes).contains("-----BEGIN CERTIFICATE-----") {
            return Err(refuse(format!("{shown} holds no certificate")));
        }
    }
    Ok(spec)
}

/// What the driver would take from the environment for both databases, and what cannot be taken back from it.
const FOREIGN: &[&str] = &["PGOPTIONS", "PGSSLCERT", "PGSSLKEY"];

/// Refuses variables that would change the connections behind the URLs' back.
fn refuse_foreign_variables() -> Result<()> {
    let set = |name: &&&str| std::env::var_os(name).is_some();
    let Some(name) = FOREIGN.iter().find(set) else {
        return Ok(());
    };
    Err(Error::new(
        Kind::Usage,
        format!("{name} is set and would hold for both databases"),
    )
    .cause("diffmig takes connections from its two URLs alone")
    .state("nothing was started")
    .next(format!("unset {name}, or run: env -u {name} diffmig ...")))
}

/// Puts flags, environment, `.env` and the mapping file together.
///
/// # Errors
/// A missing or malformed URL or mapping (exit 2).
pub fn load(input: &SettingsInput) -> Result<Settings> {
    let (source, target) = load_pair(input)?;
    Ok(Settings {
        source,
        target,
        mapping: load_mapping(&input.config)?,
        config: input.config.clone(),
    })
}

/// Finds both databases, for commands that come before there is a mapping.
///
/// # Errors
/// A missing or malformed URL (exit 2).
pub fn load_pair(input: &SettingsInput) -> Result<(ConnectionSpec, ConnectionSpec)> {
    refuse_foreign_variables()?;
    let dotenv = read_dotenv(Path::new(".env"));
    let source = find_url(Side::Source, input.source_url.as_ref(), &dotenv)?;
    let target = find_url(Side::Target, input.target_url.as_ref(), &dotenv)?;
    Ok((
        read_url(Side::Source, &source, input.insecure)?,
        read_url(Side::Target, &target, input.insecure)?,
    ))
}

/// Reads flags, environment, `.env` and the mapping file, whatever is wrong with any of them.
///
/// # Errors
/// A variable that would change both connections (exit 2).
pub fn load_parts(input: &SettingsInput) -> Result<Parts> {
    refuse_foreign_variables()?;
    let dotenv = read_dotenv(Path::new(".env"));
    let spec = |side, flag: &Option<String>| {
        let url = find_url(side, flag.as_ref(), &dotenv)?;
        read_url(side, &url, input.insecure)
    };
    Ok(Parts {
        source: spec(Side::Source, &input.source_url),
        target: spec(Side::Target, &input.target_url),
        mapping: match read_mapping(&input.config).map(|text| parse_mapping(&text)) {
            Ok(Ok(mapping)) => MappingPart::Parsed(mapping),
            Ok(Err(issues)) => MappingPart::Faulty(issues),
            Err(error) => MappingPart::Unreadable(error),
        },
    })
}

/// Finds the target alone, for commands that read only the control tables.
///
/// # Errors
/// A missing or malformed URL (exit 2).
pub fn load_target(input: &SettingsInput) -> Result<ConnectionSpec> {
    refuse_foreign_variables()?;
    let dotenv = read_dotenv(Path::new(".env"));
    let target = find_url(Side::Target, input.target_url.as_ref(), &dotenv)?;
    read_url(Side::Target, &target, input.insecure)
}
