//! Rides out lost connections, locks and snapshots that had to be given back: waits, and begins anew from
//! what the ledger says.

use super::give_way::Patience;
use crate::context::Context;
use crate::domain::event::{Event, Level};
use crate::error::{Error, Kind, Result};
use crate::service::isolate::isolate;
use crate::service::lease::HeldLease;
use futures::FutureExt;
use serde_json::json;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

/// How long servers may be away, or locks be held, without any progress before the work is given up.
const OUTAGE_BUDGET: Duration = Duration::from_secs(600);
/// The first pause between two tries; it doubles from try to try. A connection that was only dropped, by a
/// pooler or a failover proxy, is back at once.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Work that lasted so long before its connection was lost had recovered from the outage before. Waiting for
/// locks lasts as well, so there only progress counts.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);
/// How long those who waited behind our locks are given before the locks are asked for again.
const AFTER_YOU: Duration = Duration::from_secs(2);

/// What is needed to go on after an interruption.
pub(crate) struct Rider<'a> {
    pub context: &'a Context,
    /// The lease that the work needs, if any.
    pub lease: Option<&'a HeldLease>,
    /// Why the source's snapshot was given back, and how far the work has come.
    pub patience: &'a Patience,
}

impl Rider<'_> {
    /// Does the work again as long as it fails for want of a connection or a lock, and the budget lasts.
    ///
    /// A lost reply to COMMIT needs no care of its own: a batch that was committed is found in the ledger,
    /// one that was not is detected again.
    ///
    /// # Errors
    /// Whatever else stops the work, a lost lease, or an outage beyond the budget (exit 10 or 15).
    pub async fn ride_out<T, F>(&self, mut work: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut away_since: Option<Instant> = None;
        let mut pause = FIRST_PAUSE;
        let mut searched_in_vain = false;
        loop {
            let (progress, began) = (self.patience.progress(), Instant::now());
            // A panic is a defect, but the session is still to be recorded as failed and the lease given back.
            let worked = AssertUnwindSafe(Box::pin(work())).catch_unwind().await;
            let error = match worked.unwrap_or_else(|_| Err(panicked())) {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let worked = error.kind() == Kind::Connect && began.elapsed() > RECOVERED_AFTER;
            if worked || self.patience.progress() > progress {
                away_since = None;
                pause = FIRST_PAUSE;
            }
            if self.context.interrupt.is_raised() {
                return Err(error);
            }
            if let Some(reason) = self.patience.take_reason() {
                self.say(format!(
                    "released the source snapshot because {reason}; taking a new one in {} s",
                    AFTER_YOU.as_secs()
                ));
                tokio::time::sleep(AFTER_YOU).await;
                self.check_lease().await?;
                continue;
            }
            if error.kind() == Kind::Unreadable {
                if !self.isolate(&error).await? {
                    // Somebody may have mended the row meanwhile; not twice.
                    if std::mem::replace(&mut searched_in_vain, true) {
                        return Err(error);
                    }
                }
                self.check_lease().await?;
                continue;
            }
            if !matches!(error.kind(), Kind::Connect | Kind::Busy) {
                return Err(error);
            }
            if away_since.get_or_insert_with(Instant::now).elapsed() > OUTAGE_BUDGET {
                return Err(error
                    .state("every finished batch is committed")
                    .next("run the same command again when the server is back"));
            }
            self.say(format!(
                "{error}{}; trying again in {:.2} s",
                error
                    .cause_text()
                    .map(|cause| format!(" ({cause})"))
                    .unwrap_or_default(),
                pause.as_secs_f32()
            ));
            tokio::time::sleep(pause).await;
            self.check_lease().await?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Finds the rows whose values cannot be computed, so that the next try leaves them out; `false` when no row
    /// is to blame.
    ///
    /// # Errors
    /// Whatever stops the search.
    async fn isolate(&self, error: &Error) -> Result<bool> {
        let mut entities = self.context.entities.iter();
        let Some(entity) = entities.find(|it| Some(it.name.as_str()) == error.entity()) else {
            return Ok(false);
        };
        self.say(format!(
            "{error} ({}); looking for the rows that cannot be computed",
            error.cause_text().unwrap_or_default()
        ));
        let found = isolate(self.context, entity).await?;
        if found == 0 {
            return Ok(false);
        }
        self.say(format!(
            "{found} rows of {} cannot be computed; they are set aside",
            entity.name
        ));
        Ok(true)
    }

    /// Only a lost lease is a reason to stop; a target that is still away is found out by the work itself.
    async fn check_lease(&self) -> Result<()> {
        let Some(lease) = self.lease else {
            return Ok(());
        };
        match lease.prove().await {
            Err(error) if error.kind() == Kind::Fenced => Err(error),
            _ => Ok(()),
        }
    }

    fn say(&self, message: String) {
        self.context.emit(Event::Logged {
            level: Level::Warn,
            entity: None,
            operation: "reconnect",
            message,
            context: json!({}),
        });
    }
}

fn panicked() -> Error {
    Error::new(Kind::Unexpected, "a part of diffmig panicked")
        .cause("a defect of diffmig; the message above says where")
        .state("the open batches were rolled back; every finished batch is committed")
        .next("report this; diffmig migrate goes on from there")
}
