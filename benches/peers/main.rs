//! diffmig against what a user would pick instead, side by side on two throw-away servers.
//!
//! `make bench` runs it. The environment sizes it: `DIFFMIG_BENCH_ROWS` (rows of `narrow`, 5,000,000;
//! `wide` and the load with translated keys have a fifth), `DIFFMIG_BENCH_RUNS` (3), `DIFFMIG_BENCH_ONLY`
//! (a list such as `load,detect`). Everything is timed as whole processes, start and connections included.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is a program")]

mod clock;
mod data;
mod loads;
mod scans;
mod stand;
mod stream;
mod table;

use stand::Stand;
use table::Table;

/// How much is measured, and how often.
pub struct Size {
    /// Rows of `narrow`.
    pub narrow: u64,
    /// Rows of `wide` and of the load with translated keys.
    pub wide: u64,
    /// Runs of which the median is taken.
    pub runs: u32,
}

impl Size {
    fn rows(&self, table: &str) -> u64 {
        if table == "narrow" {
            self.narrow
        } else {
            self.wide
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .replace([',', '_'], "")
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

fn main() {
    let narrow = number("DIFFMIG_BENCH_ROWS", 5_000_000).max(1_000);
    let size = Size {
        narrow,
        wide: narrow / 5,
        runs: u32::try_from(number("DIFFMIG_BENCH_RUNS", 3))
            .unwrap_or(3)
            .max(1),
    };
    let only = std::env::var("DIFFMIG_BENCH_ONLY").unwrap_or_default();
    let wanted = |work: &str| only.is_empty() || only.split(',').any(|it| it == work);
    let stand = Stand::start();
    eprintln!("servers below {}", stand.folder().display());
    let mut table = Table::default();
    if wanted("keys") {
        loads::translated(&stand, &size, &mut table);
    }
    if ["load", "detect", "apply", "start"]
        .iter()
        .any(|it| wanted(it))
    {
        let sides = loads::Sides::fill(&stand, &size);
        loads::kept(&sides, &size, wanted("load"), &mut table);
        scans::measure(
            &sides,
            &size,
            (wanted("detect"), wanted("apply")),
            &mut table,
        );
        if wanted("start") {
            scans::start(&sides, &size, &mut table);
        }
    }
    println!(
        "\nnarrow {} rows, wide {} rows, keys {} rows; median of {} runs; PostgreSQL {}\n\n{table}",
        size.narrow,
        size.wide,
        size.wide,
        size.runs,
        stand::ask(&stand.source("postgres"), "show server_version"),
    );
}
