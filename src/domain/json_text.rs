//! Canonical text of JSON, byte for byte what PostgreSQL prints for the same text cast to `jsonb`.
//!
//! Two representations of one document compare equal after this step, without asking a server.

pub mod extract;
mod number;
mod string;

use std::ops::Range;
use thiserror::Error;

/// How many arrays and objects may be nested inside each other.
pub const MAX_DEPTH: usize = 1000;

/// Why a text is not JSON that `jsonb` can hold; positions are byte offsets, the text itself is never shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JsonFault {
    /// The text stops in the middle of a value, or is empty.
    #[error("the JSON text ends unexpectedly at byte {0}")]
    UnexpectedEnd(usize),
    /// A byte that JSON does not allow at this place.
    #[error("JSON syntax error at byte {0}")]
    Syntax(usize),
    /// Something other than white space follows the value.
    #[error("text follows the JSON value at byte {0}")]
    TrailingText(usize),
    /// A control character inside a string that is not written as an escape.
    #[error("unescaped control character in a JSON string at byte {0}")]
    ControlCharacter(usize),
    /// A backslash that starts no escape of JSON.
    #[error("invalid escape in a JSON string at byte {0}")]
    BadEscape(usize),
    /// The character U+0000, which PostgreSQL cannot store.
    #[error("the character U+0000 at byte {0} cannot be stored")]
    NulCharacter(usize),
    /// Half of a surrogate pair.
    #[error("unpaired surrogate in a JSON string at byte {0}")]
    Surrogate(usize),
    /// Bytes that are not UTF-8.
    #[error("invalid UTF-8 at byte {0}")]
    InvalidUtf8(usize),
    /// A number outside the limits of PostgreSQL's `numeric`.
    #[error("the number at byte {0} is outside the limits of numeric")]
    NumberOutOfRange(usize),
    /// A string longer than `jsonb` can hold (268 435 455 bytes).
    #[error("the string at byte {0} is too long for jsonb")]
    StringTooLong(usize),
    /// More than [`MAX_DEPTH`] nested arrays and objects.
    #[error("JSON nested deeper than 1000 levels at byte {0}")]
    TooDeep(usize),
}

/// Appends the text that PostgreSQL prints for `text::jsonb`.
///
/// # Errors
/// Whatever `jsonb` input refuses, and nesting deeper than [`MAX_DEPTH`]; `out` is then as it was before.
pub fn canonical_json(text: &[u8], out: &mut Vec<u8>) -> Result<(), JsonFault> {
    let start = out.len();
    let result = check_utf8(text).and_then(|()| Canon::new(text, out).run());
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Appends `{"key": "text"}` for a text that is not JSON itself.
///
/// # Errors
/// U+0000, invalid UTF-8 or more than 268 435 455 bytes; `out` is then as it was before.
pub fn wrap_raw(key: &str, text: &[u8], out: &mut Vec<u8>) -> Result<(), JsonFault> {
    check_utf8(text)?;
    for part in [key.as_bytes(), text] {
        if let Some(at) = find_nul(part) {
            return Err(JsonFault::NulCharacter(at));
        }
        string::check_length(part.len(), 0)?;
    }
    out.push(b'{');
    string::escape(key.as_bytes(), out);
    out.extend_from_slice(b": ");
    string::escape(text, out);
    out.push(b'}');
    Ok(())
}

fn find_nul(text: &[u8]) -> Option<usize> {
    text.iter().position(|byte| *byte == 0)
}

fn check_utf8(text: &[u8]) -> Result<(), JsonFault> {
    match std::str::from_utf8(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(JsonFault::InvalidUtf8(error.valid_up_to())),
    }
}

/// One `"key": value` already written to the output.
struct Member {
    key: Range<usize>,
    text: Range<usize>,
}

enum Frame {
    Array,
    Object {
        /// Where the first member starts in the output.
        body: usize,
        /// How many members and key bytes belong to the objects around this one.
        members: usize,
        keys: usize,
    },
}

/// An explicit stack instead of recursion: the depth of the text never touches the thread's stack.
struct Canon<'a> {
    text: &'a [u8],
    at: usize,
    out: &'a mut Vec<u8>,
    frames: Vec<Frame>,
    members: Vec<Member>,
    keys: Vec<u8>,
    scratch: Vec<u8>,
}

impl<'a> Canon<'a> {
    fn new(text: &'a [u8], out: &'a mut Vec<u8>) -> Self {
        Canon {
            text,
            at: 0,
            out,
            frames: Vec::new(),
            members: Vec::new(),
            keys: Vec::new(),
            scratch: Vec::new(),
        }
    }

    fn run(mut self) -> Result<(), JsonFault> {
        loop {
            while self.begin_value()? {}
            if !self.end_values()? {
                return Ok(());
            }
        }
    }

    /// Reads a scalar, an empty container or the opening of a container; true when a value must follow.
    fn begin_value(&mut self) -> Result<bool, JsonFault> {
        match self.peek()? {
            b'[' => {
                self.open(Frame::Array, b'[')?;
                if self.peek()? == b']' {
                    self.close(b']');
                    return Ok(false);
                }
                Ok(true)
            }
            b'{' => {
                let frame = Frame::Object {
                    body: self.out.len() + 1,
                    members: self.members.len(),
                    keys: self.keys.len(),
                };
                self.open(frame, b'{')?;
                if self.peek()? == b'}' {
                    self.close(b'}');
                    return Ok(false);
                }
                self.key()?;
                Ok(true)
            }
            b'"' => {
                self.scratch.clear();
                self.at = string::decode(self.text, self.at, &mut self.scratch)?;
                string::escape(&self.scratch, self.out);
                Ok(false)
            }
            b'-' | b'0'..=b'9' => {
                self.at = number::canonical(self.text, self.at, self.out)?;
                Ok(false)
            }
            _ => {
                self.keyword()?;
                Ok(false)
            }
        }
    }

    /// Closes every container that ends here; true when another value must follow, false at the end of the text.
    fn end_values(&mut self) -> Result<bool, JsonFault> {
        loop {
            self.skip_space();
            let Some(frame) = self.frames.last() else {
                return match self.at == self.text.len() {
                    true => Ok(false),
                    false => Err(JsonFault::TrailingText(self.at)),
                };
            };
            let is_object = matches!(frame, Frame::Object { .. });
            let next = self.peek()?;
            if is_object && let Some(member) = self.members.last_mut() {
                member.text.end = self.out.len();
            }
            match (next, is_object) {
                (b',', _) => {
                    self.at += 1;
                    self.out.extend_from_slice(b", ");
                    if is_object {
                        self.key()?;
                    }
                    return Ok(true);
                }
                (b']', false) | (b'}', true) => self.close(next),
                _ => return Err(JsonFault::Syntax(self.at)),
            }
        }
    }

    fn open(&mut self, frame: Frame, bracket: u8) -> Result<(), JsonFault> {
        if self.frames.len() == MAX_DEPTH {
            return Err(JsonFault::TooDeep(self.at));
        }
        self.frames.push(frame);
        self.out.push(bracket);
        self.at += 1;
        Ok(())
    }

    fn close(&mut self, bracket: u8) {
        self.at += 1;
        if let Some(Frame::Object {
            body,
            members,
            keys,
        }) = self.frames.pop()
        {
            self.order_members(body, members);
            self.members.truncate(members);
            self.keys.truncate(keys);
        }
        self.out.push(bracket);
    }

    /// Reads a key and its colon, and writes both.
    fn key(&mut self) -> Result<(), JsonFault> {
        if self.peek()? != b'"' {
            return Err(JsonFault::Syntax(self.at));
        }
        let key_start = self.keys.len();
        self.at = string::decode(self.text, self.at, &mut self.keys)?;
        if self.peek()? != b':' {
            return Err(JsonFault::Syntax(self.at));
        }
        self.at += 1;
        let text_start = self.out.len();
        string::escape(&self.keys[key_start..], self.out);
        self.out.extend_from_slice(b": ");
        self.members.push(Member {
            key: key_start..self.keys.len(),
            text: text_start..text_start,
        });
        Ok(())
    }

    /// Rewrites the members of the object that ends here in jsonb's order, keeping the last of equal keys.
    fn order_members(&mut self, body: usize, first: usize) {
        let keys = &self.keys;
        let sort_key = |member: &Member| (member.key.len(), &keys[member.key.clone()]);
        let members = &mut self.members[first..];
        if members.is_sorted_by(|a, b| sort_key(a) < sort_key(b)) {
            return;
        }
        members.sort_by(|a, b| sort_key(a).cmp(&sort_key(b)));
        self.scratch.clear();
        for (index, member) in members.iter().enumerate() {
            let next = members.get(index + 1);
            if next.is_some_and(|next| sort_key(next) == sort_key(member)) {
                continue;
            }
            if !self.scratch.is_empty() {
                self.scratch.extend_from_slice(b", ");
            }
            self.scratch
                .extend_from_slice(&self.out[member.text.clone()]);
        }
        self.out.truncate(body);
        self.out.extend_from_slice(&self.scratch);
    }

    fn keyword(&mut self) -> Result<(), JsonFault> {
        let start = self.at;
        let word = self.text[start..]
            .iter()
            .take_while(|byte| is_word_byte(**byte))
            .count();
        match &self.text[start..start + word] {
            found @ (b"true" | b"false" | b"null") => self.out.extend_from_slice(found),
            _ => return Err(JsonFault::Syntax(start)),
        }
        self.at = start + word;
        Ok(())
    }

    fn skip_space(&mut self) {
        let rest = self.text[self.at..].iter();
        self.at += rest
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
    }

    /// Skips white space and returns the byte after it.
    fn peek(&mut self) -> Result<u8, JsonFault> {
        self.skip_space();
        let byte = self.text.get(self.at).copied();
        byte.ok_or(JsonFault::UnexpectedEnd(self.at))
    }
}

/// Bytes that PostgreSQL's lexer joins to a preceding keyword or number.
fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

#[cfg(test)]
mod tests;
