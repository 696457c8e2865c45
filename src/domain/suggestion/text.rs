//! The mapping file as text: where its parts stand, and edits that leave everything else as it is.

use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A key of the file with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where the key stands.
    pub key: Range<usize>,
    /// Where the value stands.
    pub value: Range<usize>,
}

/// The text of a mapping file and the edits made to it.
#[derive(Debug)]
pub struct MappingText<'t> {
    text: &'t str,
    table: Option<Spanned<DeTable<'t>>>,
    edits: Vec<(Range<usize>, String)>,
}

/// Writes a key; one that is not bare is quoted.
pub fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !name.is_empty() && name.chars().all(is_bare) {
        true => name.to_owned(),
        false => string(name),
    }
}

/// Writes a text.
pub fn string(text: &str) -> String {
    let mut written = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => written.push_str("\\\""),
            '\\' => written.push_str("\\\\"),
            c if c.is_control() => written.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => written.push(c),
        }
    }
    written + "\""
}

fn child<'a, 't>(
    table: &'a DeTable<'t>,
    name: &str,
) -> Option<(
    &'a Spanned<std::borrow::Cow<'t, str>>,
    &'a Spanned<DeValue<'t>>,
)> {
    table.iter().find(|(key, _)| key.get_ref() == name)
}

impl<'t> MappingText<'t> {
    /// Reads a text that was parsed before.
    pub fn new(text: &'t str) -> MappingText<'t> {
        MappingText {
            text,
            table: DeTable::parse(text).ok(),
            edits: Vec::new(),
        }
    }

    fn table_of(&self, path: &[&str]) -> Option<&DeTable<'t>> {
        let mut table = self.table.as_ref()?.get_ref();
        for name in path {
            table = child(table, name)?.1.get_ref().as_table()?;
        }
        Some(table)
    }

    /// Finds a key of an entity, as `["columns", "email"]`.
    pub fn entry(&self, entity: &str, path: &[&str]) -> Option<Entry> {
        let (name, parents) = path.split_last()?;
        let mut full = vec!["entities", entity];
        full.extend(parents);
        let (key, value) = child(self.table_of(&full)?, name)?;
        Some(Entry {
            key: key.span(),
            value: value.span(),
        })
    }

    /// Returns a part of the text.
    pub fn part(&self, range: &Range<usize>) -> &'t str {
        self.text.get(range.clone()).unwrap_or_default()
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |found| found + 1)
    }

    fn line_end(&self, at: usize) -> usize {
        let found = self.text[at..].find('\n');
        found.map_or(self.text.len(), |found| at + found + 1)
    }

    /// The keys that stand below each other in a section, each on lines of its own.
    fn lines_of(&self, path: &[&str]) -> Option<Vec<Entry>> {
        let table = self.table_of(path)?;
        let entries = table.iter().map(|(key, value)| Entry {
            key: key.span(),
            value: value.span(),
        });
        let alone = |it: &Entry| {
            let before = &self.text[self.line_start(it.key.start)..it.key.start];
            before.trim().is_empty()
        };
        Some(entries.filter(alone).collect())
    }

    /// Adds lines at the end of a section of an entity: of its own keys, or of its `columns`; tells whether there
    /// is a place for them.
    pub fn add_lines(&mut self, entity: &str, section: Option<&str>, lines: &str) -> bool {
        let mut path = vec!["entities", entity];
        path.extend(section);
        let last = self
            .lines_of(&path)
            .and_then(|entries| entries.iter().map(|it| it.value.end).max());
        let Some(last) = last else {
            return false;
        };
        let at = self.line_end(last);
        let gap = if self.text[..at].ends_with('\n') {
            ""
        } else {
            "\n"
        };
        self.edits.push((at..at, format!("{gap}{lines}\n")));
        true
    }

    /// Adds lines above a key.
    pub fn add_above(&mut self, entry: &Entry, lines: &str) {
        let at = self.line_start(entry.key.start);
        self.edits.push((at..at, format!("{lines}\n")));
    }

    /// Takes the lines of a key out.
    pub fn remove(&mut self, entry: &Entry) {
        let start = self.line_start(entry.key.start);
        let is_alone = self.text[start..entry.key.start].trim().is_empty();
        if is_alone {
            let end = self.line_end(entry.value.end);
            self.edits.push((start..end, String::new()));
        }
    }

    /// Puts something in the place of a part.
    pub fn replace(&mut self, range: Range<usize>, with: impl Into<String>) {
        self.edits.push((range, with.into()));
    }

    /// Adds a name to a list of an entity, which is made when it is missing.
    pub fn add_to_list(&mut self, entity: &str, list: &str, names: &[String]) {
        if names.is_empty() {
            return;
        }
        let quoted: Vec<String> = names.iter().map(|it| string(it)).collect();
        let quoted = quoted.join(", ");
        let Some(entry) = self.entry(entity, &[list]) else {
            self.add_lines(entity, None, &format!("{list} = [{quoted}]"));
            return;
        };
        let items = self.items(entity, list);
        match items.last() {
            Some(last) => self.replace(last.end..last.end, format!(", {quoted}")),
            None => self.replace(entry.value, format!("[{quoted}]")),
        }
    }

    fn items(&self, entity: &str, list: &str) -> Vec<Range<usize>> {
        let table = self.table_of(&["entities", entity]);
        let value = table.and_then(|it| child(it, list));
        let array = value.and_then(|(_, value)| value.get_ref().as_array());
        let items = array.into_iter().flat_map(|it| it.iter());
        items.map(Spanned::span).collect()
    }

    /// Takes names out of a list of an entity.
    pub fn take_from_list(&mut self, entity: &str, list: &str, names: &[String]) {
        let items = self.items(entity, list);
        let is_named = |range: &Range<usize>| names.iter().any(|it| string(it) == self.part(range));
        let kept: Vec<&str> = items
            .iter()
            .filter(|it| !is_named(it))
            .map(|it| self.part(it))
            .collect();
        if kept.len() == items.len() {
            return;
        }
        let (Some(first), Some(last)) = (items.first(), items.last()) else {
            return;
        };
        let written = kept.join(", ");
        // A comma after the last item stays where it is only when there is an item before it.
        let after = &self.text[last.end..];
        let comma = after.trim_start().starts_with(',') && kept.is_empty();
        let end = match comma {
            true => last.end + after.find(',').unwrap_or(0) + 1,
            false => last.end,
        };
        self.replace(first.start..end, written);
    }

    /// Gives a column another name wherever a value names it: behind one of the aliases, or bare.
    pub fn rename_in(&mut self, value: &Range<usize>, names: &Rename<'_>) {
        let found = names.found_in(self.part(value));
        for at in found {
            let start = value.start + at;
            self.replace(start..start + names.from.len(), names.to);
        }
    }

    /// Puts another text in the place of one, wherever a value says just that; tells whether it does.
    pub fn rename_text(&mut self, value: &Range<usize>, from: &str, to: &str) -> bool {
        let (written, inside) = (string(from), self.part(value));
        let found = inside.match_indices(&written).map(|(at, _)| at);
        // A quoted key of an inline table stands before an equals sign.
        let is_value = |at: &usize| {
            let after = inside[at + written.len()..].trim_start();
            !after.starts_with('=')
        };
        let found: Vec<usize> = found.filter(is_value).collect();
        for at in &found {
            let start = value.start + at;
            self.replace(start..start + written.len(), string(to));
        }
        !found.is_empty()
    }

    /// Returns the text with all edits.
    pub fn finish(mut self) -> String {
        let mut order: Vec<usize> = (0..self.edits.len()).collect();
        order.sort_by_key(|at| (self.edits[*at].0.start, self.edits[*at].0.end, *at));
        let mut done = String::new();
        let mut from = 0;
        for at in order {
            let (range, with) = std::mem::take(&mut self.edits[at]);
            // What was taken out is not edited as well.
            if range.start < from {
                continue;
            }
            done.push_str(&self.text[from..range.start]);
            done.push_str(&with);
            from = range.end;
        }
        done + &self.text[from..]
    }
}

/// A name that changes inside of values.
#[derive(Debug, Clone)]
pub struct Rename<'a> {
    /// The old name.
    pub from: &'a str,
    /// The new one.
    pub to: &'a str,
    /// Behind which aliases it is meant.
    pub aliases: Vec<&'a str>,
    /// Whether it is meant without an alias.
    pub is_bare: bool,
}

impl Rename<'_> {
    /// Finds the name inside of the strings of a value, but not inside of SQL's own literals.
    fn found_in(&self, value: &str) -> Vec<usize> {
        let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
        let mut found = Vec::new();
        let (mut quote, mut in_literal) = (None, false);
        let mut last = None;
        for (at, c) in value.char_indices() {
            match (quote, c) {
                (None, '"' | '\'') => (quote, in_literal) = (Some(c), false),
                (Some('"'), '"') if last != Some('\\') => quote = None,
                (Some('\''), '\'') => quote = None,
                (Some('"'), '\'') => in_literal = !in_literal,
                (Some(_), c) if !in_literal && value[at..].starts_with(self.from) => {
                    let after = value[at + self.from.len()..].chars().next();
                    let is_whole = !after.is_some_and(part_of_name)
                        && !value[..at].chars().next_back().is_some_and(part_of_name);
                    if is_whole && self.is_meant(&value[..at]) && part_of_name(c) {
                        found.push(at);
                    }
                }
                _ => {}
            }
            last = Some(c);
        }
        found
    }

    fn is_meant(&self, before: &str) -> bool {
        let Some(before) = before.strip_suffix('.') else {
            return self.is_bare;
        };
        let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
        let name = before.trim_end_matches(part_of_name);
        self.aliases.contains(&&before[name.len()..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "version = 1\n[entities.a]\nsource = \"t\" # own\nignore = [\"x\", \"y\"]\n\
        [entities.a.columns]\nn = { expr = \"t.x || u.x || 'x'\" }\nm = {}\n\n[entities.b]\nsource = \"u\"\n";

    #[test]
    fn lines_go_to_the_end_of_their_section() {
        let mut text = MappingText::new(TEXT);
        assert!(text.add_lines("a", Some("columns"), "o = {}"));
        assert!(text.add_lines("a", None, "key = [\"id\"]"));
        assert!(!text.add_lines("b", Some("columns"), "o = {}"));
        let done = text.finish();
        assert!(done.contains("m = {}\no = {}\n\n[entities.b]"), "{done}");
        assert!(
            done.contains("[\"x\", \"y\"]\nkey = [\"id\"]\n[entities.a.columns]"),
            "{done}"
        );
    }

    #[test]
    fn names_change_behind_their_alias_only() {
        let mut text = MappingText::new(TEXT);
        let entry = text.entry("a", &["columns", "n"]).unwrap();
        let rename = Rename {
            from: "x",
            to: "z",
            aliases: vec!["t"],
            is_bare: true,
        };
        text.rename_in(&entry.value, &rename);
        assert!(text.finish().contains("\"t.z || u.x || 'x'\""));
    }

    #[test]
    fn lists_grow_and_shrink() {
        let mut text = MappingText::new(TEXT);
        text.add_to_list("a", "ignore", &["z".to_owned()]);
        text.add_to_list("b", "ignore", &["z".to_owned()]);
        let done = text.finish();
        assert!(done.contains("ignore = [\"x\", \"y\", \"z\"]"), "{done}");
        assert!(
            done.contains("source = \"u\"\nignore = [\"z\"]\n"),
            "{done}"
        );
        let mut text = MappingText::new(TEXT);
        text.take_from_list("a", "ignore", &["x".to_owned()]);
        assert!(text.finish().contains("ignore = [\"y\"]"));
    }

    #[test]
    fn a_rule_goes_with_its_line() {
        let mut text = MappingText::new(TEXT);
        let entry = text.entry("a", &["columns", "n"]).unwrap();
        text.remove(&entry);
        assert!(text.finish().contains("columns]\nm = {}\n"));
    }
}
