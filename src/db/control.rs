//! The control schema: one file per table, one function per statement.

pub mod adopt;
pub mod batch;
pub mod catalog_snapshot;
pub mod detection;
pub mod event;
pub mod history;
pub mod lease;
pub mod ledger;
pub mod mapping_version;
pub mod metrics;
pub mod pace;
pub mod quarantine;
pub mod request_key;
pub mod retention;
pub mod schema;
pub mod sequence;
pub mod session;
pub mod state;
pub mod verification;
pub mod watermark;

use super::failure::explain;
use crate::domain::connection::Side;
use crate::error::Error;

/// Says that a control statement failed.
pub(crate) fn failed(doing: &'static str) -> impl Fn(sqlx::Error) -> Error {
    move |error| explain(Side::Target, doing, &error)
}
