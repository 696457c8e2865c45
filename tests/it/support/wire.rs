//! The frames of PostgreSQL's protocol, version 3: enough to count and to recognise them.

use std::collections::HashMap;

/// An SSL or GSS request: the client asks for encryption before it starts.
const ENCRYPTION_REQUESTS: [u32; 2] = [80_877_103, 80_877_104];

/// One frame, header included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The tag; `None` before the start-up message has been seen, which has none.
    pub tag: Option<u8>,
    pub bytes: Vec<u8>,
}

impl Frame {
    fn body(&self) -> &[u8] {
        let header = if self.tag.is_some() { 5 } else { 4 };
        self.bytes.get(header..).unwrap_or_default()
    }

    /// Tells whether the client asks for encryption; the answer is one byte.
    pub fn is_encryption_request(&self) -> bool {
        let code = self.body().get(..4).and_then(|it| it.try_into().ok());
        self.tag.is_none()
            && code.is_some_and(|code| ENCRYPTION_REQUESTS.contains(&u32::from_be_bytes(code)))
    }

    /// Tells whether the server answers after this frame, not only after a later one.
    pub fn is_answered(&self) -> bool {
        matches!(self.tag, None | Some(b'Q' | b'S' | b'c' | b'f' | b'p'))
    }

    /// Tells whether this frame of the server ends an answer: the client may speak again.
    pub fn ends_answer(&self) -> bool {
        match self.tag {
            Some(b'Z' | b'G') => true,
            // Authentication: everything but "ok", which the parameters and ReadyForQuery follow.
            Some(b'R') => self.body().get(..4).is_some_and(|code| code != [0; 4]),
            _ => false,
        }
    }
}

/// Cuts a stream of bytes into frames, however it arrives.
#[derive(Debug)]
pub struct Splitter {
    buffer: Vec<u8>,
    is_started: bool,
}

impl Splitter {
    /// Of what a client sends: its first message has no tag.
    pub fn of_client() -> Splitter {
        Splitter {
            buffer: Vec::new(),
            is_started: false,
        }
    }

    /// Of what a server sends to a client that was not answered with encryption.
    pub fn of_server() -> Splitter {
        Splitter {
            buffer: Vec::new(),
            is_started: true,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns the next whole frame.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let lead = usize::from(self.is_started);
        let length = self.buffer.get(lead..lead + 4)?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let end = lead + usize::try_from(length).ok()?;
        if self.buffer.len() < end {
            return None;
        }
        let rest = self.buffer.split_off(end);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let frame = Frame {
            tag: self.is_started.then(|| bytes[0]),
            bytes,
        };
        self.is_started |= !frame.is_encryption_request();
        Some(frame)
    }
}

/// Follows one client and tells what its frames run.
#[derive(Debug, Default)]
pub struct Reader {
    statements: HashMap<Vec<u8>, String>,
    portals: HashMap<Vec<u8>, String>,
    executed: Option<String>,
}

fn text(bytes: &[u8]) -> (Vec<u8>, &[u8]) {
    let end = bytes.iter().position(|byte| *byte == 0);
    let end = end.unwrap_or(bytes.len());
    (
        bytes[..end].to_vec(),
        bytes.get(end + 1..).unwrap_or_default(),
    )
}

/// The first line of a statement, short enough for a report.
fn label(statement: &[u8]) -> String {
    let line = String::from_utf8_lossy(statement);
    let words: Vec<&str> = line.split_whitespace().collect();
    words.join(" ").chars().take(72).collect()
}

impl Reader {
    /// Takes a frame and returns the statement that it names, prepares, runs or completes.
    pub fn take(&mut self, frame: &Frame) -> String {
        match frame.tag {
            Some(b'Q') => {
                let (statement, _) = text(frame.body());
                self.executed = None;
                label(&statement)
            }
            Some(b'P') => {
                let (name, rest) = text(frame.body());
                let (statement, _) = text(rest);
                self.statements.insert(name, label(&statement));
                label(&statement)
            }
            Some(b'B') => {
                let (portal, rest) = text(frame.body());
                let (name, _) = text(rest);
                let statement = self.statements.get(&name).cloned().unwrap_or_default();
                self.portals.insert(portal, statement.clone());
                statement
            }
            Some(b'E') => {
                let (portal, _) = text(frame.body());
                self.executed = self.portals.get(&portal).cloned();
                self.executed.clone().unwrap_or_default()
            }
            Some(b'S') => self.executed.take().unwrap_or_default(),
            _ => String::new(),
        }
    }
}

/// Tells whether this frame makes the server commit and answer.
pub fn is_commit(frame: &Frame, statement: &str) -> bool {
    matches!(frame.tag, Some(b'Q' | b'S')) && statement.eq_ignore_ascii_case("commit")
}

mod tests {
    use super::*;

    fn tagged(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag][..], &length.to_be_bytes(), body].concat()
    }

    fn untagged(body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&length.to_be_bytes()[..], body].concat()
    }

    fn conversation() -> Vec<u8> {
        [
            untagged(&80_877_103_u32.to_be_bytes()),
            untagged(b"\0\x03\0\0user\0a\0\0"),
            tagged(b'Q', b"begin\0"),
            tagged(b'd', &[7; 300]),
            tagged(b'c', b""),
        ]
        .concat()
    }

    #[test]
    fn frames_are_the_same_however_the_bytes_arrive() {
        let bytes = conversation();
        for step in [1, 2, 3, 7, 64, bytes.len()] {
            let mut splitter = Splitter::of_client();
            let mut frames = Vec::new();
            for chunk in bytes.chunks(step) {
                splitter.push(chunk);
                frames.extend(std::iter::from_fn(|| splitter.next_frame()));
            }
            let tags: Vec<Option<u8>> = frames.iter().map(|frame| frame.tag).collect();
            assert_eq!(tags, [None, None, Some(b'Q'), Some(b'd'), Some(b'c')]);
            assert!(frames[0].is_encryption_request());
            assert!(!frames[1].is_encryption_request());
            let joined: Vec<u8> = frames.into_iter().flat_map(|frame| frame.bytes).collect();
            assert_eq!(joined, bytes, "in steps of {step}");
        }
    }

    #[test]
    fn answers_end_where_the_client_may_speak_again() {
        let mut splitter = Splitter::of_server();
        for (tag, body) in [
            (b'R', &[0, 0, 0, 10][..]),
            (b'R', &[0; 4]),
            (b'C', b"COMMIT\0"),
            (b'Z', b"I"),
            (b'G', &[1, 0, 0]),
        ] {
            splitter.push(&tagged(tag, body));
        }
        let frames = std::iter::from_fn(|| splitter.next_frame());
        let ends: Vec<bool> = frames.map(|frame| frame.ends_answer()).collect();
        assert_eq!(ends, [true, false, false, true, true]);
    }

    #[test]
    fn a_commit_is_recognised_in_both_ways_to_send_it() {
        let mut splitter = Splitter::of_client();
        splitter.push(&untagged(b"\0\x03\0\0"));
        for (tag, body) in [
            (b'Q', &b"COMMIT\0"[..]),
            (b'P', b"s1\0commit\0\0\0"),
            (b'S', b""),
            (b'B', b"\0s1\0\0\0\0\0\0\0"),
            (b'E', b"\0\0\0\0\0"),
            (b'S', b""),
            (b'S', b""),
        ] {
            splitter.push(&tagged(tag, body));
        }
        let mut reader = Reader::default();
        let frames = std::iter::from_fn(|| splitter.next_frame());
        let commits: Vec<bool> = frames
            .map(|frame| {
                let statement = reader.take(&frame);
                is_commit(&frame, &statement)
            })
            .collect();
        // The synchronisation after Parse prepares the statement; only the one after Execute runs it.
        let wanted = [false, true, false, false, false, false, true, false];
        assert_eq!(commits, wanted);
    }
}
