//! The session that runs in this process, at most one at a time.

use super::answer::{Answer, Refusal};
use super::door::Opener;
use super::execute::Started;
use crate::context::{Context, Interrupt, Selection, Server};
use crate::domain::event::Event;
use crate::error::{Error, Kind};
use crate::service::migrate::{MigrateRequest, migrate};
use crate::service::request_key::{Known, recall};
use crate::service::sessions;
use axum::http::StatusCode;
use std::sync::{Arc, Mutex as Short, PoisonError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// What the runner works with.
struct Parts {
    opener: Opener,
    interrupt: Interrupt,
    target: Server,
    /// Held while a session is being started.
    starting: Arc<Mutex<()>>,
    running: Short<Option<Running>>,
}

/// A session at work.
struct Running {
    session_id: Uuid,
    work: JoinHandle<()>,
}

/// Starts sessions and waits for their end.
#[derive(Clone)]
pub(super) struct Runner(Arc<Parts>);

impl Runner {
    pub fn new(opener: Opener, interrupt: Interrupt, target: Server) -> Runner {
        Runner(Arc::new(Parts {
            opener,
            interrupt,
            target,
            starting: Arc::default(),
            running: Short::default(),
        }))
    }

    /// Tells whether this process was asked to end.
    pub fn is_stopping(&self) -> bool {
        self.0.interrupt.signal().is_some()
    }

    /// Starts a session and returns it as soon as it stands in the control tables.
    ///
    /// What was started goes on when the client does not wait for the answer; who leaves while others start is not
    /// waited for.
    pub async fn start(&self, request: MigrateRequest) -> Answer<Started> {
        let turn = Arc::clone(&self.0.starting).lock_owned().await;
        let parts = Arc::clone(&self.0);
        let starting = tokio::spawn(async move {
            let _turn = turn;
            parts.start(request).await
        });
        match starting.await {
            Ok(started) => started,
            Err(_) => Err(Error::new(Kind::Unexpected, "starting a session panicked").into()),
        }
    }

    /// Waits until nothing runs here any more; nothing new begins once a signal came.
    pub async fn finish(&self) {
        let _starting = self.0.starting.lock().await;
        let running = self.0.running().take();
        if let Some(running) = running {
            let _ = running.work.await;
        }
    }

    /// Opens a context for work that ends with its answer; nobody listens to what it says on the way.
    pub async fn open(&self) -> Answer<Context> {
        let (events, _) = unbounded_channel();
        self.0.open(events).await
    }
}

impl Parts {
    fn running(&self) -> std::sync::MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what the same request began before.
    async fn recall(&self, request: &MigrateRequest) -> Answer<Option<Started>> {
        let Some(key) = &request.request_key else {
            return Ok(None);
        };
        match recall(&self.target, key).await? {
            Known::Unknown => Ok(None),
            Known::Same {
                session_id,
                resumed,
            } => Ok(Some(Started {
                session_id,
                resumed,
            })),
            Known::Other => {
                let message = "this Idempotency-Key was used with another body";
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                let mut refusal = Refusal::new(status, "idempotency_key_reused", message);
                refusal.details.field = Some("Idempotency-Key".to_owned());
                Err(refusal)
            }
        }
    }

    /// Returns the session that runs here.
    fn at_work(&self) -> Option<Uuid> {
        let running = self.running();
        let running = running.as_ref().filter(|it| !it.work.is_finished());
        running.map(|it| it.session_id)
    }

    /// Opens a context. What is wrong with the mapping file or the settings is no fault of the client, and names paths
    /// of this machine.
    async fn open(&self, events: UnboundedSender<Event>) -> Answer<Context> {
        let opened = (self.opener)(events, self.interrupt.of_one_work()).await;
        opened.map_err(|error| match error.kind() {
            Kind::Usage => {
                let message = "the mapping file or the settings of the server cannot be used";
                Refusal::conflict("mapping_drift", message).because(&error)
            }
            _ => error.into(),
        })
    }

    fn refuse_when_stopping(&self) -> Answer<()> {
        match self.interrupt.signal() {
            None => Ok(()),
            Some(_) => Err(Refusal::unavailable(
                "stopping",
                "this process is about to end",
            )),
        }
    }

    /// Makes sure that nothing is at work here. A session that shows as over or paused is at work no more, but its
    /// process has to give the lease back and to write the end of the log.
    async fn make_way(&self) -> Answer<()> {
        let Some(session_id) = self.at_work() else {
            return Ok(());
        };
        let found = sessions::find(&self.target, session_id).await?;
        // An interrupted one may ride an outage out.
        if !found.is_some_and(|it| it.finished_at.is_some() || it.state == "paused") {
            let message = format!("session {session_id} is at work");
            return Err(Refusal::conflict("session_running", message).of_session(session_id));
        }
        let running = self.running().take();
        if let Some(running) = running {
            let _ = running.work.await;
        }
        self.refuse_when_stopping()
    }

    async fn start(&self, request: MigrateRequest) -> Answer<Started> {
        self.refuse_when_stopping()?;
        if let Some(started) = self.recall(&request).await? {
            return Ok(started);
        }
        self.make_way().await?;
        let (events, received) = unbounded_channel();
        let context = self.open(events).await?;
        refuse_unknown(&context, &request)?;
        let (detection_id, takes_up) = (request.detection_id, request.takes_up);
        let (begun, begins) = oneshot::channel();
        let listening = tokio::spawn(listen(received, begun));
        let (failed, fails) = oneshot::channel();
        let work = tokio::spawn(async move {
            run(context, request, failed).await;
            let _ = listening.await;
        });
        match begins.await {
            Ok(started) => {
                let session_id = started.session_id;
                *self.running() = Some(Running { session_id, work });
                Ok(started)
            }
            // It ended before it began.
            Err(_) => Err(match fails.await {
                Ok(error) => not_begun(error, detection_id, takes_up),
                Err(_) => Error::new(Kind::Unexpected, "the session ended without a word").into(),
            }),
        }
    }
}

/// Says why a session did not begin.
fn not_begun(error: Error, detection_id: Option<Uuid>, takes_up: Option<Uuid>) -> Refusal {
    match (error.kind(), detection_id, takes_up) {
        (Kind::Usage, Some(_), _) => Refusal::field("detectionId", error.what()).because(&error),
        (Kind::ControlState, _, Some(session_id)) => {
            let refusal = Refusal::conflict("wrong_state", error.what());
            refusal.of_session(session_id).because(&error)
        }
        _ => error.into(),
    }
}

/// A limit for an entity that does not exist would protect nothing.
fn refuse_unknown(context: &Context, request: &MigrateRequest) -> Answer<()> {
    let refused = |field: &str, error: &Error| Refusal::field(field, error.what());
    context
        .select(&request.selection)
        .map_err(|error| refused("entities", &error))?;
    let limited = Selection {
        only: request.allow_deletes.keys().cloned().collect(),
        except: Vec::new(),
    };
    context
        .select(&limited)
        .map_err(|error| refused("allowDeletes", &error))?;
    Ok(())
}

/// Waits for the session to begin; the journal has written everything else.
async fn listen(mut received: UnboundedReceiver<Event>, begun: oneshot::Sender<Started>) {
    let mut begun = Some(begun);
    while let Some(event) = received.recv().await {
        let Event::Begun {
            session_id,
            resumed,
        } = event
        else {
            continue;
        };
        if let Some(begun) = begun.take() {
            let _ = begun.send(Started {
                session_id,
                resumed,
            });
        }
    }
}

async fn run(context: Context, request: MigrateRequest, failed: oneshot::Sender<Error>) {
    match Box::pin(migrate(&context, &request)).await {
        Ok(report) => {
            tracing::info!(session_id = %report.session_id, state = report.state, "session ended");
        }
        Err(error) => {
            let cause = error.cause_text().unwrap_or_default();
            tracing::warn!(error = %error, cause, "session stopped");
            let _ = failed.send(error);
        }
    }
}
