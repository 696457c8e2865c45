//! The REST door: HTTP in, JSON out; no logic and no SQL.

mod access;
mod analysis;
mod answer;
mod control;
mod dashboard;
mod door;
mod entrance;
mod events;
mod execute;
mod health;
mod history;
mod input;
mod limits;
mod listen;
mod logs;
mod metrics;
mod openapi;
mod page;
mod quarantine;
mod router;
mod runner;
mod session;
mod swagger;
mod verification;

pub use access::{Scope, Tokens};
pub use door::{Door, DoorOptions, Opener, Opening};
pub use listen::{Listening, listen};
pub use openapi::document;
