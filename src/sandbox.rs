//! Throw-away PostgreSQL servers, for `diffmig demo` and for the tests.
//!
//! A [`Sandbox`] owns one directory below `/tmp`; every [`Server`] lives in a folder of it. Nothing
//! outlives the process that asked for it: a dropped server is stopped and removed, and a watchdog
//! process does the same when this process ends in any other way, `kill -9` included.
//!
//! ```no_run
//! use diffmig::sandbox::{Binaries, Sandbox, ServerOptions, Shutdown};
//!
//! # async fn example() -> Result<(), diffmig::sandbox::SandboxError> {
//! let sandbox = Sandbox::create(Binaries::find().await?)?;
//! let options = ServerOptions {
//!     superuser: "supabase_admin".into(),
//!     bootstrap_sql: vec!["create role postgres login bypassrls".into()],
//!     ..ServerOptions::default()
//! };
//! let server = sandbox.start("target", &options).await?;
//! let url = server.url("postgres", "postgres");
//! server.restart(Shutdown::Immediate).await?;
//! # let _ = url;
//! # Ok(())
//! # }
//! ```
//!
//! Servers that come from one template (same superuser, bootstrap SQL and password) are byte copies
//! of each other, so they also share their system identifier; a comment in the bootstrap SQL is
//! enough to tell them apart.

mod account;
mod binaries;
mod copy;
mod failure;
mod initialise;
mod options;
mod postmaster;
mod root;
mod server;
mod template;
mod watchdog;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

pub use binaries::Binaries;
pub use failure::SandboxError;
pub use options::ServerOptions;
pub use postmaster::Shutdown;
pub use server::Server;

use root::Root;
use template::TemplateStore;

/// A directory of throw-away servers, removed with everything in it when it and its servers are dropped.
#[derive(Debug)]
pub struct Sandbox {
    root: Arc<Root>,
    templates: Arc<TemplateStore>,
}

impl Sandbox {
    /// Makes the directory, below `/tmp` or the absolute path in `DIFFMIG_SANDBOX_DIR`, and starts the watchdog;
    /// no server runs yet.
    pub fn create(binaries: Binaries) -> Result<Self, SandboxError> {
        let root = Arc::new(Root::create(binaries)?);
        let templates = Arc::new(TemplateStore::from_environment());
        Ok(Self { root, templates })
    }

    /// Starts a server in a folder called `name` and returns when it accepts connections.
    ///
    /// The first server of a kind pays for `initdb` (about a second), unless a template of its kind
    /// is in the directory that `DIFFMIG_SANDBOX_CACHE` names.
    pub async fn start(&self, name: &str, options: &ServerOptions) -> Result<Server, SandboxError> {
        validate_name(name)?;
        options.validate()?;
        let (root, templates) = (Arc::clone(&self.root), Arc::clone(&self.templates));
        let (name, options) = (name.to_owned(), options.clone());
        blocking(move || {
            let template = templates.provide(&root, &options)?;
            Server::launch(root, &name, &options, &template)
        })
        .await
    }

    /// The directory that holds all servers of this sandbox.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Lets the servers live on after this process; returns the shell command that stops and removes them.
    ///
    /// From here on dropping a [`Server`] leaves it running.
    pub fn keep(self) -> Result<String, SandboxError> {
        let script = self.root.path().join("stop.sh");
        std::fs::write(&script, watchdog::stop_script(self.root.path()))
            .and_then(|()| std::fs::set_permissions(&script, Permissions::from_mode(0o755)))
            .map_err(|source| SandboxError::file("write", &script, source))?;
        self.root.keep()?;
        // No further server will be copied from them.
        let _ = std::fs::remove_dir_all(self.root.path().join(root::TEMPLATES));
        Ok(format!("sh {}", script.display()))
    }
}

/// Runs work that waits for files and processes where it does not hold up the async tasks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(failure) if failure.is_panic() => std::panic::resume_unwind(failure.into_panic()),
        Err(_) => Err(SandboxError::Interrupted),
    }
}

/// Accepts names that are safe as a folder, in a shell word and in a short socket path.
fn validate_name(name: &str) -> Result<(), SandboxError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 32 || !name.chars().all(allowed) || name == root::TEMPLATES {
        return Err(SandboxError::InvalidOption(format!(
            "server name {name:?} is not made of 1 to 32 of a-z, 0-9, `-` and `_`, or is reserved"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_sandbox_are_refused() {
        for name in ["", ".", "../x", "a b", "A", "templates", &"x".repeat(33)] {
            assert!(validate_name(name).is_err(), "{name:?} was accepted");
        }
        assert!(validate_name("legacy-1_a").is_ok());
    }
}
