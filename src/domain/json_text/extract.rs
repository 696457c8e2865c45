//! One value out of a document in canonical form.

use super::string;

/// Finds the value at a path; `None` when there is none.
///
/// A step is a member's name, or a position in an array that counts from 0, from the end when it is negative.
/// The document must be the output of [`super::canonical_json`].
pub fn find<'t>(document: &'t [u8], path: &[String]) -> Option<&'t [u8]> {
    path.iter()
        .try_fold(document, |value, step| match value.first()? {
            b'{' => member(value, step.as_bytes()),
            b'[' => element(value, step.parse().ok()?),
            _ => None,
        })
}

/// Appends a value as PostgreSQL's `#>>` gives it; `false` for the JSON value `null`.
pub fn as_text(value: &[u8], out: &mut Vec<u8>) -> bool {
    match value.first() {
        Some(b'"') => string::decode(value, 0, out).is_ok(),
        _ if value == b"null" => false,
        _ => {
            out.extend_from_slice(value);
            true
        }
    }
}

fn member<'t>(object: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let mut at = 1;
    let mut key = Vec::new();
    while object.get(at) == Some(&b'"') {
        key.clear();
        let start = string::decode(object, at, &mut key).ok()? + ": ".len();
        let end = skip(object, start);
        if key == name {
            return object.get(start..end);
        }
        at = end + ", ".len();
    }
    None
}

fn element(array: &[u8], position: i64) -> Option<&[u8]> {
    let mut elements = Vec::new();
    let mut at = 1;
    while array.get(at).is_some_and(|byte| *byte != b']') {
        let end = skip(array, at);
        elements.push(at..end);
        at = end + ", ".len();
    }
    let index = match usize::try_from(position) {
        Ok(index) => index,
        Err(_) => {
            let back = usize::try_from(position.unsigned_abs()).ok()?;
            elements.len().checked_sub(back)?
        }
    };
    array.get(elements.get(index)?.clone())
}

/// Returns where the value that begins at `start` ends.
fn skip(text: &[u8], start: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = start;
    let mut in_string = false;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' if in_string => at += 1,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::super::canonical_json;
    use super::*;

    fn at(document: &str, path: &[&str]) -> Option<String> {
        let mut canonical = Vec::new();
        canonical_json(document.as_bytes(), &mut canonical).unwrap();
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        let value = find(&canonical, &path)?;
        let mut text = Vec::new();
        as_text(value, &mut text).then(|| String::from_utf8(text).unwrap())
    }

    #[test]
    fn paths_go_through_objects_and_arrays() {
        let document = r#"{"a":{"b}\"":[1,{"c":"x,]\"y"},[2]],"":true},"n":null, "e":[], "o":{}}"#;
        assert_eq!(at(document, &["a", "b}\"", "1", "c"]).unwrap(), "x,]\"y");
        assert_eq!(at(document, &["a", "b}\"", "0"]).unwrap(), "1");
        assert_eq!(at(document, &["a", "b}\"", "-1"]).unwrap(), "[2]");
        assert_eq!(at(document, &["a", ""]).unwrap(), "true");
        for nothing in [
            &["n"][..],
            &["n", "x"],
            &["a", "b}\"", "3"],
            &["a", "b}\"", "-4"],
            &["a", "b}\"", "c"],
            &["e", "0"],
            &["o", "x"],
            &["missing"],
        ] {
            assert_eq!(at(document, nothing), None, "{nothing:?}");
        }
    }
}
