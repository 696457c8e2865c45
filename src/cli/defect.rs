//! A panic is a defect of diffmig. It is said in the usual words, without texts that may hold values.

use super::output;
use crate::error::{Error, Kind};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// Where the latest panic was.
static PLACE: Mutex<Option<String>> = Mutex::new(None);

/// Replaces what the standard library prints: its text can hold whatever the code at fault had at hand.
pub fn watch() {
    std::panic::set_hook(Box::new(|panic| {
        let place = place(panic);
        output::write_error(&format!("diffmig panicked at {place}\n"));
        *PLACE.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }));
}

/// Says where it was, and what, if the text was already in the program.
fn place(panic: &PanicHookInfo<'_>) -> String {
    let place = panic.location().map_or_else(
        || "an unknown place".to_owned(),
        |at| format!("{}:{}:{}", at.file(), at.line(), at.column()),
    );
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("without a name");
    match panic.payload().downcast_ref::<&'static str>() {
        Some(text) => format!("{place} in the thread {thread}: {text}"),
        None => {
            format!("{place} in the thread {thread}; its text is not shown, it may hold values")
        }
    }
}

/// Does the work; a panic in it becomes an error.
///
/// # Errors
/// The work panicked (exit 1).
pub fn contain<T>(work: impl FnOnce() -> T) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner).take();
        let place = place.unwrap_or_else(|| "an unknown place".to_owned());
        Error::new(Kind::Unexpected, "diffmig has a defect")
            .cause(format!("it panicked at {place}"))
            .next("report this with the lines above; the same command can be run again")
    })
}
