//! Detections at several shares of changes, and applying them.

use crate::Size;
use crate::clock::{Cost, median, shell, timed};
use crate::data;
use crate::loads::Sides;
use crate::stand::{settle, sql};
use crate::stream;
use crate::table::Table;
use std::process::Command;

/// A round of changes: its share of the rows, whether detecting and whether applying it is measured.
const ROUNDS: [(f64, bool, bool); 5] = [
    (0.0, true, false),
    (0.001, true, true),
    (0.01, false, true),
    (0.05, true, false),
    (0.1, false, true),
];

fn psql(url: &str, query: &str) -> Cost {
    timed(Command::new("psql").args(["-qX", url, "-c", query]))
}

fn percent(share: f64) -> String {
    format!("{:.1} % changed", share * 100.0)
}

fn detect(sides: &Sides<'_>, size: &Size, name: &str, share: f64, table: &mut Table) {
    let (mut full, mut auto) = (Vec::new(), Vec::new());
    let (mut streams, mut counts) = (Vec::new(), Vec::new());
    for _ in 0..size.runs {
        let (cost, different) = stream::compare(&sides.source, &sides.hand, name);
        assert_eq!(
            different == 0,
            share == 0.0,
            "the comparison of {name} found {different}"
        );
        streams.push(cost);
        full.push(
            sides
                .ours
                .run(&["detect", "--mode", "full", "--entities", name]),
        );
        counts.push(psql(&sides.source, &format!("select count(*) from {name}")));
        auto.push(sides.ours.run(&["detect", "--entities", name]));
    }
    let changed = percent(share);
    table.add(
        &format!("detect --mode full {name}, {changed}"),
        "ordered COPY of both sides, compared as a stream",
        median(full),
        median(streams),
        0.6,
    );
    if share < 0.01 {
        table.add(
            &format!("detect {name}, {changed}"),
            "count(*) of the source",
            median(auto),
            median(counts),
            3.0,
        );
    }
}

/// Reads tables of a target whole, so that neither side meets pages that only the other has in memory.
fn warm(target: &str, tables: &[String]) {
    for table in tables {
        sql(
            target,
            &format!("copy (select * from {table} order by 1) to '/dev/null'"),
        );
    }
}

/// Applies the changes of a table on both targets; returns the costs of diffmig and of the hand-written way.
fn apply(sides: &Sides<'_>, name: &str) -> (Cost, Cost) {
    let detection = sides.ours.detect(name);
    warm(&sides.hand, &[name.to_owned()]);
    let theirs = shell(&data::apply_by_hand(name, &sides.source, &sides.hand));
    let ledger = format!("diffmig.ledger_{name}");
    warm(&sides.ours.target, &[ledger, name.to_owned()]);
    let ours = sides.ours.run(&[
        "migrate",
        "--entities",
        name,
        "--detection-id",
        &detection,
        "--allow-deletes",
        &format!("{name}=1000000"),
    ]);
    (ours, theirs)
}

fn changes(
    sides: &Sides<'_>,
    size: &Size,
    name: &str,
    round: (f64, bool, bool),
    table: &mut Table,
) {
    let (share, detected, applied) = round;
    let times = if applied { size.runs } else { 1 };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..times {
        sql(&sides.source, &data::change(name, share, run));
        sql(&sides.source, &format!("analyze {name}"));
        if run == 0 && detected {
            detect(sides, size, name, share, table);
        }
        let (one, other) = apply(sides, name);
        ours.push(one);
        theirs.push(other);
    }
    if applied {
        table.add(
            &format!("migrate {name}, {}", percent(share)),
            "COPY to a temporary table, upsert, delete",
            median(ours),
            median(theirs),
            1.3,
        );
    }
}

/// Measures the rounds that are wanted: those that detect, those that apply.
pub fn measure(sides: &Sides<'_>, size: &Size, wanted: (bool, bool), table: &mut Table) {
    for (share, detected, applied) in ROUNDS {
        let round = (share, detected && wanted.0, applied && wanted.1);
        if !round.1 && !round.2 {
            continue;
        }
        for name in data::TABLES {
            if share == 0.0 {
                detect(sides, size, name, share, table);
            } else {
                changes(sides, size, name, round, table);
            }
        }
        for url in [&sides.source, &sides.hand, &sides.ours.target] {
            settle(url);
        }
    }
}

/// The time it takes to say anything at all.
pub fn start(sides: &Sides<'_>, size: &Size, table: &mut Table) {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..size.runs.max(5) {
        theirs.push(psql(&sides.ours.target, "select 1"));
        ours.push(sides.ours.run(&["status"]));
    }
    table.add(
        "status",
        "psql -c 'select 1'",
        median(ours),
        median(theirs),
        2.0,
    );
}
