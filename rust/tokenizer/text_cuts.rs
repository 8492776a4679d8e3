//! Safe places (`safe_boundary.rs`) in texts that are not `str`: where they are cut to be encoded in parts, one by one or
//! by several threads.

use super::safe_boundary::is_safe_between;

/// Bytes of the longest character.
const LONGEST: usize = 4;

/// A cut at `from` or behind it in bytes that may or may not be UTF-8; where they are, it is one of the text. It stands
/// behind an ASCII character, so that no character is cut in two.
pub(super) fn first_cut_of_bytes(bytes: &[u8], from: usize) -> Option<usize> {
    (from.max(1)..bytes.len()).find(|&at| {
        let before = bytes[at - 1];
        let behind = || {
            let character = &bytes[at..bytes.len().min(at + LONGEST)];
            character.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next())
        };
        (before.is_ascii_alphanumeric() || matches!(before, b'\r' | b'\n'))
            && behind().is_some_and(|behind| is_safe_between(char::from(before), behind))
    })
}

/// A cut at `from` or behind it, between units of Latin-1, UTF-16 or UTF-32. It never stands beside a surrogate.
pub(super) fn first_cut_of_units<U: Copy + Into<u32>>(units: &[U], from: usize) -> Option<usize> {
    (from.max(1)..units.len()).find(|&at| {
        match (char::from_u32(units[at - 1].into()), char::from_u32(units[at].into())) {
            (Some(before), Some(behind)) => is_safe_between(before, behind),
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::super::safe_boundary::first_safe;
    use super::*;

    fn first_cut(text: &str, from: usize) -> Option<usize> {
        first_safe(text, from, text.len())
    }

    #[test]
    fn cuts_of_bytes_and_units_are_cuts_of_the_text() {
        let text = "é1 naïve\n中文 \u{301}x\r\n\u{1d400}b/\n/a9\u{301}";
        for from in 0..=text.len() {
            if let Some(at) = first_cut_of_bytes(text.as_bytes(), from) {
                assert!(at >= from && first_cut(text, at) == Some(at));
            }
        }
        let units: Vec<u16> = text.encode_utf16().collect();
        for from in 0..=units.len() {
            if let Some(at) = first_cut_of_units(&units, from) {
                let before = String::from_utf16(&units[..at]).unwrap();
                assert!(at >= from && first_cut(text, before.len()) == Some(before.len()));
            }
        }
        // The pair is a letter, its first half alone would be none.
        assert_eq!(first_cut_of_units(&[0x61, 0xd835, 0xdc00, 0x62_u16], 0), None);
        assert_eq!(first_cut_of_bytes(b"\xffa\xff", 0), None);
        assert_eq!(first_cut_of_bytes(b"\xffa \xff", 0), Some(2));
    }
}
