//! Rows that are set aside: how they stand, and how their keys are written.

use serde_json::Value;
use uuid::Uuid;

/// How a row in quarantine stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuarantineStatus {
    /// It cannot be applied as it is.
    Open,
    /// It waits for a parent.
    Held,
    /// Both sides changed, and the target's edit was kept.
    Conflict,
    /// An operator accepts that it stays out.
    Waived,
    /// It was set aside once, and is no longer.
    Resolved,
}

/// Rows that somebody should look at.
pub const UNSETTLED: &[QuarantineStatus] = &[
    QuarantineStatus::Open,
    QuarantineStatus::Held,
    QuarantineStatus::Conflict,
];
/// Rows that are out of the target, accepted or not.
pub const SET_ASIDE: &[QuarantineStatus] = &[
    QuarantineStatus::Open,
    QuarantineStatus::Held,
    QuarantineStatus::Conflict,
    QuarantineStatus::Waived,
];
/// Every row there is, history included.
pub const ANY_STATUS: &[QuarantineStatus] = &[
    QuarantineStatus::Open,
    QuarantineStatus::Held,
    QuarantineStatus::Conflict,
    QuarantineStatus::Waived,
    QuarantineStatus::Resolved,
];

/// Returns the rows that a word means: one status, `unsettled`, or `any`.
pub fn of_word(word: &str) -> Option<&'static [QuarantineStatus]> {
    match word {
        "unsettled" => Some(UNSETTLED),
        "any" => Some(ANY_STATUS),
        _ => ANY_STATUS.chunks(1).find(|it| it[0].word() == word),
    }
}

impl QuarantineStatus {
    /// Returns the word in the control table and in every output.
    pub fn word(self) -> &'static str {
        match self {
            QuarantineStatus::Open => "open",
            QuarantineStatus::Held => "held",
            QuarantineStatus::Conflict => "conflict",
            QuarantineStatus::Waived => "waived",
            QuarantineStatus::Resolved => "resolved",
        }
    }
}

/// Returns the stored keys that a written key can mean.
///
/// `42` may be a number or a text, a JSON array is a key of several columns; the columns of one entity
/// have one type, so at most one of them is there.
pub fn meant_keys(written: &str) -> Vec<Value> {
    let mut meant = vec![Value::from(vec![written])];
    if let Ok(number) = written.trim().parse::<i64>() {
        meant.push(Value::from(vec![number]));
    }
    if let Ok(uuid) = Uuid::parse_str(written.trim()) {
        meant.push(Value::from(vec![uuid.to_string()]));
    }
    if let Ok(array @ Value::Array(_)) = serde_json::from_str(written) {
        meant.push(array);
    }
    meant
}

/// Writes a stored key the way commands take it: `42`, or a JSON array for several columns.
pub fn written_key(stored: &Value) -> String {
    match stored.as_array().map(Vec::as_slice) {
        Some([Value::String(text)]) => text.clone(),
        Some([single]) => single.to_string(),
        _ => stored.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_written_key_means_what_was_stored() {
        for stored in [
            json!([42]),
            json!([-7]),
            json!(["42"]),
            json!(["de", "2024-01-31"]),
            json!([1, "a\"b"]),
            json!(["0b5c7a9e-3c1f-4c55-9d0b-3f6f3b8f6a11"]),
            json!(["[1]"]),
        ] {
            let written = written_key(&stored);
            assert!(
                meant_keys(&written).contains(&stored),
                "{stored} as {written}"
            );
        }
        let upper = "0B5C7A9E-3C1F-4C55-9D0B-3F6F3B8F6A11";
        assert!(meant_keys(upper).contains(&json!([upper.to_lowercase()])));
    }
}
