//! The directory that one sandbox owns.

use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use uuid::Uuid;

use super::account::Account;
use super::binaries::Binaries;
use super::failure::SandboxError;
use super::watchdog::Watchdog;

/// Short on purpose: a socket path may have 107 bytes, and `$TMPDIR` is long on some systems.
const BASE: &str = "/tmp";

/// Folder for templates; no server can have this name.
pub(super) const TEMPLATES: &str = "templates";

/// The directory, who owns what is in it, and who removes it.
#[derive(Debug)]
pub(super) struct Root {
    path: PathBuf,
    kept: AtomicBool,
    pub(super) watchdog: Watchdog,
    pub(super) account: Account,
    pub(super) binaries: Binaries,
}

impl Root {
    /// Makes the directory and starts its watchdog.
    pub(super) fn create(binaries: Binaries) -> Result<Self, SandboxError> {
        let account = Account::choose()?;
        let path = create_unique()?;
        let watchdog = Watchdog::start(&path).inspect_err(|_| {
            // Nothing is in it yet.
            let _ = fs::remove_dir(&path);
        })?;
        let root = Self {
            path,
            kept: AtomicBool::new(false),
            watchdog,
            account,
            binaries,
        };
        root.create_dir(TEMPLATES)?;
        Ok(root)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a folder that belongs to the servers' account and nobody else can enter.
    pub(super) fn create_dir(&self, name: &str) -> Result<PathBuf, SandboxError> {
        let path = self.path.join(name);
        DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|source| match source.kind() {
                ErrorKind::AlreadyExists => {
                    SandboxError::InvalidOption(format!("server name {name:?} is in use"))
                }
                _ => SandboxError::file("create", &path, source),
            })?;
        self.account.own(&path)?;
        Ok(path)
    }

    /// From now on nothing is removed or stopped any more.
    pub(super) fn keep(&self) -> Result<(), SandboxError> {
        self.watchdog
            .dismiss()
            .map_err(|source| SandboxError::process(Path::new("/bin/sh"), source))?;
        self.kept.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// Whether [`Root::keep`] was called.
    pub(super) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::SeqCst)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        if !self.is_kept()
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::debug!(%error, path = %self.path.display(), "left to the watchdog");
        }
        self.watchdog.release();
    }
}

/// Makes a directory that nobody else has; root lets other users through, but not read it.
fn create_unique() -> Result<PathBuf, SandboxError> {
    let base = std::env::var_os("DIFFMIG_SANDBOX_DIR").map_or_else(|| BASE.into(), PathBuf::from);
    if !base.is_absolute() {
        let what = format!("DIFFMIG_SANDBOX_DIR={} is no absolute path", base.display());
        return Err(SandboxError::InvalidOption(what));
    }
    loop {
        let mut name = format!("dm{}", Uuid::new_v4().simple());
        name.truncate(10);
        let path = base.join(name);
        match DirBuilder::new().mode(0o711).create(&path) {
            Ok(()) => {
                let mode = Permissions::from_mode(0o711);
                return match fs::set_permissions(&path, mode) {
                    Ok(()) => Ok(path),
                    Err(source) => Err(SandboxError::file("set the mode of", &path, source)),
                };
            }
            Err(source) if source.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => return Err(SandboxError::file("create", &path, source)),
        }
    }
}
