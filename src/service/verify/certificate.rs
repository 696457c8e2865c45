//! Certificates in files: written whole or not at all, and checked before they are believed.

use crate::context::Context;
use crate::domain::verification::{CERTIFICATE_FORMAT, Certificate};
use crate::error::{Error, Kind, Result};
use std::path::Path;

/// Writes a certificate; an older one of that name is replaced in one step.
///
/// # Errors
/// The file cannot be written (exit 2).
pub fn write(path: &Path, certificate: &Certificate) -> Result<()> {
    let unwritable = |cause: String| {
        Error::new(Kind::Usage, format!("cannot write {}", path.display()))
            .cause(cause)
            .state("nothing was changed")
            .next("choose another file")
    };
    let text = serde_json::to_string_pretty(certificate);
    let text = text.map_err(|error| unwritable(error.to_string()))?;
    let mut partial = path.as_os_str().to_owned();
    partial.push(".part");
    let written = std::fs::write(&partial, text + "\n");
    let written = written.and_then(|()| std::fs::rename(&partial, path));
    written.map_err(|error| {
        // What is left of it is of no use to anybody.
        let _ = std::fs::remove_file(&partial);
        unwritable(error.to_string())
    })
}

/// Reads a certificate and makes sure that it is about these databases and this mapping.
///
/// # Errors
/// It cannot be read (exit 2), was changed or is of a newer format (17), or is about another source or
/// target (14) or mapping (13).
pub fn read(path: &Path, context: &Context) -> Result<Certificate> {
    let named = |kind: Kind, what: &str| {
        Error::new(kind, format!("{}: {what}", path.display()))
            .state("nothing was verified")
            .next("verify again with --certificate and without --check")
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| named(Kind::Usage, "cannot be read").cause(error.to_string()))?;
    let certificate: Certificate = serde_json::from_str(&text)
        .map_err(|error| named(Kind::ControlState, "is no certificate").cause(error.to_string()))?;
    if certificate.format > CERTIFICATE_FORMAT {
        return Err(named(Kind::ControlState, "was made by a newer diffmig"));
    }
    if !certificate.is_sealed() {
        return Err(named(Kind::ControlState, "was changed after it was made"));
    }
    let catalogs = &context.catalogs;
    if certificate.source.identity != catalogs.0.identity {
        return Err(named(Kind::Guard, "is about another source"));
    }
    if certificate.target.identity != catalogs.1.identity {
        return Err(named(Kind::Guard, "is about another target"));
    }
    if certificate.mapping_digest != context.mapping.digest {
        return Err(named(Kind::Drift, "was made with another mapping"));
    }
    Ok(certificate)
}
