//! What is remembered of how a session works, for whoever takes it up without saying otherwise.

use super::MigrateRequest;
use crate::context::Selection;
use crate::domain::detection::{DetectMode, RowLimit};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The options of a session that belong to the work, and not to the process that does it: a time limit and a stored
/// detection are of the process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct SessionOptions {
    entities: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
    mode: DetectMode,
    batch_size: usize,
    max_concurrent: usize,
    allow_deletes: BTreeMap<String, u64>,
    #[serde(default)]
    max_quarantined_rows: Option<u64>,
    #[serde(default)]
    max_quarantined_percent: Option<f64>,
    keep_days: u16,
}

impl SessionOptions {
    /// Takes the options of a request.
    pub fn of(request: &MigrateRequest) -> Self {
        let (rows, percent) = match request.max_quarantine {
            Some(RowLimit::Rows(rows)) => (Some(rows), None),
            Some(RowLimit::Percent(percent)) => (None, Some(percent)),
            None => (None, None),
        };
        SessionOptions {
            entities: request.selection.only.clone(),
            exclude: request.selection.except.clone(),
            mode: request.mode,
            batch_size: request.batch_size,
            max_concurrent: request.max_concurrent,
            allow_deletes: request.allow_deletes.clone(),
            max_quarantined_rows: rows,
            max_quarantined_percent: percent,
            keep_days: request.keep_days,
        }
    }

    /// Returns the request that goes on so.
    pub fn request(self) -> MigrateRequest {
        let rows = self.max_quarantined_rows.map(RowLimit::Rows);
        MigrateRequest {
            selection: Selection {
                only: self.entities,
                except: self.exclude,
            },
            mode: self.mode,
            batch_size: self.batch_size,
            max_concurrent: self.max_concurrent,
            allow_deletes: self.allow_deletes,
            max_quarantine: rows.or(self.max_quarantined_percent.map(RowLimit::Percent)),
            keep_days: self.keep_days,
            ..MigrateRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_goes_on_as_it_was_begun() {
        for limit in [None, Some(RowLimit::Rows(7)), Some(RowLimit::Percent(0.5))] {
            let begun = MigrateRequest {
                selection: Selection {
                    only: vec!["a".into()],
                    except: vec!["b".into()],
                },
                mode: DetectMode::Xmin,
                batch_size: 9,
                max_concurrent: 2,
                allow_deletes: BTreeMap::from([("a".into(), 3)]),
                max_quarantine: limit,
                keep_days: 4,
                ..MigrateRequest::default()
            };
            let options = SessionOptions::of(&begun);
            let stored = serde_json::to_value(&options).unwrap();
            let read: SessionOptions = serde_json::from_value(stored).unwrap();
            assert_eq!(SessionOptions::of(&read.request()), options);
        }
    }
}
