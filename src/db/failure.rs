//! Turns the driver's errors into ours: by SQLSTATE, without row values, without C source lines.

mod tls;

use crate::domain::connection::{ConnectionSpec, Side};
use crate::domain::identifier::printable;
use crate::error::{Error, Kind};
use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

/// What a server error is about: one row, the moment, or everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Some row of the batch cannot go; the others can.
    Row,
    /// The same batch may succeed when tried again.
    Transient,
    /// Nothing can go on.
    Systemic,
}

/// The SQLSTATE and place of a server error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The five characters of the SQLSTATE.
    pub sqlstate: String,
    /// Constraint or column, when the server names one.
    pub place: Option<String>,
    /// What it means; never a row value.
    pub reason: String,
}

/// Classes whose errors are about the server, the connection or the statement, never about a row.
const SYSTEMIC: &[&str] = &[
    "08", "0A", "25", "26", "28", "2D", "34", "3B", "3D", "3F", "40", "42", "53", "55", "57", "58",
    "72", "F0", "XX",
];

/// Classifies a SQLSTATE. Codes that a trigger makes up (`PT400`) are about its row.
pub fn scope_of(sqlstate: &str) -> Scope {
    let class = sqlstate.get(..2).unwrap_or_default();
    match sqlstate {
        "40001" | "40P01" | "55P03" => Scope::Transient,
        _ if SYSTEMIC.contains(&class) => Scope::Systemic,
        _ => Scope::Row,
    }
}

fn meaning(sqlstate: &str) -> &'static str {
    match sqlstate {
        "22001" => "the text is too long for its column",
        "22003" => "the number is out of range",
        "22007" | "22008" => "the date or time is not valid",
        "22021" | "22P05" => "the text has a character the database cannot hold",
        "22P02" => "the text is not a valid value of its type",
        "23502" => "NULL in a required column",
        "23503" => "the row it refers to is not there",
        "23505" => "another row has the same unique value",
        "23514" => "a check constraint refuses the value",
        "23P01" => "an exclusion constraint refuses the value",
        "54000" => "a limit of the database is exceeded",
        "21000" => "the key is not unique",
        _ if sqlstate.starts_with("22") || sqlstate.starts_with("23") => {
            "the database refuses the value"
        }
        _ => "a trigger or function of the target refuses the row",
    }
}

fn refusal_of(error: &PgDatabaseError) -> Refusal {
    let sqlstate = error.code().to_owned();
    Refusal {
        place: error.constraint().or(error.column()).map(printable),
        reason: meaning(&sqlstate).to_owned(),
        sqlstate,
    }
}

/// Returns what the server refused, if it is about rows.
pub fn row_refusal(error: &sqlx::Error) -> Option<Refusal> {
    let error = pg_error(error)?;
    (scope_of(error.code()) == Scope::Row).then(|| refusal_of(error))
}

/// Tells whether the same transaction may succeed when tried again.
pub fn is_transient(error: &sqlx::Error) -> bool {
    pg_error(error).is_some_and(|error| scope_of(error.code()) == Scope::Transient)
}

fn pg_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    match error {
        sqlx::Error::Database(error) => error.try_downcast_ref::<PgDatabaseError>(),
        _ => None,
    }
}

/// Says what the server said, as far as it cannot hold row values.
fn server_words(error: &PgDatabaseError) -> String {
    let sqlstate = error.code();
    // What a function raises with words of its own may hold anything, whatever code it gives them.
    if scope_of(sqlstate) == Scope::Row || error.routine() == Some("exec_stmt_raise") {
        let refusal = refusal_of(error);
        let place = refusal.place.map(|place| format!(" ({place})"));
        return format!(
            "{}{}, SQLSTATE {sqlstate}",
            refusal.reason,
            place.unwrap_or_default()
        );
    }
    format!(
        "{}, SQLSTATE {sqlstate}",
        printable(DatabaseError::message(error))
    )
}

fn kind_of(sqlstate: &str) -> Kind {
    match sqlstate {
        "3D000" | "42501" => Kind::Permission,
        "42P01" | "42703" | "42704" | "3F000" | "42804" | "42846" | "42883" => Kind::Drift,
        // 25P03: we were stopped or cut off for so long inside a batch that the server rolled it back.
        "57P01" | "57P02" | "57P03" | "53300" | "25P03" => Kind::Connect,
        "40001" | "40P01" | "55P03" => Kind::Busy,
        "57014" | "25006" => Kind::Resources,
        _ if sqlstate.starts_with("08") => Kind::Connect,
        _ if sqlstate.starts_with("28") => Kind::Permission,
        _ if sqlstate.starts_with("53") || sqlstate.starts_with("58") => Kind::Resources,
        _ => Kind::Unexpected,
    }
}

/// Tells whether a server had no connection left for us.
pub fn is_full(error: &Error) -> bool {
    error.kind() == Kind::Connect
        && error
            .cause_text()
            .is_some_and(|cause| cause.ends_with("SQLSTATE 53300"))
}

/// Names what helps against a shortage that the code alone tells.
fn remedy(side: Side, sqlstate: &str) -> Option<String> {
    let side = side.word();
    match sqlstate {
        "53100" => Some(format!(
            "free space on the disk of the {side}, then run the same command again"
        )),
        "53200" => Some(format!(
            "raise max_locks_per_transaction or the memory of the {side}, or lower --max-concurrent"
        )),
        "53300" => Some(format!(
            "lower --max-concurrent, or allow more connections to the {side}"
        )),
        _ => None,
    }
}

/// Adds the remedy, if there is one.
fn with_remedy(error: Error, side: Side, sqlstate: &str) -> Error {
    match remedy(side, sqlstate) {
        Some(remedy) => error.next(remedy),
        None => error,
    }
}

/// Says what a driver error means while `doing` something on one side.
pub fn explain(side: Side, doing: &str, error: &sqlx::Error) -> Error {
    let what = format!("{}: {doing} failed", side.word());
    match error {
        sqlx::Error::Database(inner) => match inner.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => with_remedy(
                Error::new(kind_of(error.code()), what).cause(server_words(error)),
                side,
                error.code(),
            ),
            None => Error::new(Kind::Unexpected, what),
        },
        sqlx::Error::Io(error) => Error::new(Kind::Connect, what)
            .cause(format!("connection lost: {}", error.kind()))
            .next("run the same command again"),
        sqlx::Error::Tls(error) => {
            Error::new(Kind::Permission, what).cause(format!("TLS: {error}"))
        }
        sqlx::Error::Protocol(text) => Error::new(Kind::Unexpected, what).cause(printable(text)),
        other => Error::new(Kind::Unexpected, what).cause(kind_name(other)),
    }
}

/// Says why rows of an entity cannot be read or counted. On the source a value of one of them may be to blame.
pub fn explain_rows(side: Side, doing: &str, entity: &str, error: &sqlx::Error) -> Error {
    let told = explain(side, doing, error);
    if side != Side::Source || row_refusal(error).is_none() {
        return told;
    }
    let cause = told.cause_text().unwrap_or_default().to_owned();
    Error::new(Kind::Unreadable, told.what())
        .cause(cause)
        .of_entity(entity)
        .next("correct the rule that computes it: case when ... then ... end keeps it off values that it cannot take")
}

fn kind_name(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::RowNotFound => "a row that must be there is missing",
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => {
            "unexpected value in a control table"
        }
        sqlx::Error::PoolTimedOut => "no connection was free in time",
        _ => "driver error",
    }
}

/// Says why a connection could not be made.
pub fn explain_connect(spec: &ConnectionSpec, error: &sqlx::Error) -> Error {
    let side = spec.side.word();
    let url_flag = format!(
        "check --{side}-url (or DIFFMIG_{}_URL)",
        side.to_uppercase()
    );
    let error = match error {
        sqlx::Error::Database(inner) => match inner.try_downcast_ref::<PgDatabaseError>() {
            Some(error) => {
                let kind = match kind_of(error.code()) {
                    Kind::Unexpected => Kind::Connect,
                    kind => kind,
                };
                let refused = Error::new(kind, format!("{side}: the server refused {spec}"))
                    .cause(server_words(error));
                match error.code().starts_with("57P03") {
                    true => refused.next("wait until it is up, then run the same command again"),
                    false => with_remedy(refused, spec.side, error.code()),
                }
            }
            None => Error::new(Kind::Connect, format!("{side}: cannot connect to {spec}")),
        },
        sqlx::Error::Tls(tls) => tls::explain(spec, &tls.to_string()),
        sqlx::Error::Io(io) => explain_io(spec, io),
        other => Error::new(Kind::Connect, format!("{side}: cannot connect to {spec}"))
            .cause(kind_name(other)),
    };
    error.state("nothing was started").next(url_flag)
}

fn explain_io(spec: &ConnectionSpec, io: &std::io::Error) -> Error {
    let side = spec.side.word();
    let text = io.to_string();
    // rustls reports its faults as I/O errors; trying again would never help.
    if tls::is_fault(&text) {
        return tls::explain(spec, &text);
    }
    let cause = match io.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ if text.contains("lookup address") => "the host name cannot be resolved".to_owned(),
        _ => text,
    };
    Error::new(Kind::Connect, format!("{side}: cannot connect to {spec}"))
        .cause(cause)
        .next("is the server up? The same command can be run again")
}
