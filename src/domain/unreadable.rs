//! Rows of the source whose values cannot be computed, as far as this process has met them.

use super::key::Key;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The keys of an entity's unreadable rows, each with its fault: `sqlstate|reason|column`.
///
/// All clones are one list. Statements that are made from the entity leave the values of these rows out.
#[derive(Debug, Clone, Default)]
pub struct Unreadable(Arc<Mutex<BTreeMap<Key, String>>>);

impl Unreadable {
    /// Notes a row; `false` when it is known.
    pub fn note(&self, key: Key, fault: String) -> bool {
        self.lock().insert(key, fault).is_none()
    }

    /// Returns how many there are.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// Returns the keys by their faults.
    pub fn by_fault(&self) -> BTreeMap<String, Vec<Key>> {
        let mut faults: BTreeMap<String, Vec<Key>> = BTreeMap::new();
        for (key, fault) in self.lock().iter() {
            faults.entry(fault.clone()).or_default().push(key.clone());
        }
        faults
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
