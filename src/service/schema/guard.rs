//! What `migrate` and `detect` make of a change: they refuse one that breaks the mapping, and mention others once.

use crate::context::{Context, Drift};
use crate::db::control::{catalog_snapshot, mapping_version};
use crate::db::server::Connection;
use crate::domain::connection::Side;
use crate::domain::drift::{Change, Severity};
use crate::domain::event::{Event, Level};
use crate::domain::mapping::without_passwords;
use crate::error::{Error, Kind, Result};
use serde_json::{Value, json};

/// So many changes are said in full.
const SAID: usize = 5;

/// Compares the databases with what the last session saw, where a control schema is.
///
/// # Errors
/// A change breaks the mapping (exit 13).
pub(crate) async fn look_for_drift(context: &Context) -> Result<Drift> {
    let mut control = context.target.open().await?;
    let drift = Drift::look(&mut control, &context.mapping, &context.catalogs, &[], &[]).await?;
    context.target.leave(control);
    judged(drift)
}

/// As [`look_for_drift`], on a control schema that is known to be there.
///
/// # Errors
/// A change breaks the mapping (exit 13).
pub(crate) async fn refuse_drift(context: &Context, control: &mut Connection) -> Result<Drift> {
    let (mapping, catalogs) = (&context.mapping, &context.catalogs);
    let mut drift = judged(Drift::measure(control, mapping, catalogs, &[], &[]).await?)?;
    drift.remember_former(control, mapping, catalogs).await?;
    Ok(drift)
}

fn judged(drift: Drift) -> Result<Drift> {
    let breaking = drift.changes.iter();
    let breaking = breaking.filter(|it| it.severity == Severity::Breaking);
    let breaking: Vec<String> = breaking.map(Drift::line).collect();
    if breaking.is_empty() {
        return Ok(drift);
    }
    let what = format!(
        "the databases have changed {}, and the mapping does not say what that means",
        drift.since()
    );
    Err(Error::new(Kind::Drift, what)
        .cause(breaking.join("\n"))
        .state("nothing was started")
        .next("diffmig schema suggest prints what helps; when it is right as it is: diffmig schema diff --accept"))
}

/// Mentions changes that stop nothing: one event, which becomes one line.
pub(crate) fn say_drift(context: &Context, drift: &Drift) {
    let changes = &drift.changes;
    let Some(gravest) = changes.first() else {
        return;
    };
    let said: Vec<String> = changes.iter().take(SAID).map(Change::sentence).collect();
    let more = match changes.len().saturating_sub(SAID) {
        0 => String::new(),
        more => format!("; {more} more: diffmig schema diff"),
    };
    let all: Vec<Value> = changes
        .iter()
        .map(|it| json!({ "severity": it.severity, "change": it.sentence() }))
        .collect();
    context.emit(Event::Logged {
        level: match gravest.severity {
            Severity::Harmless => Level::Info,
            _ => Level::Warn,
        },
        entity: None,
        operation: "schema",
        message: format!("changed {}: {}{more}", drift.since(), said.join("; ")),
        context: json!(all),
    });
}

/// Keeps what a session saw and applied, for the next one to compare with.
///
/// # Errors
/// The control schema cannot be written.
pub(crate) async fn remember(
    control: &mut Connection,
    context: &Context,
    drift: &Drift,
    session: i32,
) -> Result<()> {
    let Some((source, target)) = &drift.now else {
        return Ok(());
    };
    let digests = [source.digest(), target.digest()];
    for (side, snapshot, digest) in [
        (Side::Source, source, &digests[0]),
        (Side::Target, target, &digests[1]),
    ] {
        if drift.latest.of(side).is_none_or(|it| it.digest != *digest) {
            catalog_snapshot::save(control, side, snapshot, Some(session)).await?;
        }
    }
    let digest = &context.mapping.digest;
    let catalogs = [digests[0].as_str(), digests[1].as_str()];
    if !mapping_version::touch(control, digest, catalogs, session).await? {
        let text = without_passwords(&context.mapping.text);
        mapping_version::save(control, digest, &text, session).await?;
    }
    Ok(())
}
