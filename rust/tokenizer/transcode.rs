//! Latin-1, UTF-16 and UTF-32 to UTF-8. A pair of surrogates is one character, in UTF-32 too, and a lone one becomes
//! U+FFFD.
//!
//! Sixteen units at a time, with AVX-512 in one vector (`fast/level/avx512_utf8.rs`). Here: ASCII is narrowed; of units in
//! one to three bytes each writes a word of four bytes, of which the next one overwrites what is too much. Surrogates
//! and characters of four bytes are rare, and go one by one.

#![allow(unsafe_code, reason = "what was written here is UTF-8, and is not looked at again")]

use super::fast::{CpuLevel, UTF8_ROOM, Unit};

/// Units that are read together.
const BLOCK: usize = 16;
/// Bytes of the longest character.
const LONGEST: usize = 4;

/// UTF-8 that was transcoded here. Its memory is kept, and written over.
#[derive(Default)]
pub(super) struct Utf8Buffer {
    /// UTF-8 up to `length`; anything behind.
    bytes: Vec<u8>,
    length: usize,
}

impl Utf8Buffer {
    /// Appends the characters of `units`.
    #[inline]
    pub(super) fn append<U: Unit>(&mut self, units: &[U]) {
        self.append_at(CpuLevel::in_use(), units);
    }

    fn append_at<U: Unit>(&mut self, level: CpuLevel, units: &[U]) {
        let most = self.length + units.len() * U::BYTES + UTF8_ROOM;
        if self.bytes.len() < most {
            self.bytes.resize(most, 0);
        }
        self.length += transcode(level, units, &mut self.bytes[self.length..]);
    }

    /// The text.
    #[inline]
    pub(super) fn text(&self) -> &str {
        // SAFETY: `transcode` alone writes what is before `length`: whole characters, by their definition in UTF-8; and
        // `remove_first` cuts between characters.
        unsafe { std::str::from_utf8_unchecked(&self.bytes[..self.length]) }
    }

    /// Removes the first `length` bytes, which must be whole characters.
    pub(super) fn remove_first(&mut self, length: usize) {
        assert!(self.text().is_char_boundary(length));
        self.bytes.copy_within(length..self.length, 0);
        self.length -= length;
    }

    /// Removes all.
    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    /// Bytes of memory.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// The text in memory of its own.
    pub(super) fn into_string(mut self) -> String {
        self.bytes.truncate(self.length);
        // SAFETY: as in `text`.
        unsafe { String::from_utf8_unchecked(self.bytes) }
    }
}

/// Whether the units before `end` end in the first half of a pair: its second half must not be read without it.
pub(super) fn ends_in_half_a_pair<U: Unit>(units: &[U]) -> bool {
    units.last().is_some_and(|&unit| is_high_surrogate(unit.into()))
}

/// Writes the characters of `units`, of which each needs at most `U::BYTES`, and returns how many bytes they are.
fn transcode<U: Unit>(level: CpuLevel, units: &[U], bytes: &mut [u8]) -> usize {
    let (mut read, mut written) = (0, 0);
    while let Some(block) = units[read..].first_chunk::<BLOCK>() {
        let (fast_read, fast_written) = level.utf8_blocks(&units[read..], &mut bytes[written..]);
        if fast_read > 0 {
            (read, written) = (read + fast_read, written + fast_written);
            continue;
        }
        let all = block.iter().fold(0, |all, &unit| all | unit.into());
        if all < 0x80 {
            for (byte, unit) in bytes[written..written + BLOCK].iter_mut().zip(block) {
                *byte = unit.low_byte();
            }
            written += BLOCK;
            read += BLOCK;
        } else if block.iter().any(|&unit| !is_short(unit.into())) {
            let end = read + BLOCK;
            while read < end {
                written += transcode_one(units, &mut read, &mut bytes[written..]);
            }
        } else {
            for &unit in block {
                let (word, length) = short_character(unit.into());
                bytes[written..written + LONGEST].copy_from_slice(&word.to_le_bytes());
                written += length;
            }
            read += BLOCK;
        }
    }
    while read < units.len() {
        written += transcode_one(units, &mut read, &mut bytes[written..]);
    }
    written
}

/// Whether a unit is a character of at most three bytes.
#[inline(always)]
fn is_short(unit: u32) -> bool {
    unit < 0x1_0000 && unit & 0xf800 != 0xd800
}

fn is_high_surrogate(unit: u32) -> bool {
    unit & 0xffff_fc00 == 0xd800
}

/// A character of at most three bytes, in the order of memory, and how many.
#[inline(always)]
fn short_character(unit: u32) -> (u32, usize) {
    let last = 0x80 | unit & 0x3f;
    let two = 0xc0 | unit >> 6 | last << 8;
    let three = 0xe0 | unit >> 12 | (0x80 | unit >> 6 & 0x3f) << 8 | last << 16;
    let word = if unit < 0x80 {
        unit
    } else if unit < 0x800 {
        two
    } else {
        three
    };
    (word, 1 + usize::from(unit >= 0x80) + usize::from(unit >= 0x800))
}

/// Writes the character at `read` and moves behind it.
fn transcode_one<U: Unit>(units: &[U], read: &mut usize, bytes: &mut [u8]) -> usize {
    let unit: u32 = units[*read].into();
    *read += 1;
    let second = units.get(*read).map_or(0, |&unit| unit.into());
    let code_point = if is_high_surrogate(unit) && second & 0xffff_fc00 == 0xdc00 {
        *read += 1;
        0x1_0000 + ((unit & 0x3ff) << 10 | second & 0x3ff)
    } else {
        unit
    };
    char::from_u32(code_point).unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(bytes).len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text_of<U: Unit>(units: &[U]) -> String {
        let at_level = |level| {
            let mut buffer = Utf8Buffer::default();
            buffer.append_at(level, &[0xe9_u8]);
            buffer.append_at(level, units);
            buffer.remove_first(2);
            // Safe code looks at it once more.
            assert!(std::str::from_utf8(buffer.text().as_bytes()).is_ok());
            buffer.into_string()
        };
        let texts: Vec<String> = CpuLevel::available().into_iter().map(at_level).collect();
        assert!(texts.iter().all(|text| *text == texts[0]), "the levels differ");
        texts[0].clone()
    }

    #[test]
    fn every_code_point_of_each_kind() {
        for points in (0..=0x0010_ffff_u32).collect::<Vec<_>>().chunks(0xffe) {
            let expected: String =
                points.iter().map(|&point| char::from_u32(point).unwrap_or('\u{fffd}')).collect();
            // The surrogates of a chunk are in ascending order, so that the pairs are those where the halves meet.
            if points.iter().all(|point| !(0xd800..0xe000).contains(point)) {
                assert_eq!(text_of(points), expected);
                assert_eq!(text_of(&expected.encode_utf16().collect::<Vec<_>>()), expected);
            }
        }
        let latin: Vec<u8> = (0..=255).collect();
        assert_eq!(text_of(&latin), latin.iter().map(|&byte| char::from(byte)).collect::<String>());
    }

    proptest! {
        #[test]
        fn utf_16_as_the_standard_library_reads_it(
            units in prop::collection::vec(
                prop_oneof![0_u16..0x80, 0x80_u16..0x800, 0xd7fe_u16..0xe002, any::<u16>()], 0..70),
        ) {
            prop_assert_eq!(text_of(&units), String::from_utf16_lossy(&units));
            // Pairs of surrogates are characters in UTF-32 too: Python has strings with them.
            let wide: Vec<u32> = units.iter().map(|&unit| u32::from(unit)).collect();
            prop_assert_eq!(text_of(&wide), String::from_utf16_lossy(&units));
        }

        #[test]
        fn utf_32_of_any_text(text in "(?s:.){0,70}") {
            prop_assert_eq!(text_of(&text.chars().map(u32::from).collect::<Vec<_>>()), text);
        }
    }
}
