//! A text as programs hold it in memory, and its way into the tokenizer: UTF-8 as it is, anything else in parts.

use std::borrow::Cow;
use std::cell::Cell;

use super::fast::Unit;
use super::safe_boundary::{first_safe, last_safe};
use super::text_cuts::first_cut_of_units;
use super::transcode::{Utf8Buffer, ends_in_half_a_pair};
use super::{ControlStrings, TokenId, Tokenizer, TokenizerError};

/// Units that are transcoded before their text is encoded: what is written is still in the first caches.
const PART: usize = 8_192;
/// A buffer that has grown beyond (a text without a cut) is given back.
const LARGEST_KEPT: usize = 1 << 20;

thread_local! {
    static BUFFER: Cell<Option<Utf8Buffer>> = const { Cell::new(None) };
}

/// A text in one of the encodings that programs hold texts in.
#[derive(Clone, Copy, Debug)]
pub enum Text<'a> {
    /// UTF-8.
    Utf8(&'a str),
    /// A byte a character, which has its number.
    Latin1(&'a [u8]),
    /// UTF-16. A pair of surrogates is one character, a lone one is U+FFFD.
    Utf16(&'a [u16]),
    /// UTF-32, in which numbers that are no character are U+FFFD, and pairs of surrogates one character.
    Utf32(&'a [u32]),
}

/// What [`Tokenizer::encode_text`] adds to the ids of a text, and what control strings in it mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EncodeOptions {
    /// An id before those of the text.
    pub before: Option<TokenId>,
    /// An id behind those of the text.
    pub behind: Option<TokenId>,
    /// What control strings mean.
    pub control_strings: ControlStrings,
}

impl<'a> Text<'a> {
    /// Number of units: bytes, or what stands for them.
    pub fn len(&self) -> usize {
        match self {
            Text::Utf8(text) => text.len(),
            Text::Latin1(units) => units.len(),
            Text::Utf16(units) => units.len(),
            Text::Utf32(units) => units.len(),
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Two parts that have the ids of the whole, one after the other, cut at unit `from` or soon behind it. `None` if
    /// there is no place for that.
    pub fn cut(self, from: usize) -> Option<(Text<'a>, Text<'a>)> {
        match self {
            Text::Utf8(text) => {
                let (left, right) = text.split_at(first_safe(text, from, text.len())?);
                Some((Text::Utf8(left), Text::Utf8(right)))
            }
            Text::Latin1(units) => {
                cut_units(units, from).map(|(left, right)| (Text::Latin1(left), Text::Latin1(right)))
            }
            Text::Utf16(units) => {
                cut_units(units, from).map(|(left, right)| (Text::Utf16(left), Text::Utf16(right)))
            }
            Text::Utf32(units) => {
                cut_units(units, from).map(|(left, right)| (Text::Utf32(left), Text::Utf32(right)))
            }
        }
    }

    /// The text in UTF-8.
    pub fn to_utf8(self) -> Cow<'a, str> {
        let mut buffer = Utf8Buffer::default();
        match self {
            Text::Utf8(text) => return Cow::Borrowed(text),
            Text::Latin1(units) => buffer.append(units),
            Text::Utf16(units) => buffer.append(units),
            Text::Utf32(units) => buffer.append(units),
        }
        Cow::Owned(buffer.into_string())
    }

    /// Calls `work` with parts in UTF-8 that, encoded one by one, have the ids of the text. What is not UTF-8 goes through
    /// a buffer of the thread, which is small unless there is no place to cut.
    #[inline]
    pub fn for_each_part(self, mut work: impl FnMut(&str)) {
        match self {
            Text::Utf8(text) => work(text),
            Text::Latin1(units) => for_each_part(units, work),
            Text::Utf16(units) => for_each_part(units, work),
            Text::Utf32(units) => for_each_part(units, work),
        }
    }
}

fn cut_units<U: Unit>(units: &[U], from: usize) -> Option<(&[U], &[U])> {
    first_cut_of_units(units, from).map(|at| units.split_at(at))
}

fn for_each_part<U: Unit>(units: &[U], mut work: impl FnMut(&str)) {
    // The thread's buffer is gone where the thread ends.
    let mut buffer = BUFFER.try_with(Cell::take).ok().flatten().unwrap_or_default();
    buffer.clear();
    let mut rest = units;
    while rest.len() > PART {
        let part = if ends_in_half_a_pair(&rest[..PART]) { PART - 1 } else { PART };
        // What was there before has no place to cut.
        let known = buffer.text().len();
        buffer.append(&rest[..part]);
        rest = &rest[part..];
        let text = buffer.text();
        if let Some(cut) = last_safe(text, known, text.len()) {
            work(&text[..cut]);
            buffer.remove_first(cut);
        }
    }
    buffer.append(rest);
    work(buffer.text());
    if buffer.capacity() <= LARGEST_KEPT {
        // Where that fails the buffer is dropped.
        let _ = BUFFER.try_with(|kept| kept.set(Some(buffer)));
    }
}

impl Tokenizer {
    /// Number of token ids of a text; they are not built.
    ///
    /// ```
    /// # use nemo_fast::tokenizer::{Text, Tokenizer};
    /// let units: Vec<u16> = "Hello, how are you?".encode_utf16().collect();
    /// assert_eq!(Tokenizer::embedded().count_text(Text::Utf16(&units)), 6);
    /// ```
    #[inline]
    pub fn count_text(&self, text: Text<'_>) -> usize {
        let mut count = 0;
        text.for_each_part(|part| count += self.count(part));
        count
    }

    /// Appends the token ids of a text.
    ///
    /// # Errors
    /// [`TokenizerError::ControlString`] with [`ControlStrings::Forbid`].
    #[inline]
    pub fn encode_text(
        &self,
        text: Text<'_>,
        options: EncodeOptions,
        ids: &mut Vec<TokenId>,
    ) -> Result<(), TokenizerError> {
        // Texts have a token in two to five units; the vector grows where this is too little.
        ids.reserve(text.len() / 4 + 2);
        ids.extend(options.before);
        match options.control_strings {
            ControlStrings::Text => text.for_each_part(|part| self.encode_into(part, ids)),
            // A cut may stand inside a control string: no parts.
            meaning => self.encode_with(&text.to_utf8(), meaning, ids)?,
        }
        ids.extend(options.behind);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text in all scripts, with and without places to cut.
    fn samples() -> Vec<String> {
        let line = "Größe 12: один 中文。\u{1d400}😀\n\tx = y / 2\r\n";
        let soup = (0..30_000_u32).map(|i| char::from_u32(i * 37 % 0xd7ff).unwrap_or(' '));
        vec![line.repeat(900), soup.collect(), "é".repeat(20_000), "中".repeat(20_000), "😀".repeat(9_000)]
    }

    #[test]
    fn parts_have_the_ids_of_the_whole() {
        let tokenizer = Tokenizer::embedded();
        for sample in samples() {
            let ids = tokenizer.encode(&sample);
            let (utf16, utf32) = (sample.encode_utf16().collect::<Vec<_>>(), sample.chars().map(u32::from));
            let utf32: Vec<u32> = utf32.collect();
            for text in [Text::Utf8(&sample), Text::Utf16(&utf16), Text::Utf32(&utf32)] {
                let mut parts = Vec::new();
                tokenizer.encode_text(text, EncodeOptions::default(), &mut parts).unwrap();
                assert_eq!(parts, ids);
                assert_eq!(tokenizer.count_text(text), ids.len());
                assert_eq!(text.to_utf8(), sample);
                for from in [0, 1, 2_000, text.len() - 1, text.len()] {
                    if let Some((left, right)) = text.cut(from) {
                        assert!(left.len() >= from && !right.is_empty());
                        assert_eq!(left.len() + right.len(), text.len());
                        assert_eq!(tokenizer.count_text(left) + tokenizer.count_text(right), ids.len());
                    }
                }
            }
        }
    }

    #[test]
    fn latin_1_in_parts() {
        let tokenizer = Tokenizer::embedded();
        let units = b"Gr\xf6\xdfe, na\xefve 12 \xe9t\xe9s\n".repeat(900);
        let text = Text::Latin1(&units);
        let mut ids = Vec::new();
        let options = EncodeOptions { before: Some(1), behind: Some(2), ..EncodeOptions::default() };
        tokenizer.encode_text(text, options, &mut ids).unwrap();
        assert_eq!(ids, [&[1], &*tokenizer.encode(&text.to_utf8()), &[2]].concat());
        assert_eq!(tokenizer.count_text(text) + 2, ids.len());
    }

    #[test]
    fn a_control_string_is_never_cut() {
        let tokenizer = Tokenizer::embedded();
        let text: Vec<u16> = "é[INST]".repeat(PART).encode_utf16().collect();
        let options = EncodeOptions { control_strings: ControlStrings::Parse, ..EncodeOptions::default() };
        let mut ids = Vec::new();
        tokenizer.encode_text(Text::Utf16(&text), options, &mut ids).unwrap();
        assert_eq!(ids.iter().filter(|&&id| id == 3).count(), PART);
        let options = EncodeOptions { control_strings: ControlStrings::Forbid, ..options };
        assert!(tokenizer.encode_text(Text::Utf16(&text), options, &mut ids).is_err());
    }
}
