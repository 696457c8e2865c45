//! The difference of two texts as a unified diff, which `patch` and `git apply` understand.

use std::fmt::Write;

/// Lines around a change.
const AROUND: usize = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line<'t> {
    Same(&'t str),
    Old(&'t str),
    New(&'t str),
}

/// Writes how one text becomes another; nothing when they are equal.
pub fn unified(file: &str, old: &str, new: &str) -> String {
    let lines = compared(old, new);
    let changed: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| !matches!(line, Line::Same(_)))
        .map(|(at, _)| at)
        .collect();
    let mut text = String::new();
    let mut rest = changed.as_slice();
    while let Some(first) = rest.first() {
        let mut last = *first;
        let mut taken = 0;
        for at in rest {
            if *at > last + 2 * AROUND + 1 {
                break;
            }
            (last, taken) = (*at, taken + 1);
        }
        rest = &rest[taken..];
        let start = first.saturating_sub(AROUND);
        let end = (last + AROUND + 1).min(lines.len());
        hunk(&mut text, &lines, start, end);
    }
    match text.is_empty() {
        true => text,
        false => format!("--- {file}\n+++ {file}\n{text}"),
    }
}

fn hunk(text: &mut String, lines: &[Line<'_>], start: usize, end: usize) {
    let count = |range: &[Line<'_>], other: fn(&Line<'_>) -> bool| {
        range.iter().filter(|line| !other(line)).count()
    };
    let is_new: fn(&Line<'_>) -> bool = |line| matches!(line, Line::New(_));
    let is_old: fn(&Line<'_>) -> bool = |line| matches!(line, Line::Old(_));
    let (before, own) = (&lines[..start], &lines[start..end]);
    let place = |other: fn(&Line<'_>) -> bool| {
        let lines = count(own, other);
        // A hunk without lines stands after the line that it names.
        let first = count(before, other) + usize::from(lines > 0);
        format!("{first},{lines}")
    };
    // Writing into memory cannot fail.
    let _ = writeln!(text, "@@ -{} +{} @@", place(is_new), place(is_old));
    for line in own {
        let (sign, line) = match line {
            Line::Same(line) => (' ', line),
            Line::Old(line) => ('-', line),
            Line::New(line) => ('+', line),
        };
        let _ = write!(text, "{sign}{line}");
        if !line.ends_with('\n') {
            let _ = write!(text, "\n\\ No newline at end of file\n");
        }
    }
}

/// Lines up two texts along their longest common subsequence.
fn compared<'t>(old: &'t str, new: &'t str) -> Vec<Line<'t>> {
    let old: Vec<&str> = old.split_inclusive('\n').collect();
    let new: Vec<&str> = new.split_inclusive('\n').collect();
    let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let tail = old[head..]
        .iter()
        .rev()
        .zip(new[head..].iter().rev())
        .take_while(|(a, b)| a == b)
        .count();
    let (a, b) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    // How many lines both have in common from here on.
    let mut common = vec![vec![0_u32; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = match a[i] == b[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let mut lines: Vec<Line<'t>> = old[..head].iter().map(|it| Line::Same(it)).collect();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            lines.push(Line::Same(a[i]));
            (i, j) = (i + 1, j + 1);
        } else if j >= b.len() || i < a.len() && common[i + 1][j] >= common[i][j + 1] {
            lines.push(Line::Old(a[i]));
            i += 1;
        } else {
            lines.push(Line::New(b[j]));
            j += 1;
        }
    }
    lines.extend(old[old.len() - tail..].iter().map(|it| Line::Same(it)));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_three_lines_around_them() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("5\n6\n", "5\nfive\n6\n").replace("20\n", "");
        let patch = unified("f.toml", &old, &new);
        assert_eq!(
            patch,
            "--- f.toml\n+++ f.toml\n@@ -3,6 +3,7 @@\n 3\n 4\n 5\n+five\n 6\n 7\n 8\n\
             @@ -17,4 +18,3 @@\n 17\n 18\n 19\n-20\n"
        );
        assert_eq!(unified("f.toml", &old, &old), "");
    }

    #[test]
    fn a_missing_last_line_break_is_said() {
        let patch = unified("f", "a\nb", "a\nb\nc\n");
        assert!(
            patch.contains("-b\n\\ No newline at end of file\n+b\n+c\n"),
            "{patch}"
        );
    }
}
