//! The help texts are part of the product: every change of one is seen and wanted.
//!
//! `DIFFMIG_BLESS=1 cargo test --test it help` writes them anew.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Every command that has a help text.
const COMMANDS: &[&str] = &[
    "",
    "init",
    "doctor",
    "adopt",
    "analyze",
    "detect",
    "migrate",
    "verify",
    "explain",
    "status",
    "control",
    "control list",
    "control pause",
    "control resume",
    "control cancel",
    "logs",
    "quarantine",
    "quarantine list",
    "quarantine show",
    "quarantine retry",
    "quarantine waive",
    "schema",
    "schema diff",
    "schema suggest",
    "grants",
    "serve",
    "demo",
    "completions",
    "man",
];

/// The binary in a sealed environment: nothing of the person who runs the tests changes what it says.
fn diffmig(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_diffmig"));
    command
        .env_clear()
        .env("COLUMNS", "100")
        .current_dir(directory)
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    diffmig(directory.path()).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn golden(command: &str) -> PathBuf {
    let name = match command {
        "" => "diffmig".to_owned(),
        command => format!("diffmig-{}", command.replace(' ', "-")),
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/golden/{name}.txt"))
}

#[test]
fn help_texts_are_as_agreed() {
    let bless = std::env::var_os("DIFFMIG_BLESS").is_some();
    let mut changed = Vec::new();
    for command in COMMANDS {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.push("--help");
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(0), "diffmig {command} --help");
        assert!(output.stderr.is_empty(), "diffmig {command} --help");
        let found = text(&output.stdout);
        let path = golden(command);
        if bless {
            std::fs::write(&path, found).unwrap();
        } else if std::fs::read_to_string(&path).unwrap_or_default() != found {
            changed.push(format!("--- {}\n{found}", path.display()));
        }
    }
    assert!(
        changed.is_empty(),
        "not as in the golden files (DIFFMIG_BLESS=1 writes them anew):\n{}",
        changed.join("\n")
    );
}

#[test]
fn every_command_shows_examples_and_exit_codes() {
    for command in COMMANDS {
        let mut arguments: Vec<&str> = command.split_whitespace().collect();
        arguments.push("--help");
        let help = text(&run(&arguments).stdout);
        for part in [
            "\nUsage: diffmig",
            "\nEXAMPLES\n  diffmig",
            "\nEXIT STATUS\n  0 ",
        ] {
            assert!(
                help.contains(part),
                "diffmig {command} --help lacks {part:?}"
            );
        }
        let shown = help.lines().find(|line| line.chars().count() > 100);
        assert_eq!(shown, None, "diffmig {command} --help is too wide");
    }
}

#[test]
fn wrong_usage_is_explained_and_ends_with_2() {
    for arguments in [
        &["no-such-command"][..],
        &["analyze", "--no-such-flag"],
        &["migrate", "--wait-lock", "5"],
        &["migrate", "--allow-deletes", "clients"],
        &["detect", "--threshold", "200"],
        &["analyze", "--json", "--output", "csv"],
        &["control"],
        &["quarantine"],
        &["quarantine", "retry", "--key", "1"],
        &["quarantine", "waive"],
        &["quarantine", "waive", "profiles"],
        &["quarantine", "waive", "--reason", "x"],
        &[
            "quarantine",
            "waive",
            "--entity",
            "profiles",
            "--reason",
            "",
        ],
        &[
            "quarantine",
            "waive",
            "profiles",
            "1",
            "--entity",
            "clients",
        ],
        &[],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(text(&output.stderr).contains("--help"), "{arguments:?}");
    }
}

#[test]
fn a_url_in_the_wrong_place_is_not_repeated() {
    for arguments in [
        &["analyze", "postgres://u:canary@h/d"][..],
        &["analyze", "--config=x", "--wait=postgresql://u:can@ary@h/d"],
        &[
            "--source-url",
            "postgres://u:canary@h/d?nonsense=canary",
            "--target-url",
            "x",
            "doctor",
            "analyze",
        ],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = text(&output.stderr) + &text(&output.stdout);
        assert!(!said.contains("ary"), "{said}");
    }
}

#[test]
fn errors_are_one_block_and_in_json_also_a_document() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(
        directory.path().join("diffmig.toml"),
        diffmig::service::workshop::MAPPING,
    )
    .unwrap();
    let nowhere = "postgres://nobody@127.0.0.1:1/nothing";
    let analyze = |flags: &[&str]| {
        let mut command = diffmig(directory.path());
        command
            .env("DIFFMIG_SOURCE_URL", nowhere)
            .env("DIFFMIG_TARGET_URL", nowhere);
        command.arg("analyze").args(flags).output().unwrap()
    };
    let plain = analyze(&[]);
    assert_eq!(plain.status.code(), Some(10));
    assert!(plain.stdout.is_empty());
    let block = text(&plain.stderr);
    let words: Vec<&str> = block
        .lines()
        .filter_map(|line| line.split_once(' ').map(|it| it.0))
        .collect();
    assert_eq!(words, ["error:", "cause:", "state:", "next:"], "{block}");
    let json = analyze(&["--json"]);
    assert_eq!(json.status.code(), Some(10));
    let block = text(&json.stderr);
    let document: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(document["version"], 1);
    assert_eq!(document["error"]["exitCode"], 10);
    assert_eq!(document["error"]["code"], "connect");
    for part in ["message", "cause", "state", "next"] {
        let said = document["error"][part].as_str().unwrap();
        assert!(block.contains(said), "{part}: {said}");
    }
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["--help"][..], &["completions", "bash"], &["man"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = diffmig(directory.path())
            .args(arguments)
            .stdout(writer)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let output = diffmig(directory.path())
        .args(["man", "."])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let migrate = std::fs::read_to_string(directory.path().join("diffmig-migrate.1")).unwrap();
    assert!(migrate.contains("EXIT STATUS"));
}
