//! The requests of docs/rest-api.md, sent as they stand there.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use crate::support::Bench;
use crate::support::http::{Answer, Served};
use serde_json::Value;

/// The session and the address that the page shows.
const SHOWN: &str = "6e1bbf53-90d0-4c89-8c69-a1d0a01a87bd";
const ADDRESS: &str = "http://127.0.0.1:8787";

/// Returns the commands of the page, each on one line.
fn commands() -> Vec<String> {
    let page = include_str!("../../../docs/rest-api.md").replace("\\\n", " ");
    let commands = page.lines().filter(|line| line.starts_with("curl "));
    commands.map(str::to_owned).collect()
}

/// Splits a command into words as a shell does; the page quotes with apostrophes only.
fn words(command: &str) -> Vec<String> {
    let parts = command.split('\'').enumerate();
    parts
        .flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

fn send(served: &Served, command: &str, session_id: &str) -> Answer {
    let command = command.replace(SHOWN, session_id);
    let (mut method, mut path, mut headers, mut body) = ("GET".to_owned(), None, Vec::new(), None);
    let mut words = words(&command).into_iter().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-X" => method = words.next().unwrap(),
            "-H" => {
                let header = words.next().unwrap();
                let (name, value) = header.split_once(": ").unwrap();
                headers.push((name.to_ascii_lowercase(), value.to_owned()));
            }
            "-d" => body = words.next(),
            "-N" | "-O" | "-J" => {}
            url => path = Some(url.strip_prefix(ADDRESS).unwrap().to_owned()),
        }
    }
    let headers: Vec<(&str, &str)> = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let body = body.or((method == "POST").then(String::new));
    served.send(
        &method,
        &path.unwrap(),
        &headers,
        body.as_ref().map(|it| it.as_bytes()),
    )
}

#[tokio::test]
async fn every_request_of_the_page_is_answered() {
    let bench = Bench::day1().await;
    let served = bench.serve();
    let done = ["completed", "completed_with_rejects"];
    let mut session_id = served.execute(&serde_json::json!({"entities": ["clients", "profiles"]}));
    served.wait_for(&session_id, &done);
    let commands = commands();
    assert!(commands.len() >= 15, "{commands:?}");
    for command in &commands {
        let answer = send(&served, command, &session_id);
        let wanted = match command {
            // There is nothing to go on with.
            it if it.contains("/resume/") => 409,
            it if it.contains("/execute") => 202,
            _ => 200,
        };
        assert_eq!(answer.status, wanted, "{command}: {answer:?}");
        if wanted == 202 {
            let started: Value = answer.json();
            session_id = started["sessionId"].as_str().unwrap().to_owned();
            served.wait_for(&session_id, &done);
        }
    }
}
