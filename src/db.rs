//! The only room that names sqlx or writes SQL.

pub mod catalog;
pub mod control;
pub mod copy;
pub mod direct;
pub mod doctor;
pub mod draft;
pub mod failure;
pub mod grants;
pub mod script;
pub mod server;
pub mod source;
pub mod standing;
pub mod statement;

pub use copy::TupleStream;
pub use server::{Connection, Server};
