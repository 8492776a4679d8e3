//! Stop strings: text is held back while it could still become one, and cut where one begins.

/// Watches the text of one answer.
pub(super) struct StopStrings {
    strings: Vec<String>,
    /// Text not yet released: a beginning of some stop string.
    held: String,
}

impl StopStrings {
    pub(super) fn new(strings: Vec<String>) -> StopStrings {
        StopStrings { strings, held: String::new() }
    }

    /// Adds text; returns what can be shown, and whether a stop string was found. It and all after it are dropped.
    pub(super) fn push(&mut self, text: &str) -> (String, bool) {
        self.held.push_str(text);
        if let Some(start) = self.strings.iter().filter_map(|string| self.held.find(string)).min() {
            self.held.truncate(start);
            return (std::mem::take(&mut self.held), true);
        }
        let rest = self.held.split_off(self.held.len() - self.possible_beginning());
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What was held back, when no more text comes.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Length of the longest end of the held text with which a stop string begins.
    fn possible_beginning(&self) -> usize {
        let longest = |string: &String| {
            let lengths = (1..string.len().min(self.held.len() + 1)).rev();
            lengths
                .filter(|&length| string.is_char_boundary(length))
                .find(|&length| self.held.ends_with(&string[..length]))
        };
        self.strings.iter().filter_map(longest).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::StopStrings;

    fn run(stops: &[&str], pieces: &[&str]) -> (Vec<String>, bool) {
        let mut watch = StopStrings::new(stops.iter().map(|&string| string.to_owned()).collect());
        let mut shown = Vec::new();
        for piece in pieces {
            let (text, stopped) = watch.push(piece);
            shown.push(text);
            if stopped {
                return (shown, true);
            }
        }
        shown.push(watch.finish());
        (shown, false)
    }

    #[test]
    fn a_stop_string_over_several_pieces_is_never_shown() {
        let (shown, stopped) = run(&["END"], &["one E", "N", "D two"]);
        assert_eq!((shown.concat().as_str(), stopped), ("one ", true));
        assert_eq!(shown, ["one ", "", ""]);
    }

    #[test]
    fn held_text_is_released_when_it_turns_out_otherwise_or_ends() {
        assert_eq!(run(&["END"], &["E", "NX"]).0, ["", "ENX", ""]);
        assert_eq!(run(&["END"], &["E", "N"]), (vec![String::new(), String::new(), "EN".to_owned()], false));
    }

    #[test]
    fn the_earliest_of_several_wins_and_characters_stay_whole() {
        assert_eq!(run(&["b", "ab"], &["xab"]), (vec!["x".to_owned()], true));
        assert_eq!(run(&["é!"], &["caf", "é", "?"]).0.concat(), "café?");
        assert_eq!(
            run(&["aab"], &["aa", "a", "b"]),
            (vec![String::new(), "a".to_owned(), String::new()], true)
        );
    }
}
