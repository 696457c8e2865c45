//! What a throw-away server should look like, and the configuration text that follows from it.

use std::fmt::{self, Debug, Formatter, Write as _};
use std::path::Path;

use super::failure::SandboxError;

/// Settings every server gets; [`ServerOptions::settings`] come later in the file and win.
const DEFAULT_SETTINGS: [(&str, &str); 8] = [
    ("listen_addresses", "127.0.0.1"),
    // Servers before 14 would keep passwords in another form than their roles are asked for.
    ("password_encryption", "scram-sha-256"),
    ("shared_buffers", "64MB"),
    ("max_connections", "60"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    ("log_line_prefix", "%m [%p] %u@%d "),
    ("log_checkpoints", "off"),
];

/// Added unless [`ServerOptions::durable`]: survives a crash of the server, not of the machine.
const FAST_SETTINGS: [(&str, &str); 2] = [("fsync", "off"), ("full_page_writes", "off")];

/// How to set up one server; `ServerOptions::default()` is a plain one with superuser `postgres`.
#[derive(Clone)]
pub struct ServerOptions {
    /// Name of the superuser that `initdb` creates.
    pub superuser: String,
    /// When set, TCP connections need a password (SCRAM), and this is the superuser's; socket connections never do.
    pub password: Option<String>,
    /// Lines for `postgresql.conf`, for example `("wal_level", "logical")`; a later one wins.
    pub settings: Vec<(String, String)>,
    /// Files for the data directory (mode 0600), for example `server.key`; also replaces `pg_hba.conf`.
    pub files: Vec<(String, Vec<u8>)>,
    /// Scripts for the database `postgres`, run by the superuser before the first start and kept in the template.
    ///
    /// Each script is one transaction. A statement that cannot run in one (`create database`,
    /// `alter system`) must be a script of its own. There are no psql commands such as `\connect`.
    pub bootstrap_sql: Vec<String>,
    /// Leaves `fsync` on, for measurements that should cost what they cost in production.
    pub durable: bool,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            superuser: "postgres".into(),
            password: None,
            settings: Vec::new(),
            files: Vec::new(),
            bootstrap_sql: Vec::new(),
            durable: false,
        }
    }
}

/// Says nothing about passwords, keys and scripts except that they are there.
impl Debug for ServerOptions {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServerOptions")
            .field("superuser", &self.superuser)
            .field("has_password", &self.password.is_some())
            .field("settings", &self.settings)
            .field(
                "files",
                &self.files.iter().map(|(name, _)| name).collect::<Vec<_>>(),
            )
            .field("bootstrap_scripts", &self.bootstrap_sql.len())
            .field("durable", &self.durable)
            .finish()
    }
}

impl ServerOptions {
    /// Refuses values that would mean something else than they say.
    pub(super) fn validate(&self) -> Result<(), SandboxError> {
        let refuse = |text: String| Err(SandboxError::InvalidOption(text));
        let name = &self.superuser;
        if name.is_empty() || name.len() > 63 || name.starts_with("pg_") || name.contains('\0') {
            return refuse(format!("superuser {name:?} cannot be the name of a role"));
        }
        for (key, value) in &self.settings {
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
            if key.is_empty() || !key.chars().all(plain) || value.contains(['\n', '\r', '\0']) {
                return refuse(format!(
                    "setting {key:?} has a bad name or a value of several lines"
                ));
            }
        }
        for (file, _) in &self.files {
            if file.is_empty() || file.contains('/') || file.starts_with('.') {
                return refuse(format!("file {file:?} is not a plain file name"));
            }
        }
        if self.scripts().iter().any(|script| script.contains('\0')) {
            return refuse("bootstrap SQL or password contains a zero byte".into());
        }
        Ok(())
    }

    /// The bootstrap scripts, with the one that sets the password.
    pub(super) fn scripts(&self) -> Vec<String> {
        let mut scripts = self.bootstrap_sql.clone();
        if let Some(password) = &self.password {
            scripts.push(format!(
                "set standard_conforming_strings = on;\nalter role \"{}\" password '{}'",
                self.superuser.replace('"', "\"\""),
                password.replace('\'', "''")
            ));
        }
        scripts
    }

    /// The lines to add to `postgresql.conf`.
    pub(super) fn configuration(&self, socket_dir: &Path) -> String {
        let fast = FAST_SETTINGS.iter().filter(|_| !self.durable);
        let mut text = String::from("\n# throw-away server\n");
        let mut add = |key: &str, value: &str| {
            let quoted = value.replace('\\', "\\\\").replace('\'', "''");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key} = '{quoted}'");
        };
        DEFAULT_SETTINGS
            .iter()
            .chain(fast)
            .for_each(|(key, value)| add(key, value));
        self.settings
            .iter()
            .for_each(|(key, value)| add(key, value));
        add("unix_socket_directories", &socket_dir.to_string_lossy());
        text
    }

    /// The text of `pg_hba.conf`, when it should differ from trusting every local connection.
    pub(super) fn access_rules(&self) -> Option<&'static str> {
        self.password.as_ref().map(|_| {
            "local all all trust\nlocal replication all trust\n\
             host all all 127.0.0.1/32 scram-sha-256\nhost replication all 127.0.0.1/32 scram-sha-256\n"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_setting(key: &str, value: &str) -> ServerOptions {
        ServerOptions {
            settings: vec![(key.into(), value.into())],
            ..ServerOptions::default()
        }
    }

    #[test]
    fn quotes_and_backslashes_in_settings_survive() {
        let text = with_setting("app.note", r"it's C:\x").configuration(Path::new("/tmp/s"));
        assert!(text.contains(r"app.note = 'it''s C:\\x'"), "{text}");
    }

    #[test]
    fn settings_of_the_caller_come_after_the_defaults() {
        let text = with_setting("max_connections", "7").configuration(Path::new("/tmp/s"));
        assert!(text.find("max_connections = '60'") < text.find("max_connections = '7'"));
    }

    #[test]
    fn a_durable_server_keeps_fsync() {
        let plain = ServerOptions::default();
        let durable = ServerOptions {
            durable: true,
            ..ServerOptions::default()
        };
        assert!(
            plain
                .configuration(Path::new("/s"))
                .contains("fsync = 'off'")
        );
        assert!(!durable.configuration(Path::new("/s")).contains("fsync"));
    }

    #[test]
    fn injected_lines_and_paths_are_refused() {
        assert!(with_setting("a", "1\nfsync = on").validate().is_err());
        assert!(with_setting("a = 1 #", "1").validate().is_err());
        let file = ServerOptions {
            files: vec![("../x".into(), Vec::new())],
            ..ServerOptions::default()
        };
        assert!(file.validate().is_err());
        assert!(ServerOptions::default().validate().is_ok());
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let options = ServerOptions {
            password: Some("hunter2".into()),
            bootstrap_sql: vec!["create role x password 'hunter2'".into()],
            files: vec![("server.key".into(), b"hunter2".to_vec())],
            ..ServerOptions::default()
        };
        assert!(!format!("{options:?}").contains("hunter2"));
    }
}
