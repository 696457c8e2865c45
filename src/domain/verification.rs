//! What a comparison of source and target found, and the certificate that says so.

use super::canonical::CanonicalRow;
use super::catalog::DatabaseIdentity;
use super::key::Key;
use super::resolve::{ResolvedEntity, ResolvedValue};
use super::tuple::Fields;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The format of certificates that this binary writes.
pub const CERTIFICATE_FORMAT: u8 = 1;
/// How many findings of an entity are kept with their keys; all are counted.
pub const KEPT_FINDINGS: usize = 10_000;

/// How source and target differ in one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// In the source, not in the target.
    Missing,
    /// In the target, though its source row is gone.
    Extraneous,
    /// In both, with another content.
    Mismatching,
}

impl FindingKind {
    /// Returns the word.
    pub fn word(self) -> &'static str {
        match self {
            FindingKind::Missing => "missing",
            FindingKind::Extraneous => "extraneous",
            FindingKind::Mismatching => "mismatching",
        }
    }
}

/// One row that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How.
    pub kind: FindingKind,
    /// The source key as an array.
    pub key: Value,
    /// The first target column that differs; only of mismatching rows.
    pub column: Option<String>,
    /// The key as the streams order it.
    #[serde(skip)]
    pub at: Key,
}

/// The account of one entity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EntityAccount {
    /// The entity.
    pub entity: String,
    /// Rows of the source relation; of a sample only those in it.
    pub source_rows: u64,
    /// Rows that the mapping leaves out.
    pub filtered: u64,
    /// Rows that are the same on both sides.
    pub equal: u64,
    /// Rows that are not in the target.
    pub missing: u64,
    /// Rows with another content in the target.
    pub mismatching: u64,
    /// Rows that are quarantined, held or in conflict; they are not compared.
    pub set_aside: u64,
    /// Target rows whose source row is gone.
    pub extraneous: u64,
    /// Target rows whose source row is gone and that stay as the delete policy, or a refusal, says.
    pub retired: u64,
    /// Target rows that diffmig did not write and does not touch.
    pub native: u64,
    /// Differences that were gone when they were looked at again.
    pub moved: u64,
    /// A digest over keys and row hashes of the source rows that were compared.
    pub source_digest: String,
    /// The same of the target rows.
    pub target_digest: String,
}

impl EntityAccount {
    /// Tells whether every source row is accounted for.
    pub fn adds_up(&self) -> bool {
        let known = self.equal + self.missing + self.mismatching + self.set_aside;
        self.source_rows == self.filtered + known
    }

    /// Returns how many rows differ.
    pub fn differences(&self) -> u64 {
        self.missing + self.mismatching + self.extraneous
    }

    /// Tells whether the target is what the mapping makes of the source.
    pub fn is_proved(&self) -> bool {
        self.differences() == 0 && self.set_aside == 0
    }
}

/// One side of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedSide {
    /// The database.
    pub identity: DatabaseIdentity,
    /// `server_version_num`.
    pub server_version: i32,
}

/// What was compared, when, and with which result; it says nothing of the rows' values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// The format of this document.
    pub format: u8,
    /// The diffmig that made it.
    pub version: String,
    /// The source's clock at its snapshot.
    pub snapshot_at: DateTime<Utc>,
    /// The oldest transaction that ran on the source then.
    pub horizon: i64,
    /// The mapping.
    pub mapping_digest: String,
    /// The legacy database.
    pub source: VerifiedSide,
    /// The Supabase database.
    pub target: VerifiedSide,
    /// The share of the keys in percent; absent when all were compared.
    pub sample: Option<f64>,
    /// Whether every row was proved.
    pub proved: bool,
    /// The accounts in mapping order.
    pub entities: Vec<EntityAccount>,
    /// A digest over all of the above.
    pub digest: String,
}

impl Certificate {
    /// Computes the digest of everything but the digest.
    fn compute(&self) -> String {
        let bare = Certificate {
            digest: String::new(),
            ..self.clone()
        };
        // Numbers and texts have one form in JSON here; a value that cannot be written has none.
        let text = serde_json::to_vec(&bare).unwrap_or_default();
        blake3::hash(&text).to_hex().to_string()
    }

    /// Signs the certificate with its digest.
    pub fn sealed(mut self) -> Certificate {
        self.digest = self.compute();
        self
    }

    /// Tells whether nothing in it was changed.
    pub fn is_sealed(&self) -> bool {
        !self.digest.is_empty() && self.digest == self.compute()
    }
}

/// A digest over rows in key order.
#[derive(Debug, Default)]
pub struct RowDigest(blake3::Hasher);

impl RowDigest {
    /// Adds a row.
    pub fn push(&mut self, row: &CanonicalRow) {
        // The row hash covers the key as well.
        self.0.update(row.hash());
    }

    /// Returns the digest in hexadecimal.
    pub fn finish(&self) -> String {
        self.0.finalize().to_hex()[..32].to_owned()
    }
}

/// Names the first column in which two rows of an entity differ.
pub fn differing_column(
    entity: &ResolvedEntity,
    one: &CanonicalRow,
    other: &CanonicalRow,
) -> Option<String> {
    differing_columns(entity, one, other).into_iter().next()
}

/// Names all columns in which two rows of an entity differ.
pub fn differing_columns(
    entity: &ResolvedEntity,
    one: &CanonicalRow,
    other: &CanonicalRow,
) -> Vec<String> {
    let mut names: Vec<&str> = Vec::new();
    for column in &entity.columns[..entity.compared_count()] {
        names.push(&column.name);
        if matches!(column.value, ResolvedValue::Poly { .. }) {
            names.push(&column.name);
        }
    }
    let keys = entity.key_types().len();
    let mut ones = Fields::new(one.staged()).skip(keys);
    let mut others = Fields::new(other.staged()).skip(keys);
    let differing = names.into_iter().filter(|_| ones.next() != others.next());
    differing.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Certificate {
        let side = VerifiedSide {
            identity: DatabaseIdentity {
                system_identifier: "7".into(),
                database_oid: 5,
                database: "shop".into(),
            },
            server_version: 150_004,
        };
        Certificate {
            format: CERTIFICATE_FORMAT,
            version: "0.1.0".into(),
            snapshot_at: DateTime::UNIX_EPOCH,
            horizon: 1,
            mapping_digest: "m".into(),
            source: side.clone(),
            target: side,
            sample: Some(2.5),
            proved: true,
            entities: vec![EntityAccount::default()],
            digest: String::new(),
        }
    }

    #[test]
    fn a_changed_certificate_is_noticed() {
        assert!(!certificate().is_sealed());
        let sealed = certificate().sealed();
        assert!(sealed.is_sealed());
        let text = serde_json::to_string(&sealed).unwrap();
        let read: Certificate = serde_json::from_str(&text).unwrap();
        assert!(read.is_sealed());
        let mut changed = read.clone();
        changed.entities[0].equal = 1;
        assert!(!changed.is_sealed());
        let mut unsigned = read;
        unsigned.digest = String::new();
        assert!(!unsigned.is_sealed());
    }

    #[test]
    fn an_account_adds_up_or_not() {
        let mut account = EntityAccount {
            source_rows: 10,
            filtered: 1,
            equal: 6,
            missing: 1,
            mismatching: 1,
            set_aside: 1,
            extraneous: 4,
            ..EntityAccount::default()
        };
        assert!(account.adds_up());
        assert_eq!(account.differences(), 6);
        account.equal = 7;
        assert!(!account.adds_up());
        assert!(!account.is_proved());
    }
}
