//! How the structure of both databases has changed, and what the mapping needs because of that.

mod guard;

pub(crate) use guard::{look_for_drift, refuse_drift, remember, say_drift};
