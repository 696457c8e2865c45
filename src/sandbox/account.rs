//! The operating system account that servers run as.
//!
//! `initdb` and `postgres` refuse to run as root, so root hands them to `postgres` or `nobody`.

use std::ffi::OsStr;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::failure::SandboxError;

/// Who the server processes run as and who owns their files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Account {
    /// This process is not root: everything runs as the same user.
    Same,
    /// This process is root: servers run as this user and group.
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// Decides once per sandbox, from who runs this process and from `/etc/passwd`.
    pub(super) fn choose() -> Result<Self, SandboxError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Same);
        }
        let path = Path::new("/etc/passwd");
        let passwd = std::fs::read_to_string(path)
            .map_err(|source| SandboxError::file("read", path, source))?;
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| find_user(&passwd, name))
            .ok_or(SandboxError::NoAccount)
    }

    /// A command that runs as this account, deaf to the terminal's signals and to `PG*` variables.
    pub(super) fn command(self, program: impl AsRef<OsStr>, working_dir: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(working_dir)
            .process_group(0)
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        for (key, _) in std::env::vars_os() {
            if key.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(key);
            }
        }
        if let Self::Other { uid, gid } = self {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Gives one file or directory to this account.
    pub(super) fn own(self, path: &Path) -> Result<(), SandboxError> {
        match self {
            Self::Same => Ok(()),
            Self::Other { uid, gid } => chown(path, Some(uid), Some(gid))
                .map_err(|source| SandboxError::file("change the owner of", path, source)),
        }
    }

    /// Whether a template in a shared cache can be trusted: made by this user, writable by nobody else.
    pub(super) fn trusts(path: &Path) -> bool {
        let me = rustix::process::geteuid().as_raw();
        std::fs::symlink_metadata(path)
            .is_ok_and(|found| found.is_dir() && found.uid() == me && found.mode() & 0o022 == 0)
    }
}

/// Finds a user in the text of `/etc/passwd`; root under another name does not count.
fn find_user(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (uid != 0).then_some(Account::Other { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\npostgres2:x:7:7:::\npostgres:x:101:104:a,b:/var:/bin/sh\n";
        assert_eq!(
            find_user(passwd, "postgres"),
            Some(Account::Other { uid: 101, gid: 104 })
        );
        assert_eq!(find_user(passwd, "nobody"), None);
        assert_eq!(find_user(passwd, "root"), None);
        assert_eq!(find_user("postgres:x:bad:1::\n", "postgres"), None);
    }
}
