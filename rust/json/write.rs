//! Values to text: `json.dumps(value, ensure_ascii=False)`.

use std::slice;

use super::numbers::write_float;
use super::{Json, plain_length};

/// A list or an object of which the rest is to be written.
enum Open<'a> {
    List(slice::Iter<'a, Json>),
    Object(slice::Iter<'a, (String, Json)>),
}

/// Appends a value as `json.dumps(value, ensure_ascii=False)` writes it. No depth is too much for it.
///
/// ```
/// use nemo_fast::json::{parse, write};
///
/// let value = parse(r#"{"a":[1E5,-0,"\u00fc"],"b":NaN,"a":1e16}"#)?;
/// let mut text = String::new();
/// write(&value, &mut text);
/// assert_eq!(text, r#"{"a": 1e+16, "b": NaN}"#);
/// # Ok::<(), nemo_fast::json::JsonError>(())
/// ```
pub fn write(value: &Json, out: &mut String) {
    let mut stack = Vec::new();
    // Whether the next item is the first one of its list or object.
    let mut is_first = begin(value, out, &mut stack);
    while let Some(open) = stack.last_mut() {
        let (item, end) = match open {
            Open::List(items) => (items.next().map(|item| (None, item)), ']'),
            Open::Object(members) => (members.next().map(|(key, item)| (Some(key), item)), '}'),
        };
        let Some((key, item)) = item else {
            out.push(end);
            stack.pop();
            is_first = false;
            continue;
        };
        if !is_first {
            out.push_str(", ");
        }
        if let Some(key) = key {
            write_string(key, out);
            out.push_str(": ");
        }
        is_first = begin(item, out, &mut stack);
    }
}

/// Writes a value, or the start of it, which then is on the stack; returns whether it is.
fn begin<'a>(value: &'a Json, out: &mut String, stack: &mut Vec<Open<'a>>) -> bool {
    match value {
        Json::Null => out.push_str("null"),
        Json::Bool(true) => out.push_str("true"),
        Json::Bool(false) => out.push_str("false"),
        Json::Int(digits) => out.push_str(digits),
        Json::Float(float) => write_float(*float, out),
        Json::String(text) => write_string(text, out),
        Json::List(items) => {
            out.push('[');
            stack.push(Open::List(items.iter()));
            return true;
        }
        Json::Object(members) => {
            out.push('{');
            stack.push(Open::Object(members.iter()));
            return true;
        }
    }
    false
}

/// Appends a string with its quotes: only quotes, backslashes and characters below a space are escaped.
///
/// ```
/// let mut text = String::new();
/// nemo_fast::json::write_string("\"Zürich\"\n\u{1b}\u{7f}", &mut text);
/// assert_eq!(text, "\"\\\"Zürich\\\"\\n\\u001b\u{7f}\"");
/// ```
pub fn write_string(text: &str, out: &mut String) {
    const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(text.len() + 2);
    out.push('"');
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(plain_length(rest.as_bytes()));
        out.push_str(plain);
        let Some(&byte) = special.as_bytes().first() else { break };
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'\x0c' => out.push_str("\\f"),
            b'\x08' => out.push_str("\\b"),
            _ => {
                out.push_str("\\u00");
                out.push(HEX_DIGITS[usize::from(byte >> 4)].into());
                out.push(HEX_DIGITS[usize::from(byte & 15)].into());
            }
        }
        rest = &special[1..];
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Json) -> String {
        let mut out = String::new();
        write(value, &mut out);
        out
    }

    #[test]
    fn what_is_escaped() {
        let below_space: String = ('\0'..' ').collect();
        let mut out = String::new();
        write_string(&below_space, &mut out);
        assert_eq!(
            out,
            "\"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f\
             \\u0010\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b\\u001c\\u001d\
             \\u001e\\u001f\""
        );
        out.clear();
        write_string("/'<\u{7f}\u{80}\u{2028}\u{feff}é中😀 \"\\", &mut out);
        assert_eq!(out, "\"/'<\u{7f}\u{80}\u{2028}\u{feff}é中😀 \\\"\\\\\"");
    }

    #[test]
    fn empty_and_nested() {
        let object = |members: &[(&str, Json)]| {
            Json::Object(members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
        };
        let empty = Json::List(vec![]);
        let value = Json::List(vec![
            empty.clone(),
            object(&[]),
            object(&[("", empty), ("b", object(&[("c", Json::Null)])), ("d", Json::Bool(false))]),
            Json::List(vec![Json::Int("-12".to_owned()), Json::Bool(true)]),
            Json::Float(1.0),
        ]);
        assert_eq!(written(&value), r#"[[], {}, {"": [], "b": {"c": null}, "d": false}, [-12, true], 1.0]"#);
        assert_eq!(written(&Json::Null), "null");
    }
}
