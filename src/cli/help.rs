//! What stands below the flags in every help text: examples and the exit codes of that command.

/// Exit codes of whatever looks into both databases.
pub const READS: &[u8] = &[0, 1, 2, 10, 12, 13, 14, 15, 17, 130];
/// Exit codes of whatever looks into the control tables only.
pub const LOOKS: &[u8] = &[0, 1, 2, 10, 12, 15, 17, 130];
/// Exit codes of whatever changes the control tables while nobody migrates.
pub const MARKS: &[u8] = &[0, 1, 2, 10, 11, 12, 15, 17, 130];

fn meaning(code: u8) -> &'static str {
    match code {
        0 => "done, or nothing to do",
        2 => "wrong usage, configuration or mapping file",
        3 => "finished, but rows are set aside: quarantined, held or in conflict",
        4 => "there are differences (--exit-code only)",
        10 => "a server cannot be reached; the same command may be run again",
        11 => "another session holds the lease",
        12 => "authentication, permission, TLS or row security",
        13 => "the mapping or a schema does not fit",
        14 => "a safety guard refused",
        15 => "disk, connections, locks or timeouts",
        16 => "the lease was taken by another process",
        17 => "the control schema is missing, damaged or newer than this binary",
        20 => "paused; `diffmig migrate --resume` goes on",
        21 => "cancelled",
        130 => "interrupted (143 when terminated)",
        _ => "unexpected failure",
    }
}

/// Writes the examples and the exit codes of one command.
pub fn of_command(examples: &[&str], codes: &[u8]) -> String {
    let mut text = "EXAMPLES\n".to_owned();
    for example in examples {
        text.push_str(&format!("  {example}\n"));
    }
    text.push_str("\nEXIT STATUS\n");
    for code in codes {
        text.push_str(&format!("  {code:<4} {}\n", meaning(*code)));
    }
    text.trim_end().to_owned()
}

/// Writes the first steps and the exit codes of the whole program.
pub fn of_program() -> String {
    let codes: Vec<u8> = (0..=4).chain(10..=17).chain([20, 21, 130]).collect();
    let examples = [
        "diffmig demo                 the whole story on two throw-away servers",
        "diffmig init                 write a draft of the mapping",
        "diffmig doctor               what stands in the way of a migration, and how to mend it",
        "diffmig analyze              how far source and target are apart",
        "diffmig detect               what changed since the last migration",
        "diffmig migrate              apply it",
        "diffmig verify               prove that the target is what the mapping makes of the source",
        "diffmig status --watch       follow it from another terminal",
    ];
    of_command(&examples, &codes)
}
