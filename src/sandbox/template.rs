//! Initialised data directories from which servers are copied.
//!
//! `initdb` takes a second, a copy a tenth of one. Within a sandbox every kind of server is
//! initialised once. With `DIFFMIG_SANDBOX_CACHE=DIR` the result also outlives the process, which
//! matters to a test runner that starts a process for each test. A cached template is made under a
//! file lock and appears by a rename, so others see all of it or nothing.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::account::Account;
use super::copy::copy_dir;
use super::failure::SandboxError;
use super::initialise::initialise;
use super::options::ServerOptions;
use super::root::{Root, TEMPLATES};

/// Raise it when the way templates are made changes, so that old ones are not used.
const RECIPE: u32 = 1;

/// A template that may be being made: whoever holds the lock makes it, the others wait.
type Slot = Arc<Mutex<Option<PathBuf>>>;

/// The templates of one sandbox.
#[derive(Debug)]
pub(super) struct TemplateStore {
    cache: Option<PathBuf>,
    slots: Mutex<HashMap<String, Slot>>,
}

impl TemplateStore {
    /// A store that uses the directory in `DIFFMIG_SANDBOX_CACHE`, if there is one.
    pub(super) fn from_environment() -> Self {
        let cache = std::env::var_os("DIFFMIG_SANDBOX_CACHE")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from);
        Self {
            cache,
            slots: Mutex::default(),
        }
    }

    /// The template for these options, made if need be.
    pub(super) fn provide(
        &self,
        root: &Root,
        options: &ServerOptions,
    ) -> Result<PathBuf, SandboxError> {
        let key = template_key(root, options);
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(key.clone()).or_default())
        };
        let mut ready = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = ready.as_ref() {
            return Ok(template.clone());
        }
        let template = match &self.cache {
            Some(cache) => through_cache(cache, &key, root, options)?,
            None => build(&key, root, options)?,
        };
        Ok(ready.insert(template).clone())
    }
}

/// Takes the template from the cache, or makes it and leaves a copy there.
///
/// A cache that cannot be used costs time, not the server.
fn through_cache(
    cache: &Path,
    key: &str,
    root: &Root,
    options: &ServerOptions,
) -> Result<PathBuf, SandboxError> {
    let cached = cache.join(key);
    if Account::trusts(&cached) {
        return Ok(cached);
    }
    let lock = fs::create_dir_all(cache)
        .and_then(|()| File::create(cache.join(format!("{key}.lock"))))
        .and_then(|file| file.lock().map(|()| file));
    let lock = match lock {
        Ok(lock) => lock,
        Err(error) => {
            tracing::warn!(%error, path = %cache.display(), "the template cache cannot be used");
            return build(key, root, options);
        }
    };
    if Account::trusts(&cached) {
        return Ok(cached);
    }
    let built = build(key, root, options)?;
    if let Err(error) = publish(&built, cache, key) {
        tracing::warn!(%error, path = %cache.display(), "the template could not be cached");
    }
    drop(lock);
    Ok(built)
}

/// Copies a template into the cache; the caller holds the lock of this key.
fn publish(built: &Path, cache: &Path, key: &str) -> Result<(), SandboxError> {
    let (unfinished, cached) = (cache.join(format!("{key}.unfinished")), cache.join(key));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)
            .map_err(|source| SandboxError::file("remove", &unfinished, source))?;
    }
    copy_dir(built, &unfinished, Account::Same)?;
    fs::rename(&unfinished, &cached)
        .map_err(|source| SandboxError::file("rename", &unfinished, source))
}

/// Initialises a template in the sandbox, where the servers' account can reach it.
fn build(key: &str, root: &Root, options: &ServerOptions) -> Result<PathBuf, SandboxError> {
    let dir = root.path().join(TEMPLATES).join(key);
    if dir.exists() {
        // An earlier attempt in this sandbox failed half-way.
        fs::remove_dir_all(&dir).map_err(|source| SandboxError::file("remove", &dir, source))?;
    }
    initialise(root, &dir, options)?;
    Ok(dir)
}

/// Names everything that goes into a template; readable in front, exact behind.
fn template_key(root: &Root, options: &ServerOptions) -> String {
    let mut hasher = DefaultHasher::new();
    RECIPE.hash(&mut hasher);
    root.binaries.dir().hash(&mut hasher);
    root.binaries.version().hash(&mut hasher);
    options.superuser.hash(&mut hasher);
    options.scripts().hash(&mut hasher);
    let readable: String = options
        .superuser
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(16)
        .collect();
    format!(
        "pg{}-{readable}-{:016x}",
        root.binaries.major(),
        hasher.finish()
    )
}
