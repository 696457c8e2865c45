//! The two servers: what they are, what our role may do there, and which of their settings hurt.

use super::code;
use super::{Finding, Place, Severity};
use crate::domain::connection::Side;
use crate::domain::identifier::{printable, quote_identifier};
use serde::Serialize;

/// How sessions come to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// Nothing stands between.
    Direct,
    /// A pooler that gives every client a session of its own.
    Session,
}

/// What a server and our role on it are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerFacts {
    /// `source` or `target`.
    pub side: Place,
    /// `user@host:port/database`, as in the URL.
    pub address: String,
    /// The version, as `15.4`.
    pub version: String,
    /// The role.
    pub role: String,
    /// Whether the role is a superuser.
    pub superuser: bool,
    /// Whether row security does not hold for it.
    pub bypasses_row_security: bool,
    /// Whether it may create a schema.
    pub may_create_schema: bool,
    /// Whether it may make temporary tables.
    pub may_create_temporary: bool,
    /// Whether it may set `log_error_verbosity`.
    pub may_set_log_verbosity: bool,
    /// Whether it may set `session_replication_role`; diffmig never does.
    pub may_set_replication_role: bool,
    /// The version of TLS as the server sees it; null when the server's end is not encrypted.
    pub tls: Option<String>,
    /// What stands before the server.
    pub pooling: Pooling,
    /// Whether it is a standby.
    pub standby: bool,
    /// The database.
    pub database: String,
    /// Its encoding.
    pub encoding: String,
    /// Its size in bytes; null when that could not be found out.
    pub database_bytes: Option<u64>,
    /// The oldest transaction id that is not frozen, as an age.
    pub frozen_age: i64,
}

/// A setting as the role's sessions begin with it, in the unit of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value before diffmig sets it.
    pub value: String,
    /// The statement that takes it back, when it comes from the role or the database.
    pub reset: Option<String>,
}

/// Settings that are looked at.
pub const SETTINGS: &[&str] = &[
    "statement_timeout",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "transaction_timeout",
    "idle_session_timeout",
    "default_transaction_read_only",
    "old_snapshot_threshold",
    "hot_standby_feedback",
    "max_standby_streaming_delay",
];

fn value_of<'a>(settings: &'a [Setting], name: &str) -> Option<&'a str> {
    let found = settings.iter().find(|it| it.name == name);
    found.map(|it| it.value.as_str())
}

/// Newer servers than that were not tried.
const NEWEST_TRIED: &str = "18";

/// Judges the role and the way to the server.
pub fn judge_role(side: Side, facts: &ServerFacts, is_remote: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let role = printable(&facts.role);
    if facts.pooling == Pooling::Session {
        let found = "a pooler in session mode stands before the server: each connection of diffmig holds one of its \
                     server sessions for as long as it is open";
        let finding = Finding::new(code::SESSION_POOLER, side, found).about(&facts.address);
        findings.push(
            finding.mended_by(
                "-- nothing to mend; the direct address is better where it can be reached",
            ),
        );
    }
    // Behind a pooler the server knows only the pooler's own way to it.
    if facts.tls.is_none() && facts.pooling == Pooling::Direct && is_remote {
        let found = "the connection to another host is not encrypted";
        let finding = Finding::new(code::NO_TLS, side, found).about(&facts.address);
        findings.push(finding.mended_by(
            "-- ?sslmode=verify-full&sslrootcert=FILE in the URL, ssl = on in the server",
        ));
    }
    if side == Side::Target {
        if !facts.may_create_temporary {
            let found = format!(
                "the role {role} may not make the temporary tables that batches are staged in"
            );
            findings.push(
                Finding::new(code::MISSING_GRANTS, side, found)
                    .about(printable(&facts.database))
                    .mended_by(format!(
                        "grant temporary on database {} to {};",
                        quote_identifier(&facts.database),
                        quote_identifier(&facts.role)
                    )),
            );
        }
        if !facts.may_set_log_verbosity {
            let found = format!(
                "the role {role} may not set log_error_verbosity, so the server's log may show values of rows that it refuses"
            );
            findings.push(
                Finding::new(code::LOG_VERBOSITY, side, found)
                    .about("log_error_verbosity")
                    .mended_by(log_grant(facts)),
            );
        }
    }
    findings
}

fn log_grant(facts: &ServerFacts) -> String {
    let major = facts
        .version
        .split('.')
        .next()
        .and_then(|it| it.parse::<u32>().ok());
    match major {
        Some(15..) => format!(
            "grant set on parameter log_error_verbosity to {};",
            quote_identifier(&facts.role)
        ),
        _ => "-- only a superuser can, before PostgreSQL 15".to_owned(),
    }
}

/// Judges both servers together.
pub fn judge_pair(source: &ServerFacts, target: &ServerFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if source.encoding != target.encoding {
        let found = format!(
            "the source stores text in {}, the target in {}; diffmig reads and writes UTF8",
            source.encoding, target.encoding
        );
        // Every server makes UTF8 of its own encoding, but nobody knows what the bytes of SQL_ASCII mean.
        let blind = [source, target].iter().any(|it| it.encoding == "SQL_ASCII");
        let narrow = target.encoding != "UTF8";
        let finding = Finding::new(code::ENCODINGS_DIFFER, Side::Source, found);
        findings.push(match blind || narrow {
            true => finding.weighing(Severity::Warning).mended_by(
                "-- texts that are not valid there stop the reading of their table, or are set aside when they are written",
            ),
            false => finding,
        });
    }
    for facts in [source, target] {
        let major = facts.version.split('.').next().unwrap_or_default();
        let is_newer = major.parse::<u32>().ok() > NEWEST_TRIED.parse().ok();
        if is_newer {
            let found = format!(
                "PostgreSQL {major} is newer than what diffmig was tried with ({NEWEST_TRIED})"
            );
            let mut finding =
                Finding::new(code::OLD_SERVER, Side::Source, found).weighing(Severity::Note);
            finding.side = facts.side;
            findings.push(finding);
        }
    }
    findings
}

/// The age at which a database is close enough to the end to speak of it.
const OLD_IDS: i64 = 1_500_000_000;

/// Judges settings and age of one server.
pub fn judge_settings(side: Side, facts: &ServerFacts, settings: &[Setting]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let timeouts = settings
        .iter()
        .filter(|it| it.name.ends_with("timeout") && !matches!(it.value.as_str(), "" | "0"));
    let timeouts: Vec<String> = timeouts
        .map(|it| format!("{} = {} ms", it.name, it.value))
        .collect();
    if !timeouts.is_empty() {
        let found = format!(
            "sessions of the role begin with {}; diffmig sets these for itself, other clients keep them",
            timeouts.join(", ")
        );
        findings.push(Finding::new(code::ROLE_TIMEOUTS, side, found).about(printable(&facts.role)));
    }
    if side == Side::Source {
        findings.extend(judge_reading(facts, settings));
    }
    findings
}

fn judge_reading(facts: &ServerFacts, settings: &[Setting]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let side = Side::Source;
    if facts.frozen_age > OLD_IDS {
        let found = format!(
            "the oldest transaction id of {} is {} transactions old; at 2,146,483,647 the server stops to write",
            printable(&facts.database),
            facts.frozen_age
        );
        findings.push(
            Finding::new(code::WRAPAROUND, side, found).mended_by("vacuum (freeze, verbose);"),
        );
    }
    if let Some(minutes) = value_of(settings, "old_snapshot_threshold")
        && !matches!(minutes, "-1" | "")
    {
        let found = format!(
            "a snapshot of the source gets too old after {minutes} minutes; a longer pass fails"
        );
        findings.push(
            Finding::new(code::OLD_SNAPSHOT_THRESHOLD, side, found)
                .about("old_snapshot_threshold")
                .mended_by("alter system set old_snapshot_threshold = -1;  -- needs a restart"),
        );
    }
    let delay = value_of(settings, "max_standby_streaming_delay").unwrap_or("-1");
    if facts.standby && value_of(settings, "hot_standby_feedback") == Some("off") && delay != "-1" {
        let found = format!(
            "the source is a standby that cancels reads which its primary's clean-up is in conflict with, after {delay} ms"
        );
        findings.push(
            Finding::new(code::STANDBY_CANCELS_READS, side, found)
                .about("hot_standby_feedback")
                .mended_by("alter system set hot_standby_feedback = on;")
                .mended_by("select pg_reload_conf();"),
        );
    }
    findings
}

/// Says how the target came to be read-only, and what takes that back.
pub fn explain_read_only(mut finding: Finding, settings: &[Setting]) -> Finding {
    let setting = settings
        .iter()
        .find(|it| it.name == "default_transaction_read_only" && it.value == "on");
    if let Some(reset) = setting.and_then(|it| it.reset.clone()) {
        finding.mend.push(reset);
    }
    finding
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> ServerFacts {
        ServerFacts {
            side: Place::Target,
            address: "u@h:5432/d".into(),
            version: "14.9".into(),
            role: "u".into(),
            superuser: false,
            bypasses_row_security: false,
            may_create_schema: true,
            may_create_temporary: true,
            may_set_log_verbosity: true,
            may_set_replication_role: false,
            tls: Some("TLSv1.3".into()),
            pooling: Pooling::Direct,
            standby: false,
            database: "d".into(),
            encoding: "UTF8".into(),
            database_bytes: None,
            frozen_age: 5,
        }
    }

    fn codes(findings: &[Finding]) -> Vec<(&str, Severity)> {
        findings.iter().map(|it| (it.code, it.severity)).collect()
    }

    fn setting(name: &str, value: &str) -> Setting {
        Setting {
            name: name.into(),
            value: value.into(),
            reset: None,
        }
    }

    #[test]
    fn a_good_role_over_tls_is_nothing_to_speak_of() {
        assert_eq!(judge_role(Side::Target, &facts(), true), []);
        let mut facts = facts();
        facts.tls = None;
        let away = judge_role(Side::Target, &facts, true);
        assert_eq!(codes(&away), [("no-tls", Severity::Warning)]);
        let here = judge_role(Side::Target, &facts, false);
        assert_eq!(codes(&here), []);
    }

    #[test]
    fn a_target_role_without_temporary_tables_cannot_migrate() {
        let mut facts = facts();
        facts.may_create_temporary = false;
        facts.role = "a\"b".into();
        let found = judge_role(Side::Target, &facts, true);
        assert_eq!(codes(&found), [("missing-grants", Severity::Blocker)]);
        assert_eq!(
            found[0].mend,
            ["grant temporary on database \"d\" to \"a\"\"b\";"]
        );
        assert_eq!(judge_role(Side::Source, &facts, true), []);
    }

    #[test]
    fn encodings_matter_when_nobody_can_translate_them() {
        let (mut source, target) = (facts(), facts());
        source.encoding = "LATIN1".into();
        let found = judge_pair(&source, &target);
        assert_eq!(codes(&found), [("encodings-differ", Severity::Note)]);
        source.encoding = "SQL_ASCII".into();
        let found = judge_pair(&source, &target);
        assert_eq!(codes(&found), [("encodings-differ", Severity::Warning)]);
    }

    #[test]
    fn settings_that_hurt_a_long_read_are_found_on_the_source() {
        let mut facts = facts();
        facts.standby = true;
        let settings = [
            setting("hot_standby_feedback", "off"),
            setting("max_standby_streaming_delay", "30000"),
            setting("old_snapshot_threshold", "10"),
            setting("statement_timeout", "120000"),
        ];
        let found = judge_settings(Side::Source, &facts, &settings);
        assert_eq!(
            codes(&found),
            [
                ("role-timeouts", Severity::Note),
                ("old-snapshot-threshold", Severity::Warning),
                ("standby-cancels-reads", Severity::Warning),
            ]
        );
        let found = judge_settings(Side::Target, &facts, &settings);
        assert_eq!(codes(&found), [("role-timeouts", Severity::Note)]);
        facts.frozen_age = 2_000_000_000;
        assert!(
            codes(&judge_settings(Side::Source, &facts, &[]))
                .contains(&("wraparound", Severity::Warning))
        );
    }
}
