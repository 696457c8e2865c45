//! How to reach a database. The password never shows in `Debug`, `Display` or errors.

use std::fmt;

/// Which of the two databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The legacy database; only read.
    Source,
    /// The Supabase database.
    Target,
}

impl Side {
    /// Returns the word used in flags, messages and docs.
    pub fn word(self) -> &'static str {
        match self {
            Side::Source => "source",
            Side::Target => "target",
        }
    }
}

/// A text that is never printed.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// Gives the text to the driver; nobody else asks.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How much TLS is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// None.
    Disable,
    /// If the server offers it; loopback and sockets only.
    Prefer,
    /// Encrypted, the certificate unchecked (`--insecure` elsewhere than loopback).
    Require,
    /// Encrypted, signed by a known authority.
    VerifyCa,
    /// Encrypted, signed, and for this host name.
    VerifyFull,
}

/// A database and the way to it.
#[derive(Debug, Clone)]
pub struct ConnectionSpec {
    /// Which of the two it is.
    pub side: Side,
    /// Host name, address or socket directory.
    pub host: String,
    /// Port; 5432 by default.
    pub port: u16,
    /// Role.
    pub user: String,
    /// Password, if one was given.
    pub password: Option<Secret>,
    /// Database name.
    pub database: String,
    /// TLS.
    pub tls: TlsMode,
    /// File with the authority's certificate.
    pub root_certificate: Option<String>,
}

impl ConnectionSpec {
    /// Tells whether the way does not leave this machine.
    pub fn is_local(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host.starts_with('/')
            || self.host == "localhost"
            || address.is_ok_and(|ip| ip.is_loopback())
    }

    /// Tells whether it leads to Supabase's own platform.
    pub fn is_hosted(&self) -> bool {
        let host = self.host.to_ascii_lowercase();
        [".supabase.com", ".supabase.co"]
            .iter()
            .any(|domain| host.ends_with(domain))
    }
}

impl fmt::Display for ConnectionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}@{}:{}/{}",
            self.user, self.host, self.port, self.database
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let spec = ConnectionSpec {
            side: Side::Source,
            host: "h".into(),
            port: 5432,
            user: "u".into(),
            password: Some(Secret::new("canary")),
            database: "d".into(),
            tls: TlsMode::Prefer,
            root_certificate: None,
        };
        assert!(!format!("{spec} {spec:?}").contains("canary"));
    }
}
