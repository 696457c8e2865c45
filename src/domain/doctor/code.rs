//! The codes of findings. They are a contract, described in `docs/doctor.md`.

use super::Severity::{self, Blocker, Note, Warning};
use crate::error::Kind;

/// What a finding is, how much it usually matters, and what it does to the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The word in output.
    pub word: &'static str,
    /// How much it matters, unless the finding says otherwise.
    pub severity: Severity,
    /// The kind of failure it would be or lead to.
    pub kind: Kind,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $severity:ident, $kind:ident;)*) => {
        $($(#[$doc])* pub const $name: Code = Code {
            word: $word,
            severity: $severity,
            kind: Kind::$kind,
        };)*
        /// Every code, in the order in which findings are listed.
        pub const ALL: &[Code] = &[$($name),*];
    };
}

codes! {
    /// The URL cannot be used.
    BAD_URL = "bad-url", Blocker, Usage;
    /// The mapping file cannot be read, or its text has a problem.
    MAPPING_INVALID = "mapping-invalid", Blocker, Usage;
    /// No connection, or it was lost.
    UNREACHABLE = "unreachable", Blocker, Connect;
    /// The server does not let the role in, or TLS fails.
    NOT_ADMITTED = "not-admitted", Blocker, Permission;
    /// A pooler shares sessions.
    TRANSACTION_POOLER = "transaction-pooler", Blocker, Guard;
    /// Both URLs lead to one database.
    SAME_DATABASE = "same-database", Blocker, Guard;
    /// The server is older than PostgreSQL 12.
    OLD_SERVER = "old-server", Blocker, Usage;
    /// Rights are missing.
    MISSING_GRANTS = "missing-grants", Blocker, Permission;
    /// Row security would filter rows.
    ROW_SECURITY = "row-security", Blocker, Permission;
    /// The target cannot be written.
    READ_ONLY = "read-only", Blocker, Resources;
    /// The schema `diffmig` is damaged or too new.
    CONTROL_SCHEMA = "control-schema", Blocker, ControlState;
    /// Too few connections are free.
    TOO_FEW_CONNECTIONS = "too-few-connections", Blocker, Resources;
    /// The mapping does not fit the databases.
    MAPPING_MISFIT = "mapping-misfit", Blocker, Drift;
    /// A column is not covered by the mapping.
    UNMAPPED_COLUMN = "unmapped-column", Blocker, Drift;
    /// Entities refer to each other in a circle that cannot be written.
    CIRCLE = "circle", Blocker, Drift;
    /// The source does not accept what the mapping makes of an entity.
    RULE_REFUSED = "rule-refused", Blocker, Drift;
    /// The target publishes updates of a table that has no replica identity.
    NO_REPLICA_IDENTITY = "no-replica-identity", Blocker, Drift;
    /// A look did not come to its end.
    NOT_LOOKED_AT = "not-looked-at", Warning, Resources;
    /// Codes that the mapping does not know.
    UNKNOWN_CODES = "unknown-codes", Warning, Drift;
    /// Rows that no arm of a `case` is for.
    NO_CASE_APPLIES = "no-case-applies", Warning, Drift;
    /// Kinds of generic references that the mapping does not know.
    UNKNOWN_REFERENCE_KIND = "unknown-reference-kind", Warning, Drift;
    /// Texts that are no label of the target's enum.
    NOT_A_LABEL = "not-a-label", Warning, Drift;
    /// Numbers that do not fit the target's type.
    OUT_OF_RANGE = "out-of-range", Warning, Drift;
    /// Texts that are longer than the target's column.
    TOO_LONG = "too-long", Warning, Drift;
    /// Texts that are no value of the target's type.
    NOT_CONVERTIBLE = "not-convertible", Warning, Drift;
    /// NULL for a column that refuses it.
    NULL_IN_REQUIRED_COLUMN = "null-in-required-column", Warning, Drift;
    /// Texts that do not have the format that their column demands.
    NOT_IN_FORMAT = "not-in-format", Warning, Drift;
    /// Rows for which a validation of the mapping does not hold.
    VALIDATION_FAILS = "validation-fails", Warning, Drift;
    /// Rows without the row that leads to their parent.
    LOST_ON_THE_WAY = "lost-on-the-way", Warning, Drift;
    /// A rule cannot be computed for some row.
    RULE_FAILS = "rule-fails", Warning, Drift;
    /// Rows that share a value which is unique in the target.
    DUPLICATES = "duplicates", Warning, Drift;
    /// Values that lose digits on the way.
    LOSSY_CAST = "lossy-cast", Warning, Drift;
    /// The source role may write.
    SOURCE_ROLE_MAY_WRITE = "source-role-may-write", Warning, Permission;
    /// The connection is not encrypted.
    NO_TLS = "no-tls", Warning, Permission;
    /// The databases store text in different encodings.
    ENCODINGS_DIFFER = "encodings-differ", Note, Drift;
    /// Triggers that call other services for each row.
    WEBHOOK_TRIGGERS = "webhook-triggers", Warning, Guard;
    /// Every row is sent to the clients of Realtime.
    REALTIME_TABLES = "realtime-tables", Warning, Guard;
    /// A mapped table is emptied by a crash.
    UNLOGGED_TABLE = "unlogged-table", Warning, Guard;
    /// A sequence that diffmig will not move, since no column owns it.
    SEQUENCE_NOT_OWNED = "sequence-not-owned", Warning, Guard;
    /// A transaction that has been open for long.
    LONG_TRANSACTION = "long-transaction", Warning, Resources;
    /// A prepared transaction that nobody ended.
    PREPARED_TRANSACTION = "prepared-transaction", Warning, Resources;
    /// Transaction ids of the source will run out.
    WRAPAROUND = "wraparound", Warning, Resources;
    /// A standby that cancels long reads.
    STANDBY_CANCELS_READS = "standby-cancels-reads", Warning, Resources;
    /// Snapshots of the source get too old.
    OLD_SNAPSHOT_THRESHOLD = "old-snapshot-threshold", Warning, Resources;
    /// The keys of an entity have no index in the source.
    SOURCE_KEY_WITHOUT_INDEX = "source-key-without-index", Warning, Resources;
    /// A joined table has no index for the join.
    SOURCE_JOIN_WITHOUT_INDEX = "source-join-without-index", Warning, Resources;
    /// The column of a watermark has no index.
    WATERMARK_WITHOUT_INDEX = "watermark-without-index", Note, Resources;
    /// A foreign key of the target has no index behind it.
    FOREIGN_KEY_WITHOUT_INDEX = "foreign-key-without-index", Note, Resources;
    /// How much the load adds to the target.
    DISK_ESTIMATE = "disk-estimate", Note, Resources;
    /// Triggers that fire for each row.
    ROW_TRIGGERS = "row-triggers", Note, Guard;
    /// Publications that hold mapped tables.
    PUBLISHED_TABLES = "published-tables", Note, Guard;
    /// What must be unique in the target.
    UNIQUE_CONSTRAINTS = "unique-constraints", Note, Drift;
    /// Time-outs of the role, which diffmig sets aside.
    ROLE_TIMEOUTS = "role-timeouts", Note, Resources;
    /// A pooler that keeps sessions.
    SESSION_POOLER = "session-pooler", Note, Connect;
    /// The role cannot keep row values out of the server's log.
    LOG_VERBOSITY = "log-verbosity", Note, Permission;
    /// Only a part of a table was looked at.
    PARTLY_LOOKED_AT = "partly-looked-at", Note, Resources;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_code_is_there_once_in_kebab_case_and_described() {
        let words: BTreeSet<&str> = ALL.iter().map(|it| it.word).collect();
        assert_eq!(words.len(), ALL.len());
        let described = include_str!("../../../docs/doctor.md");
        for code in ALL {
            let is_kebab = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(code.word.chars().all(is_kebab), "{}", code.word);
            let row = format!("| `{}` | {} |", code.word, code.severity.word());
            assert!(described.contains(&row), "docs/doctor.md lacks {row}");
        }
    }
}
