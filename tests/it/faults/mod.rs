//! Faults: whatever breaks, the next run ends as if nothing had happened, and the operator is told what to do.
//!
//! The name of a test begins with the number of its case.

mod process;
mod scene;
mod source;
mod states;
mod target;
