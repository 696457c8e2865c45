//! Accidents by the hundred: connections cut at every message, processes killed, and what must hold after.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod enumeration;
#[cfg(feature = "failpoints")]
mod failpoints;
mod histories;
mod model;
mod network;
pub mod report;
mod scenario;
mod stand;
