//! Tables of the mapping: what fires, what is published, what has no index.

use super::{Finding, Severity, code};
use crate::domain::connection::Side;
use crate::domain::identifier::{QualifiedName, printable, quote_identifier, quote_literal};
use crate::domain::watermark::FEW_ROWS;

/// A trigger that fires for inserted or updated rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// The table.
    pub table: QualifiedName,
    /// The trigger.
    pub name: String,
    /// The function, with its schema.
    pub function: String,
    /// Whether it calls another service.
    pub is_webhook: bool,
}

/// Lists triggers: webhooks one by one, others by table.
pub fn judge_triggers(triggers: &[Trigger]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for it in triggers.iter().filter(|it| it.is_webhook) {
        let (table, name) = (it.table.sql(), quote_identifier(&it.name));
        let found = format!(
            "the trigger {} calls another service for each row that is written",
            printable(&it.name)
        );
        findings.push(
            Finding::new(code::WEBHOOK_TRIGGERS, Side::Target, found)
                .about(it.table.to_string())
                .mended_by(format!("alter table {table} disable trigger {name};"))
                .mended_by(format!(
                    "-- and after the first load: alter table {table} enable trigger {name};"
                )),
        );
    }
    for (table, own) in by_table(triggers.iter().filter(|it| !it.is_webhook), |it| &it.table) {
        let names: Vec<String> = own
            .iter()
            .map(|it| format!("{} ({})", printable(&it.name), printable(&it.function)))
            .collect();
        let found = format!(
            "triggers fire for each row that is written: {}",
            names.join(", ")
        );
        findings
            .push(Finding::new(code::ROW_TRIGGERS, Side::Target, found).about(table.to_string()));
    }
    findings
}

fn by_table<'a, T>(
    all: impl Iterator<Item = &'a T>,
    table: impl Fn(&'a T) -> &'a QualifiedName,
) -> Vec<(&'a QualifiedName, Vec<&'a T>)> {
    let mut groups: Vec<(&QualifiedName, Vec<&T>)> = Vec::new();
    for it in all {
        match groups.iter_mut().find(|(name, _)| *name == table(it)) {
            Some((_, group)) => group.push(it),
            None => groups.push((table(it), vec![it])),
        }
    }
    groups
}

/// A table in a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The table.
    pub table: QualifiedName,
    /// The publication.
    pub publication: String,
    /// Whether the publication holds every table, so that none can be taken out.
    pub all_tables: bool,
    /// Whether updates are published although nothing tells the rows apart.
    pub refuses_updates: bool,
}

/// The publication that Supabase's Realtime reads.
const REALTIME: &str = "supabase_realtime";

/// Judges what is published.
pub fn judge_publications(published: &[Published]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for it in published.iter().filter(|it| it.refuses_updates) {
        let found = format!(
            "{} publishes updates of the table, which has no replica identity: every update fails",
            printable(&it.publication)
        );
        findings.push(
            Finding::new(code::NO_REPLICA_IDENTITY, Side::Target, found)
                .about(it.table.to_string())
                .mended_by(format!(
                    "alter table {} replica identity full;",
                    it.table.sql()
                )),
        );
    }
    let realtime = published.iter().filter(|it| it.publication == REALTIME);
    for it in realtime {
        let found = "Realtime sends every row that is written to its subscribers";
        let out = match it.all_tables {
            true => "-- the publication is for all tables: make it one for those that need it"
                .to_owned(),
            false => format!(
                "alter publication {REALTIME} drop table {};  -- for the first load",
                it.table.sql()
            ),
        };
        findings.push(
            Finding::new(code::REALTIME_TABLES, Side::Target, found)
                .about(it.table.to_string())
                .mended_by(out),
        );
    }
    let others = published.iter().filter(|it| it.publication != REALTIME);
    for (table, own) in by_table(others, |it| &it.table) {
        let names: Vec<String> = own.iter().map(|it| printable(&it.publication)).collect();
        let found = format!(
            "every row that is written goes to the subscribers of {}",
            names.join(", ")
        );
        findings.push(
            Finding::new(code::PUBLISHED_TABLES, Side::Target, found).about(table.to_string()),
        );
    }
    findings
}

/// A foreign key whose referring columns no index begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BareForeignKey {
    /// The referring table.
    pub table: QualifiedName,
    /// The constraint.
    pub name: String,
    /// The referring columns.
    pub columns: Vec<String>,
    /// The table it refers to.
    pub referenced: QualifiedName,
}

/// Judges foreign keys without an index; they hurt when rows of the other table are deleted.
pub fn judge_foreign_keys(keys: &[BareForeignKey], deleted: &[&QualifiedName]) -> Vec<Finding> {
    let judged = keys.iter().map(|key| {
        let columns: Vec<String> = key.columns.iter().map(|it| quote_identifier(it)).collect();
        let shown: Vec<String> = key.columns.iter().map(|it| printable(it)).collect();
        let found = format!(
            "no index begins with {} of the foreign key {}: each row that is deleted from {} reads the whole table",
            shown.join(", "),
            printable(&key.name),
            key.referenced
        );
        let weight = match deleted.contains(&&key.referenced) {
            true => Severity::Warning,
            false => Severity::Note,
        };
        Finding::new(code::FOREIGN_KEY_WITHOUT_INDEX, Side::Target, found)
            .weighing(weight)
            .about(key.table.to_string())
            .mended_by(format!(
                "create index concurrently on {} ({});",
                key.table.sql(),
                columns.join(", ")
            ))
    });
    judged.collect()
}

/// What a column of the source is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is the key of an entity.
    Key,
    /// Rows are joined by it.
    Join,
    /// It tells when a row was changed.
    Watermark {
        /// Whether rows can be chosen by their transaction instead.
        has_xmin: bool,
    },
}

/// A column of the source that an index should begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The entity.
    pub entity: String,
    /// The table.
    pub table: QualifiedName,
    /// The column.
    pub column: String,
    /// What for.
    pub purpose: Use,
}

/// Judges a column that no index begins with; small tables need none.
pub fn judge_lookup(lookup: &Lookup, rows: i64) -> Option<Finding> {
    if (0..FEW_ROWS).contains(&rows) {
        return None;
    }
    let column = printable(&lookup.column);
    let (code, severity, found) = match lookup.purpose {
        Use::Key => (
            code::SOURCE_KEY_WITHOUT_INDEX,
            Severity::Warning,
            format!("no index begins with the key {column}: each batch reads the whole table"),
        ),
        Use::Join => (
            code::SOURCE_JOIN_WITHOUT_INDEX,
            Severity::Warning,
            format!(
                "no index begins with {column}, by which the table is joined: each batch reads the whole table"
            ),
        ),
        Use::Watermark { has_xmin: true } => (
            code::WATERMARK_WITHOUT_INDEX,
            Severity::Note,
            format!(
                "no index begins with {column}; it is only needed for --mode timestamp: \
                 the mode xmin, which auto takes, works here"
            ),
        ),
        Use::Watermark { has_xmin: false } => (
            code::WATERMARK_WITHOUT_INDEX,
            Severity::Warning,
            format!("no index begins with {column}: each detection reads the whole table"),
        ),
    };
    let finding = Finding::new(code, Side::Source, found)
        .weighing(severity)
        .of_entity(&lookup.entity)
        .about(lookup.table.to_string())
        .mended_by(format!(
            "create index concurrently on {} ({});",
            lookup.table.sql(),
            quote_identifier(&lookup.column)
        ));
    Some(finding)
}

/// A unique index or constraint of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// The table.
    pub table: QualifiedName,
    /// The index or constraint.
    pub name: String,
    /// Its columns; empty when it has expressions, a predicate or is an exclusion constraint.
    pub columns: Vec<String>,
}

/// Names what rows could violate, by table.
pub fn judge_uniques(uniques: &[Unique]) -> Vec<Finding> {
    let groups = by_table(uniques.iter(), |it| &it.table);
    let judged = groups.into_iter().map(|(table, own)| {
        let names = own.iter().map(|it| match it.columns.as_slice() {
            [] => printable(&it.name),
            columns => {
                let columns: Vec<String> = columns.iter().map(|it| printable(it)).collect();
                format!("{} ({})", printable(&it.name), columns.join(", "))
            }
        });
        let names: Vec<String> = names.collect();
        let found = format!(
            "rows that share a value with another row are quarantined (23505, 23P01) by {}",
            names.join(", ")
        );
        Finding::new(code::UNIQUE_CONSTRAINTS, Side::Target, found).about(table.to_string())
    });
    judged.collect()
}

/// A sequence that gives a mapped column its numbers without being owned by it.
pub fn judge_sequence(table: &QualifiedName, column: &str, sequence: &QualifiedName) -> Finding {
    let found = format!(
        "the sequence {sequence} numbers {}, but the column does not own it, so it is not moved behind the migrated values",
        printable(column)
    );
    Finding::new(code::SEQUENCE_NOT_OWNED, Side::Target, found)
        .about(table.to_string())
        .mended_by(format!(
            "alter sequence {} owned by {}.{};",
            sequence.sql(),
            table.sql(),
            quote_identifier(column)
        ))
}

/// A transaction of the source that is prepared and was not ended.
pub fn judge_prepared(side: Side, gid: &str, age_secs: i64) -> Finding {
    let found = format!(
        "the prepared transaction {} is open for {}: nothing behind it can be cleaned up, and its locks stay",
        printable(gid),
        age(age_secs)
    );
    Finding::new(code::PREPARED_TRANSACTION, side, found)
        .about(printable(gid))
        .mended_by(format!("rollback prepared {};", quote_literal(gid)))
        .mended_by(format!("-- or: commit prepared {};", quote_literal(gid)))
}

/// A session of a server that has been in one transaction for long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The process of the server.
    pub process_id: i32,
    /// The role.
    pub role: String,
    /// What it calls itself.
    pub application_name: String,
    /// What it does.
    pub state: String,
    /// For how long.
    pub age_secs: i64,
}

/// Judges a transaction that is open for long.
pub fn judge_transaction(side: Side, it: &OpenTransaction) -> Finding {
    let found = format!(
        "process {} ({}, {}, {}) is in one transaction for {}: {}",
        it.process_id,
        printable(&it.role),
        printable(&it.application_name),
        printable(&it.state),
        age(it.age_secs),
        match side {
            Side::Source =>
                "what was written since then is read again by each detection of the mode xmin",
            Side::Target =>
                "rows that batches replace cannot be cleaned up, and its locks may stop them",
        }
    );
    Finding::new(code::LONG_TRANSACTION, side, found)
        .about(format!("pid {}", it.process_id))
        .mended_by(format!("select pg_terminate_backend({});", it.process_id))
}

/// A horizon of the source that stays far behind, for roles that may not see whose it is.
pub fn judge_horizon(behind: i64) -> Option<Finding> {
    const FAR: i64 = 1_000_000;
    (behind > FAR).then(|| {
        let found = format!(
            "some transaction is still open that {behind} others have overtaken: \
             what was written since then is read again by each detection of the mode xmin"
        );
        Finding::new(code::LONG_TRANSACTION, Side::Source, found).mended_by(
            "select pid, usename, xact_start from pg_stat_activity where xact_start is not null order by xact_start limit 3;",
        )
    })
}

fn age(secs: i64) -> String {
    match secs {
        ..7200 => format!("{} minutes", secs / 60),
        7200..172_800 => format!("{} hours", secs / 3600),
        _ => format!("{} days", secs / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str) -> QualifiedName {
        QualifiedName::new("public", name)
    }

    #[test]
    fn webhooks_are_named_one_by_one_and_other_triggers_by_table() {
        let trigger = |name: &str, is_webhook| Trigger {
            table: table("clients"),
            name: name.into(),
            function: "public.f".into(),
            is_webhook,
        };
        let found = judge_triggers(&[
            trigger("touch", false),
            trigger("audit", false),
            trigger("hook", true),
        ]);
        let codes: Vec<&str> = found.iter().map(|it| it.code).collect();
        assert_eq!(codes, ["webhook-triggers", "row-triggers"]);
        assert!(found[1].found.contains("touch (public.f), audit"));
        assert_eq!(
            found[0].mend[0],
            "alter table \"public\".\"clients\" disable trigger \"hook\";"
        );
    }

    #[test]
    fn realtime_is_not_any_publication() {
        let published = |publication: &str, refuses_updates| Published {
            table: table("clients"),
            publication: publication.into(),
            all_tables: false,
            refuses_updates,
        };
        let found =
            judge_publications(&[published("supabase_realtime", false), published("p", true)]);
        let codes: Vec<&str> = found.iter().map(|it| it.code).collect();
        assert_eq!(
            codes,
            ["no-replica-identity", "realtime-tables", "published-tables"]
        );
    }

    #[test]
    fn a_foreign_key_without_an_index_matters_where_parents_are_deleted() {
        let parent = table("clients");
        let key = BareForeignKey {
            table: table("tickets"),
            name: "fk".into(),
            columns: vec!["client_id".into()],
            referenced: parent.clone(),
        };
        let keys = [key];
        assert_eq!(judge_foreign_keys(&keys, &[])[0].severity, Severity::Note);
        let found = judge_foreign_keys(&keys, &[&parent]);
        assert_eq!(found[0].severity, Severity::Warning);
        assert_eq!(
            found[0].mend,
            ["create index concurrently on \"public\".\"tickets\" (\"client_id\");"]
        );
    }

    #[test]
    fn small_tables_need_no_index_and_tables_that_nobody_counted_may() {
        let lookup = Lookup {
            entity: "e".into(),
            table: table("t"),
            column: "updated_at".into(),
            purpose: Use::Watermark { has_xmin: true },
        };
        assert_eq!(judge_lookup(&lookup, 10), None);
        assert_eq!(judge_lookup(&lookup, -1).unwrap().severity, Severity::Note);
        let lookup = Lookup {
            purpose: Use::Watermark { has_xmin: false },
            ..lookup
        };
        let found = judge_lookup(&lookup, 1_000_000).unwrap();
        assert_eq!(found.severity, Severity::Warning);
    }
}
