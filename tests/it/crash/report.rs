//! Says what a crash test did, to people and to `make crash-test`.

use crate::support::invariants::Violation;
use std::fmt::Write as _;
use std::io::Write as _;

/// A violation and how to bring it about again.
#[derive(Debug, Clone)]
pub struct Finding {
    pub place: String,
    pub violation: Violation,
}

/// How much is to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// A few points.
    Sample,
    /// One point of so many; 1 is all of them.
    OneOf(usize),
}

/// Reads the extent from `DIFFMIG_CRASH`: `all`, or a number for every n-th point; a sample otherwise.
pub fn extent() -> Extent {
    match std::env::var("DIFFMIG_CRASH") {
        Ok(text) if text == "all" => Extent::OneOf(1),
        Ok(text) => Extent::OneOf(text.parse().unwrap()),
        Err(_) => Extent::Sample,
    }
}

/// The seed of this run: given, or taken from the clock; whoever uses it prints it.
pub fn seed(variable: &str) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or_else(
        || {
            let now = std::time::SystemTime::now();
            let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::from(since.subsec_nanos()) ^ since.as_secs()
        },
        |text| text.parse().unwrap(),
    )
}

/// Says something beside the result; runners show it when the test fails.
#[expect(
    clippy::print_stdout,
    reason = "seeds and progress are for whoever runs the test"
)]
pub fn say(text: &str) {
    println!("{text}");
}

/// Adds a line to the report that `make crash-test` sums up, if it wants one.
fn note(kind: &str, count: usize) {
    if let Ok(path) = std::env::var("DIFFMIG_CRASH_REPORT") {
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        writeln!(file, "{kind} {count}").unwrap();
    }
}

/// Reports what was tried and fails if anything was found.
pub fn conclude(kind: &str, tried: usize, findings: &[Finding]) {
    note(kind, tried);
    note("violations", findings.len());
    let mut text = String::new();
    for it in findings {
        writeln!(text, "{}: {}", it.place, it.violation).unwrap();
    }
    assert!(
        findings.is_empty(),
        "{} violations after {tried} {kind}:\n{text}",
        findings.len()
    );
}
