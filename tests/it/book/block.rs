//! The blocks of commands of a page.

/// What becomes of a block.
#[derive(Debug, PartialEq, Eq)]
pub enum Manner {
    /// Its commands run; each may end with this code instead of 0. SQL is for the target, unless it says otherwise.
    Run { exit: i32, on_source: bool },
    /// It does not run.
    NotRun { why: String },
}

/// One command, and what is shown of its output.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// The line of the page.
    pub line: usize,
    /// The command for a shell.
    pub command: String,
    /// What is typed into it.
    pub typed: String,
    /// The lines below it.
    pub shown: Vec<String>,
}

/// A block of commands.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    pub line: usize,
    pub manner: Manner,
    pub steps: Vec<Step>,
}

/// The languages of blocks that hold commands.
const COMMANDS: &[&str] = &["sh", "bash", "console", "sql"];

/// Returns the blocks of commands of a page.
pub fn blocks(page: &str) -> Vec<Block> {
    let lines: Vec<&str> = page.lines().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        let Some(language) = lines[at].trim_start().strip_prefix("```") else {
            at += 1;
            continue;
        };
        let indent = lines[at].len() - lines[at].trim_start().len();
        let length = lines[at + 1..]
            .iter()
            .position(|it| it.trim_start().starts_with("```"))
            .unwrap();
        let inside: Vec<&str> = lines[at + 1..at + 1 + length]
            .iter()
            .map(|it| it.get(indent..).unwrap_or(""))
            .collect();
        if COMMANDS.contains(&language) {
            let manner = manner(&lines[..at]);
            let on_source = matches!(
                manner,
                Manner::Run {
                    on_source: true,
                    ..
                }
            );
            found.push(Block {
                line: at + 1,
                manner,
                steps: steps(language, on_source, &inside, at + 2),
            });
        }
        at += length + 2;
    }
    found
}

/// Reads the comment in front of a block.
fn manner(before: &[&str]) -> Manner {
    let last = before.iter().rev().find(|it| !it.trim().is_empty());
    let comment = last.and_then(|it| it.trim().strip_prefix("<!-- ")?.strip_suffix(" -->"));
    let comment = comment.unwrap_or_default();
    if let Some(why) = comment.strip_prefix("not run: ") {
        return Manner::NotRun { why: why.into() };
    }
    let exit = comment.strip_prefix("runs: exit ");
    Manner::Run {
        exit: exit.map_or(0, |it| it.parse().unwrap()),
        on_source: comment == "runs: on the source",
    }
}

fn steps(language: &str, on_source: bool, lines: &[&str], first: usize) -> Vec<Step> {
    match language {
        "console" => of_console(lines, first),
        "sql" => vec![Step {
            line: first,
            command: match on_source {
                true => "psql -q -v ON_ERROR_STOP=1 \"$DIFFMIG_SOURCE_URL\"".into(),
                false => "psql -q -v ON_ERROR_STOP=1 \"$DIFFMIG_TARGET_URL\"".into(),
            },
            typed: lines.join("\n"),
            shown: Vec::new(),
        }],
        _ => of_shell(lines, first),
    }
}

/// One command a line; a line that is indented, or that follows a backslash, goes on with the one before.
fn of_shell(lines: &[&str], first: usize) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match steps.last_mut() {
            Some(step) if line.starts_with(' ') || step.command.ends_with('\\') => {
                step.command.push('\n');
                step.command.push_str(line);
            }
            _ => steps.push(Step {
                line: first + number,
                command: (*line).to_owned(),
                typed: String::new(),
                shown: Vec::new(),
            }),
        }
    }
    steps
}

/// Tells the prompt of `psql` from its text: `legacy=# `.
fn psql_prompt(line: &str) -> Option<&str> {
    let (name, text) = line.split_once("=# ")?;
    name.chars().all(|c| c.is_ascii_lowercase()).then_some(text)
}

fn of_console(lines: &[&str], first: usize) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut types = false;
    for (number, line) in lines.iter().enumerate() {
        if let Some(command) = line.strip_prefix("$ ") {
            types = false;
            steps.push(Step {
                line: first + number,
                command: command.into(),
                typed: String::new(),
                shown: Vec::new(),
            });
            continue;
        }
        let step = steps.last_mut().expect("a block begins with a command");
        if step.shown.is_empty() && step.command.ends_with('\\') {
            step.command.push('\n');
            step.command.push_str(line);
        } else if let Some(text) = psql_prompt(line) {
            types = true;
            step.typed.push_str(text);
            step.typed.push('\n');
        } else if types {
            step.typed.push_str(line);
            step.typed.push('\n');
        } else {
            step.shown.push((*line).into());
        }
    }
    steps
}

#[test]
fn blocks_are_read_with_their_manner_and_output() {
    let page = "text\n<!-- runs: exit 3 -->\n```console\n$ a \\\n  b\nshown\n$ psql x\nlegacy=# select 1,\n   2;\n```\n\
                <!-- not run: it is an outline -->\n\n```sh\nc\n```\n```toml\nx = 1\n```\n";
    let found = blocks(page);
    assert_eq!(found.len(), 2);
    assert_eq!(
        found[0].manner,
        Manner::Run {
            exit: 3,
            on_source: false
        }
    );
    assert_eq!(found[0].steps[0].command, "a \\\n  b");
    assert_eq!(found[0].steps[0].shown, ["shown"]);
    assert_eq!(found[0].steps[1].typed, "select 1,\n   2;\n");
    let why = "it is an outline".to_owned();
    assert_eq!(found[1].manner, Manner::NotRun { why });
}
