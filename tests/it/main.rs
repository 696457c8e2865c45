//! All integration tests in one binary: real servers, started and removed by the tests themselves.

mod architecture;
mod commands;
mod conflicts;
mod crash;
mod daily;
mod data_cases;
mod deletes;
mod explain;
mod faults;
mod grants;
mod help;
mod knots;
mod lanes;
mod modes;
mod quarantine;
mod random_values;
mod recovery;
mod refusal;
mod rules;
mod sandbox;
mod secrets;
mod statements;
mod story;
mod support;
mod swaps;
mod verify;
