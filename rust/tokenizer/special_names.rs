//! The names of special tokens, and where they stand in a text.

use super::TokenId;
use super::token_table::TokenTable;

/// The special tokens of a vocabulary by their names.
#[derive(Debug)]
pub(super) struct SpecialNames {
    /// In the order of names.
    ids: Vec<(Box<[u8]>, TokenId)>,
    /// Whether a name starts with the byte.
    starts: [bool; 256],
}

impl SpecialNames {
    /// The special tokens of a table.
    pub(super) fn new(token_table: &TokenTable) -> SpecialNames {
        let mut names = SpecialNames { ids: Vec::new(), starts: [false; 256] };
        for (id, name) in token_table.special_tokens() {
            names.starts[usize::from(name.as_bytes()[0])] = true;
            names.ids.push((name.as_bytes().into(), id));
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
        let places = text.bytes().enumerate().filter(|&(_, byte)| self.starts[usize::from(byte)]);
        places.into_iter().find_map(|(start, _)| {
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
