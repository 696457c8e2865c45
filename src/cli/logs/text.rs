//! Events as text, JSON lines or CSV.

use crate::cli::output::VERSION;
use crate::service::logs::EventRow;
use clap::ValueEnum;
use serde::Serialize;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogText {
    /// One line each.
    Text,
    /// One JSON object per line.
    Json,
    /// One row each.
    Csv,
}

/// An event with the version of its shape.
#[derive(Serialize)]
struct Line<'a> {
    version: u8,
    #[serde(flatten)]
    event: &'a EventRow,
}

/// Writes an event as one line of text.
pub fn line(event: &EventRow) -> String {
    coloured_line(event, false)
}

fn coloured_line(event: &EventRow, coloured: bool) -> String {
    let level = format!("{:5}", event.level);
    let level = match (coloured, event.level.as_str()) {
        (true, "error") => format!("\x1b[31m{level}\x1b[0m"),
        (true, "warn") => format!("\x1b[33m{level}\x1b[0m"),
        _ => level,
    };
    format!(
        "{} {level}  {}  {}  {}",
        event.at.format("%Y-%m-%dT%H:%M:%S%.3fZ"),
        event.entity.as_deref().unwrap_or("-"),
        event.operation,
        event.message
    )
}

/// The first line of CSV.
pub const CSV_HEADER: &str = "eventId,at,level,sessionId,entity,operation,message,context\n";

fn csv_row(event: &EventRow) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let session_id = event.session_id.map(|it| it.to_string());
    let context = event.context.as_ref().map(ToString::to_string);
    // Writing into memory cannot fail.
    let _ = writer.write_record([
        event.event_id.to_string().as_str(),
        &event
            .at
            .to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        &event.level,
        session_id.as_deref().unwrap_or_default(),
        event.entity.as_deref().unwrap_or_default(),
        &event.operation,
        &event.message,
        context.as_deref().unwrap_or_default(),
    ]);
    String::from_utf8_lossy(&writer.into_inner().unwrap_or_default()).into_owned()
}

/// Writes events in the chosen way; levels of text in colour, where that is seen.
pub fn render(events: &[EventRow], format: LogText, coloured: bool) -> String {
    let rendered = events.iter().map(|event| match format {
        LogText::Text => coloured_line(event, coloured) + "\n",
        LogText::Csv => csv_row(event),
        LogText::Json => {
            let line = Line {
                version: VERSION,
                event,
            };
            serde_json::to_string(&line).unwrap_or_default() + "\n"
        }
    });
    rendered.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Utc};
    use serde_json::json;

    fn event() -> EventRow {
        let at: DateTime<Utc> = "2026-11-22T18:00:00.123456Z".parse().unwrap();
        EventRow {
            event_id: 7,
            at,
            level: "info".into(),
            session_id: None,
            entity: Some("clients".into()),
            operation: "batch".into(),
            message: "1 row, applied".into(),
            context: Some(json!({ "rowsIn": 1 })),
        }
    }

    #[test]
    fn events_are_written_in_three_ways() {
        let events = [event()];
        assert_eq!(
            render(&events, LogText::Text, false),
            "2026-11-22T18:00:00.123Z info   clients  batch  1 row, applied\n"
        );
        assert_eq!(
            render(&events, LogText::Csv, false),
            "7,2026-11-22T18:00:00.123456Z,info,,clients,batch,\"1 row, applied\",\"{\"\"rowsIn\"\":1}\"\n"
        );
        let value: serde_json::Value =
            serde_json::from_str(&render(&events, LogText::Json, false)).unwrap();
        assert_eq!(value["version"], 1);
        assert_eq!(value["eventId"], 7);
        assert_eq!(value["context"]["rowsIn"], 1);
    }
}
