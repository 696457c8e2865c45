//! The log as it grows, across lost connections, to the end of a session.

use super::{EventRow, LogReader, LogRequest};
use crate::db::server::Server;
use crate::error::{Error, Kind, Result};
use crate::service::status::SessionStatus;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How often a followed log is read.
const POLL: Duration = Duration::from_millis(500);
/// How often the session is looked at while nothing new comes.
const LOOK: Duration = Duration::from_millis(1_500);
/// The first pause before a lost connection is opened again; it doubles from try to try.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How long the target may be away.
const OUTAGE_BUDGET: Duration = Duration::from_secs(600);

/// What a follower heard.
pub enum Heard {
    /// New events, in order; none was left out and none comes twice.
    Events(Vec<EventRow>),
    /// There is nothing to follow yet, for this reason; it is looked again until there is.
    Waiting(String),
    /// The connection was lost; it is tried again after the pause.
    Away(Error, Duration),
    /// The connection is there again.
    Back,
    /// The session is over, and every event of it was heard.
    Over(Box<SessionStatus>),
}

/// Tries to reach a target that is away, with growing pauses and not for ever.
#[derive(Debug, Clone, Copy, Default)]
pub struct Outage {
    since: Option<Instant>,
    pause: Option<Duration>,
}

impl Outage {
    /// Tells how long to wait after a failure.
    ///
    /// # Errors
    /// The failure is not one of the connection, or the target was away for too long.
    pub fn pause(&mut self, error: Error) -> Result<(Error, Duration)> {
        if !matches!(error.kind(), Kind::Connect | Kind::Busy) {
            return Err(error);
        }
        if self.since.get_or_insert_with(Instant::now).elapsed() > OUTAGE_BUDGET {
            return Err(error.next("run the same command again when the server is back"));
        }
        let pause = self
            .pause
            .map_or(FIRST_PAUSE, |it| it * 2)
            .min(LONGEST_PAUSE);
        self.pause = Some(pause);
        Ok((error, pause))
    }

    /// Notes that the target answers; tells whether it was away.
    pub fn end(&mut self) -> bool {
        std::mem::take(self).since.is_some()
    }
}

/// A session as its last process has left it.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    number: i32,
    host: String,
    process_id: i32,
    rows_done: i64,
}

impl Left {
    fn of(session: &SessionStatus) -> Left {
        Left {
            number: session.number,
            host: session.host.clone(),
            process_id: session.process_id,
            rows_done: session.rows_done,
        }
    }
}

/// Follows the log. Dropping it ends it.
pub struct Follower {
    server: Server,
    request: LogRequest,
    reader: Option<LogReader>,
    /// Whether it has still to be found out which session is over already, and not meant.
    awaits_next: bool,
    /// What is over already and not meant; that session may be resumed, and is meant then.
    beyond: Option<Left>,
    /// The session whose end is awaited.
    session_id: Option<Uuid>,
    /// Whether something was read once: from then on a lost connection is ridden out.
    has_begun: bool,
    has_said_waiting: bool,
    outage: Outage,
    /// What to sleep before the next try.
    pause: Option<Duration>,
    looked_at: Option<Instant>,
    over_since: Option<Instant>,
    over: Option<Box<SessionStatus>>,
}

impl Follower {
    /// Prepares to follow; with `awaits_next`, a session that is over already is not meant.
    pub fn new(server: Server, request: LogRequest, awaits_next: bool) -> Follower {
        Follower {
            server,
            session_id: request.session_id,
            request,
            reader: None,
            awaits_next,
            beyond: None,
            has_begun: false,
            has_said_waiting: false,
            outage: Outage::default(),
            pause: None,
            looked_at: None,
            over_since: None,
            over: None,
        }
    }

    /// Waits for what comes next; after [`Heard::Over`] there is nothing more.
    ///
    /// # Errors
    /// The target cannot be reached at the beginning or for ten minutes, or the log cannot be read.
    pub async fn next(&mut self) -> Result<Heard> {
        loop {
            if let Some(pause) = self.pause.take() {
                tokio::time::sleep(pause).await;
            }
            match self.listen().await {
                Ok(Some(heard)) => return Ok(heard),
                Ok(None) => self.pause = Some(POLL),
                Err(error) if self.has_begun => {
                    self.reader = None;
                    let (error, pause) = self.outage.pause(error)?;
                    self.pause = Some(pause);
                    return Ok(Heard::Away(error, pause));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Says once that there is nothing to follow yet.
    fn waiting(&mut self, why: &str) -> Option<Heard> {
        let said = std::mem::replace(&mut self.has_said_waiting, true);
        (!said).then(|| Heard::Waiting(why.to_owned()))
    }

    /// Reads once; nothing when nothing new came.
    async fn listen(&mut self) -> Result<Option<Heard>> {
        let reader = match &mut self.reader {
            Some(reader) => reader,
            None => {
                let opened = match self.session_id {
                    Some(_) => Some(LogReader::open(&self.server, &self.request).await?),
                    None => LogReader::open_if_any(&self.server, &self.request).await?,
                };
                let Some(opened) = opened else {
                    return Ok(self.nothing_yet());
                };
                self.reader.insert(opened)
            }
        };
        if self.awaits_next {
            let latest = reader.session(None).await?;
            self.beyond = latest.filter(SessionStatus::is_over).as_ref().map(Left::of);
            self.awaits_next = false;
        }
        let events = reader.next().await?;
        self.has_begun = true;
        self.request.after = reader.cursor();
        self.request.limit = super::PAGE;
        let was_away = self.outage.end();
        if !events.is_empty() {
            return Ok(Some(Heard::Events(events)));
        }
        if was_away {
            return Ok(Some(Heard::Back));
        }
        if let Some(over) = self.over.take() {
            return Ok(Some(Heard::Over(over)));
        }
        let due = self.looked_at.is_none_or(|it| it.elapsed() >= LOOK);
        if due || self.over_since.is_some() {
            return self.look().await;
        }
        Ok(None)
    }

    /// The control schema is made by the first session, and that is the first to be followed.
    fn nothing_yet(&mut self) -> Option<Heard> {
        self.has_begun = true;
        self.awaits_next = false;
        match self.outage.end() {
            true => Some(Heard::Back),
            false => self.waiting("nothing was migrated into this target yet"),
        }
    }

    /// Looks whether the session is over. What it wrote before its end is read once more after that.
    async fn look(&mut self) -> Result<Option<Heard>> {
        self.looked_at = Some(Instant::now());
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        let Some(session) = reader.session(self.session_id).await? else {
            return Ok(self.waiting("there is no session yet"));
        };
        if session.is_over() && self.beyond.as_ref() == Some(&Left::of(&session)) {
            return Ok(self.waiting(&format!("session {} is over", session.number)));
        }
        self.beyond = None;
        self.session_id = Some(session.session_id);
        if reader.has_ended(&session, &mut self.over_since).await? {
            self.over = Some(Box::new(session));
        }
        Ok(None)
    }
}
