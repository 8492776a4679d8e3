//! The embedded vocabulary as it is committed: a list of merges.
//!
//! `nemo_vocabulary.bin` lists the tokens of rank 256 and up as pairs of lower ranks whose bytes, joined, are
//! the token's (its last merge); ranks 0 to 255 are the single bytes. A rank is a little-endian number of
//! three bytes. The file holds them as six planes of [`MERGES`] bytes: the low, the middle and the high bytes
//! of all left ranks, then those of all right ranks. Planes of alike bytes are what an archive compresses best:
//! 779 kB become 0.46 MB, where the plain bytes of the tokens would take 0.62 MB.
//!
//! Only the build script reads it; the crate has the tables that are made of it.

const BYTES: u32 = 256;
const MERGES: usize = 130_072 - BYTES as usize;

/// `[rank]` the two ranks of a token's last merge; a single byte, which nothing made, has itself twice.
pub(crate) fn halves(planes: &[u8]) -> Vec<[u32; 2]> {
    assert_eq!(planes.len(), 6 * MERGES, "bytes of the list of merges");
    let rank = |plane: usize, i: usize| {
        let byte = |k: usize| u32::from(planes[(plane + k) * MERGES + i]);
        byte(0) | byte(1) << 8 | byte(2) << 16
    };
    (0..BYTES).map(|byte| [byte, byte]).chain((0..MERGES).map(|i| [rank(0, i), rank(3, i)])).collect()
}

/// `[rank]` the bytes of each token.
pub(crate) fn tokens(halves: &[[u32; 2]]) -> Vec<Vec<u8>> {
    let mut tokens: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    for &[left, right] in &halves[BYTES as usize..] {
        tokens.push([&tokens[left as usize][..], &tokens[right as usize]].concat());
    }
    tokens
}
