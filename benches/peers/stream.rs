//! The peer of `detect`: ordered text `COPY` of both sides, compared line by line as they come.

use crate::clock::Cost;
use std::cmp::Ordering;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

struct Rows {
    child: Child,
    lines: BufReader<ChildStdout>,
    line: Vec<u8>,
    key: u64,
}

impl Rows {
    fn read(url: &str, table: &str) -> Rows {
        let copy = format!("copy (select * from {table} order by id) to stdout");
        let mut child = Command::new("psql")
            .args(["-qX", url, "-c", &copy])
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql");
        let out = child.stdout.take().expect("a pipe");
        Rows {
            child,
            lines: BufReader::with_capacity(1 << 20, out),
            line: Vec::new(),
            key: 0,
        }
    }

    fn advance(&mut self) -> bool {
        self.line.clear();
        let length = self
            .lines
            .read_until(b'\n', &mut self.line)
            .expect("a line");
        let digits = self.line.iter().take_while(|byte| byte.is_ascii_digit());
        self.key = digits.fold(0, |key, digit| key * 10 + u64::from(digit - b'0'));
        length > 0
    }

    fn end(mut self) {
        assert!(self.child.wait().expect("psql ends").success());
    }
}

/// Compares a table of two databases; returns the cost and how many rows differ.
pub fn compare(source: &str, target: &str, table: &str) -> (Cost, u64) {
    let began = Instant::now();
    let (mut left, mut right) = (Rows::read(source, table), Rows::read(target, table));
    let mut different = 0;
    let (mut in_left, mut in_right) = (left.advance(), right.advance());
    while in_left || in_right {
        let order = match (in_left, in_right) {
            (true, true) => left.key.cmp(&right.key),
            (true, false) => Ordering::Less,
            (false, _) => Ordering::Greater,
        };
        different += u64::from(order != Ordering::Equal || left.line != right.line);
        if order != Ordering::Greater {
            in_left = left.advance();
        }
        if order != Ordering::Less {
            in_right = right.advance();
        }
    }
    left.end();
    right.end();
    let cost = Cost {
        seconds: began.elapsed().as_secs_f64(),
        peak_kib: 0,
    };
    (cost, different)
}
