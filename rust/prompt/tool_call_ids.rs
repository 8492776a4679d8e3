//! The ids of tool calls: those that the model writes, and new ones where it writes none.
//!
//! The template allows nine ASCII letters and digits. Within a message an id is used once, because results are matched to
//! calls by it.

use std::collections::HashSet;

use crate::split_mix;

const LENGTH: usize = 9;
const CHARACTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Draws ids; the seed decides which.
#[derive(Clone, Debug)]
pub(super) struct ToolCallIdSource {
    state: u64,
    /// The ids of this message.
    used: HashSet<String>,
}

impl ToolCallIdSource {
    pub(super) fn new(seed: u64) -> ToolCallIdSource {
        ToolCallIdSource { state: seed, used: HashSet::new() }
    }

    /// The id that the model has written, if it can be kept: one that is valid and that no other call has.
    pub(super) fn keep(&mut self, id: &str) -> Option<String> {
        let is_valid = id.len() == LENGTH && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        (is_valid && self.used.insert(id.to_owned())).then(|| id.to_owned())
    }

    /// A new id.
    pub(super) fn mint(&mut self) -> String {
        loop {
            let mut number = split_mix::next(&mut self.state);
            let mut character = || {
                let character = CHARACTERS[(number % 62) as usize] as char;
                number /= 62;
                character
            };
            let id: String = (0..LENGTH).map(|_| character()).collect();
            if self.used.insert(id.clone()) {
                return id;
            }
        }
    }

    /// Another message begins: its ids may be those of this one.
    pub(super) fn clear(&mut self) {
        self.used.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_the_ids() {
        let minted = |seed| {
            let mut ids = ToolCallIdSource::new(seed);
            [ids.mint(), ids.mint()]
        };
        assert_eq!(minted(0), minted(0));
        assert_ne!(minted(0), minted(1));
        assert!(
            minted(0).iter().all(|id| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        );
    }

    #[test]
    fn an_id_is_used_once() {
        let first = ToolCallIdSource::new(7).mint();
        let mut ids = ToolCallIdSource::new(7);
        assert_eq!(ids.keep(&first).as_deref(), Some(&*first));
        assert_eq!(ids.keep(&first), None);
        assert_ne!(ids.mint(), first);
        ids.clear();
        assert!(ids.keep(&first).is_some());
    }

    #[test]
    fn other_forms_are_not_kept() {
        let mut ids = ToolCallIdSource::new(0);
        for id in ["", "VvvODy9m", "VvvODy9mTT", "VvvODy9m\n", "VvvODy9m-", "VvvODy9é"] {
            assert_eq!(ids.keep(id), None, "{id:?}");
        }
        assert!(ids.keep("VvvODy9mT").is_some());
    }
}
