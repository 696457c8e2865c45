//! A Chromium without a window, driven over its debugging pipe.
//!
//! `--remote-debugging-pipe` takes commands from file descriptor 3 and answers on 4, as JSON that ends with a zero
//! byte. Two named pipes and a shell that redirects them need no crate and no port.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const ANSWER_WITHIN: Duration = Duration::from_secs(60);

type Waiting = HashMap<u64, oneshot::Sender<Value>>;

/// What the reader of the pipe and the callers share.
#[derive(Default)]
struct Heard {
    waiting: Waiting,
    events: Vec<Value>,
}

/// A browser with one page.
pub struct Browser {
    process: Child,
    commands: Mutex<(u64, File)>,
    heard: Arc<Mutex<Heard>>,
    session: String,
    _directory: tempfile::TempDir,
}

/// The size of a window and the colours that its user likes.
#[derive(Clone, Copy)]
pub struct View {
    pub width: u32,
    pub height: u32,
    pub dark: bool,
}

pub const DESK: View = View {
    width: 1280,
    height: 900,
    dark: false,
};

pub const PHONE: View = View {
    width: 360,
    height: 740,
    dark: true,
};

/// Finds the program that the tests run in; a test without a browser fails, it does not pass.
fn program() -> String {
    let given = std::env::var("DIFFMIG_CHROMIUM").unwrap_or_default();
    if !given.is_empty() {
        return given;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ensure-chromium.sh");
    let found = Command::new(script).arg("--find").output().unwrap();
    assert!(
        found.status.success(),
        "there is no Chromium: run scripts/ensure-chromium.sh, or leave the filter `dashboard` out"
    );
    String::from_utf8(found.stdout).unwrap().trim().to_owned()
}

/// Starts the program with its two pipes.
fn launch(pipes: &[PathBuf; 2], profile: &Path) -> Child {
    Command::new("sh")
        .args([
            "-c",
            r#"commands=$1 answers=$2; shift 2; exec "$@" 3<"$commands" 4>"$answers""#,
            "sh",
        ])
        .args(pipes)
        .arg(program())
        .args([
            "--headless=new",
            "--remote-debugging-pipe",
            "--no-first-run",
            "--hide-scrollbars",
        ])
        // Root has no sandbox, and containers have a small /dev/shm.
        .args([
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg("about:blank")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads answers and events until the browser closes its end.
fn listen(answers: File, heard: &Mutex<Heard>) {
    for part in BufReader::new(answers).split(0) {
        let Ok(part) = part else { return };
        let said: Value = serde_json::from_slice(&part).unwrap();
        let mut heard = heard.lock().unwrap();
        match said["id"].as_u64() {
            Some(id) => {
                if let Some(caller) = heard.waiting.remove(&id) {
                    let _ = caller.send(said);
                }
            }
            None => heard.events.push(said),
        }
    }
}

impl Browser {
    /// Starts a browser with a profile of its own and an empty page.
    pub async fn start(view: View) -> Browser {
        let directory = tempfile::tempdir().unwrap();
        let pipes = ["commands", "answers"].map(|name| directory.path().join(name));
        assert!(
            Command::new("mkfifo")
                .args(&pipes)
                .status()
                .unwrap()
                .success()
        );
        let process = launch(&pipes, &directory.path().join("profile"));
        // Each end waits for the other, in the shell's order.
        let [commands, answers] = pipes;
        let opened = tokio::task::spawn_blocking(move || {
            let commands = OpenOptions::new().write(true).open(commands).unwrap();
            (commands, File::open(answers).unwrap())
        });
        let (commands, answers) = tokio::time::timeout(ANSWER_WITHIN, opened)
            .await
            .expect("the browser does not start")
            .unwrap();
        let heard = Arc::new(Mutex::new(Heard::default()));
        let ears = Arc::clone(&heard);
        std::thread::spawn(move || listen(answers, &ears));
        let mut browser = Browser {
            process,
            commands: Mutex::new((0, commands)),
            heard,
            session: String::new(),
            _directory: directory,
        };
        let target = browser
            .call("Target.createTarget", json!({ "url": "about:blank" }))
            .await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser.view(view).await;
        browser
    }

    /// Calls a method of the protocol.
    pub async fn call(&self, method: &str, params: Value) -> Value {
        let (sender, receiver) = oneshot::channel();
        {
            let mut commands = self.commands.lock().unwrap();
            commands.0 += 1;
            let id = commands.0;
            self.heard.lock().unwrap().waiting.insert(id, sender);
            let mut command = json!({ "id": id, "method": method, "params": params });
            if !self.session.is_empty() {
                command["sessionId"] = json!(self.session);
            }
            commands
                .1
                .write_all(format!("{command}\0").as_bytes())
                .unwrap();
        }
        let said = tokio::time::timeout(ANSWER_WITHIN, receiver).await;
        let said = said
            .unwrap_or_else(|_| panic!("{method} was not answered"))
            .unwrap();
        assert!(said.get("error").is_none(), "{method}: {said}");
        said["result"].clone()
    }

    /// Changes the size of the window and the colours.
    pub async fn view(&self, view: View) {
        let size = json!({ "width": view.width, "height": view.height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = if view.dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", media).await;
    }

    /// Opens an address and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        let loaded = || {
            let heard = self.heard.lock().unwrap();
            let events = heard.events.iter();
            events
                .filter(|it| it["method"] == "Page.loadEventFired")
                .count()
        };
        let (began, before) = (Instant::now(), loaded());
        let opened = self.call("Page.navigate", json!({ "url": url })).await;
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
        while loaded() == before {
            assert!(began.elapsed() < ANSWER_WITHIN, "{url} is not loaded");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Evaluates an expression in the page.
    pub async fn eval(&self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let said = self.call("Runtime.evaluate", params).await;
        assert!(
            said.get("exceptionDetails").is_none(),
            "{expression}: {said}"
        );
        said["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub async fn until(&self, expression: &str) {
        let began = Instant::now();
        while self.eval(&format!("Boolean({expression})")).await != json!(true) {
            if began.elapsed() > ANSWER_WITHIN {
                let text = self.eval("document.body.innerText").await;
                panic!(
                    "never true: {expression}\n{}",
                    text.as_str().unwrap_or_default()
                );
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Clicks into the middle of an element, as a mouse does: what covers it gets the click.
    pub async fn click(&self, selector: &str) {
        let place = format!(
            "(() => {{ const it = document.querySelector('{selector}'); it.scrollIntoView({{ block: 'center' }}); \
             const box = it.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let place = self.eval(&place).await;
        for kind in ["mousePressed", "mouseReleased"] {
            let params = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", params).await;
        }
    }

    /// Presses a key that has a name (`Tab`, `Enter`, `Escape`), or one that writes a character.
    pub async fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            _ => 0,
        };
        let text = match key {
            "Enter" => "\r",
            key if key.chars().count() == 1 => key,
            _ => "",
        };
        let mut down = json!({ "type": "keyDown", "key": key, "windowsVirtualKeyCode": code });
        if !text.is_empty() {
            down["text"] = json!(text);
        }
        self.call("Input.dispatchKeyEvent", down).await;
        let up = json!({ "type": "keyUp", "key": key, "windowsVirtualKeyCode": code });
        self.call("Input.dispatchKeyEvent", up).await;
    }

    /// Writes into what has the focus.
    pub async fn write(&self, text: &str) {
        self.call("Input.insertText", json!({ "text": text })).await;
    }

    /// Returns what the page complained about: errors of scripts, of the network and of the security policy.
    pub fn complaints(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            Some("Runtime.consoleAPICalled") => {
                matches!(
                    event["params"]["type"].as_str(),
                    Some("error" | "warning" | "assert")
                )
            }
            _ => false,
        };
        heard
            .events
            .iter()
            .filter(is_complaint)
            .map(Value::to_string)
            .collect()
    }

    /// Returns a picture of the window as PNG, in base64.
    pub async fn picture(&self) -> String {
        let picture = self
            .call("Page.captureScreenshot", json!({ "format": "png" }))
            .await;
        picture["data"].as_str().unwrap().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
