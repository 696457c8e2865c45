//! Source keys: their types, their order and how they are written down.

use chrono::{Datelike, NaiveDate, TimeDelta};
use serde_json::Value;
use uuid::Uuid;

/// The type in which a key column travels and is stored in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// Any integer type, sent as `bigint`.
    Integer,
    /// Text types, ordered by `collate "C"`.
    Text,
    /// `uuid`.
    Uuid,
    /// `date`, sent as days since 2000-01-01.
    Date,
}

impl KeyType {
    /// Maps the name of a PostgreSQL base type to a key type; `None` if it cannot be a key.
    pub fn from_base_type(base: &str) -> Option<KeyType> {
        match base {
            "int2" | "int4" | "int8" => Some(KeyType::Integer),
            "text" | "varchar" | "bpchar" | "name" => Some(KeyType::Text),
            "uuid" => Some(KeyType::Uuid),
            "date" => Some(KeyType::Date),
            _ => None,
        }
    }

    /// Returns the SQL type of the column in ledger, stage and change lists.
    pub fn sql_type(self) -> &'static str {
        match self {
            KeyType::Integer => "bigint",
            KeyType::Text => "text",
            KeyType::Uuid => "uuid",
            KeyType::Date => "date",
        }
    }

    /// Returns the clause that makes PostgreSQL order this column by its bytes.
    pub fn order_suffix(self) -> &'static str {
        match self {
            KeyType::Text => " collate \"C\"",
            _ => "",
        }
    }
}

/// A malformed key field; it names no value.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyFault {
    /// A key column is NULL.
    #[error("a key column is NULL")]
    Null,
    /// The bytes do not have the shape of the key type.
    #[error("a key field has an unexpected binary length")]
    Length,
    /// A stored key does not fit the entity's key type.
    #[error("a stored key does not fit the key type of the entity")]
    Stored,
}

/// Appends one binary field to an order-preserving key: comparing the bytes compares the keys.
///
/// # Errors
/// A NULL or a field whose length does not fit the type.
pub fn encode_field(
    key_type: KeyType,
    field: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), KeyFault> {
    let field = field.ok_or(KeyFault::Null)?;
    let flip_sign = |out: &mut Vec<u8>, width: usize| {
        if field.len() != width {
            return Err(KeyFault::Length);
        }
        out.push(field[0] ^ 0x80);
        out.extend_from_slice(&field[1..]);
        Ok(())
    };
    match key_type {
        KeyType::Integer => flip_sign(out, 8),
        KeyType::Date => flip_sign(out, 4),
        KeyType::Uuid if field.len() != 16 => Err(KeyFault::Length),
        KeyType::Uuid => {
            out.extend_from_slice(field);
            Ok(())
        }
        KeyType::Text => {
            // PostgreSQL text holds no NUL, so a NUL ends the field and sorts below every longer text.
            out.extend_from_slice(field);
            out.push(0);
            Ok(())
        }
    }
}

/// A source key in its order-preserving encoding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(pub Vec<u8>);

impl Key {
    /// Encodes one integer.
    pub fn of_integer(number: i64) -> Key {
        Key(((number.cast_unsigned()) ^ (1 << 63))
            .to_be_bytes()
            .to_vec())
    }

    /// Returns the integer that the key is; `None` when it is no single integer, by its length.
    pub fn integer(&self) -> Option<i64> {
        let bytes = self.0.as_slice().try_into().ok()?;
        Some((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
    }

    /// Returns the binary field values of the key, one per key column.
    ///
    /// # Errors
    /// The bytes do not fit the types.
    pub fn fields(&self, types: &[KeyType]) -> Result<Vec<Vec<u8>>, KeyFault> {
        let mut rest = self.0.as_slice();
        let mut fields = Vec::with_capacity(types.len());
        for key_type in types {
            let width = match key_type {
                KeyType::Integer => 8,
                KeyType::Date => 4,
                KeyType::Uuid => 16,
                KeyType::Text => memchr::memchr(0, rest).ok_or(KeyFault::Length)?,
            };
            if rest.len() < width {
                return Err(KeyFault::Length);
            }
            let (field, tail) = rest.split_at(width);
            let mut field = field.to_vec();
            if matches!(key_type, KeyType::Integer | KeyType::Date) {
                field[0] ^= 0x80;
            }
            rest = if *key_type == KeyType::Text {
                &tail[1..]
            } else {
                tail
            };
            fields.push(field);
        }
        Ok(fields)
    }

    /// Returns the key as a JSON array, the form in which control tables and exports hold it.
    ///
    /// # Errors
    /// The bytes do not fit the types.
    pub fn to_json(&self, types: &[KeyType]) -> Result<Value, KeyFault> {
        let mut values = Vec::with_capacity(types.len());
        for (key_type, field) in types.iter().zip(self.fields(types)?) {
            values.push(match key_type {
                KeyType::Integer => Value::from(i64::from_be_bytes(fixed(&field)?)),
                KeyType::Date => date_to_json(i32::from_be_bytes(fixed(&field)?)),
                KeyType::Uuid => Value::from(Uuid::from_bytes(fixed(&field)?).to_string()),
                KeyType::Text => Value::from(String::from_utf8_lossy(&field).into_owned()),
            });
        }
        Ok(Value::Array(values))
    }

    /// Reads back what [`Key::to_json`] wrote.
    ///
    /// # Errors
    /// The value does not fit the types.
    pub fn from_json(value: &Value, types: &[KeyType]) -> Result<Key, KeyFault> {
        let parts = value.as_array().ok_or(KeyFault::Stored)?;
        if parts.len() != types.len() {
            return Err(KeyFault::Stored);
        }
        let mut out = Vec::new();
        for (key_type, part) in types.iter().zip(parts) {
            let field = match key_type {
                KeyType::Integer => {
                    let number = part.as_i64().ok_or(KeyFault::Stored)?;
                    number.to_be_bytes().to_vec()
                }
                KeyType::Date => date_from_json(part)?.to_be_bytes().to_vec(),
                KeyType::Uuid => {
                    let text = part.as_str().ok_or(KeyFault::Stored)?;
                    let uuid = Uuid::parse_str(text).map_err(|_| KeyFault::Stored)?;
                    uuid.as_bytes().to_vec()
                }
                KeyType::Text => part.as_str().ok_or(KeyFault::Stored)?.as_bytes().to_vec(),
            };
            encode_field(*key_type, Some(&field), &mut out)?;
        }
        Ok(Key(out))
    }
}

/// PostgreSQL counts days from here.
fn date_epoch() -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(2000, 1, 1)
}

/// Writes a date as PostgreSQL's own JSON does; years that text form has no plain place for stay a number of days.
fn date_to_json(days: i32) -> Value {
    match days {
        i32::MAX => return Value::from("infinity"),
        i32::MIN => return Value::from("-infinity"),
        _ => {}
    }
    let date =
        date_epoch().and_then(|epoch| epoch.checked_add_signed(TimeDelta::days(days.into())));
    match date {
        Some(date) if (1..=9999).contains(&date.year()) => Value::from(date.to_string()),
        _ => Value::from(days),
    }
}

fn date_from_json(value: &Value) -> Result<i32, KeyFault> {
    if let Some(days) = value.as_i64() {
        return i32::try_from(days).map_err(|_| KeyFault::Stored);
    }
    match value.as_str() {
        Some("infinity") => Ok(i32::MAX),
        Some("-infinity") => Ok(i32::MIN),
        Some(text) => {
            let date: NaiveDate = text.parse().map_err(|_| KeyFault::Stored)?;
            let epoch = date_epoch().ok_or(KeyFault::Stored)?;
            i32::try_from((date - epoch).num_days()).map_err(|_| KeyFault::Stored)
        }
        None => Err(KeyFault::Stored),
    }
}

fn fixed<const N: usize>(field: &[u8]) -> Result<[u8; N], KeyFault> {
    field.try_into().map_err(|_| KeyFault::Length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn integer_key(number: i64) -> Key {
        let mut out = Vec::new();
        encode_field(KeyType::Integer, Some(&number.to_be_bytes()), &mut out).unwrap();
        Key(out)
    }

    fn text_pair(left: &str, right: &str) -> Key {
        let mut out = Vec::new();
        encode_field(KeyType::Text, Some(left.as_bytes()), &mut out).unwrap();
        encode_field(KeyType::Text, Some(right.as_bytes()), &mut out).unwrap();
        Key(out)
    }

    proptest! {
        #[test]
        fn integer_keys_order_like_integers(a: i64, b: i64) {
            prop_assert_eq!(integer_key(a).cmp(&integer_key(b)), a.cmp(&b));
        }

        #[test]
        fn composite_text_keys_order_column_by_column(
            a in ("[^\0]{0,4}", "[^\0]{0,4}"),
            b in ("[^\0]{0,4}", "[^\0]{0,4}"),
        ) {
            let expected = (a.0.as_bytes(), a.1.as_bytes()).cmp(&(b.0.as_bytes(), b.1.as_bytes()));
            prop_assert_eq!(text_pair(&a.0, &a.1).cmp(&text_pair(&b.0, &b.1)), expected);
        }

        #[test]
        fn json_round_trips(number: i64, text in "[^\0]{0,8}", bytes: [u8; 16], days: i32) {
            let types = [KeyType::Integer, KeyType::Text, KeyType::Uuid, KeyType::Date];
            let mut out = Vec::new();
            encode_field(types[0], Some(&number.to_be_bytes()), &mut out).unwrap();
            encode_field(types[1], Some(text.as_bytes()), &mut out).unwrap();
            encode_field(types[2], Some(&bytes), &mut out).unwrap();
            encode_field(types[3], Some(&days.to_be_bytes()), &mut out).unwrap();
            let key = Key(out);
            let json = key.to_json(&types).unwrap();
            prop_assert_eq!(Key::from_json(&json, &types).unwrap(), key);
        }
    }

    #[test]
    fn dates_are_written_as_the_server_writes_them() {
        let written = |days: i32| {
            let mut out = Vec::new();
            encode_field(KeyType::Date, Some(&days.to_be_bytes()), &mut out).unwrap();
            Key(out).to_json(&[KeyType::Date]).unwrap().to_string()
        };
        assert_eq!(written(0), "[\"2000-01-01\"]");
        assert_eq!(written(-1), "[\"1999-12-31\"]");
        assert_eq!(written(i32::MAX), "[\"infinity\"]");
    }

    #[test]
    fn a_null_key_is_refused() {
        let fault = encode_field(KeyType::Text, None, &mut Vec::new());
        assert_eq!(fault, Err(KeyFault::Null));
    }
}
