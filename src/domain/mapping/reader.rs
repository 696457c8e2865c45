//! Reads TOML tables key by key and collects every problem instead of stopping at the first.

use super::issue::{MappingIssue, Spot, did_you_mean};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The text of the file and the problems found so far.
#[derive(Debug)]
pub struct Reader<'t> {
    /// The whole text; offsets refer to it.
    pub text: &'t str,
    /// The problems, in the order in which they were found.
    pub issues: Vec<MappingIssue>,
}

impl<'t> Reader<'t> {
    /// Starts with no problems.
    pub fn new(text: &'t str) -> Self {
        Reader {
            text,
            issues: Vec::new(),
        }
    }

    /// Turns a byte offset into line and column.
    pub fn spot(&self, offset: usize) -> Spot {
        Spot::of(self.text, offset)
    }

    /// Records a problem at a byte offset.
    pub fn report(
        &mut self,
        offset: usize,
        path: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        self.issues.push(MappingIssue {
            spot: self.spot(offset),
            path: path.to_owned(),
            message: message.into(),
            hint,
        });
    }
}

/// One table of the file with its path from the root.
#[derive(Debug, Clone)]
pub struct Section<'t> {
    table: &'t DeTable<'t>,
    path: String,
    offset: usize,
}

impl<'t> Section<'t> {
    /// Takes the whole file.
    pub fn root(table: &'t Spanned<DeTable<'t>>) -> Self {
        Section {
            table: table.get_ref(),
            path: String::new(),
            offset: 0,
        }
    }

    /// Takes a value that must be a table.
    pub fn of(value: &'t Spanned<DeValue<'t>>, path: String) -> Option<Self> {
        Some(Section {
            table: value.get_ref().as_table()?,
            path,
            offset: value.span().start,
        })
    }

    /// Returns the last part of the path.
    pub fn name(&self) -> &str {
        self.path.rsplit('.').next().unwrap_or("")
    }

    /// Returns the path from the root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns where the table begins.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Returns the keys with their offsets and values, in file order.
    pub fn entries(&self) -> impl Iterator<Item = (&'t str, usize, &'t Spanned<DeValue<'t>>)> {
        self.table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), key.span().start, value))
    }

    /// Returns the path of a key inside this table.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.entries()
            .find_map(|(name, _, value)| (name == key).then_some(value))
    }

    /// Tells whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// Returns the offset of a key, or of the table when the key is missing.
    pub fn offset_of(&self, key: &str) -> usize {
        self.entries()
            .find_map(|(name, at, _)| (name == key).then_some(at))
            .unwrap_or(self.offset)
    }

    /// Records a problem with a key.
    pub fn fault(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        reader.report(self.offset_of(key), &self.path_of(key), message, hint);
    }

    /// Reports every key that is not in the list.
    pub fn only(&self, reader: &mut Reader<'_>, known: &[&str]) {
        for (key, at, _) in self.entries() {
            if !known.contains(&key) {
                let hint = did_you_mean(key, known.iter().copied())
                    .or_else(|| Some(format!("known here: {}", known.join(", "))));
                reader.report(at, &self.path_of(key), "unknown key", hint);
            }
        }
    }

    fn wrong_type(&self, reader: &mut Reader<'_>, key: &str, wanted: &str) {
        let found = self
            .get(key)
            .map_or("nothing", |value| value.get_ref().type_str());
        let message = format!("expected {wanted}, found {found}");
        self.fault(reader, key, message, None);
    }

    /// Reads a text.
    pub fn string(&self, reader: &mut Reader<'_>, key: &str) -> Option<String> {
        let value = self.get(key)?;
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            self.wrong_type(reader, key, "a string");
        }
        text
    }

    /// Reads a text that must be there.
    pub fn required_string(&self, reader: &mut Reader<'_>, key: &str) -> Option<String> {
        if !self.has(key) {
            self.fault(reader, key, "this key is missing", None);
        }
        self.string(reader, key)
    }

    /// Reads an integer.
    pub fn integer(&self, reader: &mut Reader<'_>, key: &str) -> Option<i64> {
        let value = self.get(key)?;
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        if number.is_none() {
            self.wrong_type(reader, key, "an integer");
        }
        number
    }

    /// Reads `true` or `false`.
    pub fn boolean(&self, reader: &mut Reader<'_>, key: &str) -> Option<bool> {
        let value = self.get(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(reader, key, "true or false");
        }
        flag
    }

    /// Reads an array of texts.
    pub fn strings(&self, reader: &mut Reader<'_>, key: &str) -> Option<Vec<String>> {
        let value = self.get(key)?;
        let texts: Option<Vec<String>> = value.get_ref().as_array().and_then(|items| {
            items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect()
        });
        if texts.is_none() {
            self.wrong_type(reader, key, "an array of strings");
        }
        texts
    }

    /// Reads a table.
    pub fn section(&self, reader: &mut Reader<'_>, key: &str) -> Option<Section<'t>> {
        let section = Section::of(self.get(key)?, self.path_of(key));
        if section.is_none() {
            self.wrong_type(reader, key, "a table");
        }
        section
    }

    /// Reads every key of this table as a table.
    pub fn sections(&self, reader: &mut Reader<'_>) -> Vec<Section<'t>> {
        let keys: Vec<&str> = self.entries().map(|(key, _, _)| key).collect();
        keys.into_iter()
            .filter_map(|key| self.section(reader, key))
            .map(|section| Section {
                offset: self.offset_of(section.name()),
                ..section
            })
            .collect()
    }

    /// Reads an array of tables.
    pub fn section_list(&self, reader: &mut Reader<'_>, key: &str) -> Vec<Section<'t>> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let sections: Option<Vec<Section<'t>>> = value.get_ref().as_array().and_then(|items| {
            items
                .iter()
                .enumerate()
                .map(|(index, item)| Section::of(item, format!("{}[{index}]", self.path_of(key))))
                .collect()
        });
        if sections.is_none() {
            self.wrong_type(reader, key, "an array of tables");
        }
        sections.unwrap_or_default()
    }

    /// Reads one of several words.
    pub fn word<T: Copy>(
        &self,
        reader: &mut Reader<'_>,
        key: &str,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = self.string(reader, key)?;
        let found = words
            .iter()
            .find_map(|(word, value)| (*word == text).then_some(*value));
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let message = format!("`{text}` is not one of {}", known.join(", "));
            self.fault(reader, key, message, did_you_mean(&text, known));
        }
        found
    }
}
