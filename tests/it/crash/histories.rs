//! Random histories of both databases and of the process between them, against a model in memory.
//!
//! `DIFFMIG_HISTORIES` says how many (a few without it), `DIFFMIG_HISTORY_SEED` repeats one.

use super::model::{Content, Model, TABLES, Table};
use super::report::{Finding, conclude, say, seed};
use super::stand::{Day, Lane, Ran, Stand, execute, wait};
use crate::support::invariants::{Invariants, Violation};
use crate::support::proxy::{Moment, Rule};
use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

/// Histories without `DIFFMIG_HISTORIES`.
const FEW: u64 = 2;
/// Steps of one history.
const STEPS: usize = 14;
/// Histories that run side by side.
const LANES: usize = 2;

/// Numbers that only look random: SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let index = self.roll(u64::try_from(from.len()).unwrap());
        from[usize::try_from(index).unwrap()]
    }
}

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// A change of one source row.
#[derive(Debug, Clone)]
struct Change {
    table: Table,
    key: String,
    content: Option<Content>,
}

impl Change {
    /// Keys are few, so that they come back under other contents. Key 0 stays: an empty table is refused.
    fn random(dice: &mut Dice) -> Change {
        let table = dice.pick(&TABLES);
        let key = (1 + dice.roll(9)).to_string();
        let content = (dice.roll(4) > 0).then(|| Change::content(table, &key, dice));
        Change {
            table,
            key,
            content,
        }
    }

    fn content(table: Table, key: &str, dice: &mut Dice) -> Content {
        match table {
            Table::Orders => vec![
                text(dice.pick(&["1", "2", "3"])),
                Some(format!("c{key}")),
                text(dice.pick(&["-1.00", "0.00", "1.50", "20.00"])),
                dice.pick(&[None, Some(""), Some("a"), Some("b")])
                    .map(str::to_owned),
            ],
            Table::Lines => vec![
                Some(dice.roll(10).to_string()),
                text(key),
                text(dice.pick(&["0", "1", "2", "3"])),
            ],
            Table::Tags => vec![
                dice.pick(&[None, Some(""), Some("a"), Some("b")])
                    .map(str::to_owned),
                text(dice.pick(&["false", "false", "true"])),
            ],
        }
    }

    /// A change that nobody filters, refuses or holds.
    fn keeper(table: Table) -> Change {
        let content = match table {
            Table::Orders => vec![text("1"), text("c0"), text("1.00"), None],
            Table::Lines => vec![text("0"), text("0"), text("1")],
            Table::Tags => vec![None, text("false")],
        };
        Change {
            table,
            key: "0".to_owned(),
            content: Some(content),
        }
    }

    fn sql(&self) -> String {
        let (table, key) = match self.table {
            Table::Orders => ("orders", "id"),
            Table::Lines => ("line", "id"),
            Table::Tags => ("tag", "code"),
        };
        let delete = format!("delete from {table} where {key} = '{}'", self.key);
        let Some(content) = &self.content else {
            return delete;
        };
        let values = content.iter().map(|value| match value {
            Some(value) => format!("'{value}'"),
            None => "null".to_owned(),
        });
        let values: Vec<String> = values.collect();
        format!(
            "{delete}; insert into {table} values ('{}', {})",
            self.key,
            values.join(", ")
        )
    }
}

/// What happens next.
#[derive(Debug)]
enum Step {
    Change(Change),
    Edit(Table, String),
    Detect,
    Migrate,
    /// A source transaction that is open while a migration runs and commits after it.
    LateCommit(Change),
    /// A signal after so many milliseconds, then the same command again.
    Signalled(Signal, u64),
    /// A connection to the target is cut, then the same command again if need be.
    Cut {
        connection: u64,
        message: u64,
    },
}

impl Step {
    fn random(dice: &mut Dice) -> Step {
        match dice.roll(16) {
            0..=7 => Step::Change(Change::random(dice)),
            8..=9 => {
                let table = dice.pick(&[Table::Orders, Table::Tags]);
                Step::Edit(table, dice.roll(10).to_string())
            }
            10 => Step::Detect,
            11 => Step::Migrate,
            12 => Step::LateCommit(Change::random(dice)),
            13 => Step::Signalled(Signal::KILL, dice.roll(900)),
            14 => Step::Signalled(Signal::TERM, dice.roll(900)),
            _ => Step::Cut {
                connection: 1 + dice.roll(10),
                message: 1 + dice.roll(60),
            },
        }
    }
}

/// One history in one lane.
struct History<'a, 'b> {
    lane: &'a mut Lane<'b>,
    model: Model,
    target: PgConnection,
    edits: usize,
    found: Vec<Violation>,
}

impl History<'_, '_> {
    fn say(&mut self, what: String) {
        let invariant = "model";
        self.found.push(Violation { invariant, what });
    }

    async fn change(&mut self, change: &Change) {
        execute(&mut self.lane.source, &change.sql()).await;
        self.model
            .set(change.table, &change.key, change.content.clone());
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Change(change) => self.change(change).await,
            Step::Edit(table, key) => self.edit(*table, key).await,
            Step::Detect => {
                let ran = wait(self.lane.spawn_command(&["detect", "-q"])).await;
                if ran.code != Some(0) {
                    self.say(format!("detect: {ran:?}"));
                }
            }
            Step::Migrate => self.migrate().await,
            Step::LateCommit(change) => {
                let mut late = self.lane.another_source().await;
                execute(&mut late, &format!("begin; {}", change.sql())).await;
                self.migrate().await;
                execute(&mut late, "commit").await;
                self.model
                    .set(change.table, &change.key, change.content.clone());
            }
            Step::Signalled(signal, millis) => {
                let child = self.lane.spawn();
                let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
                let end = wait(child);
                tokio::pin!(end);
                tokio::select! {
                    _ = &mut end => {}
                    () = tokio::time::sleep(Duration::from_millis(*millis)) => {
                        kill_process(pid, *signal).unwrap();
                        let ran = end.await;
                        self.judge(&ran, &[None, Some(0), Some(3), Some(20), Some(130), Some(143)]);
                    }
                }
                self.migrate().await;
            }
            Step::Cut {
                connection,
                message,
            } => {
                self.lane.target_proxy.arm(Rule::CutAt {
                    connection: usize::try_from(*connection).unwrap(),
                    message: usize::try_from(*message).unwrap(),
                    moment: Moment::After,
                });
                let ran = self.lane.run().await;
                self.judge(&ran, &[Some(0), Some(3), Some(10)]);
                self.lane.disarm();
                self.migrate().await;
            }
        }
    }

    fn judge(&mut self, ran: &Ran, accepted: &[Option<i32>]) {
        if ran.hung || ran.said.contains("panicked") || !accepted.contains(&ran.code) {
            self.say(format!("{ran:?}"));
        }
    }

    async fn edit(&mut self, table: Table, key: &str) {
        let there = self.model.there(table, key);
        // What becomes of an edit of a retired row is no part of this model.
        if !there.is_some_and(|it| it.is_active) {
            return;
        }
        self.edits += 1;
        let value = format!("edit {}", self.edits);
        let (sql, column) = match table {
            Table::Tags => (
                format!("update tags set label = '{value}' where legacy_code = '{key}'"),
                0,
            ),
            _ => (
                format!("update orders set note = '{value}' where legacy_id = {key}"),
                3,
            ),
        };
        execute(&mut self.target, &sql).await;
        self.model.edit(table, key, column, &value);
    }

    /// Migrates to the end and compares.
    async fn migrate(&mut self) {
        let ran = self.lane.run().await;
        self.judge(&ran, &[Some(0), Some(3)]);
        self.model.migrate();
        for table in TABLES {
            let found = rows(&mut self.target, table).await;
            let wanted = self.model.target(table);
            let keys: Vec<&String> = wanted.keys().chain(found.keys()).collect();
            for key in keys {
                if wanted.get(key) != found.get(key) {
                    let (wanted, found) = (wanted.get(key), found.get(key));
                    self.say(format!(
                        "{table:?} {key}: wanted {wanted:?}, found {found:?}"
                    ));
                }
            }
        }
        let general = Invariants { rules: Vec::new() };
        let found = general.check(&mut self.lane.source, &mut self.target).await;
        self.found.extend(found);
    }
}

/// Reads a target table: content by key, and whether the row is active.
async fn rows(target: &mut PgConnection, table: Table) -> BTreeMap<String, (Content, bool)> {
    let sql = match table {
        Table::Orders => {
            "select o.legacy_id::text, o.is_active, m.legacy_id::text, o.code, o.amount::text, o.note \
             from orders o join members m on m.id = o.member_id"
        }
        Table::Lines => {
            "select l.legacy_id::text, l.is_active, o.legacy_id::text, l.position::text, l.quantity::text \
             from lines l join orders o on o.id = l.order_id"
        }
        Table::Tags => "select legacy_code, is_active, label from tags",
    };
    let rows = sqlx::query(AssertSqlSafe(sql))
        .fetch_all(target)
        .await
        .unwrap();
    rows.iter()
        .map(|row| {
            let content = (2..row.len()).map(|column| row.get(column)).collect();
            (row.get(0), (content, row.get(1)))
        })
        .collect()
}

/// Plays the history of a seed and returns what was wrong, step by step.
async fn play(lane: &mut Lane<'_>, seed: u64) -> Vec<Finding> {
    lane.reset().await;
    lane.reset_source().await;
    execute(&mut lane.source, "truncate topic, orders, line, tag").await;
    let target = lane.target().await;
    let mut history = History {
        lane,
        model: Model::default(),
        target,
        edits: 0,
        found: Vec::new(),
    };
    for table in TABLES {
        history.change(&Change::keeper(table)).await;
    }
    let mut dice = Dice(seed);
    let mut steps: Vec<Step> = (0..STEPS).map(|_| Step::random(&mut dice)).collect();
    // Whatever came last has to arrive.
    steps.push(Step::Migrate);
    let mut findings = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        history.step(step).await;
        let place = format!("DIFFMIG_HISTORY_SEED={seed} step {number} {step:?}");
        findings.extend(history.found.drain(..).map(|violation| Finding {
            place: place.clone(),
            violation,
        }));
        if !findings.is_empty() {
            let told: Vec<String> = steps[..=number]
                .iter()
                .map(|it| format!("{it:?}"))
                .collect();
            say(&format!("seed {seed}:\n{}", told.join("\n")));
            break;
        }
    }
    findings
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_the_target_holds_what_the_model_holds() {
    let first = seed("DIFFMIG_HISTORY_SEED");
    let count = match std::env::var("DIFFMIG_HISTORIES") {
        Ok(text) => text.parse().unwrap(),
        Err(_) if std::env::var("DIFFMIG_HISTORY_SEED").is_ok() => 1,
        Err(_) => FEW,
    };
    say(&format!("DIFFMIG_HISTORY_SEED={first}, {count} histories"));
    let stand = Stand::start().await;
    let mut lanes = Vec::new();
    for name in ["a", "b"].iter().take(LANES) {
        lanes.push(stand.lane(name, Day::First).await);
    }
    let seeds = (0..count).map(|number| first.wrapping_add(number));
    let queue: Mutex<VecDeque<u64>> = Mutex::new(seeds.collect());
    let work = lanes.iter_mut().map(async |lane| {
        let mut findings = Vec::new();
        loop {
            let Some(seed) = queue.lock().unwrap().pop_front() else {
                return findings;
            };
            findings.extend(play(lane, seed).await);
        }
    });
    let found = futures::future::join_all(work).await.concat();
    conclude("histories", usize::try_from(count).unwrap(), &found);
}
