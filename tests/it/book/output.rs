//! Compares what a page shows with what a command printed.

/// Digits that differ from run to run: ids, times, durations, rates and ports. Everything else must be equal.
fn plain(line: &str) -> String {
    let words = line.split_whitespace();
    let words: Vec<String> = words.map(word).collect();
    let mut out: Vec<String> = Vec::new();
    for word in words {
        let is_unit = matches!(
            word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/'),
            "s" | "ms" | "min" | "h" | "rows/s" | "MiB" | "kB"
        );
        if is_unit && let Some(last) = out.last_mut() {
            *last = last.chars().filter(|c| !is_figure(*c)).collect();
        }
        out.push(word);
    }
    out.retain(|it| !it.is_empty());
    out.join(" ")
}

fn is_figure(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, '.' | ',')
}

fn word(text: &str) -> String {
    let hyphens = text.matches('-').count();
    let is_id = hyphens >= 4 && text.len() >= 36;
    let is_time = text.matches(':').count() >= 2 || (hyphens == 2 && text.starts_with("20"));
    let is_address =
        text.contains("127.0.0.1:") || text.contains("/tmp/") || text.contains("/dev/shm/");
    if is_id || is_time || is_address {
        return "*".to_owned();
    }
    match text.chars().all(|c| matches!(c, '─' | '-')) && text.chars().count() > 3 {
        true => "─".to_owned(),
        false => text.to_owned(),
    }
}

/// Finds the shown lines that the output does not have in this order; `...` stands for any lines.
pub fn first_difference(shown: &[String], printed: &str) -> Option<String> {
    let printed: Vec<String> = printed.lines().map(plain).collect();
    let shown: Vec<String> = shown.iter().map(|it| plain(it)).collect();
    let mut at = 0;
    for (number, part) in shown.split(|it| it == "...").enumerate() {
        // Lines right below the command begin the output.
        let last = match number {
            0 => at,
            _ => printed.len(),
        };
        let place = (at..=last).find(|place| printed[*place..].starts_with(part));
        let Some(place) = place else {
            return Some(format!("not printed so:\n{}", part.join("\n")));
        };
        at = place + part.len();
    }
    None
}

#[test]
fn only_what_changes_from_run_to_run_may_differ() {
    let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let printed =
        "entity  rows\n──────\nclients  439\napplied 4 rows in 0.9 s (6 rows/s); 12 set aside\nend";
    let same = "entity rows\n─────────\nclients   439\napplied 4 rows in 1.2 s (1,234 rows/s); 12 set aside";
    assert_eq!(first_difference(&shown(same), printed), None);
    assert_eq!(first_difference(&shown("...\nend"), printed), None);
    for other in [
        "entity rows\n─────────\nclients 440",
        "...\nclients 44",
        "end",
    ] {
        assert!(
            first_difference(&shown(other), printed).is_some(),
            "{other}"
        );
    }
}
