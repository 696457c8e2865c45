//! Faults: whatever breaks, the next run ends as if nothing had happened, and the operator is told what to do.
//!
//! One test per case; its name begins with the number of the case.

mod configuration;
mod data;
mod disclosure;
mod network;
mod process;
mod relations;
mod scene;
mod source;
mod states;
mod target;
