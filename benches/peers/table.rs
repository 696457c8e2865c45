//! The results as one table.

use crate::clock::Cost;
use std::fmt;

struct Line {
    work: String,
    peer: String,
    ours: Cost,
    theirs: f64,
    target: String,
}

/// What was measured so far.
#[derive(Default)]
pub struct Table {
    lines: Vec<Line>,
}

impl Table {
    /// Adds a pair. `target` is the ratio that is aimed at; 0 for none.
    pub fn add(&mut self, work: &str, peer: &str, ours: Cost, theirs: Cost, target: f64) {
        let line = Line {
            work: work.to_owned(),
            peer: peer.to_owned(),
            ours,
            theirs: theirs.seconds,
            target: if target > 0.0 {
                format!("{target:.2}")
            } else {
                String::new()
            },
        };
        eprintln!(
            "{work}: {:.2} s, {:.0} MiB; {peer}: {:.2} s",
            ours.seconds,
            mebibytes(ours.peak_kib),
            line.theirs
        );
        self.lines.push(line);
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            out,
            "| work | beside it | diffmig s | beside it s | ratio | target | peak MiB |"
        )?;
        writeln!(out, "|---|---|---:|---:|---:|---:|---:|")?;
        for it in &self.lines {
            writeln!(
                out,
                "| {} | {} | {:.2} | {:.2} | {:.2} | {} | {:.0} |",
                it.work,
                it.peer,
                it.ours.seconds,
                it.theirs,
                it.ours.seconds / it.theirs,
                it.target,
                mebibytes(it.ours.peak_kib)
            )?;
        }
        Ok(())
    }
}
