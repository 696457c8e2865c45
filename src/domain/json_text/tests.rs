use super::*;

fn canonical(text: &str) -> Result<String, JsonFault> {
    let mut out = b"before".to_vec();
    canonical_json(text.as_bytes(), &mut out)?;
    Ok(String::from_utf8(out.split_off(6)).unwrap())
}

/// Each pair was read from a PostgreSQL 15 server.
const SAME_AS_THE_SERVER: &[(&str, &str)] = &[
    (" \t\r\n1 \n", "1"),
    ("1e2", "100"),
    ("1.50", "1.50"),
    ("1E-3", "0.001"),
    ("-0", "0"),
    ("-0.0", "0.0"),
    ("0e5", "0"),
    ("0e-5", "0.00000"),
    ("-0e-3", "0.000"),
    ("0.000e2", "0.0"),
    ("1.5e1", "15"),
    ("1.50e1", "15.0"),
    ("123e-5", "0.00123"),
    ("-12.34E+1", "-123.4"),
    ("0.0001e2", "0.01"),
    ("0.05e4", "500"),
    ("1e00000000000000000001", "10"),
    ("0e200000", "0"),
    ("0e1073741822", "0"),
    ("12345678901234567890123.450", "12345678901234567890123.450"),
    ("true", "true"),
    ("null", "null"),
    ("[ ]", "[]"),
    ("{ }", "{}"),
    ("[1,\"a\",false ,[]]", "[1, \"a\", false, []]"),
    (
        "{\"bb\":1,\"a\":2,\"c\":{\"z\":1,\"y\":[{\"q\":1,\"p\":2}]}}",
        "{\"a\": 2, \"c\": {\"y\": [{\"p\": 2, \"q\": 1}], \"z\": 1}, \"bb\": 1}",
    ),
    ("{\"a\":1,\"b\":2,\"a\":3}", "{\"a\": 3, \"b\": 2}"),
    ("{\"a\":{\"x\":1},\"a\":[]}", "{\"a\": []}"),
    ("{\"\":0,\"\\u0061\":1,\"a\":2}", "{\"\": 0, \"a\": 2}"),
    (
        "{\"é\":1,\"zz\":2,\"a\":3}",
        "{\"a\": 3, \"zz\": 2, \"é\": 1}",
    ),
    (
        "\"\\u007f\\b\\/\\f\\n\\r\\t\\\"\\\\\\u0001\"",
        "\"\u{7f}\\b/\\f\\n\\r\\t\\\"\\\\\\u0001\"",
    ),
    ("\"\\ud83d\\uDE00 \\u00e9\"", "\"😀 é\""),
];

const REFUSED: &[(&str, JsonFault)] = &[
    ("", JsonFault::UnexpectedEnd(0)),
    (" ", JsonFault::UnexpectedEnd(1)),
    ("[1", JsonFault::UnexpectedEnd(2)),
    ("\"a", JsonFault::UnexpectedEnd(2)),
    ("\"\\", JsonFault::UnexpectedEnd(2)),
    ("1 2", JsonFault::TrailingText(2)),
    ("{} ]", JsonFault::TrailingText(3)),
    ("[1,]", JsonFault::Syntax(3)),
    ("{\"a\":1,}", JsonFault::Syntax(7)),
    ("{a:1}", JsonFault::Syntax(1)),
    ("[1}", JsonFault::Syntax(2)),
    ("01", JsonFault::Syntax(0)),
    ("1.", JsonFault::UnexpectedEnd(2)),
    (".5", JsonFault::Syntax(0)),
    ("1.e5", JsonFault::Syntax(2)),
    ("+1", JsonFault::Syntax(0)),
    ("1x", JsonFault::Syntax(1)),
    ("NaN", JsonFault::Syntax(0)),
    ("True", JsonFault::Syntax(0)),
    ("nullx", JsonFault::Syntax(0)),
    ("\u{feff}1", JsonFault::Syntax(0)),
    ("\u{a0}1", JsonFault::Syntax(0)),
    ("\"a\tb\"", JsonFault::ControlCharacter(2)),
    ("\"\\x\"", JsonFault::BadEscape(1)),
    ("\"\\u00g0\"", JsonFault::BadEscape(1)),
    ("\"\\u0000\"", JsonFault::NulCharacter(1)),
    ("\"\\ud83d\"", JsonFault::Surrogate(1)),
    ("\"\\ude00\"", JsonFault::Surrogate(1)),
    ("\"\\ud83d\\ud83d\"", JsonFault::Surrogate(1)),
    ("\"\\ud83dx\"", JsonFault::Surrogate(1)),
    ("[1e131072]", JsonFault::NumberOutOfRange(1)),
    ("1e-16384", JsonFault::NumberOutOfRange(0)),
    ("0e-16384", JsonFault::NumberOutOfRange(0)),
    ("0e1073741823", JsonFault::NumberOutOfRange(0)),
    ("0.1e131073", JsonFault::NumberOutOfRange(0)),
    (
        "1e99999999999999999999999999",
        JsonFault::NumberOutOfRange(0),
    ),
    // The value that a later key replaces must be valid, too.
    ("{\"a\":1e131072,\"a\":1}", JsonFault::NumberOutOfRange(5)),
];

#[test]
fn the_text_is_what_the_server_prints() {
    for (text, expected) in SAME_AS_THE_SERVER {
        assert_eq!(canonical(text).as_deref(), Ok(*expected), "{text}");
        assert_eq!(canonical(expected).as_deref(), Ok(*expected), "{text}");
    }
}

#[test]
fn what_the_server_refuses_is_a_fault_and_leaves_the_output_alone() {
    for (text, fault) in REFUSED {
        let mut out = b"before".to_vec();
        assert_eq!(
            canonical_json(text.as_bytes(), &mut out),
            Err(*fault),
            "{text}"
        );
        assert_eq!(out, b"before");
    }
    let mut out = Vec::new();
    let fault = canonical_json(b"\"\xff\"", &mut out);
    assert_eq!(fault, Err(JsonFault::InvalidUtf8(1)));
}

#[test]
fn numbers_at_the_limits_of_numeric_are_kept() {
    assert_eq!(canonical("1e131071").unwrap().len(), 131_072);
    assert_eq!(canonical("0.1e131072").unwrap().len(), 131_072);
    assert_eq!(canonical("1e-16383").unwrap().len(), 16_385);
    assert!(canonical("1.0e-16383").is_err());
}

#[test]
fn nesting_is_bounded_without_recursion() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(canonical(&nested(MAX_DEPTH)).is_ok());
    let fault = canonical(&nested(MAX_DEPTH + 1));
    assert_eq!(fault, Err(JsonFault::TooDeep(MAX_DEPTH)));
    assert!(canonical(&"{\"a\":".repeat(1_000_000)).is_err());
}

#[test]
fn a_fault_never_shows_the_text() {
    let fault = canonical("{\"secret\": hidden}").unwrap_err();
    assert_eq!(fault.to_string(), "JSON syntax error at byte 11");
}

#[test]
fn raw_text_is_wrapped_as_a_string() {
    let mut out = Vec::new();
    wrap_raw("raw\"", "{a:\u{1}é\n".as_bytes(), &mut out).unwrap();
    let wrapped = String::from_utf8(out.clone()).unwrap();
    assert_eq!(wrapped, "{\"raw\\\"\": \"{a:\\u0001é\\n\"}");
    assert_eq!(canonical(&wrapped).unwrap(), wrapped);
    let nul = wrap_raw("k", b"a\0", &mut out);
    assert_eq!(nul, Err(JsonFault::NulCharacter(1)));
    let invalid = wrap_raw("k", b"\xc3", &mut out);
    assert_eq!(invalid, Err(JsonFault::InvalidUtf8(0)));
    assert_eq!(out, wrapped.as_bytes());
}
