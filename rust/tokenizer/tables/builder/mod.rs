//! Lays out the tables of a vocabulary.
//!
//! | module | tables |
//! |---|---|
//! | `pieces` | tokens by their bytes, whole and by their lengths |
//! | `merges` | pairs of ranks to the rank that they merge into, and back |
//! | `cuts` | byte contexts that some token spans |

mod cuts;
mod merges;
mod perfect_hash;
mod pieces;

use bytemuck::zeroed_box;

use super::Tables;
use super::layout::{LONGEST, MOST_RANKS};

/// What tables are made of.
struct Vocabulary<'a> {
    /// `[rank]` the bytes of each token; the first 256 are the single bytes.
    tokens: &'a [Vec<u8>],
    /// `[rank]` the two ranks of a token's last merge; a single byte has itself twice.
    halves: &'a [[u32; 2]],
}

impl Vocabulary<'_> {
    /// Ranks and bytes of all tokens.
    fn iter(&self) -> impl Iterator<Item = (u32, &[u8])> {
        (0..).zip(self.tokens.iter().map(Vec::as_slice))
    }
}

impl Tables {
    /// Lays out the tables of a vocabulary: the bytes of each token by its rank, and the two ranks of its last merge. The
    /// first 256 are the single bytes, with themselves as halves; merging must reach every token. `first_id` is the id of
    /// rank 0.
    ///
    /// `None` if it does not fit: more than 131,072 tokens, tokens above 76 bytes, or too many of one kind.
    pub(crate) fn build(tokens: &[Vec<u8>], halves: &[[u32; 2]], first_id: u32) -> Option<Box<Tables>> {
        assert_eq!(tokens.len(), halves.len(), "a token has a pair of halves");
        if tokens.len() + first_id as usize > MOST_RANKS || tokens.iter().any(|token| token.len() > LONGEST) {
            return None;
        }
        let vocabulary = Vocabulary { tokens, halves };
        let mut tables: Box<Tables> = zeroed_box();
        tables.first_id = first_id;
        pieces::lay_out(&vocabulary, &mut tables)?;
        merges::lay_out(&vocabulary, &mut tables)?;
        cuts::lay_out(&vocabulary, &mut tables);
        Some(tables)
    }
}
