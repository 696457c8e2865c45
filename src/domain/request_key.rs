//! A key that a client gives to a request, so that repeating it starts nothing twice.

use serde_json::Value;

/// The key and what was asked for under it.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestKey {
    /// As the client gave it.
    pub key: String,
    /// What it asked for, in full.
    pub body: Value,
}
