//! UTF-8 to the units of Latin-1, UTF-16 and UTF-32: the other way round than `transcode.rs`, for texts that go out.

use std::mem::MaybeUninit;

use super::fast::{CpuLevel, Unit};

/// Writes the characters of a text as the units of UTF-32, or of Latin-1 or UTF-16 where they have no greater ones; returns
/// how many units it wrote.
#[cfg_attr(not(feature = "python"), allow(dead_code, reason = "texts go out to Python only"))]
pub(crate) fn write_units<U: Unit>(text: &str, units: &mut [MaybeUninit<U>]) -> usize {
    write_units_at(CpuLevel::in_use(), text, units)
}

fn write_units_at<U: Unit>(level: CpuLevel, text: &str, units: &mut [MaybeUninit<U>]) -> usize {
    let (read, mut written) = level.unit_blocks(text, units);
    for (unit, character) in units[written..].iter_mut().zip(text[read..].chars()) {
        unit.write(U::of(character));
        written += 1;
    }
    written
}

#[cfg(test)]
#[allow(unsafe_code, reason = "what was written is read")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The units of a text, the same at every level.
    fn units_of<U: Unit + PartialEq + std::fmt::Debug + Default>(text: &str) -> Vec<U> {
        let at_level = |level| {
            let mut units = vec![MaybeUninit::new(U::default()); text.chars().count()];
            assert_eq!(write_units_at(level, text, &mut units), units.len());
            // SAFETY: all were written before.
            units.into_iter().map(|unit| unsafe { unit.assume_init() }).collect()
        };
        let units: Vec<Vec<U>> = CpuLevel::available().into_iter().map(at_level).collect();
        assert!(units.iter().all(|level| *level == units[0]), "the levels differ");
        units[0].clone()
    }

    #[test]
    fn units_of_every_code_point() {
        let characters: Vec<char> = ('\0'..=char::MAX).collect();
        for characters in characters.chunks(0xffe) {
            let (text, units): (String, Vec<u32>) = characters.iter().map(|&c| (c, u32::from(c))).unzip();
            assert_eq!(units_of::<u32>(&text), units);
            if units.iter().all(|&unit| unit < 0x1_0000) {
                assert_eq!(units_of::<u16>(&text), text.encode_utf16().collect::<Vec<_>>());
            }
        }
        let latin: String = (0..=255).map(char::from).collect();
        assert_eq!(units_of::<u8>(&latin), (0..=255).collect::<Vec<_>>());
    }

    proptest! {
        #[test]
        fn units_of_any_text(text in "(?s:.){0,70}|[ -~]{0,300}|[ -ÿ]{0,300}|[ -~Ā-￿]{0,300}|[ -~😀-😎ß中]{0,300}") {
            let widest = text.chars().map(u32::from).max().unwrap_or(0);
            let units: Vec<u32> = text.chars().map(u32::from).collect();
            prop_assert_eq!(units_of::<u32>(&text), units.clone());
            if widest <= 0xffff {
                prop_assert_eq!(units_of::<u16>(&text), units.iter().map(|&unit| unit as u16).collect::<Vec<_>>());
            }
            if widest <= 0xff {
                prop_assert_eq!(units_of::<u8>(&text), units.iter().map(|&unit| unit as u8).collect::<Vec<_>>());
            }
        }
    }
}
