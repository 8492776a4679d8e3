//! The generator `SplitMix64` (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014). What is
//! drawn with it must not change from version to version, which is why it is not a library's.

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number that the generator draws in a state. As a function of any key it mixes all of its bits.
pub(crate) fn mix(key: u64) -> u64 {
    let mut z = key.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The next number, and the state moved on.
pub(crate) fn next(state: &mut u64) -> u64 {
    let number = mix(*state);
    *state = state.wrapping_add(STEP);
    number
}
