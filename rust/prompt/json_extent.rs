//! Where a JSON value ends, one byte at a time; whether it is one is for `json` to say.

/// How far a string, a list or an object has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extent {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Extent {
    /// Takes the next byte, the first one included; whether it is the last one.
    pub(super) fn closes(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.is_escaped => self.is_escaped = false,
            b'\\' if self.in_string => self.is_escaped = true,
            b'"' => self.in_string = !self.in_string,
            b'[' | b'{' if !self.in_string => self.depth += 1,
            b']' | b'}' if !self.in_string => self.depth -= 1,
            _ => {}
        }
        self.depth == 0 && !self.in_string
    }

    /// Brackets that are open.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many bytes belong to the value that the text starts with.
    fn length(text: &str) -> Option<usize> {
        let mut extent = Extent::default();
        text.bytes().position(|byte| extent.closes(byte)).map(|last| last + 1)
    }

    #[test]
    fn a_value_ends_with_its_own_bracket_or_quote() {
        for text in [r#""""#, r#""a\\""#, r#""\"]""#, "[]", r#"{"a": ["}", "\"]"], "b": {}}"#, "[[[]]]", "{]"]
        {
            assert_eq!(length(&format!("{text}]}}")), Some(text.len()), "{text}");
        }
    }

    #[test]
    fn a_value_that_is_cut_has_no_end() {
        for text in [r#"""#, r#""\""#, "[", "[[]", r#"{"a": "}"#] {
            assert_eq!(length(text), None, "{text}");
        }
    }
}
