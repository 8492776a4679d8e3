//! Latin-1, UTF-16 and UTF-32 to UTF-8. A pair of surrogates is one character, in UTF-32 too, and a lone one becomes
//! U+FFFD.
//!
//! Sixteen units at a time: ASCII is narrowed; of units in one to three bytes each writes a word of four bytes, of which
//! the next one overwrites what is too much. Surrogates and characters of four bytes are rare, and go one by one.

#![allow(unsafe_code, reason = "what was written here is UTF-8, and is not looked at again")]

use super::fast::{CpuLevel, UTF16_ROOM};

/// Units that are read together.
const BLOCK: usize = 16;
/// Bytes of the longest character.
const LONGEST: usize = 4;

/// A code unit: of Latin-1, UTF-16 or UTF-32.
pub(super) trait Unit: Copy + Into<u32> {
    /// Bytes of the longest character of one unit.
    const BYTES: usize;

    /// The lowest byte.
    fn low_byte(self) -> u8;

    /// Writes as many characters as the CPU has a fast way for; returns how many units and bytes.
    #[inline(always)]
    fn fast_blocks(_level: CpuLevel, _units: &[Self], _bytes: &mut [u8]) -> (usize, usize) {
        (0, 0)
    }
}

impl Unit for u8 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn low_byte(self) -> u8 {
        self
    }
}

impl Unit for u16 {
    const BYTES: usize = 3;

    #[inline(always)]
    fn low_byte(self) -> u8 {
        self as u8
    }

    #[inline(always)]
    fn fast_blocks(level: CpuLevel, units: &[u16], bytes: &mut [u8]) -> (usize, usize) {
        level.utf16_blocks(units, bytes)
    }
}

impl Unit for u32 {
    const BYTES: usize = 4;

    #[inline(always)]
    fn low_byte(self) -> u8 {
        self as u8
    }
}

/// Appends the characters of `units`.
#[inline]
pub(super) fn append<U: Unit>(units: &[U], text: &mut String) {
    append_at(CpuLevel::in_use(), units, text);
}

fn append_at<U: Unit>(level: CpuLevel, units: &[U], text: &mut String) {
    // SAFETY: what follows the length is written by `transcode` alone: whole characters, by their definition in UTF-8.
    let bytes = unsafe { text.as_mut_vec() };
    let start = bytes.len();
    bytes.resize(start + units.len() * U::BYTES + UTF16_ROOM, 0);
    let length = transcode(level, units, &mut bytes[start..]);
    bytes.truncate(start + length);
}

/// Whether the units before `end` end in the first half of a pair: its second half must not be read without it.
pub(super) fn ends_in_half_a_pair<U: Unit>(units: &[U]) -> bool {
    units.last().is_some_and(|&unit| is_high_surrogate(unit.into()))
}

/// Writes the characters of `units`, of which each needs at most `U::BYTES`, and returns how many bytes they are.
fn transcode<U: Unit>(level: CpuLevel, units: &[U], bytes: &mut [u8]) -> usize {
    let (mut read, mut written) = (0, 0);
    while let Some(block) = units[read..].first_chunk::<BLOCK>() {
        let (fast_read, fast_written) = U::fast_blocks(level, &units[read..], &mut bytes[written..]);
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
            let mut text = "é".to_owned();
            append_at(level, units, &mut text);
            // Safe code looks at it once more.
            assert!(std::str::from_utf8(text.as_bytes()).is_ok());
            text.split_off(2)
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
