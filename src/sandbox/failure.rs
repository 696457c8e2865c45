//! What can go wrong with a throw-away server, in words for the person who reads it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a throw-away server could not be prepared, started or stopped.
///
/// `Display` says what failed, `source` holds the cause of file and process errors, and
/// [`SandboxError::next_step`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// No folder with both `postgres` and `initdb` was found.
    #[error("No PostgreSQL server programs were found (looked in {looked_in})")]
    NoBinaries {
        /// The places that were tried, in order.
        looked_in: String,
    },
    /// The programs exist, but do not run here.
    #[error("The PostgreSQL programs in {} do not run: {detail}", dir.display())]
    UnusableBinaries {
        /// The folder of the programs.
        dir: PathBuf,
        /// What running them said.
        detail: String,
    },
    /// Running as root, and neither `postgres` nor `nobody` exists.
    #[error(
        "PostgreSQL refuses to run as root, and /etc/passwd has no user `postgres` or `nobody`"
    )]
    NoAccount,
    /// A file or directory could not be used.
    #[error("Could not {action} {}", path.display())]
    File {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A program could not be started or waited for.
    #[error("Could not run {}", program.display())]
    Process {
        /// The program.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The caller asked for something that cannot be.
    #[error("Invalid server option: {0}")]
    InvalidOption(String),
    /// `initdb` failed.
    #[error("initdb failed: {0}")]
    Initdb(String),
    /// A bootstrap script failed; nothing of that script was applied.
    #[error("Bootstrap script {number} failed: {detail}")]
    Bootstrap {
        /// Which of the scripts, counted from 1.
        number: usize,
        /// The server's error lines, without statements.
        detail: String,
    },
    /// The server ended while it was starting.
    #[error("Server `{name}` ended while starting: {log}")]
    Exited {
        /// Name of the server.
        name: String,
        /// The end of its log.
        log: String,
    },
    /// The server did not become ready in time.
    #[error("Server `{name}` was not ready after {waited_secs} s: {log}")]
    NotReady {
        /// Name of the server.
        name: String,
        /// How long it was waited for.
        waited_secs: u64,
        /// The end of its log.
        log: String,
    },
    /// No TCP port could be had.
    #[error("No free TCP port on 127.0.0.1 for server `{name}` after {attempts} attempts")]
    NoPort {
        /// Name of the server.
        name: String,
        /// How many ports were tried.
        attempts: usize,
    },
    /// The runtime was shut down meanwhile.
    #[error("Starting the server was interrupted because the program is ending")]
    Interrupted,
}

impl SandboxError {
    /// What the reader should do next.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::NoBinaries { .. } => {
                "install PostgreSQL's server package, or set DIFFMIG_PG_BIN to the folder that holds `postgres` and `initdb`"
            }
            Self::UnusableBinaries { .. } => {
                "set DIFFMIG_PG_BIN to a folder that the user `postgres` (or `nobody`) may read, not below /root"
            }
            Self::NoAccount => "run as an ordinary user, or create the user `postgres`",
            Self::File { .. } => {
                "check that /tmp (or DIFFMIG_SANDBOX_DIR) is writable and has some 200 MB free"
            }
            Self::Process { .. } => "check the installation, or set DIFFMIG_PG_BIN to another one",
            Self::InvalidOption(_) | Self::Bootstrap { .. } => "correct the server options",
            Self::Initdb(_) | Self::Exited { .. } | Self::NotReady { .. } => {
                "read the message above; common causes are a full disk, too little memory, or an unknown setting"
            }
            Self::NoPort { .. } | Self::Interrupted => "run it again",
        }
    }

    /// A failed operation on a file or directory.
    pub(super) fn file(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::File {
            action,
            path: path.to_owned(),
            source,
        }
    }

    /// A program that could not be run.
    pub(super) fn process(program: &Path, source: io::Error) -> Self {
        Self::Process {
            program: program.to_owned(),
            source,
        }
    }
}
