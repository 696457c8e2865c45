//! How the structure of both databases has changed, and what the mapping needs because of that.

mod diff;
mod guard;
mod suggest;

pub use diff::{ChangeReport, DiffRequest, Problem, SchemaDiff, SeenAt, diff};
pub use suggest::{SchemaSuggestion, SuggestRequest, SuggestedFile, suggest, write};

pub(crate) use guard::{look_for_drift, refuse_drift, remember, say_drift};
