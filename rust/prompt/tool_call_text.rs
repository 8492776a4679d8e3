//! The text behind one `[TOOL_CALLS]`, as it comes, to what is certain of its calls.
//!
//! ```text
//! section   one call, or a list of at least one
//! call      an object with a name (a string), arguments (any value), perhaps an id, in any order; other keys are ignored
//! ```
//!
//! The structure down to the values of a call is followed one byte at a time. Of a value only its end is looked for, by the
//! depth of its brackets; once it is whole, [`json`] says whether it is one. So each byte is looked at a fixed number of
//! times, and nothing here recurses. Of the text, what is behind the last complete call is kept, because it becomes content
//! if it turns out not to be a call.

use super::json_extent::Extent;
use super::tool_call_ids::ToolCallIdSource;
use crate::json::{self, Json, is_white};

/// What has become certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Text of the message.
    Content(String),
    /// A call begins: its name is known, and its arguments are, or have begun.
    Start { index: usize, id: String, name: String },
    /// More of the last call's arguments.
    Arguments { index: usize, text: String },
    /// The last call is complete. An id of the model's that came too late for `Start` is given here.
    End { late_id: Option<String> },
    /// The last call breaks: its text is in the content that follows.
    Broken,
}

/// Whether the section goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It takes more text.
    Open,
    /// It is over; so many bytes at the end of the text are content.
    Over { left: usize },
    /// What is left of it is no call.
    Broken,
}

/// One section.
#[derive(Clone, Debug)]
pub(super) struct ToolCallText {
    /// What is not yet part of a complete call.
    text: String,
    /// How much of `text` has been looked at.
    at: usize,
    state: State,
    is_list: bool,
    has_calls: bool,
    /// Index of the call that is read, or is next.
    index: usize,
    call: Call,
}

/// What comes next. White space may stand before it, except inside a string or a number.
#[derive(Clone, Copy, Debug)]
enum State {
    /// A list or a call.
    Opening,
    /// A call.
    BeforeCall,
    /// Another call of the list, or its end.
    BehindCall,
    BeforeKey,
    Key {
        start: usize,
        extent: Extent,
    },
    BehindKey(Field),
    BeforeValue(Field),
    /// A string, a list or an object.
    Value {
        field: Field,
        start: usize,
        extent: Extent,
    },
    /// A number, or `true`, `false`, `null`, `NaN`, `Infinity`.
    Scalar {
        field: Field,
        start: usize,
    },
    /// Another key of the call, or its end.
    BehindValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    Id,
    Other,
}

/// A call that is not complete.
#[derive(Clone, Debug, Default)]
struct Call {
    name: Option<String>,
    arguments: Option<Arguments>,
    has_id: bool,
    id: Option<String>,
    is_started: bool,
}

#[derive(Clone, Debug)]
enum Arguments {
    /// Given out as they come; in `text` they have been given out up to here.
    Live { given: usize },
    /// Whole.
    Whole(String),
}

/// The text is no call.
struct NoCall;

impl ToolCallText {
    /// A section whose first call has this index.
    pub(super) fn new(index: usize) -> ToolCallText {
        ToolCallText {
            text: String::new(),
            at: 0,
            state: State::Opening,
            is_list: false,
            has_calls: false,
            index,
            call: Call::default(),
        }
    }

    /// The index of the next call.
    pub(super) fn next_index(&self) -> usize {
        // A call that was given out and broke has used up its index.
        self.index + usize::from(self.call.is_started)
    }

    /// Takes more text; what it makes certain is added to the events.
    pub(super) fn push(
        &mut self,
        text: &str,
        ids: &mut ToolCallIdSource,
        events: &mut Vec<Event>,
    ) -> Progress {
        self.text.push_str(text);
        while let Some(&byte) = self.text.as_bytes().get(self.at) {
            match self.step(byte, ids, events) {
                Ok(false) => {}
                Ok(true) => return Progress::Over { left: self.text.len() - self.at },
                Err(NoCall) => return Progress::Broken,
            }
        }
        self.give_arguments(events);
        Progress::Open
    }

    /// Ends a section that is not over; what is left of it, if it has to become content.
    pub(super) fn end(&mut self, events: &mut Vec<Event>) -> Option<String> {
        if self.call.is_started {
            events.push(Event::Broken);
        }
        let left = std::mem::take(&mut self.text);
        // A list that lacks no more than its end has lost nothing.
        let is_nothing = left.bytes().all(is_white);
        (!(self.has_calls && is_nothing)).then_some(left)
    }

    /// Takes a byte, or leaves it for the state that it leads to. Whether the section is over.
    fn step(
        &mut self,
        byte: u8,
        ids: &mut ToolCallIdSource,
        events: &mut Vec<Event>,
    ) -> Result<bool, NoCall> {
        let at = self.at;
        self.at += 1;
        self.state = match self.state {
            State::Key { start, mut extent } => {
                if extent.closes(byte) {
                    State::BehindKey(self.key(start)?)
                } else {
                    State::Key { start, extent }
                }
            }
            State::Value { field, start, mut extent } => {
                if extent.closes(byte) {
                    self.value(field, start, ids, events)?;
                    State::BehindValue
                } else if extent.depth() > json::MAX_DEPTH {
                    return Err(NoCall);
                } else {
                    State::Value { field, start, extent }
                }
            }
            State::Scalar { field, start } => {
                if matches!(byte, b',' | b'}' | b']') || is_white(byte) {
                    self.at = at;
                    self.value(field, start, ids, events)?;
                    State::BehindValue
                } else {
                    State::Scalar { field, start }
                }
            }
            _ if is_white(byte) => return Ok(false),
            State::Opening if byte == b'[' => {
                self.is_list = true;
                State::BeforeCall
            }
            State::Opening | State::BeforeCall if byte == b'{' => State::BeforeKey,
            State::BehindCall if byte == b',' => State::BeforeCall,
            State::BehindCall if byte == b']' => return Ok(true),
            State::BeforeKey if byte == b'"' => {
                self.at = at;
                State::Key { start: at, extent: Extent::default() }
            }
            State::BehindKey(field) if byte == b':' => State::BeforeValue(field),
            State::BeforeValue(field) => {
                self.at = at;
                self.value_state(field, byte, ids, events)?
            }
            State::BehindValue if byte == b',' => State::BeforeKey,
            State::BehindValue if byte == b'}' => {
                self.complete(events)?;
                if !self.is_list {
                    return Ok(true);
                }
                State::BehindCall
            }
            _ => return Err(NoCall),
        };
        Ok(false)
    }

    /// The field of the key that ends here. One that comes twice leaves open which value counts.
    fn key(&self, start: usize) -> Result<Field, NoCall> {
        let Ok(Json::String(key)) = json::parse(&self.text[start..self.at]) else { return Err(NoCall) };
        let (field, is_known) = match &*key {
            "name" => (Field::Name, self.call.name.is_some()),
            "arguments" => (Field::Arguments, self.call.arguments.is_some()),
            "id" => (Field::Id, self.call.has_id),
            _ => (Field::Other, false),
        };
        if is_known { Err(NoCall) } else { Ok(field) }
    }

    /// The state for a value that begins with this byte, which is still to be taken.
    fn value_state(
        &mut self,
        field: Field,
        byte: u8,
        ids: &mut ToolCallIdSource,
        events: &mut Vec<Event>,
    ) -> Result<State, NoCall> {
        let start = self.at;
        match byte {
            b'[' | b'{' | b'"' => {
                if field == Field::Arguments && byte != b'"' && self.call.name.is_some() {
                    self.call.arguments = Some(Arguments::Live { given: start });
                    self.start(ids, events);
                }
                Ok(State::Value { field, start, extent: Extent::default() })
            }
            b',' | b'}' | b']' | b':' => Err(NoCall),
            _ => Ok(State::Scalar { field, start }),
        }
    }

    /// Takes the value that ends here.
    fn value(
        &mut self,
        field: Field,
        start: usize,
        ids: &mut ToolCallIdSource,
        events: &mut Vec<Event>,
    ) -> Result<(), NoCall> {
        let raw = &self.text[start..self.at];
        let value = json::parse(raw).map_err(|_| NoCall)?;
        match (field, value) {
            (Field::Name, Json::String(name)) if !name.is_empty() => self.call.name = Some(name),
            (Field::Name, _) => return Err(NoCall),
            (Field::Arguments, value) if self.call.arguments.is_none() => {
                let arguments = match value {
                    Json::String(text) if json::parse(&text).is_ok() => text,
                    _ => raw.to_owned(),
                };
                self.call.arguments = Some(Arguments::Whole(arguments));
            }
            (Field::Id, value) => {
                self.call.has_id = true;
                if let Json::String(id) = value {
                    self.call.id = ids.keep(&id);
                }
            }
            (Field::Arguments | Field::Other, _) => {}
        }
        self.give_arguments(events);
        if !self.call.is_started && self.call.name.is_some() && self.call.arguments.is_some() {
            self.start(ids, events);
        }
        Ok(())
    }

    /// Gives a call out whose name is known and whose arguments are, or have begun.
    fn start(&mut self, ids: &mut ToolCallIdSource, events: &mut Vec<Event>) {
        let (index, name) = (self.index, self.call.name.clone().unwrap_or_default());
        let id = self.call.id.take().unwrap_or_else(|| ids.mint());
        self.call.is_started = true;
        events.push(Event::Start { index, id, name });
        if let Some(Arguments::Whole(text)) = &self.call.arguments {
            events.push(Event::Arguments { index, text: text.clone() });
        }
    }

    /// Gives out what has come of arguments that are given out as they come.
    fn give_arguments(&mut self, events: &mut Vec<Event>) {
        let State::Value { field: Field::Arguments, .. } = self.state else { return };
        if let Some(Arguments::Live { given }) = &mut self.call.arguments
            && *given < self.at
        {
            events.push(Event::Arguments { index: self.index, text: self.text[*given..self.at].to_owned() });
            *given = self.at;
        }
    }

    /// Ends a call, and forgets its text.
    fn complete(&mut self, events: &mut Vec<Event>) -> Result<(), NoCall> {
        if !self.call.is_started {
            return Err(NoCall);
        }
        events.push(Event::End { late_id: self.call.id.take() });
        self.call = Call::default();
        self.index += 1;
        self.has_calls = true;
        self.text.drain(..self.at);
        self.at = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events of a text given in pieces, and what is left of it.
    fn events(pieces: &[&str]) -> (Vec<Event>, Option<String>) {
        let (mut text, mut ids, mut events) = (ToolCallText::new(0), ToolCallIdSource::new(0), Vec::new());
        for piece in pieces {
            if text.push(piece, &mut ids, &mut events) != Progress::Open {
                break;
            }
        }
        let left = text.end(&mut events);
        (events, left)
    }

    fn arguments(text: &str) -> Event {
        Event::Arguments { index: 0, text: text.to_owned() }
    }

    #[test]
    fn arguments_are_given_out_as_they_come_once_the_name_is_known() {
        let (found, left) =
            events(&["[{\"name\": \"f\", \"arguments\"", ": {\"a", "\": \"}", "\"", "}", "}"]);
        assert!(matches!(&found[0], Event::Start { index: 0, name, .. } if name == "f"));
        let pieces = ["{\"a", "\": \"}", "\"", "}"].map(arguments);
        assert_eq!(found[1..], [&pieces[..], &[Event::End { late_id: None }]].concat());
        assert_eq!(left, None);
    }

    #[test]
    fn arguments_wait_for_the_name_and_strings_for_their_end() {
        let (found, _) = events(&["{\"arguments\": {", "}, \"name\": \"", "f", "\"", "}"]);
        assert!(matches!(found[0], Event::Start { .. }));
        assert_eq!(found[1..], [arguments("{}"), Event::End { late_id: None }]);
        let (found, _) = events(&["{\"name\": \"f\", \"arguments\": \"{", "}", "\"", "}"]);
        assert!(matches!(found[0], Event::Start { .. }));
        assert_eq!(found[1..], [arguments("{}"), Event::End { late_id: None }]);
    }

    #[test]
    fn an_id_behind_the_arguments_is_late() {
        let (found, _) = events(&["{\"name\": \"f\", \"arguments\": {}, \"id\": \"VvvODy9mT\"}"]);
        assert_eq!(found.last(), Some(&Event::End { late_id: Some("VvvODy9mT".to_owned()) }));
        let (found, _) = events(&["{\"name\": \"f\", \"id\": \"VvvODy9mT\", \"arguments\": {}}"]);
        assert!(matches!(&found[0], Event::Start { id, .. } if id == "VvvODy9mT"));
        assert_eq!(found.last(), Some(&Event::End { late_id: None }));
    }

    #[test]
    fn only_a_call_that_was_given_out_is_taken_back() {
        let (found, left) = events(&["{\"name\": \"f\", \"arguments\": {", "\"a\": x}"]);
        assert!(matches!(&found[..], [Event::Start { .. }, Event::Arguments { .. }, Event::Broken]));
        assert_eq!(left.as_deref(), Some("{\"name\": \"f\", \"arguments\": {\"a\": x}"));
        assert_eq!(events(&["{\"name\": \"f\", \"arguments\": x}"]).0, []);
    }
}
