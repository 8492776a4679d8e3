//! A value of an OpenAI-shaped request, wherever it lies: parsed JSON here, an object of Python in `python`.
//!
//! What fields are read, and how strictly, is the reader's matter; a source only says what it holds.

use super::PromptError;
use crate::json::Json;

macro_rules! keys {
    ($($variant:ident $name:literal,)*) => {
        /// A field that the reader asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum Key { $($variant),* }

        impl Key {
            /// All keys, in the order of their numbers.
            pub const ALL: &'static [Key] = &[$(Key::$variant),*];

            /// The key in a request.
            pub fn name(self) -> &'static str {
                match self { $(Key::$variant => $name),* }
            }
        }
    };
}

keys! {
    Arguments "arguments",
    AudioUrl "audio_url",
    Closed "closed",
    Content "content",
    ContinueFinalMessage "continue_final_message",
    CustomSchema "custom_schema",
    Data "data",
    Description "description",
    Detail "detail",
    Function "function",
    Id "id",
    ImageUrl "image_url",
    InputAudio "input_audio",
    JsonSchema "json_schema",
    MaxTokens "max_tokens",
    Messages "messages",
    Model "model",
    Name "name",
    ParallelToolCalls "parallel_tool_calls",
    Parameters "parameters",
    RandomSeed "random_seed",
    Reasoning "reasoning",
    ReasoningContent "reasoning_content",
    ReasoningEffort "reasoning_effort",
    ResponseFormat "response_format",
    Role "role",
    Schema "schema",
    Seed "seed",
    Strict "strict",
    Temperature "temperature",
    Text "text",
    Thinking "thinking",
    ToolCallId "tool_call_id",
    ToolCalls "tool_calls",
    ToolChoice "tool_choice",
    Tools "tools",
    TopP "top_p",
    TruncateForContextLength "truncate_for_context_length",
    Type "type",
    Url "url",
}

/// What a value is.
#[derive(Clone, Debug)]
pub enum Kind<T> {
    /// `None`, `null`.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer; one beyond 64 bits is the nearest that is not.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A text.
    Text(T),
    /// Bytes that are UTF-8: a text to some fields.
    Bytes(T),
    /// A list; other iterables are none.
    List,
    /// Fields by their names.
    Mapping,
    /// Anything else.
    Other,
}

/// Why arguments or parameters are no JSON.
#[derive(Debug)]
pub enum NotJson {
    /// An exception of Python's `json.dumps` that is no `ValueError`.
    Raised(PromptError),
    /// A `ValueError`: a value that contains itself, or an integer of too many digits.
    BadValue(String),
}

/// A value of a request.
pub trait Value: Sized {
    /// A text of the source.
    type Text: AsRef<str>;
    /// What can go wrong: an exception of an object's own code.
    type Error: From<PromptError>;

    /// What it is.
    fn kind(&self) -> Result<Kind<Self::Text>, Self::Error>;

    /// Its fields, if it is a mapping, or says itself how to become one.
    fn mapping(&self) -> Result<Option<Self>, Self::Error>;

    /// A field of a mapping.
    fn field(&self, key: Key) -> Result<Option<Self>, Self::Error>;

    /// Number of fields of a mapping.
    fn field_count(&self) -> Result<usize, Self::Error>;

    /// Its elements, if it is a list or another iterable; a mapping's are its keys.
    fn elements(&self) -> Result<Option<Vec<Self>>, Self::Error>;

    /// Whether all keys of a mapping are texts.
    fn has_text_keys(&self) -> Result<bool, Self::Error>;

    /// It as JSON.
    fn to_json(&self) -> Result<Result<Json, NotJson>, Self::Error>;

    /// The name of its type, for messages.
    fn type_name(&self) -> String;
}

impl<'a> Value for &'a Json {
    type Text = &'a str;
    type Error = PromptError;

    fn kind(&self) -> Result<Kind<&'a str>, PromptError> {
        let json: &'a Json = self;
        Ok(match json {
            Json::Null => Kind::Null,
            Json::Bool(value) => Kind::Bool(*value),
            Json::Int(digits) => {
                let beyond = if digits.starts_with('-') { i64::MIN } else { i64::MAX };
                Kind::Int(digits.parse().unwrap_or(beyond))
            }
            Json::Float(value) => Kind::Float(*value),
            Json::String(text) => Kind::Text(text),
            Json::List(_) => Kind::List,
            Json::Object(_) => Kind::Mapping,
        })
    }

    fn mapping(&self) -> Result<Option<Self>, PromptError> {
        Ok(matches!(self, Json::Object(_)).then_some(*self))
    }

    fn field(&self, key: Key) -> Result<Option<Self>, PromptError> {
        let Json::Object(fields) = self else { return Ok(None) };
        Ok(fields.iter().find(|(name, _)| name == key.name()).map(|(_, value)| value))
    }

    fn field_count(&self) -> Result<usize, PromptError> {
        Ok(if let Json::Object(fields) = self { fields.len() } else { 0 })
    }

    fn elements(&self) -> Result<Option<Vec<Self>>, PromptError> {
        Ok(if let Json::List(values) = self { Some(values.iter().collect()) } else { None })
    }

    fn has_text_keys(&self) -> Result<bool, PromptError> {
        Ok(true)
    }

    fn to_json(&self) -> Result<Result<Json, NotJson>, PromptError> {
        Ok(Ok((*self).clone()))
    }

    fn type_name(&self) -> String {
        let name = match self {
            Json::Null => "null",
            Json::Bool(_) => "a boolean",
            Json::Int(_) => "an integer",
            Json::Float(_) => "a number",
            Json::String(_) => "a string",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        };
        name.to_owned()
    }
}
