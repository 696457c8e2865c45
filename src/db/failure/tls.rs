//! What the TLS library says, in words for people. Its faults are permanent: nobody tries again.

use crate::domain::connection::ConnectionSpec;
use crate::domain::identifier::printable;
use crate::error::{Error, Kind};
use chrono::DateTime;

/// Tells whether the text of an I/O error is about TLS.
pub(super) fn is_fault(text: &str) -> bool {
    ["certificate", "UnknownIssuer", "received fatal alert"]
        .iter()
        .any(|word| text.contains(word))
}

/// Says why TLS failed and what helps.
pub(super) fn explain(spec: &ConnectionSpec, text: &str) -> Error {
    let (cause, next) = words(&spec.host, text);
    let what = format!("{}: TLS with {spec} failed", spec.side.word());
    Error::new(Kind::Permission, what).cause(cause).next(next)
}

fn words(host: &str, text: &str) -> (String, &'static str) {
    if text.contains("certificate expired") {
        let when = day_after(text, "not valid after ").map(|day| format!(" on {day}"));
        let cause = format!(
            "the server's certificate expired{}",
            when.unwrap_or_default()
        );
        return (cause, "renew the server's certificate");
    }
    if text.contains("not valid yet") {
        let when = day_after(text, "not valid before ").map(|day| format!(" before {day}"));
        let cause = format!(
            "the server's certificate is not valid{}",
            when.unwrap_or_else(|| " yet".into())
        );
        return (cause, "check the clocks of both machines");
    }
    if text.contains("not valid for name") || text.contains("NotValidForName") {
        let cause = format!(
            "the server's certificate is not for the host {}",
            printable(host)
        );
        return (
            cause,
            "use the host name that the certificate is made out to",
        );
    }
    if text.contains("UnknownIssuer") {
        return (
            "no authority that is known here has signed the server's certificate".into(),
            "name the authority's certificate in the URL: sslrootcert=FILE",
        );
    }
    if text.contains("does not support TLS") {
        return (
            "the server does not offer TLS".into(),
            "switch it on there (ssl = on), or check host and port",
        );
    }
    (
        printable(text),
        "check sslrootcert and the host name in the URL",
    )
}

/// Finds a time in seconds since 1970 behind a phrase.
fn day_after(text: &str, phrase: &str) -> Option<String> {
    let rest = &text[text.find(phrase)? + phrase.len()..];
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    let time = DateTime::from_timestamp(rest[..end].parse().ok()?, 0)?;
    Some(time.format("%F").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_says_becomes_a_cause_and_advice() {
        let said = |text: &str| words("db.example.com", text);
        let expired = said(
            "invalid peer certificate: certificate expired: verification time 1763850000 (UNIX), \
             but certificate is not valid after 1609459200 (154390800 seconds ago)",
        );
        assert_eq!(expired.0, "the server's certificate expired on 2021-01-01");
        assert!(
            said("invalid peer certificate: UnknownIssuer")
                .1
                .contains("sslrootcert")
        );
        let other = said("received fatal alert: handshake failure\u{1b}");
        assert_eq!(other.0, "received fatal alert: handshake failure\\u{1b}");
    }
}
