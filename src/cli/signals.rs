//! Signals of the operating system: the first asks, the second insists.

use super::failure::{Ended, Ending};
use super::front::Front;
use crate::error::{Error, Kind};
use std::pin::Pin;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the first signal does to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// It ends the command: nothing would be left half done.
    AtOnce,
    /// It lets the open batch finish; the second ends the command.
    BatchFirst,
    /// It is how such a command is meant to end.
    Watching,
    /// It pauses the session that runs in this process, and then ends the command.
    Serving,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal and returns its exit code.
    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
            _ = self.hang_up.recv() => 143,
        }
    }
}

fn interrupted(patience: Patience, code: u8) -> Error {
    let error = Error::new(Kind::Interrupted(code), "interrupted");
    match patience {
        Patience::BatchFirst | Patience::Serving => error
            .state("the open batch was rolled back; every earlier batch is committed")
            .next("diffmig migrate --resume (from another host: --wait-lock 1m, until the lease runs out)"),
        _ => error.state("no row of the source or of a target table was changed"),
    }
}

/// Runs a command until it ends or signals end it.
pub async fn guard(
    front: &Front,
    patience: Patience,
    mut command: Pin<Box<dyn Future<Output = Ended> + Send + '_>>,
) -> Ended {
    let Ok(mut signals) = Signals::listen() else {
        return command.await;
    };
    loop {
        tokio::select! {
            ended = &mut command => return ended,
            code = signals.next() => match (patience, front.interrupt.raise(code)) {
                (Patience::Watching, _) => return Ok(Ending::Done),
                (Patience::BatchFirst, 1) => {
                    front.output.say("finishing the open batch; press again to roll it back");
                }
                (Patience::Serving, 1) => {
                    front.output.remark("stopping: a running session is paused at its next batch boundary; once more rolls its batch back");
                }
                _ => return Err(interrupted(patience, code).into()),
            },
        }
    }
}
