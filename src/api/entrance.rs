//! What every request goes through: an id, the checks at the door, a time limit, and one shape for refusals.

use super::access::Scope;
use super::answer::Refusal;
use super::door::Door;
use super::limits::{ANSWER_TIME, WORK_TIME};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub IpAddr);

const REQUEST_ID: &str = "x-request-id";
/// The longest id that is taken from a client.
const LONGEST_ID: usize = 128;

/// Takes a sane id of the client, or makes one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|it| it.to_str().ok());
    let is_sane = |id: &&str| {
        (1..=LONGEST_ID).contains(&id.len())
            && id
                .bytes()
                .all(|it| it.is_ascii_alphanumeric() || b"-_.:".contains(&it))
    };
    given
        .filter(is_sane)
        .map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

/// The outermost: gives the request its id, and every refusal its body.
pub(super) async fn answer_in_shape(request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let began = Instant::now();
    let mut response = next.run(request).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        let refusal = response.extensions_mut().remove::<Refusal>();
        let refusal = refusal.unwrap_or_else(|| Refusal::of_status(status));
        let mut shaped = (status, Json(refusal.document(&id))).into_response();
        if let Some(allow) = response.headers().get(header::ALLOW) {
            shaped.headers_mut().insert(header::ALLOW, allow.clone());
        }
        refusal.headers(shaped.headers_mut());
        let cause = refusal.cause.as_deref().unwrap_or(&refusal.message);
        if status.is_server_error() {
            tracing::warn!(request_id = id, %method, path, status = status.as_u16(), cause, "request refused");
        } else {
            tracing::debug!(request_id = id, %method, path, status = status.as_u16(), cause, "request refused");
        }
        response = shaped;
    } else {
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::debug!(request_id = id, %method, path, status = status.as_u16(), elapsed_ms, "request answered");
    }
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let unset = !headers.contains_key(header::CACHE_CONTROL);
    if unset {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// Tells whether a path shows anything of a migration.
fn is_guarded(path: &str) -> bool {
    path.starts_with("/api/") || path == "/metrics"
}

/// Probes of load balancers name the server by its address.
fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz")
}

/// How long the answer may take; streams have no limit.
fn time_limit(path: &str) -> Option<Duration> {
    match path.strip_prefix("/api/migration/")? {
        it if it.starts_with("events/") || it.ends_with("/export") => None,
        "baseline" | "differential" | "execute" => Some(WORK_TIME),
        it if it.starts_with("resume/") => Some(WORK_TIME),
        _ => Some(ANSWER_TIME),
    }
}

fn check(door: &Door, peer: IpAddr, request: &Request) -> Result<(), Refusal> {
    let (method, path) = (request.method(), request.uri().path());
    if !is_probe(path) {
        door.hosts
            .check(method, request.headers(), is_guarded(path))?;
    }
    if !is_guarded(path) {
        return Ok(());
    }
    let scope = match door.tokens.admit(request.headers()) {
        Ok(scope) => scope,
        Err(refusal) => {
            // Whoever sends no token at all does not guess.
            if request.headers().contains_key(header::AUTHORIZATION) {
                door.limits.check_failures(peer)?;
                door.limits.note_failure(peer);
            }
            return Err(refusal);
        }
    };
    if is_look(method) {
        return Ok(());
    }
    if scope == Scope::Read {
        let message = "this token may only look";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", message));
    }
    if *method == Method::POST {
        door.limits.take_write()?;
        if door.runner.is_stopping() {
            return Err(Refusal::unavailable(
                "stopping",
                "this process is about to end",
            ));
        }
    }
    Ok(())
}

fn is_look(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The checks at the door, and the time limit.
pub(super) async fn guard(
    State(door): State<Arc<Door>>,
    Extension(Peer(peer)): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    if let Err(refusal) = check(&door, peer, &request) {
        return refusal.into_response();
    }
    let limit = match request.uri().path().starts_with("/api/") {
        true => time_limit(request.uri().path()),
        false => Some(ANSWER_TIME),
    };
    let Some(limit) = limit else {
        return next.run(request).await;
    };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Refusal::unavailable("timeout", "the answer took too long").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sane_ids_are_taken_over() {
        let id = |text: &'static str| {
            request_id(&HeaderMap::from_iter([(
                REQUEST_ID.parse().unwrap(),
                HeaderValue::from_static(text),
            )]))
        };
        assert_eq!(id("build-17:a.b_c"), "build-17:a.b_c");
        for wrong in ["", "a b", "<script>", "\"x\""] {
            assert_ne!(id(wrong), wrong);
        }
        assert_eq!(request_id(&HeaderMap::new()).len(), 36);
    }
}
