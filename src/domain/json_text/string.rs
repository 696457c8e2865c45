//! Strings of JSON: reading the escapes and writing them as PostgreSQL does.

use super::JsonFault;

/// The longest string that fits into a `jsonb`, in bytes.
const MAX_BYTES: usize = 0x0FFF_FFFF;

/// Refuses a string of more bytes than `jsonb` can hold.
pub(super) fn check_length(bytes: usize, at: usize) -> Result<(), JsonFault> {
    match bytes > MAX_BYTES {
        true => Err(JsonFault::StringTooLong(at)),
        false => Ok(()),
    }
}

/// Reads the string whose opening quote is at `start`, appends its characters and returns the offset after it.
///
/// The text must be valid UTF-8.
pub(super) fn decode(text: &[u8], start: usize, to: &mut Vec<u8>) -> Result<usize, JsonFault> {
    let before = to.len();
    let mut at = start + 1;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let run = rest.iter().take_while(|byte| is_plain(**byte)).count();
        to.extend_from_slice(&rest[..run]);
        at += run;
        match rest.get(run) {
            None => return Err(JsonFault::UnexpectedEnd(at)),
            Some(b'"') => {
                check_length(to.len() - before, start)?;
                return Ok(at + 1);
            }
            Some(b'\\') => at = escape_sequence(text, at, to)?,
            Some(_) => return Err(JsonFault::ControlCharacter(at)),
        }
    }
}

fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}

/// Reads one escape (or a pair of surrogates) whose backslash is at `start` and returns the offset after it.
fn escape_sequence(text: &[u8], start: usize, to: &mut Vec<u8>) -> Result<usize, JsonFault> {
    let plain = match text.get(start + 1) {
        None => return Err(JsonFault::UnexpectedEnd(start + 1)),
        Some(b'u') => return unicode_escape(text, start, to),
        Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
        Some(b'b') => 0x08,
        Some(b'f') => 0x0C,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(_) => return Err(JsonFault::BadEscape(start)),
    };
    to.push(plain);
    Ok(start + 2)
}

fn unicode_escape(text: &[u8], start: usize, to: &mut Vec<u8>) -> Result<usize, JsonFault> {
    let first = code_unit(text, start)?;
    let (code, end) = match first {
        0 => return Err(JsonFault::NulCharacter(start)),
        0xD800..=0xDBFF => {
            let second_at = start + 6;
            if text.get(second_at..second_at + 2) != Some(b"\\u") {
                return Err(JsonFault::Surrogate(start));
            }
            let second = code_unit(text, second_at)?;
            if !(0xDC00..=0xDFFF).contains(&second) {
                return Err(JsonFault::Surrogate(start));
            }
            let code = 0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00);
            (code, second_at + 6)
        }
        _ => (first, start + 6),
    };
    let character = char::from_u32(code).ok_or(JsonFault::Surrogate(start))?;
    let mut buffer = [0; 4];
    to.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
    Ok(end)
}

/// The four hexadecimal digits of `\uXXXX` whose backslash is at `start`.
fn code_unit(text: &[u8], start: usize) -> Result<u32, JsonFault> {
    let mut value = 0;
    for offset in 2..6 {
        let Some(byte) = text.get(start + offset) else {
            return Err(JsonFault::UnexpectedEnd(text.len()));
        };
        let digit = char::from(*byte).to_digit(16);
        value = value * 16 + digit.ok_or(JsonFault::BadEscape(start))?;
    }
    Ok(value)
}

/// Appends a string with quotes and the escapes of PostgreSQL's `escape_json`.
pub(super) fn escape(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    loop {
        let run = rest.iter().take_while(|byte| is_plain(**byte)).count();
        out.extend_from_slice(&rest[..run]);
        let Some(byte) = rest.get(run) else { break };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0C => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[run + 1..];
    }
    out.push(b'"');
}
