//! First loads: with kept keys, and with translated ones.

use crate::Size;
use crate::clock::{Cost, median, on_path, shell};
use crate::data;
use crate::stand::{Stand, Way, ask, settle, sql};
use crate::table::Table;

/// The tables with kept keys: one source, a target of diffmig and one that is filled by hand.
pub struct Sides<'a> {
    /// The servers.
    pub stand: &'a Stand,
    /// What is read.
    pub source: String,
    /// What the hand-written peers write.
    pub hand: String,
    /// diffmig's way.
    pub ours: Way,
}

impl Sides<'_> {
    /// Creates the databases and fills the source.
    pub fn fill<'a>(stand: &'a Stand, size: &Size) -> Sides<'a> {
        let sides = Sides {
            stand,
            source: stand.source("legacy"),
            hand: stand.target("hand"),
            ours: Way {
                source: stand.source("legacy"),
                target: stand.target("ours"),
                mapping: stand.mapping("kept", data::MAPPING),
            },
        };
        for url in [&sides.source, &sides.hand, &sides.ours.target] {
            stand.create(url);
            sql(url, data::SCHEMA);
        }
        for table in data::TABLES {
            sql(&sides.source, &data::fill(table, size.rows(table)));
        }
        settle(&sides.source);
        sides
    }
}

/// Copies both tables by binary pipes of psql, each in two halves side by side.
fn pipes(source: &str, target: &str, size: &Size) -> Cost {
    let mut script = String::new();
    for table in data::TABLES {
        let middle = size.rows(table) / 2;
        for condition in [format!("id <= {middle}"), format!("id > {middle}")] {
            script.push_str(&format!(
                "psql -qX '{source}' -c 'copy (select * from {table} where {condition} order by id) to stdout (format binary)' \
                 | psql -qX '{target}' -c 'copy {table} from stdin (format binary)' & pids+=($!)\n"
            ));
        }
        script.push_str("for pid in \"${pids[@]}\"; do wait \"$pid\"; done; pids=()\n");
    }
    shell(&script)
}

fn empty(target: &str) {
    sql(target, "drop schema if exists diffmig cascade");
    sql(target, "truncate narrow, wide");
    sql(target, "checkpoint");
}

fn pgcopydb(sides: &Sides<'_>) -> Cost {
    let clone = sides.stand.target("clone");
    sides.stand.create(&clone);
    let folder = sides.stand.folder().join("pgcopydb");
    let _ = std::fs::remove_dir_all(&folder);
    shell(&format!(
        "pgcopydb clone --dir '{}' --source '{}' --target '{clone}' --table-jobs 2 --index-jobs 2 >/dev/null 2>&1",
        folder.display(),
        sides.source
    ))
}

/// Loads both tables with kept keys, and leaves both targets loaded and settled.
pub fn kept(sides: &Sides<'_>, size: &Size, measured: bool, table: &mut Table) {
    let runs = if measured { size.runs } else { 1 };
    let (mut ours, mut theirs, mut copied) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        empty(&sides.hand);
        theirs.push(pipes(&sides.source, &sides.hand, size));
        empty(&sides.ours.target);
        ours.push(sides.ours.run(&["migrate"]));
        if measured && on_path("pgcopydb") {
            copied.push(pgcopydb(sides));
        }
    }
    for name in data::TABLES {
        let count = ask(&sides.ours.target, &format!("select count(*) from {name}"));
        assert_eq!(
            count,
            size.rows(name).to_string(),
            "rows of {name} are missing"
        );
    }
    settle(&sides.hand);
    settle(&sides.ours.target);
    if !measured {
        return;
    }
    let ours = median(ours);
    table.add(
        "load, kept keys, both tables",
        "psql COPY pipes, two halves at a time",
        ours,
        median(theirs),
        1.25,
    );
    if copied.is_empty() {
        eprintln!("pgcopydb is not installed (apt-get install pgcopydb); it is left out");
    } else {
        table.add(
            "load, kept keys, both tables",
            "pgcopydb clone (indexes after the load)",
            ours,
            median(copied),
            1.0,
        );
    }
}

/// Loads a table with two references while its integer keys become uuids.
pub fn translated(stand: &Stand, size: &Size, table: &mut Table) {
    let source = stand.source("keyed");
    let hand = stand.target("keyed_hand");
    let way = Way {
        source: source.clone(),
        target: stand.target("keyed_ours"),
        mapping: stand.mapping("keyed", data::KEYED_MAPPING),
    };
    stand.create(&source);
    sql(&source, data::KEYED_SOURCE);
    sql(&source, &data::fill_keyed(size.wide));
    settle(&source);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..size.runs {
        for url in [&hand, &way.target] {
            stand.create(url);
            sql(url, data::KEYED_TARGET);
            sql(url, "checkpoint");
        }
        theirs.push(shell(&data::load_keyed_by_hand(&source, &hand)));
        ours.push(way.run(&["migrate"]));
    }
    for url in [&hand, &way.target] {
        let count = ask(url, "select count(*) from entry");
        assert_eq!(count, size.wide.to_string(), "entries are missing");
    }
    table.add(
        "load, int to uuid, two references a row",
        "SQL by hand, ordered ids",
        median(ours),
        median(theirs),
        1.0,
    );
}
