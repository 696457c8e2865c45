//! Who may ask: tokens, the Host header, and where a browser comes from.

use super::answer::Refusal;
use axum::http::{HeaderMap, Method, StatusCode, header};
use std::fmt;
use std::net::SocketAddr;
use subtle::ConstantTimeEq;

/// What a token allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// To look.
    Read,
    /// To look and to act.
    Operator,
}

/// The shortest token that is taken: anything shorter can be guessed.
const MIN_TOKEN: usize = 16;
/// The longest token that is taken.
const MAX_TOKEN: usize = 512;

/// The tokens that are accepted; an empty set asks for none.
#[derive(Clone, Default)]
pub struct Tokens(Vec<(Scope, String)>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.0.len())
    }
}

impl Tokens {
    /// Reads lines of `read:TOKEN`, `operator:TOKEN` or a bare `TOKEN`, which is an operator's.
    ///
    /// # Errors
    /// What is wrong, with the number of the line and never its text.
    pub fn parse(text: &str) -> Result<Tokens, String> {
        let mut tokens = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (scope, token) = match line.split_once(':') {
                Some(("read", token)) => (Scope::Read, token.trim()),
                Some(("operator", token)) => (Scope::Operator, token.trim()),
                _ => (Scope::Operator, line),
            };
            let fits = (MIN_TOKEN..=MAX_TOKEN).contains(&token.len());
            if !fits || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!(
                    "line {number}: a token has {MIN_TOKEN} to {MAX_TOKEN} printable characters without spaces"
                ));
            }
            tokens.push((scope, token.to_owned()));
        }
        match tokens.is_empty() {
            true => Err("it holds no token".to_owned()),
            false => Ok(Tokens(tokens)),
        }
    }

    /// Tells whether nobody needs a token.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares with every token, each in constant time, so that the time tells nothing of any.
    fn scope_of(&self, given: &str) -> Option<Scope> {
        let mut found = None;
        for (scope, token) in &self.0 {
            let same = bool::from(token.as_bytes().ct_eq(given.as_bytes()));
            if same && found != Some(Scope::Operator) {
                found = Some(*scope);
            }
        }
        found
    }

    /// Finds what the request may do.
    pub(super) fn admit(&self, headers: &HeaderMap) -> Result<Scope, Refusal> {
        if self.is_empty() {
            return Ok(Scope::Operator);
        }
        let refused = |message: &str| {
            Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
                .next("send Authorization: Bearer TOKEN")
        };
        let given = headers.get(header::AUTHORIZATION);
        let given = given.ok_or_else(|| refused("a token is needed"))?;
        let given = given.to_str().unwrap_or_default();
        let token = given
            .split_once(' ')
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let scope = token.and_then(|(_, token)| self.scope_of(token.trim()));
        scope.ok_or_else(|| refused("the token is not accepted"))
    }
}

/// The names under which this server may be called, so that a page of another origin cannot rename itself into it.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    names: Vec<String>,
}

impl Hosts {
    /// Accepts the address itself, the names of loopback when it is one, and what the operator allows.
    pub fn new(address: SocketAddr, allowed: &[String]) -> Hosts {
        let mut names: Vec<String> = allowed.iter().map(|it| it.to_ascii_lowercase()).collect();
        let ip = address.ip();
        if ip.is_loopback() {
            names.extend(["localhost", "127.0.0.1", "[::1]"].map(str::to_owned));
        }
        if !ip.is_unspecified() {
            names.push(match ip.is_ipv6() {
                true => format!("[{ip}]"),
                false => ip.to_string(),
            });
        }
        Hosts { names }
    }

    fn knows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = without_port(&host);
        self.names.iter().any(|it| *it == host || it == name)
    }

    /// Refuses a request that was meant for another host, and whatever another site's page sends to a guarded path.
    pub fn check(
        &self,
        method: &Method,
        headers: &HeaderMap,
        is_guarded: bool,
    ) -> Result<(), Refusal> {
        let host = headers.get(header::HOST).and_then(|it| it.to_str().ok());
        let Some(host) = host.filter(|it| self.knows(it)) else {
            let message = "this host name is not served here";
            return Err(
                Refusal::new(StatusCode::FORBIDDEN, "host_not_allowed", message)
                    .next("diffmig serve --allow-host NAME allows one more"),
            );
        };
        if method.is_safe() && !is_guarded {
            return Ok(());
        }
        let foreign = || {
            let message = "a page of another site may not do this";
            Refusal::new(StatusCode::FORBIDDEN, "origin_not_allowed", message)
        };
        if let Some(origin) = headers.get(header::ORIGIN) {
            let origin = origin.to_str().unwrap_or_default();
            let name = ["http://", "https://"]
                .iter()
                .find_map(|it| origin.strip_prefix(it));
            if !name.is_some_and(|name| name.eq_ignore_ascii_case(host)) {
                return Err(foreign());
            }
        }
        match headers.get("sec-fetch-site").map(|it| it.as_bytes()) {
            None | Some(b"same-origin" | b"none") => Ok(()),
            Some(_) => Err(foreign()),
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|it| it.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn tokens_have_a_scope_and_a_length() {
        let text = "# who\nread:aaaaaaaaaaaaaaaa\noperator:bbbbbbbbbbbbbbbb\n\ncccccccccccccccc\n";
        let tokens = Tokens::parse(text).unwrap();
        let scope = |token: &'static str| {
            let value = HeaderValue::from_static(token);
            tokens
                .admit(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]))
                .ok()
        };
        assert_eq!(scope("Bearer aaaaaaaaaaaaaaaa"), Some(Scope::Read));
        assert_eq!(scope("bearer bbbbbbbbbbbbbbbb"), Some(Scope::Operator));
        assert_eq!(scope("Bearer cccccccccccccccc"), Some(Scope::Operator));
        for wrong in [
            "Bearer aaaaaaaaaaaaaaab",
            "Bearer",
            "Bearer ",
            "aaaaaaaaaaaaaaaa",
            "Basic aaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(scope(wrong), None, "{wrong}");
        }
        for wrong in ["", "# none", "short", "read:", "operator:has a space in it"] {
            let problem = Tokens::parse(wrong).unwrap_err();
            assert!(!problem.contains("short"), "{problem}");
        }
    }

    #[test]
    fn only_known_hosts_and_no_pages_of_other_sites() {
        let hosts = Hosts::new(
            "127.0.0.1:8787".parse().unwrap(),
            &["migrate.example".into()],
        );
        let get = |host: &'static str| hosts.check(&Method::GET, &headers(&[("host", host)]), true);
        for known in [
            "localhost:8787",
            "127.0.0.1",
            "[::1]:8787",
            "[::1]",
            "Migrate.Example",
            "migrate.example:443",
        ] {
            assert!(get(known).is_ok(), "{known}");
        }
        for unknown in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:8787",
            "",
        ] {
            assert!(get(unknown).is_err(), "{unknown}");
        }
        assert!(hosts.check(&Method::GET, &HeaderMap::new(), true).is_err());
        let post = |pairs: &[(&'static str, &'static str)]| {
            hosts.check(&Method::POST, &headers(pairs), true).is_ok()
        };
        let host = ("host", "localhost:8787");
        assert!(post(&[host]));
        assert!(post(&[
            host,
            ("origin", "http://localhost:8787"),
            ("sec-fetch-site", "same-origin")
        ]));
        assert!(!post(&[host, ("origin", "http://localhost:9999")]));
        assert!(!post(&[host, ("origin", "null")]));
        assert!(!post(&[host, ("origin", "https://evil.example")]));
        assert!(!post(&[host, ("sec-fetch-site", "cross-site")]));
        // A page elsewhere cannot read the answer, but it could hold the places of those who can.
        let other_site = headers(&[host, ("sec-fetch-site", "cross-site")]);
        assert!(hosts.check(&Method::GET, &other_site, true).is_err());
        assert!(hosts.check(&Method::GET, &other_site, false).is_ok());
    }
}
