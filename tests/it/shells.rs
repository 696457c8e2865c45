//! Completions as shells use them, and manual pages as `man` shows them.

#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(
    clippy::print_stderr,
    reason = "a check that cannot be made here says so"
)]

use crate::support::command::diffmig;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

fn words(text: &[u8]) -> BTreeSet<String> {
    let text = String::from_utf8_lossy(text).into_owned();
    text.split_whitespace().map(str::to_owned).collect()
}

/// What bash offers behind these words; the last one is the one that is completed.
fn offered_by_bash(directory: &Path, typed: &[&str]) -> BTreeSet<String> {
    let script = "source <(diffmig completions bash); words=(\"$@\"); COMP_WORDS=(\"${words[@]}\"); \
        COMP_CWORD=$(( ${#words[@]} - 1 )); COMP_LINE=\"${words[*]}\"; COMP_POINT=${#COMP_LINE}; \
        _diffmig diffmig \"${words[COMP_CWORD]}\" \"${words[COMP_CWORD-1]}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let binary = Path::new(env!("CARGO_BIN_EXE_diffmig")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["--norc", "-c", script, "bash"])
        .args(typed)
        .current_dir(directory)
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    words(&output.stdout)
}

#[test]
fn bash_completes_commands_subcommands_flags_and_values() {
    let directory = tempfile::tempdir().unwrap();
    let offered = |typed: &[&str]| offered_by_bash(directory.path(), typed);
    let set = |words: &str| -> BTreeSet<String> { words.split(' ').map(str::to_owned).collect() };
    assert_eq!(offered(&["diffmig", "mig"]), set("migrate"));
    assert!(offered(&["diffmig", ""]).is_superset(&set("init doctor status logs control schema")));
    assert!(offered(&["diffmig", "control", ""]).is_superset(&set("list pause resume cancel")));
    assert_eq!(offered(&["diffmig", "quarantine", "wa"]), set("waive"));
    assert!(
        offered(&["diffmig", "logs", "--"]).is_superset(&set("--follow --since --grep --json"))
    );
    assert_eq!(
        offered(&["diffmig", "logs", "--level", ""]),
        set("debug info warn error")
    );
    assert_eq!(
        offered(&["diffmig", "migrate", "--if-locked", ""]),
        set("fail skip")
    );
    assert!(offered(&["diffmig", "completions", ""]).is_superset(&set("bash zsh fish")));
}

/// zsh and fish check the syntax where they are installed; elsewhere it is looked whether every command is there.
#[test]
fn zsh_and_fish_know_every_command() {
    let directory = tempfile::tempdir().unwrap();
    for (shell, check) in [("zsh", "-n"), ("fish", "--no-execute")] {
        let output = diffmig(directory.path(), &["completions", shell])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        for word in [
            "migrate",
            "quarantine",
            "waive",
            "suggest",
            "if-locked",
            "since",
        ] {
            assert!(text.contains(word), "{shell} does not know {word}");
        }
        let file = directory.path().join(shell);
        std::fs::write(&file, text).unwrap();
        match Command::new(shell).arg(check).arg(&file).output() {
            Ok(checked) => assert!(checked.status.success(), "{checked:?}"),
            Err(_) => eprintln!("{shell} is not here: the syntax was not checked"),
        }
    }
}

#[test]
fn there_is_a_manual_page_for_every_command_and_man_can_show_it() {
    let directory = tempfile::tempdir().unwrap();
    let output = diffmig(directory.path(), &["man", "."]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let pages: BTreeSet<String> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .collect();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden");
    let helped: BTreeSet<String> = std::fs::read_dir(golden)
        .unwrap()
        .map(|it| it.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| Some(format!("{}.1", name.strip_suffix(".txt")?)))
        .collect();
    assert_eq!(
        pages, helped,
        "a command has a page and no golden help, or the other way round"
    );
    for page in &pages {
        let text = std::fs::read_to_string(directory.path().join(page)).unwrap();
        for part in [".SH EXAMPLES\n", ".SH \"EXIT STATUS\"\n"] {
            assert!(text.contains(part), "{page} lacks {part}");
        }
        let shown = Command::new("man")
            .args(["--warnings", "-l", page])
            .current_dir(directory.path())
            .env("MANWIDTH", "80")
            .env("MAN_KEEP_FORMATTING", "")
            .output();
        let Ok(shown) = shown else {
            eprintln!("man is not here: the pages were not shown");
            return;
        };
        assert!(
            shown.status.success() && shown.stderr.is_empty(),
            "{page}: {shown:?}"
        );
    }
}
