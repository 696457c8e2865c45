//! `--save-to`: a detection with the keys of its changes, as JSON or CSV.

use super::Report;
use crate::cli::args::Format;
use crate::cli::output::document_text;
use crate::context::Server;
use crate::error::{Error, Kind, Result};
use crate::service::detections::{ChangeReader, ExportedChange};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Tells the format from the file's name.
pub(super) fn format_of(path: &Path) -> Result<Format> {
    match path.extension().and_then(|it| it.to_str()) {
        Some("json") => Ok(Format::Json),
        Some("csv") => Ok(Format::Csv),
        _ => Err(Error::new(
            Kind::Usage,
            format!("cannot tell the format of {}", path.display()),
        )
        .state("nothing was started")
        .next("let the name end in .json or .csv")),
    }
}

/// Writes the detection and its changes; the file is there whole or not at all.
pub(super) async fn save(
    target: &Server,
    path: &Path,
    format: Format,
    report: &Report<'_>,
    no_deleted: bool,
) -> Result<()> {
    let unwritable = |error: std::io::Error| {
        Error::new(Kind::Usage, format!("cannot write {}", path.display()))
            .cause(error.to_string())
            .state("the detection is stored; nothing was applied")
            .next("choose another file")
    };
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let partial = Path::new(&name);
    let file = File::create(partial).map_err(unwritable)?;
    let mut export = Export {
        out: BufWriter::new(file),
        format,
        no_deleted,
    };
    let written = export.write(target, report).await;
    let kept = written.and_then(|()| {
        let file = export.out.into_inner();
        let file = file.map_err(|it| unwritable(it.into_error()))?;
        file.sync_all().map_err(unwritable)?;
        std::fs::rename(partial, path).map_err(unwritable)
    });
    if kept.is_err() {
        // What is left of it is of no use to anybody.
        let _ = std::fs::remove_file(partial);
    }
    kept
}

struct Export {
    out: BufWriter<File>,
    format: Format,
    no_deleted: bool,
}

impl Export {
    async fn write(&mut self, target: &Server, report: &Report<'_>) -> Result<()> {
        let mut changes = ChangeReader::open(target, report.detection.detection_id).await?;
        match self.format {
            Format::Csv => self.put("entity,kind,key,lastKey,rows\n")?,
            _ => {
                // The list goes before the brace that ends the document.
                let text = document_text("detect", report)?;
                let open = text.trim_end().strip_suffix('}').unwrap_or(&text);
                self.put(&format!("{},\n  \"list\": [", open.trim_end()))?;
            }
        }
        let mut separator = "\n    ";
        loop {
            let page = changes.next().await?;
            if page.is_empty() {
                break;
            }
            let kept = page
                .iter()
                .filter(|it| !self.no_deleted || it.kind != "deleted");
            let mut text = String::new();
            for change in kept {
                if self.format == Format::Csv {
                    text.push_str(&csv_line(change));
                } else {
                    text.push_str(separator);
                    text.push_str(&json(change)?);
                    separator = ",\n    ";
                }
            }
            self.put(&text)?;
        }
        match self.format {
            Format::Csv => Ok(()),
            _ => self.put("\n  ]\n}\n"),
        }
    }

    fn put(&mut self, text: &str) -> Result<()> {
        self.out.write_all(text.as_bytes()).map_err(|error| {
            Error::new(Kind::Resources, "the detection cannot be written")
                .cause(error.to_string())
                .state("the detection is stored; nothing was applied")
        })
    }
}

fn json(change: &ExportedChange) -> Result<String> {
    serde_json::to_string(change).map_err(|error| {
        Error::new(Kind::Unexpected, "a change cannot be written").cause(error.to_string())
    })
}

fn csv_line(change: &ExportedChange) -> String {
    let last = change.last_key.as_ref().map(ToString::to_string);
    csv_row([
        change.entity.as_str(),
        &change.kind,
        &change.key.to_string(),
        &last.unwrap_or_default(),
        &change.rows.to_string(),
    ])
}

fn csv_row(fields: [&str; 5]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing into memory cannot fail.
    let _ = writer.write_record(fields);
    String::from_utf8_lossy(&writer.into_inner().unwrap_or_default()).into_owned()
}
