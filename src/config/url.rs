//! Connection URLs, read strictly: nothing is filled in from elsewhere, nothing leaks.

use crate::domain::connection::{ConnectionSpec, Secret, Side, TlsMode};
use crate::error::{Error, Kind, Result};
use url::Url;

fn refuse(side: Side, cause: impl Into<String>, next: &str) -> Error {
    let what = format!("the {} URL cannot be used", side.word());
    Error::new(Kind::Usage, what)
        .cause(cause)
        .state("nothing was started")
        .next(next.to_owned())
}

const SHAPE: &str =
    "write postgres://user:password@host:5432/database (percent-encode special characters)";

/// Parses `postgres://user:password@host:port/database?sslmode=..&sslrootcert=..`.
///
/// Host, user and database must all be there. `insecure` allows unverified TLS to hosts elsewhere than on loopback.
///
/// # Errors
/// What is wrong, without any part of the URL.
pub fn parse(side: Side, text: &str, insecure: bool) -> Result<ConnectionSpec> {
    let text = text.trim();
    let rest = text
        .strip_prefix("postgres://")
        .or_else(|| text.strip_prefix("postgresql://"))
        .ok_or_else(|| refuse(side, "it does not begin with postgres://", SHAPE))?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    // An unescaped @ would send the rest of the password to a name server.
    if authority.matches('@').count() > 1 || rest[authority.len()..].contains('@') {
        let cause = "it has an '@' (or '/', '?', '#') in the user name or password";
        return Err(refuse(
            side,
            cause,
            "percent-encode it: @ is %40, / is %2F, ? is %3F, # is %23",
        ));
    }
    let url = Url::parse(text).map_err(|error| refuse(side, error.to_string(), SHAPE))?;
    let decode = |text: &str| percent_decode(text);
    let user =
        decode(url.username()).ok_or_else(|| refuse(side, "the user name is not UTF-8", SHAPE))?;
    let host = decode(url.host_str().unwrap_or_default()).unwrap_or_default();
    // The brackets of an IPv6 address belong to the URL, not to the address.
    let host = match host.strip_prefix('[').and_then(|it| it.strip_suffix(']')) {
        Some(address) => address.to_owned(),
        None => host,
    };
    let database = decode(url.path().trim_start_matches('/')).unwrap_or_default();
    let mut spec = ConnectionSpec {
        side,
        host,
        port: url.port().unwrap_or(5432),
        user,
        password: url.password().and_then(decode).map(Secret::new),
        database,
        tls: TlsMode::Prefer,
        root_certificate: None,
    };
    let mut mode = None;
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "sslmode" => mode = Some(value.into_owned()),
            "sslrootcert" => spec.root_certificate = Some(value.into_owned()),
            "host" => spec.host = value.into_owned(),
            other => {
                let cause = format!("unknown parameter `{other}`");
                return Err(refuse(side, cause, "known: sslmode, sslrootcert, host"));
            }
        }
    }
    for (part, name) in [
        (&spec.user, "user"),
        (&spec.host, "host"),
        (&spec.database, "database"),
    ] {
        if part.is_empty() {
            return Err(refuse(side, format!("the {name} is missing"), SHAPE));
        }
    }
    refuse_transaction_port(&spec)?;
    spec.tls = tls_mode(&spec, mode.as_deref(), insecure)?;
    Ok(spec)
}

/// The hosted platform's poolers tell their modes by the port.
fn refuse_transaction_port(spec: &ConnectionSpec) -> Result<()> {
    if !spec.is_hosted() || spec.port != 6543 {
        return Ok(());
    }
    let what = format!(
        "the {} URL names a pooler in transaction mode",
        spec.side.word()
    );
    Err(Error::new(Kind::Guard, what)
        .cause("port 6543 gives every statement another session")
        .state("nothing was started")
        .next("use the same host with port 5432 (session mode), or the direct address"))
}

/// Elsewhere than on loopback the certificate must be verified, unless the operator says `--insecure`.
fn tls_mode(spec: &ConnectionSpec, mode: Option<&str>, insecure: bool) -> Result<TlsMode> {
    let local = spec.is_local();
    let wanted = match mode {
        None if local => TlsMode::Prefer,
        None => TlsMode::VerifyFull,
        Some("disable") => TlsMode::Disable,
        Some("prefer" | "allow") => TlsMode::Prefer,
        Some("require") if spec.root_certificate.is_some() => TlsMode::VerifyCa,
        Some("require") => TlsMode::Require,
        Some("verify-ca") => TlsMode::VerifyCa,
        Some("verify-full") => TlsMode::VerifyFull,
        Some(_) => {
            let next = "use disable, prefer, require, verify-ca or verify-full";
            return Err(refuse(spec.side, "unknown sslmode", next));
        }
    };
    let verified = matches!(wanted, TlsMode::VerifyCa | TlsMode::VerifyFull);
    if verified || local || insecure {
        return Ok(wanted);
    }
    let cause = format!(
        "{} is not on this machine and its certificate would not be verified",
        spec.host
    );
    let next = "add sslmode=verify-full (and sslrootcert=FILE), or say --insecure";
    Err(refuse(spec.side, cause, next))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digits = [rest.next()?, rest.next()?];
        let digits = std::str::from_utf8(&digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(text: &str) -> String {
        let error = parse(Side::Source, text, false).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        format!("{error} {:?}", error)
    }

    #[test]
    fn a_full_url_is_read_and_decoded() {
        let spec = parse(
            Side::Target,
            "postgres://a%40b:p%2Fw@127.0.0.1:6000/db",
            false,
        )
        .unwrap();
        assert_eq!((spec.user.as_str(), spec.port), ("a@b", 6000));
        assert_eq!(spec.password.unwrap().reveal(), "p/w");
        assert_eq!(spec.tls, TlsMode::Prefer);
    }

    #[test]
    fn an_address_of_version_six_loses_its_brackets() {
        let spec = parse(Side::Source, "postgres://u@[::1]:6000/d", false).unwrap();
        assert_eq!((spec.host.as_str(), spec.port), ("::1", 6000));
        assert_eq!(spec.tls, TlsMode::Prefer);
        let elsewhere = parse(Side::Source, "postgres://u@[2001:db8::1]/d", false).unwrap();
        assert_eq!(elsewhere.tls, TlsMode::VerifyFull);
    }

    #[test]
    fn an_unescaped_at_sign_is_refused_without_showing_the_password() {
        let text = cause("postgres://user:can@ary@db.example.com/x");
        assert!(text.contains("'@'"));
        assert!(!text.contains("ary"));
        assert!(!cause("postgres://user:ca/n@ary@h/x").contains("ary"));
    }

    #[test]
    fn missing_parts_are_named_not_filled_in() {
        assert!(cause("postgres://localhost/db").contains("user"));
        assert!(cause("postgres://u@localhost").contains("database"));
        assert!(cause("mysql://u@h/d").contains("postgres://"));
    }

    #[test]
    fn remote_hosts_need_a_verified_certificate() {
        let spec = parse(Side::Source, "postgres://u@db.example.com/d", false).unwrap();
        assert_eq!(spec.tls, TlsMode::VerifyFull);
        assert!(cause("postgres://u@db.example.com/d?sslmode=require").contains("--insecure"));
        assert!(
            parse(
                Side::Source,
                "postgres://u@db.example.com/d?sslmode=require",
                true
            )
            .is_ok()
        );
        let raised = "postgres://u@db.example.com/d?sslmode=require&sslrootcert=ca.pem";
        assert_eq!(
            parse(Side::Source, raised, false).unwrap().tls,
            TlsMode::VerifyCa
        );
    }
}
