//! Refusals: one shape, stable codes, and never a word of a database.

use crate::error::{Error, Kind};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a handler gives when it does not refuse.
pub(super) type Answer<T> = Result<T, Refusal>;

/// The body of every refusal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ErrorDocument {
    /// What went wrong.
    pub error: ErrorBody,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorBody {
    /// A stable word for programs.
    #[schema(example = "invalid_field")]
    pub code: String,
    /// A sentence for people.
    #[schema(example = "batchSize: must be between 1 and 100000")]
    pub message: String,
    /// What is known beyond that.
    pub details: ErrorDetails,
    /// The id of the request; the server's log has the cause under it.
    pub request_id: String,
    /// When it was refused.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: String,
}

/// What is known beyond code and message.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErrorDetails {
    /// The field, parameter or header that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "batchSize", nullable = false)]
    pub field: Option<String>,
    /// The session that stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub session_id: Option<Uuid>,
    /// The state in which the session is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub state: Option<String>,
    /// What helps.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub next: Option<String>,
}

/// Why a request is not answered.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub status: StatusCode,
    pub code: &'static str,
    pub message: String,
    pub details: Box<ErrorDetails>,
    /// After how many seconds it may be tried again.
    pub retry_after: Option<u64>,
    /// For the log of the server only.
    pub cause: Option<String>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal {
            status,
            code,
            message: message.into(),
            details: Box::default(),
            retry_after: None,
            cause: None,
        }
    }

    /// A field, parameter or header that is wrong.
    pub fn field(name: &str, problem: &str) -> Refusal {
        let message = format!("{name}: {problem}");
        let mut refusal = Refusal::new(StatusCode::BAD_REQUEST, "invalid_field", message);
        refusal.details.field = Some(name.to_owned());
        refusal
    }

    pub fn no_session(session_id: Uuid) -> Refusal {
        let message = format!("there is no session {session_id}");
        Refusal::new(StatusCode::NOT_FOUND, "session_not_found", message)
    }

    pub fn conflict(code: &'static str, message: impl Into<String>) -> Refusal {
        Refusal::new(StatusCode::CONFLICT, code, message)
    }

    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Refusal {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, code, message);
        refusal.retry_after(5)
    }

    pub fn retry_after(mut self, secs: u64) -> Refusal {
        self.retry_after = Some(secs);
        self
    }

    pub fn of_session(mut self, session_id: Uuid) -> Refusal {
        self.details.session_id = Some(session_id);
        self
    }

    pub fn state(mut self, state: impl Into<String>) -> Refusal {
        self.details.state = Some(state.into());
        self
    }

    pub fn next(mut self, next: impl Into<String>) -> Refusal {
        self.details.next = Some(next.into());
        self
    }

    /// Keeps what happened for the log.
    pub fn because(mut self, error: &Error) -> Refusal {
        let cause = error.cause_text().unwrap_or_default();
        self.cause = Some(format!("{}: {cause}", error.what()));
        self
    }

    /// The refusal that an answer without words of ours stands for, such as that of an unknown path.
    pub fn of_status(status: StatusCode) -> Refusal {
        let (code, message) = match status {
            StatusCode::NOT_FOUND => ("not_found", "there is nothing at this path"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method_not_allowed", "this path knows other methods")
            }
            StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "the body is too large"),
            status if status.is_client_error() => ("bad_request", "the request is not understood"),
            _ => ("internal", "a defect of diffmig; its log says more"),
        };
        Refusal::new(status, code, message)
    }

    /// Writes the body.
    pub fn document(&self, request_id: &str) -> ErrorDocument {
        ErrorDocument {
            error: ErrorBody {
                code: self.code.to_owned(),
                message: self.message.clone(),
                details: (*self.details).clone(),
                request_id: request_id.to_owned(),
                timestamp: moment(Utc::now()),
            },
        }
    }

    /// Writes what belongs beside the body.
    pub fn headers(&self, headers: &mut HeaderMap) {
        if let Some(secs) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(secs));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let asks = HeaderValue::from_static("Bearer realm=\"diffmig\"");
            headers.insert(header::WWW_AUTHENTICATE, asks);
        }
    }
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The body is written where the id of the request is known.
impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// What a client is told of a failure: our own words where they cannot hold those of a database or its address.
impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        let what = error.what().to_owned();
        let refusal = match error.kind() {
            Kind::Usage => Refusal::new(StatusCode::BAD_REQUEST, "invalid_request", what),
            Kind::LeaseHeld => Refusal::conflict("session_running", "another session is at work"),
            Kind::Drift | Kind::Unreadable => {
                Refusal::conflict("mapping_drift", "the mapping does not fit the databases")
                    .next("diffmig doctor, or diffmig schema diff, says what does not fit")
            }
            Kind::Guard => Refusal::conflict("refused_by_guard", what),
            Kind::Fenced => Refusal::conflict("fenced", "the lease was taken by another process"),
            Kind::ControlState => Refusal::unavailable("control_state", what),
            Kind::Connect => {
                Refusal::unavailable("database_unavailable", "a database cannot be reached")
            }
            Kind::Permission => {
                Refusal::unavailable("database_refused", "a database refuses the configured role")
            }
            Kind::Resources | Kind::Busy => {
                Refusal::unavailable("database_busy", "a database lacks room, or a lock is held")
            }
            Kind::Paused | Kind::Cancelled | Kind::Interrupted(_) => {
                Refusal::unavailable("stopping", "this process is about to end")
            }
            Kind::Unexpected | Kind::Rejects | Kind::Differences => {
                Refusal::of_status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        };
        refusal.because(&error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_database_said_stays_in_the_log() {
        for kind in [
            Kind::Unexpected,
            Kind::Connect,
            Kind::Permission,
            Kind::Drift,
            Kind::Resources,
            Kind::ControlState,
            Kind::Guard,
            Kind::Usage,
        ] {
            let error = Error::new(kind, "what").cause("password authentication failed");
            let refusal = Refusal::from(error);
            let body = serde_json::to_string(&refusal.document("r")).unwrap();
            assert!(!body.contains("password"), "{kind:?}: {body}");
            assert!(refusal.cause.is_some_and(|it| it.contains("password")));
        }
    }
}
