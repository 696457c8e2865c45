//! Who may ask: tokens, hosts, origins, and where the server may listen.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::command::run;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

const READ: &str = "read-token-for-tests-0001";
const OPERATOR: &str = "operator-token-for-tests-1";

fn token_file(bench: &Bench, text: &str, mode: u32) -> PathBuf {
    let path = bench.directory.path().join(format!("tokens-{mode:o}"));
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[tokio::test]
async fn tokens_decide_what_may_be_done() {
    let bench = Bench::empty().await;
    let path = token_file(
        &bench,
        &format!("read:{READ}\noperator:{OPERATOR}\n"),
        0o600,
    );
    let mut served = bench.serve_with(&["--token-file", path.to_str().unwrap()], &[]);
    for open in [
        "/",
        "/dashboard/app.js",
        "/dashboard/style.css",
        "/docs",
        "/openapi.json",
        "/healthz",
    ] {
        assert_eq!(served.get(open).status, 200, "{open}");
    }
    for guarded in ["/api/migration/sessions", "/metrics", "/api/nothing"] {
        let refused = served.get(guarded);
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (401, "unauthorized"),
            "{guarded}"
        );
        assert!(
            refused
                .header("www-authenticate")
                .is_some_and(|it| it.starts_with("Bearer"))
        );
    }
    served.token = Some(READ.to_owned());
    assert_eq!(served.get("/api/migration/sessions").status, 200);
    for write in ["execute", "baseline", "differential"] {
        let refused = served.post(&format!("/api/migration/{write}"), &json!({"bogus": 1}));
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (403, "forbidden"),
            "{write}"
        );
    }
    served.token = Some(OPERATOR.to_owned());
    let taken = served.post("/api/migration/execute", &json!({"bogus": 1}));
    assert_eq!(taken.status, 400);
    served.token = Some("wrong-token-wrong-token".to_owned());
    let statuses: Vec<u16> = (0..25)
        .map(|_| served.get("/api/migration/sessions").status)
        .collect();
    assert_eq!(statuses[0], 401);
    assert_eq!(statuses[24], 429, "{statuses:?}");
    // Who has a right one is let in, whoever guesses behind the same address.
    served.token = Some(OPERATOR.to_owned());
    assert_eq!(served.get("/api/migration/sessions").status, 200);
}

#[tokio::test]
async fn other_hosts_and_pages_of_other_sites_are_refused() {
    let bench = Bench::empty().await;
    let served = bench.serve_with(&["--allow-host", "migrate.example"], &[]);
    let sessions =
        |host: &str| served.send("GET", "/api/migration/sessions", &[("host", host)], None);
    for host in ["migrate.example", "localhost:1", "127.0.0.1"] {
        assert_eq!(sessions(host).status, 200, "{host}");
    }
    let rebound = sessions("evil.example");
    assert_eq!(
        (rebound.status, rebound.code().as_str()),
        (403, "host_not_allowed")
    );
    assert_eq!(
        served
            .send("GET", "/", &[("host", "evil.example")], None)
            .status,
        403
    );
    assert_eq!(
        served
            .send("GET", "/healthz", &[("host", "10.0.0.1")], None)
            .status,
        200
    );
    let own = format!("http://{}", served.address);
    for (headers, status) in [
        (vec![("origin", own.as_str())], 400),
        (vec![("origin", "https://evil.example")], 403),
        (vec![("origin", "null")], 403),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (
            vec![("origin", own.as_str()), ("sec-fetch-site", "same-origin")],
            400,
        ),
    ] {
        let answer = served.post_with("/api/migration/execute", &headers, &json!({"bogus": 1}));
        assert_eq!(answer.status, status, "{headers:?}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
}

#[tokio::test]
async fn pages_have_a_strict_policy_and_are_not_sent_twice() {
    let bench = Bench::empty().await;
    let served = bench.serve();
    for (path, media_type) in [
        ("/", "text/html"),
        ("/dashboard/app.js", "text/javascript"),
        ("/dashboard/style.css", "text/css"),
        ("/docs", "text/html"),
        ("/docs/swagger-ui-bundle.js", "text/javascript"),
        ("/docs/swagger-ui.css", "text/css"),
    ] {
        let page = served.get(path);
        assert!(
            page.header("content-type").unwrap().starts_with(media_type),
            "{path}"
        );
        let policy = page.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("script-src 'self';"),
            "{policy}"
        );
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("x-frame-options"), Some("DENY"));
        let tag = page.header("etag").unwrap();
        let again = served.send("GET", path, &[("if-none-match", tag)], None);
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
    let id = |given: &str| {
        let answer = served.send("GET", "/healthz", &[("x-request-id", given)], None);
        answer.header("x-request-id").unwrap().to_owned()
    };
    assert_eq!(id("nightly-17"), "nightly-17");
    assert_ne!(id("<b>"), "<b>");
}

/// Starts the server with `--json`, ends it, and returns what it said.
fn ready_line(bench: &Bench) -> Value {
    let mut command = bench.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let said: Value = serde_json::from_str(&line).unwrap();
    let url = format!("http://{}", said["address"].as_str().unwrap());
    assert_eq!((&said["url"], &said["version"]), (&json!(url), &json!(1)));
    said
}

#[tokio::test]
async fn unsafe_ways_to_start_are_refused() {
    let bench = Bench::empty().await;
    let shared = token_file(&bench, OPERATOR, 0o644);
    let short = token_file(&bench, "short", 0o600);
    let good = token_file(&bench, OPERATOR, 0o400);
    let (shared, short, good) = (
        shared.to_str().unwrap(),
        short.to_str().unwrap(),
        good.to_str().unwrap(),
    );
    for (arguments, code, part) in [
        (vec!["--listen", "0.0.0.0:0"], 2, "loopback"),
        (
            vec!["--listen", "0.0.0.0:0", "--token-file", good],
            2,
            "--behind-tls",
        ),
        (
            vec!["--listen", "0.0.0.0:0", "--behind-tls"],
            2,
            "--token-file",
        ),
        (vec!["--token-file", shared], 2, "chmod 600"),
        (vec!["--token-file", short], 2, "line 1"),
        (vec!["--token-file", "no-such-file"], 2, "token file"),
        (vec!["--listen", "nonsense"], 2, "--listen"),
    ] {
        let said = bench
            .say(&[&["serve"], arguments.as_slice()].concat())
            .await;
        assert_eq!(said.code, Some(code), "{arguments:?}: {said:?}");
        assert!(
            said.stderr.contains(part) && !said.stderr.contains("short\n"),
            "{said:?}"
        );
    }
    assert_eq!(ready_line(&bench)["command"], "serve");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = bench.say(&["serve", "--listen", &address]).await;
    assert_eq!(said.code, Some(15), "{said:?}");
    let mut lost = bench.command(&["serve"]);
    lost.env_remove("DIFFMIG_SOURCE_URL");
    assert_eq!(run(lost).await.code, Some(2));
    let mut served = bench.serve_with(&["--behind-tls", "--token-file", good, "--json"][..3], &[]);
    served.token = Some(OPERATOR.to_owned());
    assert_eq!(
        served.read("/api/migration/sessions")["sessions"],
        Value::Array(Vec::new())
    );
}
