//! Rides out lost connections: waits, connects anew and goes on from what the ledger says.

use crate::context::Context;
use crate::domain::event::{Event, Level};
use crate::error::{Error, Kind, Result};
use crate::service::lease::HeldLease;
use futures::FutureExt;
use serde_json::json;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

/// How long servers may be away in one go before the session gives up.
const OUTAGE_BUDGET: Duration = Duration::from_secs(600);
/// The first pause: a connection that was only dropped, by a pooler or a failover proxy, is back at once.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Work that lasted so long before it failed counts as the end of the outage before.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);

/// Does the work again as long as it fails for want of a connection and the budget lasts.
///
/// A lost reply to COMMIT needs no care of its own: a batch that was committed is found in the ledger,
/// one that was not is detected again.
///
/// # Errors
/// Whatever else stops the work, a lost lease, or an outage beyond the budget (exit 10).
pub(crate) async fn ride_out<T, F>(
    context: &Context,
    lease: &HeldLease,
    mut work: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut away_since: Option<Instant> = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        // A panic is a defect, but the session is still to be recorded as failed and the lease given back.
        let worked = AssertUnwindSafe(Box::pin(work())).catch_unwind().await;
        let error = match worked.unwrap_or_else(|_| Err(panicked())) {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        if began.elapsed() > RECOVERED_AFTER {
            away_since = None;
            pause = FIRST_PAUSE;
        }
        let since = *away_since.get_or_insert_with(Instant::now);
        if error.kind() != Kind::Connect || context.interrupt.is_raised() {
            return Err(error);
        }
        if since.elapsed() > OUTAGE_BUDGET {
            return Err(error
                .state("every finished batch is committed")
                .next("run the same command again when the server is back"));
        }
        say(context, &error, pause);
        tokio::time::sleep(pause).await;
        lease.check()?;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn panicked() -> Error {
    Error::new(Kind::Unexpected, "a part of diffmig panicked")
        .cause("a defect of diffmig; the message above says where")
        .state("the open batches were rolled back; every finished batch is committed")
        .next("report this; diffmig migrate goes on from there")
}

fn say(context: &Context, error: &Error, pause: Duration) {
    let cause = error
        .cause_text()
        .map(|cause| format!(" ({cause})"))
        .unwrap_or_default();
    context.emit(Event::Logged {
        level: Level::Warn,
        entity: None,
        operation: "reconnect",
        message: format!("{error}{cause}; trying again in {pause:?}"),
        context: json!({}),
    });
}
