//! Why an expression or query was refused.

use sqlparser::parser::ParserError;
use sqlparser::tokenizer::Location;
use thiserror::Error;

/// A refused expression or query: what is wrong, what may help, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ExpressionFault {
    /// What is wrong.
    pub message: String,
    /// What may help.
    pub hint: Option<String>,
    /// Line and column inside the text, both from 1, if known.
    pub position: Option<(u64, u64)>,
}

impl ExpressionFault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        ExpressionFault {
            message: message.into(),
            hint: None,
            position: None,
        }
    }

    pub(super) fn refused(construct: &str) -> Self {
        ExpressionFault::new(format!("{construct} not allowed"))
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the position unless it is unknown or an inner construct has set it already.
    pub(super) fn at(mut self, location: Location) -> Self {
        if location.line > 0 && self.position.is_none() {
            self.position = Some((location.line, location.column));
        }
        self
    }

    pub(super) fn from_parser(error: &ParserError) -> Self {
        let text = match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
            ParserError::RecursionLimitExceeded => {
                return ExpressionFault::new("the text is nested too deeply");
            }
        };
        let Some((message, place)) = text.rsplit_once(" at Line: ") else {
            return ExpressionFault::new(text.as_str());
        };
        let mut fault = ExpressionFault::new(message);
        if let Some((line, column)) = place.split_once(", Column: ") {
            fault.position = line.parse().ok().zip(column.parse().ok());
        }
        fault
    }
}
