//! Verbs: each takes a typed request and returns a typed report, and prints nothing.

pub mod adopt;
pub mod analyze;
pub mod control;
pub mod detect;
pub mod detections;
pub mod doctor;
pub mod explain;
pub mod follow;
pub(crate) mod give_way;
pub mod grants;
pub mod history;
pub mod init;
mod isolate;
pub mod journal;
pub mod lease;
pub mod logs;
pub mod metrics;
pub mod migrate;
pub(crate) mod outage;
pub(crate) mod parting;
pub mod quarantine;
pub mod request_key;
pub mod rows;
pub mod schema;
pub mod sessions;
pub mod status;
pub mod verify;
pub(crate) mod vitals;
pub mod workshop;

/// The host's name, for leases and sessions.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// This process, as the control tables hold it.
pub(crate) fn process_id() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(i32::MAX)
}
