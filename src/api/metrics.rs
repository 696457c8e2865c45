//! Metrics as Prometheus reads them.

use super::door::Door;
use crate::service::metrics::{LATENCY_MILLIS, Metrics, metrics as read};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use std::fmt::{Display, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How long a reading is good enough.
const FRESH: Duration = Duration::from_secs(2);

/// The last reading; whoever comes while one is made waits for it.
#[derive(Debug, Default)]
pub(super) struct Reading(Mutex<Option<(Instant, String)>>);

/// Show the metrics
///
/// In the text format of Prometheus. `diffmig_target_up` is 0 and the rest is left out while the target cannot be read.
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(State(door): State<Arc<Door>>) -> Response {
    let mut reading = door.reading.0.lock().await;
    let fresh = reading.as_ref().filter(|(at, _)| at.elapsed() < FRESH);
    let text = match fresh {
        Some((_, text)) => text.clone(),
        None => {
            let text = match read(&door.target).await {
                Ok(found) => written(found.as_ref()),
                Err(error) => {
                    tracing::warn!(error = %error, "the metrics cannot be read");
                    let mut page = Page::default();
                    page.up(0);
                    page.0
                }
            };
            *reading = Some((Instant::now(), text.clone()));
            text
        }
    };
    let media_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, media_type)], text).into_response()
}

#[derive(Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, text)| format!("{label}=\"{}\"", escaped(text)))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.value(name, &[], value);
    }

    fn up(&mut self, up: u8) {
        self.gauge(
            "diffmig_target_up",
            "Whether the target database could be read.",
            up,
        );
    }
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn written(found: Option<&Metrics>) -> String {
    let mut page = Page::default();
    page.up(1);
    let Some(found) = found else {
        return page.0;
    };
    write_rows(&mut page, found);
    write_latency(&mut page, found);
    write_quarantine(&mut page, found);
    write_standing(&mut page, found);
    page.0
}

fn write_rows(page: &mut Page, found: &Metrics) {
    let name = "diffmig_rows";
    page.head(
        name,
        "gauge",
        "Rows of committed batches, of all sessions that are remembered.",
    );
    for it in &found.batches {
        for (outcome, rows) in [
            ("inserted", it.inserted),
            ("updated", it.updated),
            ("identical", it.identical),
            ("retired", it.retired),
            ("conflicted", it.conflicted),
            ("held", it.held),
            ("quarantined", it.quarantined),
        ] {
            page.value(name, &[("entity", &it.entity), ("outcome", outcome)], rows);
        }
    }
}

fn write_latency(page: &mut Page, found: &Metrics) {
    let name = "diffmig_batch_duration_seconds";
    page.head(name, "histogram", "How long committed batches took.");
    for it in &found.batches {
        let entity = ("entity", it.entity.as_str());
        for (bound, count) in LATENCY_MILLIS.iter().zip(&it.within) {
            let bound = (f64::from(*bound) / 1000.0).to_string();
            page.value(&format!("{name}_bucket"), &[entity, ("le", &bound)], count);
        }
        page.value(
            &format!("{name}_bucket"),
            &[entity, ("le", "+Inf")],
            it.batches,
        );
        page.value(&format!("{name}_sum"), &[entity], seconds(it.busy_ms));
        page.value(&format!("{name}_count"), &[entity], it.batches);
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds for monitoring")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

fn write_quarantine(page: &mut Page, found: &Metrics) {
    let name = "diffmig_quarantine_rows";
    page.head(name, "gauge", "Rows that are set aside now.");
    for (entity, status, rows) in &found.quarantine {
        page.value(name, &[("entity", entity), ("status", status)], rows);
    }
}

fn write_standing(page: &mut Page, found: &Metrics) {
    let name = "diffmig_lag_seconds";
    page.head(
        name,
        "gauge",
        "Age of the source snapshot whose changes were all applied: no unapplied change is older.",
    );
    for (entity, secs) in &found.lags {
        page.value(name, &[("entity", entity)], secs);
    }
    let standing = &found.standing;
    page.gauge(
        "diffmig_oldest_unapplied_detection_seconds",
        "Age of the first detection that found changes and was not followed by a session that ended well; 0 if none.",
        standing.unapplied_secs.unwrap_or(0.0),
    );
    if let Some(secs) = standing.success_secs {
        page.gauge(
            "diffmig_last_success_seconds",
            "Seconds since a session ended well.",
            secs,
        );
    }
    page.gauge(
        "diffmig_unfinished_sessions",
        "Sessions that run, are paused or were interrupted.",
        standing.unfinished,
    );
    page.gauge(
        "diffmig_lease_held",
        "Whether a session holds the lease.",
        u8::from(standing.lease_held),
    );
    page.head(
        "diffmig_lease_epoch",
        "counter",
        "How often the lease was taken.",
    );
    page.value("diffmig_lease_epoch", &[], standing.lease_epoch);
    if let Some(secs) = standing.heartbeat_secs {
        page.gauge(
            "diffmig_lease_heartbeat_seconds",
            "Seconds since the holder's heartbeat.",
            secs,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cannot_break_out() {
        let mut page = Page::default();
        page.value("a", &[("entity", "x\"} 1\nb{\\")], 2);
        assert_eq!(page.0, "a{entity=\"x\\\"} 1\\nb{\\\\\"} 2\n");
        assert_eq!(written(None).lines().count(), 3);
    }
}
