//! Target ids: ordered ones, and ones derived from a name.
//!
//! An ordered id is a UUIDv8 (RFC 9562): 48 ordered bits, then 74 bits of a blake3 hash over installation,
//! entity and source key. Inserting in key order therefore appends to every index on the id, and a
//! lost ledger can be rebuilt, since the same key always gives the same id.

use super::key::{Key, KeyFault, KeyType};
use serde_json::Value;
use uuid::Uuid;

const ORDERED_MASK: u64 = (1 << 48) - 1;

/// Derives the target id of a source row.
///
/// `ordered` is what the first 48 bits come from: milliseconds since 1970 when the mapping names a
/// time column, otherwise a single integer key; without either the id carries hash bits only.
pub fn ordered_target_id(
    installation: Uuid,
    entity: &str,
    key: &Key,
    types: &[KeyType],
    time_millis: Option<i64>,
) -> Uuid {
    let mut hasher = blake3::Hasher::new();
    hasher.update(installation.as_bytes());
    hasher.update(&(entity.len() as u64).to_be_bytes());
    hasher.update(entity.as_bytes());
    hasher.update(&key.0);
    let hash = hasher.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    if let Some(ordered) = time_millis.or_else(|| integer_of(key, types)) {
        // Values outside 0..2^48 wrap: such ids lose their order, never their uniqueness.
        let ordered = (ordered.cast_unsigned() & ORDERED_MASK) << 16;
        bytes[..6].copy_from_slice(&ordered.to_be_bytes()[..6]);
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

fn integer_of(key: &Key, types: &[KeyType]) -> Option<i64> {
    if types != [KeyType::Integer] {
        return None;
    }
    let mut bytes: [u8; 8] = key.0.as_slice().try_into().ok()?;
    bytes[0] ^= 0x80;
    Some(i64::from_be_bytes(bytes))
}

/// A piece of the name from which a UUIDv5 is derived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NamePart {
    /// Text as it stands.
    Text(String),
    /// A key column, by its index.
    Key(usize),
}

/// How names become ids (RFC 9562, UUIDv5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedId {
    /// The namespace.
    pub namespace: Uuid,
    /// The name of a row.
    pub name: Vec<NamePart>,
}

/// Derives the target id of a source row from its name.
///
/// # Errors
/// A key that does not fit its types.
pub fn named_target_id(rule: &NamedId, key: &Key, types: &[KeyType]) -> Result<Uuid, KeyFault> {
    let fields = key.to_json(types)?;
    let mut name = String::new();
    for part in &rule.name {
        match part {
            NamePart::Text(text) => name.push_str(text),
            NamePart::Key(index) => match fields.get(*index) {
                Some(Value::String(text)) => name.push_str(text),
                Some(other) => name.push_str(&other.to_string()),
                None => return Err(KeyFault::Stored),
            },
        }
    }
    Ok(Uuid::new_v5(&rule.namespace, name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::encode_field;

    fn id_of(number: i64, entity: &str) -> Uuid {
        let mut out = Vec::new();
        encode_field(KeyType::Integer, Some(&number.to_be_bytes()), &mut out).unwrap();
        ordered_target_id(Uuid::nil(), entity, &Key(out), &[KeyType::Integer], None)
    }

    #[test]
    fn ids_are_ordered_distinct_and_of_version_eight() {
        let ids: Vec<Uuid> = (0..2000).map(|number| id_of(number, "clients")).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(ids[7].get_version_num(), 8);
        assert_eq!(ids[7], id_of(7, "clients"));
        assert_ne!(ids[7], id_of(7, "profiles"));
        assert_ne!(id_of(-1, "clients"), id_of((1 << 48) - 1, "clients"));
    }

    #[test]
    fn a_named_id_is_the_one_that_other_tools_derive() {
        let mut out = Vec::new();
        encode_field(KeyType::Integer, Some(&7_i64.to_be_bytes()), &mut out).unwrap();
        let rule = NamedId {
            namespace: Uuid::NAMESPACE_DNS,
            name: vec![NamePart::Text("client:".into()), NamePart::Key(0)],
        };
        let id = named_target_id(&rule, &Key(out), &[KeyType::Integer]).unwrap();
        // uuid.uuid5(uuid.NAMESPACE_DNS, "client:7") of Python.
        assert_eq!(id.to_string(), "11c2b43f-7506-530f-9c90-df91dcf109cf");
    }
}
