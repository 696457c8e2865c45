//! The canonical row: what is compared, hashed and staged.
//!
//! Field order of a source tuple: key columns, compared columns, fault, columns owned by the target,
//! and, if the mapping orders ids by a time, milliseconds since 1970. The row hash covers which columns are
//! filled and everything up to and including the fault, so a row that was mended is never taken for the faulty one.

use super::json_text::{canonical_json, extract, wrap_raw};
use super::key::{Key, KeyFault, KeyType, encode_field};
use super::mapping::JsonFallback;
use super::resolve::{Extract, ExtractForm, ResolvedEntity, ResolvedValue};
use super::tuple::{
    Fields, KEPT_CAPACITY, PROJECTION_VERSION, Tuple, TupleFault, put_field, row_hash,
};

/// A source tuple that does not have the promised shape.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalFault {
    /// The frame is broken.
    #[error(transparent)]
    Tuple(#[from] TupleFault),
    /// A key field is unusable.
    #[error(transparent)]
    Key(#[from] KeyFault),
    /// Too few fields.
    #[error("a source row has fewer fields than its projection")]
    Fields,
}

/// How one JSON text field is treated.
#[derive(Debug, Clone)]
struct JsonField {
    index: usize,
    column: String,
    extract: Option<Extract>,
    on_error: JsonFallback,
    empty_is_null: bool,
    not_null: bool,
}

/// The shape of an entity's tuples.
#[derive(Debug, Clone)]
pub struct RowShape {
    key_types: Vec<KeyType>,
    hashed_fields: usize,
    total_fields: usize,
    has_time: bool,
    json: Vec<JsonField>,
    layout: [u8; LAYOUT],
}

/// How many bytes say which columns a row fills.
const LAYOUT: usize = 16;
/// What the hash covers before the fields: the projection version and the layout.
const PREFIX: usize = 1 + LAYOUT;

/// Names the compared columns of the target, in order, with the entities that they refer to: values that go
/// elsewhere, or mean another parent, are other rows although their bytes are the same.
pub fn layout(entity: &ResolvedEntity) -> String {
    let compared = entity.columns.iter().take(entity.compared_count());
    let named = compared.map(|column| {
        let fallback = column.fallback();
        let other = match fallback.is_empty() {
            true => String::new(),
            false => format!(" {fallback:?}"),
        };
        format!("{:?} {:?}{other}", column.name, column.parents())
    });
    named.collect::<Vec<_>>().join(",")
}

impl RowShape {
    /// Derives the shape from a resolved entity.
    pub fn new(entity: &ResolvedEntity) -> Self {
        let key_types = entity.key_types();
        let compared = entity.compared_count();
        let mut json = Vec::new();
        let mut at = key_types.len();
        let mut hashed_fields = 0;
        for (index, column) in entity.columns.iter().enumerate() {
            if index == compared {
                at += 1;
                hashed_fields = at;
            }
            if let ResolvedValue::Json {
                extract,
                on_error,
                empty_is_null,
                ..
            } = &column.value
            {
                json.push(JsonField {
                    index: at,
                    column: column.name.clone(),
                    extract: extract.clone(),
                    on_error: on_error.clone(),
                    empty_is_null: *empty_is_null,
                    not_null: column.not_null,
                });
            }
            at += if matches!(column.value, ResolvedValue::Poly { .. }) {
                2
            } else {
                1
            };
        }
        if entity.columns.len() == compared {
            at += 1;
            hashed_fields = at;
        }
        let has_time = entity.id_time.is_some();
        let digest = blake3::hash(layout(entity).as_bytes());
        let mut layout = [0; LAYOUT];
        layout.copy_from_slice(&digest.as_bytes()[..LAYOUT]);
        RowShape {
            key_types,
            hashed_fields,
            total_fields: at + usize::from(has_time),
            has_time,
            json,
            layout,
        }
    }

    /// Derives the shape of rows that are read back from the target, where nothing is left to take out.
    pub fn of_target(entity: &ResolvedEntity) -> Self {
        let mut shape = RowShape::new(entity);
        shape.json.retain_mut(|field| {
            let taken = field.extract.take();
            taken.is_none_or(|it| it.form == ExtractForm::Json)
        });
        shape
    }

    /// Returns the key's types.
    pub fn key_types(&self) -> &[KeyType] {
        &self.key_types
    }

    /// Returns how many fields a tuple has.
    pub fn total_fields(&self) -> usize {
        self.total_fields
    }

    /// Returns how many fields are staged: all but the time.
    pub fn staged_fields(&self) -> usize {
        self.total_fields - usize::from(self.has_time)
    }
}

/// One row at a time, with buffers that are used again for the next.
#[derive(Debug)]
pub struct CanonicalRow {
    shape: RowShape,
    key: Key,
    hash: [u8; 16],
    time_millis: Option<i64>,
    /// The projection version and the layout, then the staged fields.
    bytes: Vec<u8>,
    is_faulty: bool,
}

impl CanonicalRow {
    /// Prepares buffers for rows of a shape.
    pub fn new(shape: RowShape) -> Self {
        CanonicalRow {
            shape,
            key: Key::default(),
            hash: [0; 16],
            time_millis: None,
            bytes: Vec::new(),
            is_faulty: false,
        }
    }

    /// Returns the key.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// Returns the row hash.
    pub fn hash(&self) -> &[u8; 16] {
        &self.hash
    }

    /// Returns the time that orders the id.
    pub fn time_millis(&self) -> Option<i64> {
        self.time_millis
    }

    /// Tells whether the row cannot go as it is.
    pub fn is_faulty(&self) -> bool {
        self.is_faulty
    }

    /// Returns the framed fields to stage.
    pub fn staged(&self) -> &[u8] {
        self.bytes.get(PREFIX..).unwrap_or_default()
    }

    /// Takes the next source tuple.
    ///
    /// # Errors
    /// The tuple does not have the shape.
    pub fn read(&mut self, tuple: Tuple<'_>) -> Result<(), CanonicalFault> {
        self.key.0.clear();
        let framed = tuple.framed_fields();
        let mut fields = Fields::new(framed);
        for key_type in &self.shape.key_types {
            let field = fields.next().ok_or(CanonicalFault::Fields)??;
            encode_field(*key_type, field, &mut self.key.0)?;
        }
        let consumed = |fields: &Fields<'_>| framed.len() - fields.rest().len();
        // The last of the hashed fields is the fault.
        self.is_faulty = false;
        for _ in self.shape.key_types.len()..self.shape.hashed_fields {
            self.is_faulty = fields.next().ok_or(CanonicalFault::Fields)??.is_some();
        }
        let hashed_end = consumed(&fields);
        for _ in self.shape.hashed_fields..self.shape.staged_fields() {
            fields.next().ok_or(CanonicalFault::Fields)??;
        }
        let staged = &framed[..consumed(&fields)];
        self.time_millis = None;
        if self.shape.has_time {
            let field = fields.next().ok_or(CanonicalFault::Fields)??;
            let bytes = field.and_then(|bytes| bytes.try_into().ok());
            self.time_millis = bytes.map(i64::from_be_bytes);
        }
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_CAPACITY);
        self.bytes.push(PROJECTION_VERSION);
        self.bytes.extend_from_slice(&self.shape.layout);
        let hashed_end = if self.shape.json.is_empty() {
            self.bytes.extend_from_slice(staged);
            PREFIX + hashed_end
        } else {
            self.rewrite(staged)?
        };
        self.hash = row_hash(&self.bytes[..hashed_end]);
        Ok(())
    }

    /// Appends the row with every JSON text in PostgreSQL's canonical form; returns where the hashed part ends.
    fn rewrite(&mut self, framed: &[u8]) -> Result<usize, CanonicalFault> {
        let mut fault: Option<String> = None;
        let mut hashed_end = 0;
        let mut json = self.shape.json.iter().peekable();
        let mut text = Vec::new();
        for (index, field) in Fields::new(framed).enumerate() {
            let field = field?;
            if let Some(rule) = json.next_if(|rule| rule.index == index) {
                text.clear();
                let parsed = parse_json(rule, field, &mut text);
                if let Err(reason) = &parsed {
                    fault.get_or_insert_with(|| format!("{reason}|{}", rule.column));
                }
                let value = matches!(parsed, Ok(true)).then_some(text.as_slice());
                put_field(&mut self.bytes, value);
            } else if index + 1 == self.shape.hashed_fields {
                self.is_faulty |= fault.is_some();
                // A fault that the source found comes first: it may be why the JSON is missing.
                put_field(
                    &mut self.bytes,
                    field.or(fault.as_ref().map(String::as_bytes)),
                );
            } else {
                put_field(&mut self.bytes, field);
            }
            if index + 1 == self.shape.hashed_fields {
                hashed_end = self.bytes.len();
            }
        }
        Ok(hashed_end)
    }
}

/// The first byte of binary jsonb.
const JSONB_VERSION: u8 = 1;

/// Writes the binary value and returns whether there is one, or `sqlstate|reason`.
fn parse_json(
    rule: &JsonField,
    field: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<bool, &'static str> {
    let text = field.filter(|text| !(text.is_empty() && rule.empty_is_null));
    let there = match text {
        None => false,
        Some(text) => match &rule.extract {
            None => parse_document(rule, text, out)?,
            Some(extract) => parse_extract(rule, extract, text, out)?,
        },
    };
    if !there && rule.not_null {
        return Err("23502|NULL in a required column");
    }
    Ok(there)
}

fn parse_document(rule: &JsonField, text: &[u8], out: &mut Vec<u8>) -> Result<bool, &'static str> {
    out.push(JSONB_VERSION);
    if canonical_json(text, out).is_ok() {
        return Ok(true);
    }
    out.truncate(1);
    match &rule.on_error {
        JsonFallback::Error => Err("22P02|not valid JSON"),
        JsonFallback::Null => Ok(false),
        JsonFallback::Wrap(key) => match wrap_raw(key, text, out) {
            Ok(()) => Ok(true),
            Err(_) => Err("22P05|text that JSON cannot hold"),
        },
    }
}

fn parse_extract(
    rule: &JsonField,
    extract: &Extract,
    text: &[u8],
    out: &mut Vec<u8>,
) -> Result<bool, &'static str> {
    let mut document = Vec::new();
    if canonical_json(text, &mut document).is_err() {
        return match rule.on_error {
            JsonFallback::Null => Ok(false),
            _ => Err("22P02|not valid JSON"),
        };
    }
    let Some(value) = extract::find(&document, &extract.path) else {
        return Ok(false);
    };
    if extract.form == ExtractForm::Json {
        out.push(JSONB_VERSION);
        out.extend_from_slice(value);
        return Ok(true);
    }
    let mut taken = Vec::new();
    if !extract::as_text(value, &mut taken) {
        return Ok(false);
    }
    let text = std::str::from_utf8(&taken).map_err(|_| "22P02|not valid JSON")?;
    encode_extract(&extract.form, text, out)?;
    Ok(true)
}

/// Writes an extracted text in its binary form.
fn encode_extract(form: &ExtractForm, text: &str, out: &mut Vec<u8>) -> Result<(), &'static str> {
    let word = text.trim_matches([' ', '\t', '\n', '\r', '\x0c', '\x0b']);
    match form {
        ExtractForm::Json => out.extend_from_slice(text.as_bytes()),
        ExtractForm::Text { limit, labels } => {
            if limit.is_some_and(|limit| text.chars().count() > limit) {
                return Err("22001|longer than the column");
            }
            if labels
                .as_ref()
                .is_some_and(|all| !all.iter().any(|it| it == text))
            {
                return Err("22P02|not a label of the enum");
            }
            out.extend_from_slice(text.as_bytes());
        }
        ExtractForm::Integer(bytes) => {
            const REASON: &str = "22P02|not an integer in range";
            let number: i64 = word.parse().map_err(|_| REASON)?;
            match bytes {
                2 => out.extend(i16::try_from(number).map_err(|_| REASON)?.to_be_bytes()),
                4 => out.extend(i32::try_from(number).map_err(|_| REASON)?.to_be_bytes()),
                _ => out.extend(number.to_be_bytes()),
            }
        }
        ExtractForm::Boolean => match word.to_ascii_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => out.push(1),
            "f" | "false" | "n" | "no" | "off" | "0" => out.push(0),
            _ => return Err("22P02|not a boolean"),
        },
        ExtractForm::Uuid => {
            let plain = !word.starts_with("urn");
            let uuid = Some(word)
                .filter(|_| plain)
                .and_then(|it| uuid::Uuid::try_parse(it).ok());
            out.extend_from_slice(uuid.ok_or("22P02|not a uuid")?.as_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::tuple::{HEADER, TupleReader};

    #[test]
    fn the_hash_covers_version_layout_and_fields_up_to_the_fault() {
        let shape = RowShape {
            key_types: vec![KeyType::Integer],
            hashed_fields: 3,
            total_fields: 4,
            has_time: false,
            json: Vec::new(),
            layout: [7; LAYOUT],
        };
        let mut row = CanonicalRow::new(shape);
        // On both sides of a block and of a chunk of blake3, and of the buffer that is kept; short ones last.
        for length in [2_000_000, 5000, 1003, 1002, 1001, 43, 42, 0] {
            let value: Vec<u8> = (0..=250).cycle().take(length).collect();
            let mut framed = Vec::new();
            put_field(&mut framed, Some(&7_i64.to_be_bytes()));
            put_field(&mut framed, Some(&value));
            put_field(&mut framed, None);
            let whole = blake3::hash(&[&[PROJECTION_VERSION], &[7; LAYOUT][..], &framed].concat());
            put_field(&mut framed, Some(b"the target's own"));
            let mut reader = TupleReader::default();
            reader.push(&[HEADER, &4_i16.to_be_bytes(), &framed].concat());
            assert!(reader.advance().unwrap());
            row.read(reader.tuple()).unwrap();
            assert_eq!(*row.hash(), whole.as_bytes()[..16], "{length}");
            assert_eq!(row.staged(), framed, "{length}");
        }
    }
}
