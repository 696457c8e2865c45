//! What requests carry: paths, query strings and bodies, refused with the field named.

use super::answer::Refusal;
use super::limits::{ANSWER_TIME, BODY};
use axum::Json;
use axum::body::to_bytes;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::{DeserializeOwned, IgnoredAny};
use uuid::Uuid;

/// Something whose fields have limits that their types do not say.
pub(super) trait Checked {
    /// Refuses a value out of its limits.
    fn check(&self) -> Result<(), Refusal>;
}

/// The session that the path names.
#[derive(Debug, Clone, Copy)]
pub(super) struct SessionId(pub Uuid);

impl<S: Send + Sync> FromRequestParts<S> for SessionId {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<SessionId, Refusal> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let id = path.ok().and_then(|Path(text)| Uuid::try_parse(&text).ok());
        id.map(SessionId)
            .ok_or_else(|| Refusal::field("sessionId", "must be a UUID"))
    }
}

/// A query string.
#[derive(Debug)]
pub(super) struct Asked<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Checked> FromRequestParts<S> for Asked<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Asked<T>, Refusal> {
        let Query(asked) = Query::<T>::try_from_uri(&parts.uri)
            .map_err(|rejection| misread("query string", &rejection.body_text()))?;
        asked.check()?;
        Ok(Asked(asked))
    }
}

/// A JSON body, or the defaults when there is none.
#[derive(Debug)]
pub(super) struct Wanted<T> {
    /// What it says.
    pub wanted: T,
    /// Whether there was one.
    pub is_said: bool,
}

impl<S: Send + Sync, T: DeserializeOwned + Default + Checked> FromRequest<S> for Wanted<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Wanted<T>, Refusal> {
        let (parts, body) = request.into_parts();
        let raw = tokio::time::timeout(ANSWER_TIME, to_bytes(body, BODY)).await;
        let raw = raw.map_err(|_| too_slow())?.map_err(|_| too_large())?;
        let typed = parts.headers.get(header::CONTENT_TYPE);
        if raw.is_empty() {
            return Ok(Wanted {
                wanted: T::default(),
                is_said: false,
            });
        }
        if !typed.is_some_and(|it| is_json(it.as_bytes())) {
            let message = "send the body as application/json";
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return Err(Refusal::new(status, "unsupported_media_type", message));
        }
        let wanted: T = read_json(&raw)?;
        wanted.check()?;
        Ok(Wanted {
            wanted,
            is_said: raw.trim_ascii() != b"null",
        })
    }
}

/// Reads an object or `null`; an array would be taken for the fields in their order.
fn read_json<T: DeserializeOwned + Default>(raw: &[u8]) -> Result<T, Refusal> {
    let first = raw.iter().find(|it| !it.is_ascii_whitespace());
    if first == Some(&b'[') && serde_json::from_slice::<IgnoredAny>(raw).is_ok() {
        return Err(Refusal::field("body", "must be an object"));
    }
    let Json(wanted) = Json::<Option<T>>::from_bytes(raw).map_err(|it| wrong_body(&it))?;
    Ok(wanted.unwrap_or_default())
}

fn too_slow() -> Refusal {
    let message = "the body did not arrive";
    Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

fn too_large() -> Refusal {
    let message = format!("the body is larger than {BODY} bytes, or did not arrive whole");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
}

fn is_json(media_type: &[u8]) -> bool {
    let essence = media_type
        .split(|it| *it == b';')
        .next()
        .unwrap_or_default();
    essence
        .trim_ascii()
        .eq_ignore_ascii_case(b"application/json")
}

fn wrong_body(rejection: &JsonRejection) -> Refusal {
    match rejection {
        JsonRejection::JsonDataError(error) => misread("body", &error.body_text()),
        _ => Refusal::new(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            "the body is not JSON",
        ),
    }
}

/// Finds the field in what the reader says: `... type: FIELD: problem`, or a name in backquotes.
fn misread(place: &str, text: &str) -> Refusal {
    let said = text.split_once(": ").map_or(text, |(_, said)| said);
    let said = said.rsplit_once(" at line ").map_or(said, |(said, _)| said);
    let (path, problem) = match said.split_once(": ") {
        Some((path, problem)) if is_path(path) => (path, problem),
        _ => ("", said),
    };
    let quoted = || problem.split('`').nth(1);
    let names_it = problem.starts_with("unknown field") || problem.starts_with("duplicate field");
    let name = match names_it {
        true => quoted().unwrap_or_default(),
        false => path,
    };
    match is_path(name) {
        true => Refusal::field(name, problem),
        false => Refusal::field(place, problem),
    }
}

fn is_path(text: &str) -> bool {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"_-.[]".contains(&it);
    !text.is_empty() && text.len() <= 64 && text != "." && text.bytes().all(plain)
}

/// Refuses a number out of its limits.
pub(super) fn within<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: T,
    least: T,
    most: T,
) -> Result<(), Refusal> {
    match least <= value && value <= most {
        true => Ok(()),
        false => Err(Refusal::field(
            name,
            &format!("must be between {least} and {most}"),
        )),
    }
}

/// Refuses a text that no name can be.
pub(super) fn short(name: &str, text: &str, most: usize) -> Result<(), Refusal> {
    let problem = match text {
        _ if text.is_empty() => "must not be empty".to_owned(),
        _ if text.chars().count() > most => format!("must not be longer than {most} characters"),
        _ if text.chars().any(char::is_control) => "must not hold control characters".to_owned(),
        _ => return Ok(()),
    };
    Err(Refusal::field(name, &problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Uri;
    use serde::Deserialize;

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields, default)]
    struct Sample {
        batch_size: Option<u32>,
        nested: Vec<u8>,
    }

    fn of_body(text: &str) -> (String, String) {
        let refusal = read_json::<Sample>(text.as_bytes()).unwrap_err();
        (
            refusal.code.to_owned(),
            refusal.details.field.unwrap_or_default(),
        )
    }

    #[test]
    fn the_field_is_named() {
        let field = |name: &str| ("invalid_field".to_owned(), name.to_owned());
        assert_eq!(of_body("{\"batchSize\": \"x\"}"), field("batchSize"));
        assert_eq!(of_body("{\"nested\": [1, 300]}"), field("nested[1]"));
        assert_eq!(of_body("{\"bogus\": 1}"), field("bogus"));
        assert_eq!(of_body(" [1]"), field("body"));
        assert_eq!(of_body("[1").0, "invalid_json");
        assert_eq!(of_body("\"x\""), field("body"));
        assert_eq!(of_body("{").0, "invalid_json");
        let uri: Uri = "/x?batchSize=many".parse().unwrap();
        let rejection = Query::<Sample>::try_from_uri(&uri).unwrap_err();
        let refusal = misread("query string", &rejection.body_text());
        assert_eq!(refusal.details.field.as_deref(), Some("batchSize"));
        let uri: Uri = "/x?bogus=1".parse().unwrap();
        let rejection = Query::<Sample>::try_from_uri(&uri).unwrap_err();
        let refusal = misread("query string", &rejection.body_text());
        assert_eq!(refusal.details.field.as_deref(), Some("bogus"));
    }
}
