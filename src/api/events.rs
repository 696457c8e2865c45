//! One session as it goes on: a stream of server-sent events.

use super::answer::{Answer, Refusal};
use super::door::Door;
use super::input::{Asked, Checked, SessionId, within};
use super::limits::busy;
use crate::service::follow::{Follower, News};
use crate::service::sessions;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::Stream;
use futures::stream::unfold;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Sender, channel};
use utoipa::{IntoParams, ToSchema};

/// How often the control tables are read.
const POLL: Duration = Duration::from_secs(1);
/// How long a client may leave what was sent to it unread; its place is for others then.
const UNREAD: Duration = Duration::from_secs(30);
/// How often a silent stream says that it is alive.
const ALIVE: Duration = Duration::from_secs(10);

/// Where to begin.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsQuery {
    /// How many of the latest log events to begin with, when no cursor is given.
    #[param(minimum = 1, maximum = 1000, default = 200)]
    tail: i64,
    /// Begin after this log event; the header `Last-Event-ID` does the same and wins.
    #[param(minimum = 0, nullable = false)]
    cursor: Option<i64>,
}

impl Default for EventsQuery {
    fn default() -> Self {
        EventsQuery {
            tail: 200,
            cursor: None,
        }
    }
}

impl Checked for EventsQuery {
    fn check(&self) -> Result<(), Refusal> {
        within("cursor", self.cursor.unwrap_or(0), 0, i64::MAX)?;
        within("tail", self.tail, 1, 1_000)
    }
}

/// One server-sent event.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamEvent {
    /// `status`, `log`, `trouble` or `end`.
    event: String,
    /// The position in the log, of `log` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    id: Option<String>,
    /// JSON, by the kind of event.
    data: String,
}

/// The data of the last event.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StreamEnd {
    /// `over` when the session will not go on by itself, `stopping` when this server ends.
    reason: &'static str,
}

/// The data of an event that says why there is nothing new.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct StreamTrouble {
    /// As in refusals.
    code: &'static str,
    /// In words.
    message: String,
}

fn last_event_id(headers: &HeaderMap) -> Answer<Option<i64>> {
    let Some(given) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let id = given.to_str().ok().and_then(|it| it.parse().ok());
    let id: Option<i64> = id.filter(|it| *it >= 0);
    let wrong = || Refusal::field("Last-Event-ID", "must be an id of this stream");
    id.map(Some).ok_or_else(wrong)
}

/// Follow one session
///
/// Server-sent events: `status` with the session as in `status/{sessionId}` (when it changed), `log` with one event of
/// the log, `trouble` when the database cannot be read for now, and `end` as the last one. The `id` is the position in
/// the log; a client that sends it as `Last-Event-ID` goes on without gap or repeat.
#[utoipa::path(get, path = "/api/migration/events/{sessionId}", tag = "sessions",
    params(("sessionId" = Uuid, Path, description = "The session"), EventsQuery,
        ("Last-Event-ID" = Option<i64>, Header, description = "The `id` of the last event that was seen", minimum = 0)),
    responses((status = 200, description = "The stream", body = StreamEvent, content_type = "text/event-stream")))]
pub(super) async fn events(
    State(door): State<Arc<Door>>,
    SessionId(session_id): SessionId,
    Asked(query): Asked<EventsQuery>,
    headers: HeaderMap,
) -> Answer<Sse<impl Stream<Item = Result<Event, Infallible>>>> {
    let after = last_event_id(&headers)?.or(query.cursor);
    let place = Arc::clone(&door.limits.streams).try_acquire_owned();
    let place = place.map_err(|_| busy("too many event streams are open"))?;
    let found = sessions::find(&door.target, session_id).await?;
    found.ok_or_else(|| Refusal::no_session(session_id))?;
    let follower = Follower::new(&door.target, session_id, after, query.tail);
    let (sender, received) = channel(64);
    let stream = unfold(received, async |mut received| {
        let event = received.recv().await?;
        Some((event, received))
    });
    tokio::spawn(feed(Arc::clone(&door), follower, Feed { sender, place }));
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(ALIVE).text("alive")))
}

/// The other end of a stream, and the place it takes.
struct Feed {
    sender: Sender<Result<Event, Infallible>>,
    #[expect(dead_code, reason = "given back when the stream ends")]
    place: OwnedSemaphorePermit,
}

impl Feed {
    /// Sends one event; `false` when nobody reads any more.
    async fn send<T: Serialize>(&mut self, kind: &str, id: Option<i64>, data: &T) -> bool {
        let data = serde_json::to_string(data).unwrap_or_default();
        let event = Event::default().event(kind).data(data);
        let event = match id {
            Some(id) => event.id(id.to_string()),
            None => event,
        };
        let sent = tokio::time::timeout(UNREAD, self.sender.send(Ok(event))).await;
        matches!(sent, Ok(Ok(())))
    }

    async fn news(&mut self, news: &News, said: &mut String) -> bool {
        for event in &news.events {
            if !self.send("log", Some(event.event_id), event).await {
                return false;
            }
        }
        let status = serde_json::to_string(&news.session).unwrap_or_default();
        if status == *said {
            return !self.sender.is_closed();
        }
        *said = status;
        self.send("status", None, &news.session).await
    }
}

async fn feed(door: Arc<Door>, mut follower: Follower, mut feed: Feed) {
    let mut said = String::new();
    loop {
        let mut pause = POLL;
        match follower.next().await {
            Ok(news) => {
                if !feed.news(&news, &mut said).await {
                    return;
                }
                if news.is_full {
                    pause = Duration::ZERO;
                }
                if news.is_complete {
                    feed.send("end", None, &StreamEnd { reason: "over" }).await;
                    return;
                }
            }
            Err(error) => {
                let refusal = Refusal::from(error);
                let trouble = StreamTrouble {
                    code: refusal.code,
                    message: refusal.message,
                };
                if !feed.send("trouble", None, &trouble).await {
                    return;
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // Who hung up gives its place back at once: a client on a bad line comes again and again.
            () = feed.sender.closed() => return,
            () = door.closing.cancelled() => {
                feed.send("end", None, &StreamEnd { reason: "stopping" }).await;
                return;
            }
        }
    }
}
