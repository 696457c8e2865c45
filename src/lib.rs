//! diffmig moves a legacy PostgreSQL database into Supabase differentially.
//!
//! The rooms of the house and who may import whom are drawn in `ARCHITECTURE.md`.

pub mod api;
pub mod cli;
pub mod config;
pub mod context;
pub mod db;
pub mod domain;
pub mod error;
pub mod failpoint;
pub mod sandbox;
pub mod service;
