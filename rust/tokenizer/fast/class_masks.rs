//! The classes of the characters of a window, as masks: bit i stands for byte i.
//!
//! Every byte of a character has the class of the character. This file has the plain way, which the levels
//! without wide vectors take as it is or for what is not ASCII; it is the truth for the others.

use crate::tokenizer::embedded::class_tables;
use crate::tokenizer::tables::classes::class;

/// Bytes of a window: bits of a mask.
pub(super) const WINDOW: usize = 64;
/// Bytes that can be read from the start of a window on. Of those behind the window only the rest of its last
/// character is looked at; the others are room for look-ups to read whole words.
pub(super) const READ: usize = 128;

/// Where the characters of each class are. Bits of bytes that are not of the text are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ClassMasks {
    pub(super) upper: u64,
    pub(super) lower: u64,
    /// Letters without case.
    pub(super) both: u64,
    pub(super) mark: u64,
    pub(super) number: u64,
    /// White space but newlines.
    pub(super) space: u64,
    pub(super) newline: u64,
    pub(super) other: u64,
    /// U+0020 alone.
    pub(super) blank: u64,
    pub(super) slash: u64,
    /// Bytes that go on a character.
    pub(super) inner: u64,
    /// First bytes of characters of three and of four bytes.
    pub(super) three: u64,
    pub(super) four: u64,
}

static ASCII: [u8; 128] = {
    let mut classes = [class::OTHER; 128];
    let mut byte = 0_u8;
    while byte < 128 {
        classes[byte as usize] = match byte {
            b'A'..=b'Z' => class::UPPER,
            b'a'..=b'z' => class::LOWER,
            b'0'..=b'9' => class::NUMBER,
            b'\r' | b'\n' => class::NEWLINE,
            b'\t' | 11 | 12 | b' ' => class::SPACE,
            _ => class::OTHER,
        };
        byte += 1;
    }
    classes
};

/// Class bits of the ASCII characters.
pub(super) fn ascii_classes() -> &'static [u8; 128] {
    &ASCII
}

/// The bits of the first `length` bytes.
#[inline(always)]
pub(super) fn first_bits(length: usize) -> u64 {
    if length >= WINDOW { !0 } else { (1 << length) - 1 }
}

impl ClassMasks {
    /// The masks of the first `length` bytes, one character after the other.
    #[inline]
    pub(super) fn plain(window: &[u8; READ], length: usize) -> ClassMasks {
        let mut masks = ClassMasks::default();
        let mut at = 0;
        while at < length {
            at += match window[at] {
                byte @ 0..0x80 => {
                    let bit = 1 << at;
                    masks.add(ASCII[usize::from(byte)], bit);
                    masks.blank |= if byte == b' ' { bit } else { 0 };
                    masks.slash |= if byte == b'/' { bit } else { 0 };
                    1
                }
                _ => masks.add_wide(window, at, length),
            };
        }
        masks
    }

    /// Adds the character above ASCII at `at`; returns its length.
    #[inline(always)]
    pub(super) fn add_wide(&mut self, window: &[u8; READ], at: usize, length: usize) -> usize {
        let (code_point, bytes) = decode(window, at);
        let character = (first_bits(bytes) << at) & first_bits(length);
        self.add(class_tables().class_of(code_point), character);
        self.inner |= character & !(1 << at);
        match bytes {
            3 => self.three |= 1 << at,
            4 => self.four |= 1 << at,
            _ => {}
        }
        bytes
    }

    #[inline(always)]
    fn add(&mut self, class: u8, bits: u64) {
        match class {
            class::UPPER => self.upper |= bits,
            class::LOWER => self.lower |= bits,
            class::BOTH => self.both |= bits,
            class::MARK => self.mark |= bits,
            class::NUMBER => self.number |= bits,
            class::SPACE => self.space |= bits,
            class::NEWLINE => self.newline |= bits,
            _ => self.other |= bits,
        }
    }
}

/// Code point and length of the character at `at`; the text is UTF-8.
#[inline(always)]
pub(super) fn decode(text: &[u8], at: usize) -> (u32, usize) {
    let byte = |offset: usize| u32::from(text[at + offset]);
    let inner = |offset: usize| byte(offset) & 63;
    match byte(0) {
        first @ 0..0x80 => (first, 1),
        first @ 0x80..0xE0 => ((first & 31) << 6 | inner(1), 2),
        first @ 0xE0..0xF0 => ((first & 15) << 12 | inner(1) << 6 | inner(2), 3),
        first => ((first & 7) << 18 | inner(1) << 12 | inner(2) << 6 | inner(3), 4),
    }
}

/// Length of the character that a byte begins; 1 for one that goes on a character.
#[inline(always)]
pub(super) fn character_length(first: u8) -> usize {
    match first {
        0..0xC0 => 1,
        0xC0..0xE0 => 2,
        0xE0..0xF0 => 3,
        _ => 4,
    }
}
