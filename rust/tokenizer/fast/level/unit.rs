//! The units of texts that are not UTF-8.

/// Bytes that are written at a time, needed or not.
pub(in crate::tokenizer) const UTF8_ROOM: usize = 64;

/// A code unit: of Latin-1, UTF-16 or UTF-32.
pub(crate) trait Unit: Copy + Into<u32> {
    /// Bytes of the longest character of one unit.
    const BYTES: usize;

    /// The lowest byte.
    fn low_byte(self) -> u8;

    /// The unit of a character that has one.
    fn of(character: char) -> Self;
}

impl Unit for u8 {
    const BYTES: usize = 2;

    #[inline(always)]
    fn low_byte(self) -> u8 {
        self
    }

    #[inline(always)]
    fn of(character: char) -> u8 {
        u32::from(character) as u8
    }
}

impl Unit for u16 {
    const BYTES: usize = 3;

    #[inline(always)]
    fn low_byte(self) -> u8 {
        self as u8
    }

    #[inline(always)]
    fn of(character: char) -> u16 {
        u32::from(character) as u16
    }
}

impl Unit for u32 {
    const BYTES: usize = 4;

    #[inline(always)]
    fn low_byte(self) -> u8 {
        self as u8
    }

    #[inline(always)]
    fn of(character: char) -> u32 {
        u32::from(character)
    }
}
