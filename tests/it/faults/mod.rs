//! What must survive: one test per case of a failure, its number in front of the test's name.

mod configuration;
mod data;
mod disclosure;
mod network;
mod relations;
