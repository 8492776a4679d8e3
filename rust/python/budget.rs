//! The methods of `Tokenizer` that count and cut to a budget, and those that tell where tokens are.

use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::running_counts::{PyTokenCounter, PyTokenIndex};
use super::text_input::utf8_text;
use super::text_positions::{PositionedText, natural_number, slice};
use super::tokenizer::PyTokenizer;
use super::without_gil::without_gil_if_long;
use crate::error::Error;
use crate::tokenizer::OffsetUnit;

/// Code points of a `str` that are converted for each token of a budget.
const CODE_POINTS_PER_TOKEN: usize = 8;

type IdsAndSpans<'py> = (Bound<'py, PyArray1<u32>>, Bound<'py, PyArray2<i64>>);

#[pymethods]
impl PyTokenizer {
    /// Return the count of a text if it is at most `limit`, else None.
    ///
    /// The work is bounded by the limit: what is behind the first `limit` tokens is not looked at, so that in
    /// `bytes` it need not be UTF-8.
    ///
    /// >>> nemo_fast.Tokenizer().count_up_to("Hello, how are you?", 6)
    /// 6
    /// >>> nemo_fast.Tokenizer().count_up_to("Hello, how are you?" * 1000, 6) is None
    /// True
    fn count_up_to(&self, text: &Bound<'_, PyAny>, limit: &Bound<'_, PyAny>) -> PyResult<Option<usize>> {
        let limit = natural_number("limit", limit)?;
        if length_of_text(text)? > self.inner.most_bytes(limit) {
            return Ok(None);
        }
        let content = utf8_text(text)?;
        without_gil_if_long(text.py(), content.len(), || {
            Ok::<_, Error>(self.inner.count_up_to(&content, limit))
        })
    }

    /// Return whether the count of a text is at most `limit`; as fast as `count_up_to`.
    ///
    /// >>> nemo_fast.Tokenizer().fits("Hello, how are you?", 5)
    /// False
    fn fits(&self, text: &Bound<'_, PyAny>, limit: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.count_up_to(text, limit)?.is_some())
    }

    /// Return what is left of a text when one side is cut to at most `max_tokens`. Characters stay whole.
    ///
    /// `side` is what is cut. "right" leaves the longest prefix, "left" the longest suffix: no longer one
    /// has a count of at most `max_tokens`. (Counts are not monotone: a longer prefix may cost less, so that the
    /// first token ids of a text are not what this is made of.) "middle" leaves a text that fits whole; else it
    /// joins the longest prefix with at most half of `max_tokens`, rounded up, and the longest suffix behind it
    /// with at most the rest for which the join has at most `max_tokens`. `bytes` give `bytes`.
    ///
    /// >>> tokenizer = nemo_fast.Tokenizer()
    /// >>> tokenizer.truncate("Hello, how are you?", 3)
    /// 'Hello, how'
    /// >>> tokenizer.truncate("Hello, how are you?", 3, side="left")
    /// ' are you?'
    /// >>> tokenizer.truncate("Hello, how are you?", 3, side="middle")
    /// 'Hello,?'
    /// >>> [tokenizer.count("Première"[:n]) for n in range(1, 9)], tokenizer.truncate("Première", 1)
    /// ([1, 1, 1, 1, 2, 3, 4, 1], 'Première')
    #[pyo3(signature = (text, max_tokens, *, side="right"))]
    fn truncate<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        max_tokens: &Bound<'_, PyAny>,
        side: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let max_tokens = natural_number("max_tokens", max_tokens)?;
        match side {
            "right" => self.truncate_one_side(text, max_tokens, true),
            "left" => self.truncate_one_side(text, max_tokens, false),
            "middle" => self.truncate_middle(text, max_tokens),
            _ => Err(Error::Argument(format!("side must be right, left or middle, found {side:?}")).into()),
        }
    }

    /// Return the parts of a text, each the longest with at most `max_tokens` from where it starts. Characters
    /// stay whole.
    ///
    /// Without `overlap` the parts joined are the text. With it, each part starts with the longest end of the one
    /// before that has at most `overlap` tokens and leaves room for a further character. A character that costs
    /// more than `max_tokens` is a `ValueError`. `bytes` give `bytes`.
    ///
    /// >>> tokenizer = nemo_fast.Tokenizer()
    /// >>> tokenizer.split("Hello, how are you?", 3)
    /// ['Hello, how', ' are you?']
    /// >>> tokenizer.split("Hello, how are you?", 3, overlap=1)
    /// ['Hello, how', ' how are you', ' you?']
    #[pyo3(
        signature = (text, max_tokens, *, overlap=None),
        text_signature = "($self, text, max_tokens, *, overlap=0)"
    )]
    fn split<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        max_tokens: &Bound<'_, PyAny>,
        overlap: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let max_tokens = natural_number("max_tokens", max_tokens)?;
        let overlap = overlap.map_or(Ok(0), |overlap| natural_number("overlap", overlap))?;
        if overlap > 0 && overlap >= max_tokens {
            let message = format!("overlap must be below max_tokens ({max_tokens}), found {overlap}");
            return Err(Error::Argument(message).into());
        }
        let content = PositionedText::new(text)?;
        let utf8 = &*content.utf8;
        let parts = without_gil_if_long(text.py(), utf8.len(), || {
            Ok::<_, Error>(self.inner.split(utf8, max_tokens, overlap))
        })?;
        match parts {
            Ok(parts) => content.slices(&parts),
            Err(costly) => {
                let length = utf8[costly.at..].chars().next().map_or(0, char::len_utf8);
                let character = content.slice(costly.at..costly.at + length)?;
                let position = content.positions([costly.at]);
                let message = format!(
                    "the character {} at position {} costs {} tokens, more than max_tokens ({max_tokens})",
                    character.repr()?,
                    position[0],
                    costly.count
                );
                Err(Error::Argument(message).into())
            }
        }
    }

    /// Return a counter of a text that grows.
    ///
    /// >>> counter = nemo_fast.Tokenizer().counter()
    /// >>> counter.append("Hello, how")
    /// >>> counter.append(" are you?")
    /// >>> counter.count
    /// 6
    fn counter(&self) -> PyTokenCounter {
        PyTokenCounter::new(&self.inner)
    }

    /// Return an index of a text, which counts any part of it.
    ///
    /// >>> index = nemo_fast.Tokenizer().index("Hello, how are you?")
    /// >>> index.count(5, 19)
    /// 5
    fn index(&self, text: &Bound<'_, PyAny>) -> PyResult<PyTokenIndex> {
        PyTokenIndex::new(&self.inner, text)
    }

    /// Return the token ids of a text and where each starts and ends, as arrays uint32 [n] and int64 [n, 2].
    ///
    /// `unit`: "char" counts positions of the `str` (characters, if the text is `bytes`): the span of a token is the
    /// smallest whose characters cover it, and two tokens of one character share it. "byte" counts bytes
    /// of UTF-8: the spans are a partition of the text.
    ///
    /// >>> ids, spans = nemo_fast.Tokenizer().encode_with_offsets("Hi, 😀")
    /// >>> ids.tolist(), spans.tolist()
    /// ([37133, 1044, 119685, 1152, 1128], [[0, 2], [2, 3], [3, 5], [4, 5], [4, 5]])
    #[pyo3(signature = (text, *, unit="char"))]
    fn encode_with_offsets<'py>(&self, text: &Bound<'py, PyAny>, unit: &str) -> PyResult<IdsAndSpans<'py>> {
        let unit = match unit {
            "char" => OffsetUnit::Char,
            "byte" => OffsetUnit::Byte,
            _ => return Err(Error::Argument(format!("unit must be char or byte, found {unit:?}")).into()),
        };
        let content = PositionedText::new(text)?;
        let (utf8, starts) = (&*content.utf8, content.code_point_starts());
        let starts = starts.filter(|_| unit == OffsetUnit::Char);
        let (ids, spans) = without_gil_if_long(text.py(), utf8.len(), || {
            let (ids, spans) = self.inner.encode_with_offsets(utf8, unit);
            let position = |offset: usize| starts.map_or(offset, |starts| starts[offset]) as i64;
            Ok::<_, Error>((ids, spans.into_iter().flatten().map(position).collect::<Vec<i64>>()))
        })?;
        let shape = [ids.len(), 2];
        Ok((ids.into_pyarray(text.py()), spans.into_pyarray(text.py()).reshape(shape)?))
    }
}

impl PyTokenizer {
    /// Only the part of a `str` that matters is converted: as much as most texts need, and if that is not enough, four
    /// times as much.
    fn truncate_one_side<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        max_tokens: usize,
        is_start: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let length = length_of_text(text)?;
        let mut converted = max_tokens.saturating_mul(CODE_POINTS_PER_TOKEN).saturating_add(64);
        loop {
            let is_whole = length <= converted || text.is_instance_of::<PyBytes>();
            let near = if is_whole {
                text.clone()
            } else {
                slice(text, if is_start { 0..converted } else { length - converted..length })?
            };
            let near = PositionedText::new(&near)?;
            let utf8 = &*near.utf8;
            let (part, unseen) = without_gil_if_long(text.py(), utf8.len(), || {
                Ok::<_, Error>(if is_start {
                    let (end, seen) = self.inner.search_prefix(utf8, max_tokens);
                    (0..end, utf8.len() - seen)
                } else {
                    let (start, seen) = self.inner.search_suffix(utf8, max_tokens);
                    (start..utf8.len(), seen)
                })
            })?;
            // A part of more bytes than that many tokens have never fits, and a pair of surrogates that is cut at the end of
            // what was converted is not seen as its halves.
            if is_whole || unseen > 0 || converted > self.inner.most_bytes(max_tokens) {
                return near.slice(part);
            }
            converted = converted.saturating_mul(4);
        }
    }

    fn truncate_middle<'py>(
        &self,
        text: &Bound<'py, PyAny>,
        max_tokens: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let content = PositionedText::new(text)?;
        let utf8 = &*content.utf8;
        let (end, mut start) = without_gil_if_long(text.py(), utf8.len(), || {
            Ok::<_, Error>(self.inner.without_middle(utf8, max_tokens))
        })?;
        loop {
            let joined = content.slice(0..end)?.add(content.slice(start..utf8.len())?)?;
            // Halves of a pair that meet here become a character that neither side has.
            let halves_may_meet = utf8[..end].ends_with(char::REPLACEMENT_CHARACTER)
                && utf8[start..].starts_with(char::REPLACEMENT_CHARACTER);
            if !halves_may_meet || self.inner.fits(&utf8_text(&joined)?, max_tokens) {
                return Ok(joined);
            }
            start += char::REPLACEMENT_CHARACTER.len_utf8();
        }
    }
}

/// Positions of a text; 0 for what is none.
fn length_of_text(text: &Bound<'_, PyAny>) -> PyResult<usize> {
    if text.is_instance_of::<PyString>() || text.is_instance_of::<PyBytes>() { text.len() } else { Ok(0) }
}
