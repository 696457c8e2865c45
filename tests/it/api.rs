//! The REST API, on real servers and through real sockets.

mod access;
mod description;
mod endpoints;
mod examples;
mod outage;
mod refusal;
mod sessions;
mod stream;
