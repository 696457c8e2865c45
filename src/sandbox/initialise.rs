//! `initdb`, and the bootstrap scripts in single-user mode.
//!
//! Single-user mode needs no driver, no port and no `psql`. With `-j` it takes everything up to a
//! semicolon followed by an empty line as one query string, even inside `$$`, so [`single_query`]
//! breaks up that sequence; what is left is one query string, and therefore one transaction, per
//! script. `exit_on_error` turns the first error into a failing exit code.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use super::failure::SandboxError;
use super::options::ServerOptions;
use super::root::Root;

/// Makes a cleanly shut down data directory with the scripts applied.
pub(super) fn initialise(
    root: &Root,
    data: &Path,
    options: &ServerOptions,
) -> Result<(), SandboxError> {
    run_initdb(root, data, &options.superuser)?;
    for (index, script) in options.scripts().iter().enumerate() {
        run_script(root, data, script).map_err(|failure| number_script(failure, index + 1))?;
    }
    Ok(())
}

/// Runs `initdb`, with the plain C locale where C.UTF-8 is unknown.
fn run_initdb(root: &Root, data: &Path, superuser: &str) -> Result<(), SandboxError> {
    let mut messages = String::new();
    for locale in ["C.UTF-8", "C"] {
        let locale_flag = format!("--locale={locale}");
        let flags = [
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            &locale_flag,
            "-U",
            superuser,
            "-D",
        ];
        let path = data.as_os_str();
        let (status, output) = run(root, "initdb", &flags, path, None)?;
        if status.success() {
            return Ok(());
        }
        messages = output;
        if !messages.contains("locale") {
            break;
        }
    }
    Err(SandboxError::Initdb(last_lines(&messages, |_| true)))
}

/// Runs one script; the number in the error is not known here.
fn run_script(root: &Root, data: &Path, script: &str) -> Result<(), SandboxError> {
    // Statements are kept out of the messages, for they may hold passwords.
    let settings = "exit_on_error=on fsync=off log_min_error_statement=panic \
                    password_encryption=scram-sha-256 log_line_prefix=";
    let mut flags = vec!["--single", "-j"];
    flags.extend(settings.split(' ').flat_map(|setting| ["-c", setting]));
    flags.push("-D");
    let query = single_query(script);
    let (status, messages) = run(root, "postgres", &flags, data.as_os_str(), Some(&query))?;
    if status.success() {
        return Ok(());
    }
    let telling = |line: &str| {
        ["ERROR:", "FATAL:", "PANIC:"]
            .iter()
            .any(|word| line.starts_with(word))
    };
    Err(SandboxError::Bootstrap {
        number: 0,
        detail: last_lines(&messages, telling),
    })
}

fn number_script(failure: SandboxError, number: usize) -> SandboxError {
    match failure {
        SandboxError::Bootstrap { detail, .. } => SandboxError::Bootstrap { number, detail },
        other => other,
    }
}

/// Runs a server program to its end; returns what it said on standard error.
fn run(
    root: &Root,
    program: &str,
    flags: &[&str],
    data: &std::ffi::OsStr,
    input: Option<&str>,
) -> Result<(ExitStatus, String), SandboxError> {
    let program_path = root.binaries.dir().join(program);
    let process = |source| SandboxError::process(&program_path, source);
    // A file, not a pipe: nobody reads while the script is being written.
    let log_path = root
        .path()
        .join(format!("{program}-{}.log", uuid::Uuid::new_v4().simple()));
    let log = File::create(&log_path)
        .map_err(|source| SandboxError::file("create", &log_path, source))?;
    let mut command = root.account.command(&program_path, root.path());
    command
        .args(flags)
        .arg(data)
        .stdout(Stdio::null())
        .stderr(log);
    if input.is_some() {
        command.arg("postgres").stdin(Stdio::piped());
    } else {
        command.stdin(Stdio::null());
    }
    let mut child = command.spawn().map_err(process)?;
    root.watchdog.record(child.id());
    if let (Some(text), Some(mut pipe)) = (input, child.stdin.take()) {
        // A server that ends early breaks the pipe; its exit code and log say why.
        let _ = pipe.write_all(text.as_bytes());
    }
    let status = child.wait().map_err(process)?;
    let messages = fs::read(&log_path).unwrap_or_default();
    let _ = fs::remove_file(&log_path);
    Ok((status, String::from_utf8_lossy(&messages).into_owned()))
}

/// Makes a script one query string for single-user mode: no `;` directly before an empty line
/// except at the end. The space that this adds to an empty line can be seen only inside a literal.
fn single_query(script: &str) -> String {
    format!("{}\n;\n\n", script.trim_end().replace(";\n\n", ";\n \n"))
}

fn last_lines(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && wanted(line))
        .collect();
    lines[lines.len().saturating_sub(6)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_script_ends_the_query() {
        for script in [
            "do $$ begin\n\n a;\n\n\n b;\n\nend $$;\n\n",
            "a;\n\n;\n\nb -- end",
            "",
        ] {
            let query = single_query(script);
            assert_eq!(query.find(";\n\n"), Some(query.len() - 3), "{query:?}");
        }
    }
}
