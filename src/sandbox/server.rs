//! A throw-away server as its users see it.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};

use super::copy::copy_dir;
use super::failure::SandboxError;
use super::options::ServerOptions;
use super::postmaster::{self, Attempt, Shutdown};
use super::root::Root;

const PORT_ATTEMPTS: usize = 8;

/// A running server; dropping it stops the processes at once and removes the data.
#[derive(Debug)]
pub struct Server {
    instance: Arc<Instance>,
}

impl Server {
    /// Copies the template, configures the copy and starts it.
    pub(super) fn launch(
        root: Arc<Root>,
        name: &str,
        options: &ServerOptions,
        template: &Path,
    ) -> Result<Self, SandboxError> {
        let dir = root.create_dir(name)?;
        let mut instance = Instance {
            superuser: options.superuser.clone(),
            name: name.into(),
            port: 0,
            process: Mutex::new(None),
            dir,
            root,
        };
        copy_dir(template, &instance.dir.join("data"), instance.root.account)?;
        instance.configure(options)?;
        for _ in 0..PORT_ATTEMPTS {
            instance.port = postmaster::propose_port();
            if instance.start()? {
                return Ok(Self {
                    instance: Arc::new(instance),
                });
            }
        }
        Err(SandboxError::NoPort {
            name: name.into(),
            attempts: PORT_ATTEMPTS,
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The TCP port it listens on; a restart does not change it.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.instance.port
    }

    /// The folder of its Unix socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.instance.dir
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.instance.dir.join("data")
    }

    /// Its log file.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.instance.dir.join("server.log")
    }

    /// The superuser that `initdb` created.
    #[must_use]
    pub fn superuser(&self) -> &str {
        &self.instance.superuser
    }

    /// The process id of the postmaster, unless it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.instance.lock().as_ref().map(Child::id)
    }

    /// A connection URL without a password.
    #[must_use]
    pub fn url(&self, user: &str, database: &str) -> String {
        let (user, database) = (encode(user), encode(database));
        format!(
            "postgresql://{user}@{}:{}/{database}",
            self.host(),
            self.port()
        )
    }

    /// A connection URL with a password.
    #[must_use]
    pub fn url_with_password(&self, user: &str, password: &str, database: &str) -> String {
        let (user, password, database) = (encode(user), encode(password), encode(database));
        format!(
            "postgresql://{user}:{password}@{}:{}/{database}",
            self.host(),
            self.port()
        )
    }

    /// Stops the server and waits for its end; its data stays until it is dropped.
    pub async fn stop(&self, how: Shutdown) -> Result<(), SandboxError> {
        let instance = Arc::clone(&self.instance);
        super::blocking(move || {
            instance.stop(how);
            Ok(())
        })
        .await
    }

    /// Starts a stopped server again on its old port; does nothing when it runs.
    pub async fn start(&self) -> Result<(), SandboxError> {
        let instance = Arc::clone(&self.instance);
        super::blocking(move || instance.resume()).await
    }

    /// Stops and starts; with [`Shutdown::Immediate`] this is a crash and a recovery.
    pub async fn restart(&self, how: Shutdown) -> Result<(), SandboxError> {
        self.stop(how).await?;
        self.start().await
    }
}

/// What a server consists of, shared with the threads that start and stop it.
#[derive(Debug)]
struct Instance {
    name: String,
    superuser: String,
    port: u16,
    process: Mutex<Option<Child>>,
    dir: PathBuf,
    root: Arc<Root>,
}

impl Instance {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds settings, access rules and files to the fresh copy.
    fn configure(&self, options: &ServerOptions) -> Result<(), SandboxError> {
        let data = self.dir.join("data");
        let path = data.join("postgresql.conf");
        let lines = options.configuration(&self.dir);
        OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| file.write_all(lines.as_bytes()))
            .map_err(|source| SandboxError::file("write", &path, source))?;
        let rules = options
            .access_rules()
            .map(|text| ("pg_hba.conf", text.as_bytes()));
        let files = options
            .files
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
        for (name, bytes) in rules.into_iter().chain(files) {
            let path = data.join(name);
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)
                .and_then(|mut file| file.write_all(bytes))
                .map_err(|source| SandboxError::file("write", &path, source))?;
            self.root.account.own(&path)?;
        }
        Ok(())
    }

    /// Starts the process; `false` means that its port is taken.
    fn start(&self) -> Result<bool, SandboxError> {
        let mut process = self.lock();
        match postmaster::start(&self.root, &self.dir, &self.name, self.port)? {
            Attempt::Ready(child) => {
                tracing::debug!(server = %self.name, port = self.port, "throw-away server is ready");
                *process = Some(child);
                Ok(true)
            }
            Attempt::PortTaken => Ok(false),
        }
    }

    fn resume(&self) -> Result<(), SandboxError> {
        if let Some(child) = self.lock().as_mut()
            && matches!(child.try_wait(), Ok(None))
        {
            return Ok(());
        }
        for _ in 0..PORT_ATTEMPTS {
            if self.start()? {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(250));
        }
        Err(SandboxError::NoPort {
            name: self.name.clone(),
            attempts: PORT_ATTEMPTS,
        })
    }

    fn stop(&self, how: Shutdown) {
        if let Some(mut child) = self.lock().take() {
            postmaster::stop(&mut child, how);
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.root.is_kept() {
            return;
        }
        self.stop(Shutdown::Immediate);
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::debug!(%error, path = %self.dir.display(), "left to the watchdog");
        }
    }
}

/// Percent-encodes everything that could mean something in a URL.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_parts_cannot_change_the_url() {
        assert_eq!(encode("p@ss/w:rd?%"), "p%40ss%2Fw%3Ard%3F%25");
        assert_eq!(encode("postgres.abc-1_x~"), "postgres.abc-1_x~");
    }
}
