//! A server under test, and a client that sends exactly what it is told to.

use super::Bench;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// Reads the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(it, _)| it == name)
            .map(|(_, value)| value.as_str())
    }

    /// Checks the shape of a refusal and returns its code.
    pub fn code(&self) -> String {
        let body = self.json();
        let error = &body["error"];
        assert_eq!(
            self.header("content-type"),
            Some("application/json"),
            "{self:?}"
        );
        assert_eq!(
            error["requestId"].as_str(),
            self.header("x-request-id"),
            "{body}"
        );
        assert!(
            error["message"].as_str().is_some_and(|it| !it.is_empty()),
            "{body}"
        );
        assert!(
            error["details"].is_object() && error["timestamp"].is_string(),
            "{body}"
        );
        error["code"].as_str().unwrap().to_owned()
    }
}

/// A running `diffmig serve`; killed when it is dropped.
pub struct Served {
    pub child: Child,
    pub address: SocketAddr,
    /// Sent with every request.
    pub token: Option<String>,
}

impl Bench {
    /// Starts the server with more arguments and variables.
    pub fn serve_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Served {
        let mut all = vec!["serve", "--listen", "127.0.0.1:0"];
        all.extend(arguments);
        let mut command = self.command(&all);
        command.envs(variables.iter().copied());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://");
        Served {
            address: address
                .unwrap_or_else(|| panic!("{line:?}"))
                .parse()
                .unwrap(),
            child,
            token: None,
        }
    }

    /// Starts the server.
    pub fn serve(&self) -> Served {
        self.serve_with(&["--writes-per-minute", "10000"], &[])
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    /// Opens a connection and sends text as it stands.
    pub fn raw(&self, request: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(request);
        stream
    }

    fn head(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        length: Option<usize>,
    ) -> String {
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
        let has = |name: &str| headers.iter().any(|(it, _)| *it == name);
        if !has("host") {
            head += &format!("host: {}\r\n", self.address);
        }
        if let Some(token) = self.token.as_ref().filter(|_| !has("authorization")) {
            head += &format!("authorization: Bearer {token}\r\n");
        }
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(length) = length {
            head += &format!("content-length: {length}\r\n");
        }
        head + "\r\n"
    }

    /// Sends a request and reads the whole answer.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        let head = self.head(method, path, headers, body.map(<[u8]>::len));
        let mut stream = self.raw(&[head.as_bytes(), body.unwrap_or_default()].concat());
        let mut bytes = Vec::new();
        if let Err(error) = stream.read_to_end(&mut bytes) {
            assert!(!bytes.is_empty(), "{method} {path}: {error}");
        }
        parse(&bytes)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    /// Reads JSON that must be there.
    pub fn read(&self, path: &str) -> Value {
        let answer = self.get(path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Posts JSON; `null` is no body at all.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body)
    }

    pub fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        if body.is_null() {
            return self.send("POST", path, headers, Some(b""));
        }
        let headers = [headers, &[("content-type", "application/json")]].concat();
        self.send("POST", path, &headers, Some(body.to_string().as_bytes()))
    }

    /// Starts a migration and returns its session.
    pub fn execute(&self, body: &Value) -> String {
        let answer = self.post("/api/migration/execute", body);
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["sessionId"].as_str().unwrap().to_owned()
    }

    /// Waits until a session is in one of these states; returns how it stands.
    pub fn wait_for(&self, session_id: &str, states: &[&str]) -> Value {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let status = self.read(&format!("/api/migration/status/{session_id}"));
            if states.iter().any(|it| status["state"] == *it) {
                return status;
            }
            assert!(Instant::now() < deadline, "{status}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Opens a stream, hangs up, and returns the status with which it was answered.
    pub fn opens(&self, path: &str) -> u16 {
        let mut stream = self.raw(self.head("GET", path, &[], None).as_bytes());
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        let head = String::from_utf8_lossy(&head);
        head["HTTP/1.1 ".len()..].parse().unwrap()
    }

    /// Opens a stream of events.
    pub fn events(&self, session_id: &str, query: &str, headers: &[(&str, &str)]) -> Events {
        let path = format!("/api/migration/events/{session_id}{query}");
        let head = self.head("GET", &path, headers, None);
        let mut events = Events {
            stream: self.raw(head.as_bytes()),
            read: Vec::new(),
        };
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(events.byte().expect("a head")));
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        events
    }
}

/// One server-sent event.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub kind: String,
    pub id: Option<i64>,
    pub data: Value,
}

/// A stream of events, read as it comes.
pub struct Events {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Events {
    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(1) => Some(byte[0]),
            _ => None,
        }
    }

    /// Reads one chunk of the body; nothing at the end.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut size = String::new();
        while !size.ends_with("\r\n") {
            size.push(char::from(self.byte()?));
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        self.stream.read_exact(&mut chunk).ok()?;
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }
}

impl Iterator for Events {
    type Item = Sent;

    /// Waits for the next event; comments that only say that the stream is alive are left out.
    fn next(&mut self) -> Option<Sent> {
        loop {
            let end = self.read.windows(2).position(|it| it == b"\n\n");
            let Some(end) = end else {
                let chunk = self.chunk()?;
                self.read.extend(chunk);
                continue;
            };
            let text: Vec<u8> = self.read.drain(..end + 2).collect();
            let text = String::from_utf8(text).unwrap();
            let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
            if let Some(kind) = field("event: ") {
                return Some(Sent {
                    kind: kind.to_owned(),
                    id: field("id: ").map(|it| it.parse().unwrap()),
                    data: serde_json::from_str(field("data: ").unwrap()).unwrap(),
                });
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(bytes)));
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers: Vec<(String, String)> = headers
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = &bytes[end + 4..];
    Answer {
        status,
        headers,
        body: if chunked { joined(body) } else { body.to_vec() },
    }
}

/// Joins the chunks of a body.
fn joined(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = body.windows(2).position(|it| it == b"\r\n") {
        let size = usize::from_str_radix(str::from_utf8(&body[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole.extend(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
    whole
}
