//! Text to values: `json.loads`, with the faults that Python finds, where Python finds them.
//!
//! What is open is on a stack of the heap, not of the thread. The items of all open lists and objects lie behind
//! each other in one vector, and move to a vector of their size when theirs is closed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::mem;

use super::numbers::parse_number;
use super::{Json, JsonError, MAX_DEPTH, is_white, plain_length};

/// Up to so many members are compared with each other; of more, a hash map knows which key is there twice.
const FEW_MEMBERS: usize = 16;

/// Reads a document as `json.loads` does.
///
/// ```
/// use nemo_fast::json::{Json, parse};
///
/// let value = parse("[18446744073709551616, 1E400]")?;
/// let items = vec![Json::Int("18446744073709551616".to_owned()), Json::Float(f64::INFINITY)];
/// assert_eq!(value, Json::List(items));
/// assert_eq!(parse("007").unwrap_err().to_string(), "extra data at character 1");
/// # Ok::<(), nemo_fast::json::JsonError>(())
/// ```
pub fn parse(text: &str) -> Result<Json, JsonError> {
    let mut parser = Parser { text, at: 0, values: Vec::new(), keys: Vec::new(), halves: Vec::new() };
    if text.starts_with('\u{feff}') {
        return Err(parser.fault("unexpected utf-8 bom (decode using utf-8-sig)"));
    }
    parser.skip_space();
    let value = parser.value()?;
    parser.skip_space();
    if parser.at < text.len() {
        return Err(parser.fault("extra data"));
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
    /// The items so far of the open lists and objects.
    values: Vec<Json>,
    /// The keys so far of the open objects.
    keys: Vec<String>,
    /// What these keys have lost.
    halves: Vec<Half>,
}

/// A list or an object whose end is not yet reached, and where its items and keys start.
enum Open {
    List { values: usize },
    Object { values: usize, keys: usize },
}

/// Half a surrogate pair in a key, where its text has U+FFFD.
struct Half {
    /// Index of the key.
    key: usize,
    /// Offset in its text.
    offset: usize,
    unit: u16,
}

impl Parser<'_> {
    /// The value that starts here, all that is in it included.
    fn value(&mut self) -> Result<Json, JsonError> {
        let mut stack = Vec::new();
        loop {
            let mut value = match self.peek() {
                Some(b'[') => {
                    self.open(&mut stack, Open::List { values: self.values.len() })?;
                    if self.peek() != Some(b']') {
                        continue;
                    }
                    self.at += 1;
                    stack.pop();
                    Json::List(Vec::new())
                }
                Some(b'{') => {
                    let open = Open::Object { values: self.values.len(), keys: self.keys.len() };
                    self.open(&mut stack, open)?;
                    if self.peek() != Some(b'}') {
                        self.key()?;
                        continue;
                    }
                    self.at += 1;
                    stack.pop();
                    Json::Object(Vec::new())
                }
                _ => self.scalar()?,
            };
            // The value may be the last one of what is open, and that the last one of what is around it.
            loop {
                let Some(open) = stack.last() else { return Ok(value) };
                self.values.push(value);
                self.skip_space();
                match (open, self.peek()) {
                    (Open::List { .. }, Some(b',')) => {
                        self.at += 1;
                        self.skip_space();
                        break;
                    }
                    (Open::Object { .. }, Some(b',')) => {
                        self.at += 1;
                        self.skip_space();
                        self.key()?;
                        break;
                    }
                    (&Open::List { values }, Some(b']')) => {
                        value = Json::List(self.values.drain(values..).collect());
                    }
                    (&Open::Object { values, keys }, Some(b'}')) => {
                        value = Json::Object(self.close_object(values, keys));
                    }
                    _ => return Err(self.fault("expecting ',' delimiter")),
                }
                self.at += 1;
                stack.pop();
            }
        }
    }

    /// Goes behind the bracket and the space that follows.
    fn open(&mut self, stack: &mut Vec<Open>, open: Open) -> Result<(), JsonError> {
        if stack.len() == MAX_DEPTH {
            return Err(JsonError::TooDeep);
        }
        stack.push(open);
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// A key, its colon and the space around that.
    fn key(&mut self) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.fault("expecting property name enclosed in double quotes"));
        }
        let (text, halves) = self.string()?;
        let key = self.keys.len();
        self.halves.extend(halves.into_iter().map(|(offset, unit)| Half { key, offset, unit }));
        self.keys.push(text);
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.fault("expecting ':' delimiter"));
        }
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    fn scalar(&mut self) -> Result<Json, JsonError> {
        let rest = &self.text[self.at..];
        let words = match rest.as_bytes().first() {
            Some(b'"') => return self.string().map(|(text, _)| Json::String(text)),
            Some(b'n') => ("null", Json::Null),
            Some(b't') => ("true", Json::Bool(true)),
            Some(b'f') => ("false", Json::Bool(false)),
            Some(b'N') => ("NaN", Json::Float(f64::NAN)),
            Some(b'I') => ("Infinity", Json::Float(f64::INFINITY)),
            _ => ("-Infinity", Json::Float(f64::NEG_INFINITY)),
        };
        let (word, value) = words;
        let (value, length) = if rest.starts_with(word) {
            (value, word.len())
        } else {
            parse_number(rest)?.ok_or_else(|| self.fault("expecting value"))?
        };
        self.at += length;
        Ok(value)
    }

    /// The string whose quote is here, with U+FFFD for each half of a surrogate pair, and what these were: the
    /// offset in the string and the code unit.
    fn string(&mut self) -> Result<(String, Vec<(usize, u16)>), JsonError> {
        let start = self.at;
        self.at += 1;
        let mut string = String::new();
        let mut halves = Vec::new();
        loop {
            let rest = &self.text[self.at..];
            let (plain, special) = rest.split_at(plain_length(rest.as_bytes()));
            string.push_str(plain);
            self.at += plain.len();
            match special.as_bytes() {
                [b'"', ..] => {
                    self.at += 1;
                    return Ok((string, halves));
                }
                [b'\\', b'u', ..] => match self.unicode_escape()? {
                    Ok(character) => string.push(character),
                    Err(unit) => {
                        halves.push((string.len(), unit));
                        string.push(char::REPLACEMENT_CHARACTER);
                    }
                },
                [b'\\', escape, ..] => {
                    string.push(match escape {
                        b'"' | b'\\' | b'/' => char::from(*escape),
                        b'b' => '\x08',
                        b'f' => '\x0c',
                        b'n' => '\n',
                        b'r' => '\r',
                        b't' => '\t',
                        _ => return Err(self.fault("invalid \\escape")),
                    });
                    self.at += 2;
                }
                [] | [b'\\'] => return Err(self.fault_at("unterminated string starting at", start)),
                _ => return Err(self.fault("invalid control character at")),
            }
        }
    }

    /// The character of the escape that is here, or of two that are a surrogate pair; else the half of a pair.
    fn unicode_escape(&mut self) -> Result<Result<char, u16>, JsonError> {
        let high = self.hex_escape()?;
        if let Some(character) = char::from_u32(high.into()) {
            return Ok(Ok(character));
        }
        if high < 0xdc00 && self.text[self.at..].starts_with("\\u") {
            let behind_high = self.at;
            let low = self.hex_escape()?;
            if let Some(Ok(character)) = char::decode_utf16([high, low]).next() {
                return Ok(Ok(character));
            }
            self.at = behind_high;
        }
        Ok(Err(high))
    }

    /// The code unit of `\uXXXX`; a text that ends behind it is no less broken to Python than other digits.
    fn hex_escape(&mut self) -> Result<u16, JsonError> {
        let digit = |unit: Option<u32>, byte: &u8| Some(unit? << 4 | char::from(*byte).to_digit(16)?);
        let unit = match self.text.as_bytes()[self.at + 2..] {
            [ref digits @ .., _] if digits.len() >= 4 => digits[..4].iter().fold(Some(0), digit),
            _ => None,
        };
        let unit = unit.ok_or_else(|| self.fault_at("invalid \\uxxxx escape", self.at + 1))?;
        self.at += 6;
        Ok(unit as u16)
    }

    /// The members of the object whose items and keys start there, of equal keys the last value at the first place.
    fn close_object(&mut self, values: usize, keys: usize) -> Vec<(String, Json)> {
        let repeated = self.repeated_keys(keys);
        for &(first, later) in &repeated {
            self.values[values + first] = mem::replace(&mut self.values[values + later], Json::Null);
        }
        let is_in_key = |half: &Half| half.key < keys;
        self.halves.truncate(self.halves.partition_point(is_in_key));
        let mut members: Vec<_> = self.keys.drain(keys..).zip(self.values.drain(values..)).collect();
        if !repeated.is_empty() {
            let mut index = 0;
            let mut later = repeated.iter().map(|&(_, later)| later).peekable();
            members.retain(|_| {
                index += 1;
                later.next_if_eq(&(index - 1)).is_none()
            });
            members.shrink_to_fit();
        }
        members
    }

    /// Of the keys from there on: those that were there before, with their first place, in order.
    fn repeated_keys(&self, start: usize) -> Vec<(usize, usize)> {
        let keys = &self.keys[start..];
        let halves = &self.halves[self.halves.partition_point(|half| half.key < start)..];
        if keys.len() <= FEW_MEMBERS && halves.is_empty() {
            let first = |later: usize| keys[..later].iter().position(|key| *key == keys[later]);
            return (1..keys.len()).filter_map(|later| Some((first(later)?, later))).collect();
        }
        let mut places = HashMap::with_capacity(keys.len());
        let mut repeated = Vec::new();
        for (place, key) in keys.iter().enumerate() {
            match places.entry(with_halves(key, start + place, halves)) {
                Entry::Occupied(first) => repeated.push((*first.get(), place)),
                Entry::Vacant(entry) => {
                    entry.insert(place);
                }
            }
        }
        repeated
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(is_white) {
            self.at += 1;
        }
    }

    fn fault(&self, message: &'static str) -> JsonError {
        self.fault_at(message, self.at)
    }

    fn fault_at(&self, message: &'static str, at: usize) -> JsonError {
        JsonError::Syntax { message, offset: self.text[..at].chars().count() }
    }
}

/// A key as Python tells it from others: where U+FFFD stands for half a pair, that half, which is as long.
fn with_halves<'a>(text: &'a str, key: usize, halves: &[Half]) -> Cow<'a, [u8]> {
    let mut bytes = Cow::Borrowed(text.as_bytes());
    let from = halves.partition_point(|half| half.key < key);
    for half in halves[from..].iter().take_while(|half| half.key == key) {
        let [first, second] = half.unit.to_be_bytes();
        // U+FFFD is EF BF BD; no text has these three bytes.
        bytes.to_mut()[half.offset..half.offset + 3].copy_from_slice(&[0xff, first, second]);
    }
    bytes
}
