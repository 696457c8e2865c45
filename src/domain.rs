//! Nouns: plain values and pure functions, without I/O.

pub mod adopt;
pub mod canonical;
pub mod catalog;
pub mod connection;
pub mod detection;
pub mod direct;
pub mod doctor;
pub mod draft;
pub mod drift;
pub mod event;
pub mod expression;
pub mod identifier;
pub mod json_text;
pub mod key;
pub mod mapping;
pub mod pace;
pub mod plan;
pub mod quarantine;
pub mod resolve;
pub mod session;
pub mod suggestion;
pub mod target_id;
pub mod tuple;
pub mod unreadable;
pub mod verification;
pub mod watermark;
