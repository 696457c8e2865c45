//! Copies of data directories.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;

use super::account::Account;
use super::failure::SandboxError;

/// Copies a directory that does not change meanwhile; every copy belongs to `owner`.
///
/// Files are copied, never linked: two servers must not share a page.
pub(super) fn copy_dir(from: &Path, to: &Path, owner: Account) -> Result<(), SandboxError> {
    let mode = fs::metadata(from)
        .map_err(|source| SandboxError::file("read", from, source))?
        .permissions()
        .mode();
    DirBuilder::new()
        .mode(mode)
        .create(to)
        .map_err(|source| SandboxError::file("create", to, source))?;
    for entry in fs::read_dir(from).map_err(|source| SandboxError::file("read", from, source))? {
        let entry = entry.map_err(|source| SandboxError::file("read", from, source))?;
        let kind = entry
            .file_type()
            .map_err(|source| SandboxError::file("read", from, source))?;
        let copy = to.join(entry.file_name());
        if kind.is_dir() {
            copy_dir(&entry.path(), &copy, owner)?;
        } else {
            copy_file(&entry.path(), &copy, kind.is_symlink())
                .map_err(|source| SandboxError::file("copy", &entry.path(), source))?;
            if !kind.is_symlink() {
                owner.own(&copy)?;
            }
        }
    }
    owner.own(to)
}

fn copy_file(from: &Path, to: &Path, is_symlink: bool) -> io::Result<()> {
    if is_symlink {
        return symlink(fs::read_link(from)?, to);
    }
    fs::copy(from, to).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn copies_keep_modes_and_share_no_inode() {
        let scratch = tempfile::tempdir().unwrap();
        let from = scratch.path().join("from");
        fs::create_dir_all(from.join("base/1")).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(from.join("base/1/112"), "page").unwrap();
        fs::set_permissions(from.join("base/1/112"), fs::Permissions::from_mode(0o600)).unwrap();
        let to = scratch.path().join("to");
        copy_dir(&from, &to, Account::Same).unwrap();
        let (old, new) = (
            fs::metadata(from.join("base/1/112")).unwrap(),
            fs::metadata(to.join("base/1/112")).unwrap(),
        );
        assert_eq!(fs::read(to.join("base/1/112")).unwrap(), b"page");
        assert_eq!(new.mode() & 0o777, 0o600);
        assert_ne!(old.ino(), new.ino());
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o777, 0o700);
    }
}
