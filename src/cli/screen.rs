//! A page that is drawn again in place, on a terminal.

use super::failure::Stop;
use super::output::{write_all, write_rest};
use std::io::IsTerminal;

/// Columns and rows of a terminal that does not say how large it is.
const USUAL: (usize, usize) = (80, 24);
const HIDE_CURSOR: &str = "\x1b[?25l";
const SHOW_CURSOR: &str = "\x1b[?25h";

/// Tells how wide and high the terminal is: as it says itself, else by `COLUMNS` and `LINES`, else 80 by 24.
pub fn size() -> (usize, usize) {
    let told = rustix::termios::tcgetwinsize(std::io::stdout()).ok();
    let told = told.map(|it| (usize::from(it.ws_col), usize::from(it.ws_row)));
    let variable = |name| {
        let value = std::env::var(name).ok()?;
        value.parse::<usize>().ok().filter(|it| *it > 0)
    };
    let (columns, rows) = told.unwrap_or_default();
    (
        Some(columns)
            .filter(|it| *it > 0)
            .or_else(|| variable("COLUMNS"))
            .unwrap_or(USUAL.0),
        Some(rows)
            .filter(|it| *it > 0)
            .or_else(|| variable("LINES"))
            .unwrap_or(USUAL.1),
    )
}

/// How wide data may be: as the terminal, or without an end where there is none.
pub fn width() -> Option<usize> {
    std::io::stdout().is_terminal().then(|| size().0)
}

/// Cuts a line so that the terminal does not break it.
pub fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut short: String = line.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// The part of the terminal that is drawn again and again. When it is dropped, the cursor is there again.
#[derive(Debug, Default)]
pub struct Screen {
    /// Lines drawn the last time.
    drawn: usize,
    hidden: bool,
}

impl Screen {
    /// Draws a page over the one before, in one write, without clearing what stays.
    ///
    /// # Errors
    /// Nobody reads it any more, or it cannot be written.
    pub fn draw(&mut self, page: &str) -> Result<(), Stop> {
        let (columns, rows) = size();
        let text = frame(page, self.drawn, columns, rows);
        let begin = if self.hidden { "" } else { HIDE_CURSOR };
        self.hidden = true;
        self.drawn = page.lines().count().min(rows.saturating_sub(1).max(1));
        write_all(&format!("{begin}{text}"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.hidden {
            write_rest(SHOW_CURSOR);
        }
    }
}

/// Makes a frame: back to the first line of the last one, each line to its end, and nothing below.
fn frame(page: &str, drawn: usize, columns: usize, rows: usize) -> String {
    let mut text = String::new();
    // A terminal that was made smaller has lost the lines above.
    let back = drawn.min(rows.saturating_sub(1));
    if back > 0 {
        text.push_str(&format!("\x1b[{back}F"));
    }
    let lines: Vec<&str> = page.lines().collect();
    let room = rows.saturating_sub(1).max(1);
    let hidden = lines.len().saturating_sub(room);
    let shown = match hidden {
        0 => lines.len(),
        _ => room - 1,
    };
    for line in &lines[..shown] {
        text.push_str(&cut(line, columns));
        text.push_str("\x1b[K\n");
    }
    if hidden > 0 {
        let more = format!("… {} more lines", hidden + 1);
        text.push_str(&cut(&more, columns));
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_goes_back_over_the_last_one_and_fits() {
        assert_eq!(frame("a\nb\n", 0, 80, 24), "a\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(frame("c\n", 2, 80, 24), "\x1b[2Fc\x1b[K\n\x1b[J");
        let tall: String = (0..10).map(|nth| format!("line {nth}\n")).collect();
        let text = frame(&tall, 0, 80, 5);
        assert_eq!(text.matches('\n').count(), 4);
        assert!(text.contains("line 2\x1b[K\n… 7 more lines"), "{text:?}");
        assert_eq!(frame("abcdef\n", 0, 4, 24), "abc…\x1b[K\n\x1b[J");
    }
}
