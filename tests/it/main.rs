//! All integration tests in one binary: real servers, started and removed by the tests themselves.

mod help;
mod sandbox;
mod story;
mod support;
