//! The names of special tokens, and where they stand in a text.

use super::TokenId;
use super::token_table::TokenTable;

/// The special tokens of a vocabulary by their names.
#[derive(Debug)]
pub(super) struct SpecialNames {
    /// In the order of names.
    ids: Vec<(Box<[u8]>, TokenId)>,
    /// Bit `i` of a byte's entry: some name has the byte at `i`, or ends before it. Most places of a text are told
    /// from a name by its first bytes, without a search.
    places: [u8; 256],
}

impl SpecialNames {
    /// The special tokens of a table; names are not empty.
    pub(super) fn new(token_table: &TokenTable) -> SpecialNames {
        let mut names = SpecialNames { ids: Vec::new(), places: [0; 256] };
        for (id, name) in token_table.special_tokens() {
            let name = name.as_bytes();
            for (place, &byte) in name.iter().enumerate().take(8) {
                names.places[usize::from(byte)] |= 1 << place;
            }
            let behind = u8::MAX.checked_shl(name.len() as u32).unwrap_or(0);
            names.places.iter_mut().for_each(|places| *places |= behind);
            names.ids.push((name.into(), id));
        }
        names.ids.sort_unstable();
        names
    }

    /// The special token of exactly this name.
    pub(super) fn id(&self, name: &str) -> Option<TokenId> {
        let place = self.ids.binary_search_by(|(known, _)| (**known).cmp(name.as_bytes())).ok()?;
        Some(self.ids[place].1)
    }

    /// The first name in a text, the longest of those that start there: where it starts, its bytes, its id.
    pub(super) fn find<'a>(&self, text: &'a str) -> Option<(usize, &'a str, TokenId)> {
        let may_start = |start: usize| {
            let first = text.as_bytes()[start..].iter().take(8).enumerate();
            first.into_iter().all(|(place, &byte)| self.places[usize::from(byte)] >> place & 1 != 0)
        };
        (0..text.len()).filter(|&start| may_start(start)).find_map(|start| {
            let (length, id) = self.longest_at_start(&text.as_bytes()[start..])?;
            // Both ends are those of characters: a name is whole characters.
            Some((start, &text[start..start + length], id))
        })
    }

    /// The longest name that `text` starts with: its length, its id.
    fn longest_at_start(&self, mut text: &[u8]) -> Option<(usize, TokenId)> {
        loop {
            // The names that start the text sort before it, the longest last; and what sorts between them and
            // the text starts with them, too.
            let behind = self.ids.partition_point(|(name, _)| **name <= *text);
            let (name, id) = &self.ids[behind.checked_sub(1)?];
            let common = name.iter().zip(text).take_while(|(one, other)| one == other).count();
            if common == name.len() {
                return Some((common, *id));
            }
            text = &text[..common];
        }
    }
}
