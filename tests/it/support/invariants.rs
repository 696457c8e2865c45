//! What must hold after every accident, asked in SQL of its own: nothing here uses diffmig's code.
//!
//! The numbers I1 to I12 are those of the promises that the checks stand for:
//! I1 the target is what the mapping makes of the source · I2 ledger and rows agree, no duplicates ·
//! I3 every source row is accounted for · I4 a batch is all there or all absent · I5 epochs do not
//! interleave · I6 no dangling reference · I7 a second run writes nothing · I8 the source is untouched ·
//! I9 nothing is retired that is still in the source · I11 nothing of ours is left behind ·
//! I12 exit code and session state agree.

use super::{expectation, expected, number, rows};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// How long connections may take to disappear after their process.
const LEFT_LIMIT: Duration = Duration::from_secs(20);

/// Something that must hold and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// What is expected of one entity. Every column of the queries is text; the first one is the key.
#[derive(Debug, Clone)]
pub struct Rule {
    pub entity: String,
    pub target_table: String,
    pub id_column: String,
    /// On the source: the rows that must be in the target, as they must be there.
    pub wanted: String,
    /// On the target: the rows that are there.
    pub found: String,
    /// Of tables that hold rows of this entity alone.
    pub sole: Option<Sole>,
}

/// What can be asked of an entity that has its target table for itself.
#[derive(Debug, Clone)]
pub struct Sole {
    /// On the source: key and outcome of the rows that must be set aside.
    pub set_aside: String,
    /// On the target: the keys of retired rows.
    pub retired: String,
    /// Whether rows that are gone are deleted instead.
    pub deletes: bool,
}

/// The expectations of all entities.
#[derive(Debug, Clone)]
pub struct Invariants {
    pub rules: Vec<Rule>,
}

/// Finds violations as it goes.
struct Finder<'a> {
    source: &'a mut PgConnection,
    target: &'a mut PgConnection,
    found: Vec<Violation>,
}

impl Finder<'_> {
    fn say(&mut self, invariant: &'static str, what: impl Into<String>) {
        let what = what.into();
        self.found.push(Violation { invariant, what });
    }

    /// Asks the target for a number that must be zero.
    async fn none(&mut self, invariant: &'static str, what: &str, sql: &str) {
        let count = number(self.target, sql).await;
        if count != 0 {
            self.say(invariant, format!("{what}: {count}"));
        }
    }
}

impl Invariants {
    /// Of the fixture on one of its days, by the hand-written queries of `fixtures/expected`.
    pub fn fixture(day: &str) -> Invariants {
        let mapping: toml::Table = toml::from_str(diffmig::service::workshop::MAPPING).unwrap();
        let entities = expected(day).into_keys().filter(|name| name != "total");
        let rules = entities.map(|entity| {
            let section = &mapping["entities"][&entity];
            let id = section.get("id").and_then(|id| id.get("column"));
            Rule {
                target_table: format!("public.{}", section["target"].as_str().unwrap()),
                id_column: id.map_or("id", |it| it.as_str().unwrap()).to_owned(),
                wanted: expectation(&entity, "source"),
                found: expectation(&entity, "target"),
                sole: None,
                entity,
            }
        });
        Invariants {
            rules: rules.collect(),
        }
    }

    /// Checks what must hold whenever no command runs and the last one has finished its work.
    pub async fn check(
        &self,
        source: &mut PgConnection,
        target: &mut PgConnection,
    ) -> Vec<Violation> {
        let mut finder = Finder {
            source,
            target,
            found: Vec::new(),
        };
        for rule in &self.rules {
            rule.content(&mut finder).await;
            rule.ledger(&mut finder).await;
        }
        batches(&mut finder).await;
        references(&mut finder).await;
        left_behind(&mut finder).await;
        finder.found
    }
}

/// I3 of the ledger itself: its batches say how many rows it has, and it has its key.
async fn counted(finder: &mut Finder<'_>, name: &str, ledger: &str) {
    finder
        .none(
            "I3",
            &format!("rows of {ledger} that its batches did not count"),
            &format!(
                "select coalesce(sum(abs((select count(*) from {ledger}) - w.ledger_rows - (select coalesce(sum(b.ledger_rows), 0) \
                 from diffmig.batch b join diffmig.session s using (session_id) \
                 where b.entity = w.entity and s.number > w.session_number))), 0)::bigint \
                 from diffmig.watermark w where w.entity = '{name}'"
            ),
        )
        .await;
    finder
        .none(
            "I2",
            &format!("missing key of {ledger}"),
            &format!("select count(*) where not exists (select from pg_index where indrelid = '{ledger}'::regclass and indisunique) and exists (select from {ledger})"),
        )
        .await;
}

impl Rule {
    /// I1, I3 and I9.
    async fn content(&self, finder: &mut Finder<'_>) {
        let wanted = rows(finder.source, &self.wanted).await;
        let mut found = rows(finder.target, &self.found).await;
        let name = &self.entity;
        for (key, row) in &wanted {
            match found.remove(key) {
                Some(there) if there == *row => {}
                Some(_) => finder.say("I1", format!("{name} {key} differs from the source")),
                None => finder.say("I1", format!("{name} {key} is missing")),
            }
        }
        let aside: BTreeMap<String, String> = match &self.sole {
            Some(sole) => pairs(finder.source, &sole.set_aside).await,
            None => BTreeMap::new(),
        };
        for key in found.keys().filter(|key| !aside.contains_key(*key)) {
            finder.say("I1", format!("{name} {key} is there and must not be"));
        }
        let Some(sole) = &self.sole else { return };
        let recorded = format!(
            "select k0::text, outcome::text from diffmig.ledger_{name} where deleted_at is null"
        );
        let recorded = pairs(finder.target, &recorded).await;
        for (key, outcome) in &recorded {
            let is_known = wanted.contains_key(key) || aside.contains_key(key);
            if !is_known {
                finder.say("I3", format!("{name} {key} is live in the ledger only"));
            }
            let due = aside.get(key).map_or("applied", String::as_str);
            if outcome != due {
                finder.say("I3", format!("{name} {key} is {outcome}, not {due}"));
            }
        }
        for key in wanted.keys().chain(aside.keys()) {
            if !recorded.contains_key(key) {
                finder.say("I3", format!("{name} {key} is not accounted for"));
            }
        }
        let retired: BTreeSet<String> = rows(finder.target, &sole.retired)
            .await
            .into_keys()
            .collect();
        for key in retired {
            if wanted.contains_key(&key) || aside.contains_key(&key) {
                finder.say(
                    "I9",
                    format!("{name} {key} was retired, but is in the source"),
                );
            }
        }
    }

    /// I2 and I4: rows, ledger and batches tell the same story.
    async fn ledger(&self, finder: &mut Finder<'_>) {
        let (name, table, id) = (&self.entity, &self.target_table, &self.id_column);
        let ledger = format!("diffmig.ledger_{name}");
        finder
            .none(
                "I2",
                &format!("ids of {name} that two keys share"),
                &format!("select count(*) from (select 1 from {ledger} group by target_id having count(*) > 1) d"),
            )
            .await;
        finder
            .none(
                "I2",
                &format!("applied keys of {name} without a row"),
                &format!(
                    "select count(*) from {ledger} l where l.outcome = 'applied' and l.deleted_at is null \
                     and not exists (select from {table} t where t.{id} = l.target_id)"
                ),
            )
            .await;
        counted(finder, name, &ledger).await;
        let Some(sole) = &self.sole else { return };
        // Not every deletion had a row: a row that was set aside can go as well.
        let deleted = if sole.deletes { "sum(retired)" } else { "0" };
        finder
            .none(
                "I2",
                &format!("rows of {table} without a key"),
                &format!(
                    "select count(*) from {table} t where not exists \
                     (select from {ledger} l where l.target_id = t.{id} and l.target_xmin is not null)"
                ),
            )
            .await;
        // Row and ledger row were last written by one transaction.
        finder
            .none(
                "I4",
                &format!(
                    "rows of {table} that another transaction wrote than their ledger rows say"
                ),
                &format!(
                    "select count(*) from {table} t join {ledger} l on l.target_id = t.{id} \
                     where l.target_xmin <> t.xmin and l.outcome <> 'conflicted'"
                ),
            )
            .await;
        finder
            .none(
                "I4",
                &format!("difference between rows of {table} and insertions counted by batches"),
                &format!(
                    "select greatest(n - inserted, inserted - deleted - n, 0)::bigint from \
                     (select count(*) as n from {table}) t cross join \
                     (select coalesce(sum(inserted), 0) as inserted, coalesce({deleted}, 0) as deleted \
                     from diffmig.batch where entity = '{name}') b"
                ),
            )
            .await;
    }
}

/// I4 and I5, from the batches alone.
async fn batches(finder: &mut Finder<'_>) {
    let checks = [
        (
            "I4",
            "checkpoints that differ from the sum of their batches",
            "select count(*) from (select session_id, entity, sum(rows_in) as n from diffmig.batch group by 1, 2) b \
             full join (select session_id, entity, sum(rows_done) as n from diffmig.checkpoint group by 1, 2) c \
             using (session_id, entity) where b.n is distinct from c.n",
        ),
        (
            "I4",
            "gaps in the numbers of batches",
            "select count(*) from (select 1 from diffmig.batch group by session_id, entity \
             having max(number) <> count(*) or min(number) <> 1) g",
        ),
        (
            "I5",
            "batches of an epoch that was over",
            "select count(*) from (select epoch < lag(epoch) over (partition by session_id, entity order by number) as back \
             from diffmig.batch) b where back",
        ),
        (
            "I5",
            "epochs that interleave",
            "with e as (select epoch, min(committed_at) as first, max(committed_at) as last from diffmig.batch group by 1) \
             select count(*) from e a join e b on a.epoch < b.epoch and a.last > b.first",
        ),
        (
            "I5",
            "epochs that were never given out",
            "select count(*) from diffmig.batch where epoch > (select max(epoch) from diffmig.lease)",
        ),
    ];
    for (invariant, what, sql) in checks {
        finder.none(invariant, what, sql).await;
    }
}

/// I6: every foreign key of the target holds, and waits are explained by rows that are set aside.
async fn references(finder: &mut Finder<'_>) {
    let dangling = "select coalesce(sum((xpath('/row/n/text()', query_to_xml(format( \
        'select count(*) as n from %s c left join %s p on p.%I = c.%I where c.%I is not null and p.%I is null', \
        k.conrelid::regclass, k.confrelid::regclass, f.attname, a.attname, a.attname, f.attname), \
        false, true, '')))[1]::text::bigint), 0)::bigint \
        from pg_catalog.pg_constraint k \
        join pg_catalog.pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1] \
        join pg_catalog.pg_attribute f on f.attrelid = k.confrelid and f.attnum = k.confkey[1] \
        where k.contype = 'f' and cardinality(k.conkey) = 1";
    finder.none("I6", "dangling references", dangling).await;
    let constraints = "select count(*) from pg_catalog.pg_constraint where not convalidated";
    finder
        .none("I6", "constraints that are not validated", constraints)
        .await;
}

/// I11: no connection, no lock, no stage table, no lease.
async fn left_behind(finder: &mut Finder<'_>) {
    let ours = "select count(*) from pg_catalog.pg_stat_activity \
        where application_name like 'diffmig%' and datname = current_database()";
    for source in [true, false] {
        let began = Instant::now();
        loop {
            let side = if source {
                &mut *finder.source
            } else {
                &mut *finder.target
            };
            let left = number(side, ours).await;
            if left == 0 {
                break;
            }
            if began.elapsed() > LEFT_LIMIT {
                finder.say("I11", format!("{left} connections are left"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let checks = [
        (
            "temporary tables",
            "select count(*) from pg_catalog.pg_class where relpersistence = 't'",
        ),
        (
            "tables that are named like a stage",
            "select count(*) from pg_catalog.pg_class where relname like '%diffmig_stage%'",
        ),
        (
            "prepared transactions",
            "select count(*) from pg_catalog.pg_prepared_xacts where database = current_database()",
        ),
        (
            "locks of others on tables of this database",
            "select count(*) from pg_catalog.pg_locks where database = (select oid from pg_catalog.pg_database \
             where datname = current_database()) and pid <> pg_backend_pid() and locktype = 'relation' \
             and pid in (select pid from pg_catalog.pg_stat_activity where application_name like 'diffmig%')",
        ),
    ];
    for (what, sql) in checks {
        finder.none("I11", what, sql).await;
    }
}

/// I12: what the process said with its exit code is what the control tables say.
pub async fn exit_agrees(target: &mut PgConnection, code: i32) -> Vec<Violation> {
    let mut found = Vec::new();
    let state: Option<String> =
        sqlx::query_scalar("select state from diffmig.session order by number desc limit 1")
            .fetch_optional(&mut *target)
            .await
            .unwrap();
    let state = state.unwrap_or_default();
    let due = match code {
        0 => "completed",
        3 => "completed_with_rejects",
        20 => "paused",
        21 => "cancelled",
        _ => "failed",
    };
    let mut say = |what: String| {
        found.push(Violation {
            invariant: "I12",
            what,
        });
    };
    if state != due {
        say(format!("exit code {code}, but the session is {state}"));
    }
    let held = "select count(*) from diffmig.lease where session_id is not null";
    if number(target, held).await != 0 {
        say(format!("exit code {code}, but the lease is still held"));
    }
    let open = "select count(*) from diffmig.session where state not in \
        ('completed', 'completed_with_rejects', 'failed', 'cancelled', 'paused')";
    if number(target, open).await != 0 {
        say(format!("exit code {code}, but a session is not at its end"));
    }
    if code == 0 && number(target, "select count(*) from diffmig.pending_reference").await != 0 {
        found.push(Violation {
            invariant: "I6",
            what: "exit code 0, but references wait".into(),
        });
    }
    found
}

/// Every row version of a database's tables, in one text per table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<String, String>);

impl Fingerprint {
    /// Takes it of all user tables; of diffmig's own only ledgers and batches, which belong to rows.
    pub async fn take(connection: &mut PgConnection) -> Fingerprint {
        let sql = "select c.oid::regclass::text, (xpath('/row/d/text()', query_to_xml(format( \
            'select md5(coalesce(string_agg(t.ctid::text || t.xmin::text || t::text, '','' order by t.ctid), '''')) as d \
             from %s t', c.oid::regclass), false, true, '')))[1]::text \
            from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace \
            where c.relkind = 'r' and n.nspname not in ('pg_catalog', 'information_schema') \
            and c.relpersistence <> 't' \
            and (n.nspname <> 'diffmig' or c.relname like 'ledger%' or c.relname = 'batch')";
        Fingerprint(pairs(connection, sql).await)
    }

    /// Names the tables that are not as they were.
    pub fn differences(&self, later: &Fingerprint, invariant: &'static str) -> Vec<Violation> {
        let names: BTreeSet<&String> = self.0.keys().chain(later.0.keys()).collect();
        let changed = names
            .into_iter()
            .filter(|name| self.0.get(*name) != later.0.get(*name));
        changed
            .map(|name| Violation {
                invariant,
                what: format!("{name} was written"),
            })
            .collect()
    }
}

async fn pairs(connection: &mut PgConnection, sql: &str) -> BTreeMap<String, String> {
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .fetch_all(connection)
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}
