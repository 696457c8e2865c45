//! Rows for people and for spreadsheets, from one description.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets};

/// The rule under the header.
const RULE: char = '─';

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A word.
    Text(String),
    /// A number.
    Count(i128),
    /// A number with one decimal.
    Decimal(f64),
    /// A number for people without decimals.
    Rounded(f64),
    /// Nothing.
    Empty,
}

impl Cell {
    /// Makes a word.
    pub fn text(text: impl Into<String>) -> Cell {
        Cell::Text(text.into())
    }

    /// Makes a number.
    pub fn count(number: impl Into<i128>) -> Cell {
        Cell::Count(number.into())
    }

    fn shown(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Count(number) => count(*number),
            Cell::Decimal(number) => format!("{number:.1}"),
            Cell::Rounded(number) => rounded(*number),
            Cell::Empty => String::new(),
        }
    }

    fn plain(&self) -> String {
        match self {
            Cell::Count(number) => number.to_string(),
            Cell::Decimal(number) | Cell::Rounded(number) => format!("{number:.3}"),
            other => other.shown(),
        }
    }
}

/// A column: its heading for people, its name in CSV (the same as in JSON), and whether it holds numbers.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    heading: &'static str,
    name: &'static str,
    is_number: bool,
}

/// A column of words.
pub const fn words(heading: &'static str, name: &'static str) -> Column {
    Column {
        heading,
        name,
        is_number: false,
    }
}

/// A column of numbers.
pub const fn numbers(heading: &'static str, name: &'static str) -> Column {
    Column {
        heading,
        name,
        is_number: true,
    }
}

/// A table with an optional row of totals.
#[derive(Debug, Clone)]
pub struct Sheet {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    has_total: bool,
}

impl Sheet {
    /// Begins a sheet.
    pub fn new(columns: impl Into<Vec<Column>>) -> Sheet {
        Sheet {
            columns: columns.into(),
            rows: Vec::new(),
            has_total: false,
        }
    }

    /// Adds a row.
    pub fn push(&mut self, row: impl Into<Vec<Cell>>) {
        self.rows.push(row.into());
    }

    /// Adds up the columns of counts; `last` fills the columns that cannot be added up.
    pub fn add_total(&mut self, last: impl Fn(&str) -> Option<Cell>) {
        let mut total = Vec::new();
        for (index, column) in self.columns.iter().enumerate() {
            let counts = self.rows.iter().map(|row| match row.get(index) {
                Some(Cell::Count(number)) => Some(*number),
                _ => None,
            });
            let sum: Option<i128> = counts.sum();
            let cell = match (index, last(column.name), sum) {
                (0, _, _) => Cell::text("total"),
                (_, Some(cell), _) => cell,
                (_, None, Some(sum)) if column.is_number => Cell::Count(sum),
                _ => Cell::Empty,
            };
            total.push(cell);
        }
        self.rows.push(total);
        self.has_total = true;
    }

    /// Shows only the first rows; the total stays that of all.
    pub fn keep(mut self, rows: usize) -> Sheet {
        let total = self.has_total.then(|| self.rows.pop()).flatten();
        self.rows.truncate(rows);
        self.rows.extend(total);
        self
    }

    /// Leaves columns out, in this order, until the table is not wider than so many characters.
    pub fn fit(mut self, width: usize, less_important: &[&str]) -> Sheet {
        for name in less_important {
            if self
                .table()
                .lines()
                .all(|line| line.chars().count() <= width)
            {
                break;
            }
            let Some(at) = self.columns.iter().position(|it| it.name == *name) else {
                continue;
            };
            self.columns.remove(at);
            for row in &mut self.rows {
                row.remove(at);
            }
        }
        self
    }

    /// Draws the table, totals under a second rule.
    pub fn table(&self) -> String {
        let style = presets::NOTHING.header_separator(LineStyle::none().fill(RULE).junction(RULE));
        let mut table = Table::new();
        table.load_style(style);
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.columns.iter().map(|it| it.heading));
        for row in &self.rows {
            table.add_row(row.iter().map(Cell::shown));
        }
        for (index, column) in self.columns.iter().enumerate() {
            let Some(drawn) = table.column_mut(index) else {
                continue;
            };
            if column.is_number {
                drawn.set_cell_alignment(CellAlignment::Right);
            }
            // The style itself puts one more blank between columns.
            let gap = u16::from(index + 1 < self.columns.len());
            drawn.set_padding((0, gap));
        }
        let mut lines: Vec<String> = table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect();
        let rule = lines.iter().find(|line| line.starts_with(RULE)).cloned();
        if let (true, Some(rule)) = (self.has_total, rule) {
            lines.insert(lines.len() - 1, rule);
        }
        lines.join("\n") + "\n"
    }

    /// Writes comma-separated values with a header, without totals.
    pub fn csv(&self) -> String {
        let kept = self.rows.len() - usize::from(self.has_total);
        let mut writer = csv::Writer::from_writer(Vec::new());
        // Writing into memory cannot fail.
        let _ = writer.write_record(self.columns.iter().map(|it| it.name));
        for row in &self.rows[..kept] {
            let _ = writer.write_record(row.iter().map(Cell::plain));
        }
        let bytes = writer.into_inner().unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Writes a number with commas between the thousands.
pub fn count(number: impl Into<i128>) -> String {
    let number: i128 = number.into();
    let digits = number.unsigned_abs().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0 { format!("-{text}") } else { text }
}

/// Writes a rate or another large number without decimals.
pub fn rounded(number: f64) -> String {
    match format!("{number:.0}").parse::<i128>() {
        Ok(number) => count(number),
        Err(_) => "?".to_owned(),
    }
}

/// Writes seconds as people say them: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
pub fn seconds(secs: f64) -> String {
    let whole = format!("{secs:.0}").parse::<u64>().unwrap_or(0);
    match whole {
        0..10 => format!("{secs:.1} s"),
        10..120 => format!("{whole} s"),
        120..7200 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(34_489), "34,489");
        assert_eq!(count(-1_234_567), "-1,234,567");
        assert_eq!(rounded(1234.6), "1,235");
    }

    #[test]
    fn seconds_are_readable() {
        assert_eq!(seconds(2.13), "2.1 s");
        assert_eq!(seconds(42.4), "42 s");
        assert_eq!(seconds(200.0), "3 min 20 s");
        assert_eq!(seconds(7500.0), "2 h 5 min");
    }

    #[test]
    fn totals_are_drawn_but_not_exported() {
        let mut sheet = Sheet::new([
            words("entity", "entity"),
            numbers("source rows", "sourceRows"),
        ]);
        sheet.push([Cell::text("clients"), Cell::count(1_200)]);
        sheet.push([Cell::text("a,b"), Cell::count(34)]);
        sheet.add_total(|_| None);
        assert_eq!(sheet.csv(), "entity,sourceRows\nclients,1200\n\"a,b\",34\n");
        let table = sheet.table();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines[0], "entity   source rows");
        assert_eq!(lines[2], "clients        1,200");
        assert_eq!(lines[5], "total          1,234");
        assert_eq!(lines[1], lines[4]);
    }
}
