//! `tekken.json`, the file of a Tekken vocabulary, to its special tokens and its ranked tokens.
//!
//! A file is read as mistral-common 1.13.1 does, and refused where that does: special tokens come first and are
//! filled up with `<SPECIAL_n>`, the ranked tokens are cut to what `default_vocab_size` leaves, and
//! `token_str` is not looked at. Refused as well is what no table of tokens can hold or no text can mean: an
//! empty token, special tokens out of order, none called `<s>` or `</s>`, and any other pattern than ours.
//! Whatever else a file says (images, audio, settings of models) is not about text and is ignored.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;

use serde::de::value::MapAccessDeserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;

use super::TokenId;
use super::base64;
use super::pretokenizer::PATTERN;
use super::special_tokens::{BOS_NAME, EOS_NAME, NAMES, filler_name};
use super::tables::layout::COPIED;
use super::token_table::TokenTable;
use super::vocabulary::BYTE_RANKS;
use crate::error::Error;

/// The versions that mistral-common knows; a file up to [`LAST_WITHOUT_LIST`] need not list special tokens.
const VERSIONS: [&str; 7] = ["v1", "v2", "v3", "v7", "v11", "v13", "v15"];
const LAST_WITHOUT_LIST: &str = "v7";

/// The largest file that is read: more than ten times the largest that mistral-common comes with.
const MAX_FILE_BYTES: u64 = 1 << 28;
/// The largest vocabulary that is read, special tokens included: sixteen times Nemo's. It bounds what a few
/// bytes of JSON can ask for.
const MAX_VOCAB_SIZE: u64 = 1 << 21;

/// What can be wrong with a Tekken file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TekkenFileError {
    /// A file that is cut, or something else than JSON.
    #[error("the tekken file is not JSON at byte {offset}: {reason}")]
    NotJson {
        /// Bytes in front of the fault.
        offset: usize,
        /// What the parser says.
        reason: String,
    },
    /// A key that is missing, that is there twice, or that has a value of another type.
    #[error("the tekken file does not have its format at byte {offset}: {reason}")]
    Format {
        /// Bytes in front of the fault.
        offset: usize,
        /// What the parser says.
        reason: String,
    },
    /// More bytes than any vocabulary needs.
    #[error("the tekken file is larger than {max} bytes", max = MAX_FILE_BYTES)]
    FileTooLarge,
    /// A version that is not known.
    #[error("the tekken file has the version {version:?}, known are {known}", known = VERSIONS.join(", "))]
    UnknownVersion {
        /// `config.version`.
        version: String,
    },
    /// A pattern that cuts texts in another way.
    #[error("the tekken file has a pattern that is not Mistral Nemo's: {pattern}")]
    UnknownPattern {
        /// `config.pattern`.
        pattern: String,
    },
    /// A file of a newer version without a list of special tokens.
    #[error("the tekken file has no special_tokens, which version {version} needs")]
    NoSpecialTokens {
        /// `config.version`.
        version: &'static str,
    },
    /// Ranks that are not 0, 1, 2 and so on: out of order, twice the same, or with a gap.
    #[error("{list}[{index}] of the tekken file has the rank {rank}")]
    WrongRank {
        /// The key of the list.
        list: &'static str,
        /// The place in the list, which the rank must equal.
        index: usize,
        /// The rank that is there.
        rank: u64,
    },
    /// `token_bytes` that is not base64.
    #[error("vocab[{index}] of the tekken file has the token_bytes {text:?}, which is not base64")]
    NotBase64 {
        /// The place in the list.
        index: usize,
        /// The text that is there.
        text: String,
    },
    /// One of the first 256 ranks that is not its byte.
    #[error("the token of rank {rank} is {found:?}, expected the single byte {rank}")]
    NotAByte {
        /// The rank.
        rank: usize,
        /// The bytes that are there.
        found: Vec<u8>,
    },
    /// A token or a name without bytes.
    #[error("{list}[{index}] of the tekken file is empty")]
    Empty {
        /// The key of the list.
        list: &'static str,
        /// The place in the list.
        index: usize,
    },
    /// Two tokens of the same bytes.
    #[error("the tokens of rank {first} and {second} have the same bytes")]
    DuplicateToken {
        /// The lower rank.
        first: usize,
        /// The higher rank.
        second: usize,
    },
    /// Two special tokens of the same name; the second may be one that fills up.
    #[error("two special tokens are called {name}")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// No special token that starts or ends a text.
    #[error("no special token is called {name}")]
    MissingName {
        /// `<s>` or `</s>`.
        name: &'static str,
    },
    /// More special tokens than the file has room for.
    #[error("the tekken file has {found} special tokens, its default_num_special_tokens is {room}")]
    TooManySpecialTokens {
        /// The special tokens that are listed.
        found: usize,
        /// `config.default_num_special_tokens`.
        room: u64,
    },
    /// Sizes that cannot be: fewer ranked tokens than bytes, fewer than are listed, or more than any vocabulary has.
    #[error(
        "a default_vocab_size of {vocab_size} with {special} special tokens does not fit: the tekken file has \
         {ranked} ranked tokens, {BYTE_RANKS} is the least, and {MAX_VOCAB_SIZE} tokens are the most"
    )]
    WrongSizes {
        /// `config.default_vocab_size`.
        vocab_size: u64,
        /// `config.default_num_special_tokens`.
        special: u64,
        /// Length of `vocab`.
        ranked: usize,
    },
}

#[derive(Deserialize)]
struct Json<'a> {
    #[serde(borrow)]
    config: Object<Config<'a>>,
    #[serde(borrow)]
    vocab: Vec<Object<JsonToken<'a>>>,
    #[serde(borrow, default)]
    special_tokens: Option<Vec<Object<JsonSpecialToken<'a>>>>,
}

#[derive(Deserialize)]
struct Config<'a> {
    #[serde(borrow)]
    pattern: Cow<'a, str>,
    #[serde(borrow)]
    version: Cow<'a, str>,
    default_vocab_size: u64,
    default_num_special_tokens: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonToken<'a> {
    rank: u64,
    #[serde(borrow)]
    token_bytes: Cow<'a, str>,
    #[serde(rename = "token_str")]
    _token_str: IgnoredAny,
}

#[derive(Deserialize)]
struct JsonSpecialToken<'a> {
    rank: u64,
    #[serde(borrow)]
    token_str: Cow<'a, str>,
}

/// A JSON object, and no list of its values, which serde would take as well.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ObjectVisitor(PhantomData)).map(Object)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// The tokens of a Tekken file: the special ones, then the ranked ones.
#[derive(Debug)]
pub(super) struct Tekken {
    pub(super) version: &'static str,
    /// The id of the token of rank 0; special tokens have those below.
    pub(super) first_id: TokenId,
    pub(super) bos: TokenId,
    pub(super) eos: TokenId,
    pub(super) token_table: Arc<TokenTable>,
}

impl Tekken {
    /// The file at a path.
    ///
    /// # Errors
    /// An I/O error with the path; a file that is not what it should be.
    pub(super) fn read(path: &Path) -> Result<Tekken, Error> {
        let mut json = Vec::new();
        let file = File::open(path).map_err(Error::io(path))?;
        // The limit also ends a device that never ends.
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut json).map_err(Error::io(path))?;
        Ok(Tekken::parse(&json).map_err(super::TokenizerError::from)?)
    }

    /// The content of a file.
    pub(super) fn parse(json: &[u8]) -> Result<Tekken, TekkenFileError> {
        if json.len() as u64 > MAX_FILE_BYTES {
            return Err(TekkenFileError::FileTooLarge);
        }
        let Object(Json { config: Object(config), vocab, special_tokens }) =
            serde_json::from_slice(json).map_err(|error| located(&error, json))?;
        let version = known_version(&config.version)?;
        if config.pattern != PATTERN {
            return Err(TekkenFileError::UnknownPattern { pattern: config.pattern.into_owned() });
        }
        let (vocab_size, special) = (config.default_vocab_size, config.default_num_special_tokens);
        let ranked = vocab_size
            .checked_sub(special)
            .filter(|ranked| (u64::from(BYTE_RANKS)..=vocab.len() as u64).contains(ranked))
            .filter(|_| vocab_size <= MAX_VOCAB_SIZE)
            .ok_or(TekkenFileError::WrongSizes { vocab_size, special, ranked: vocab.len() })?;
        let names = special_names(special_tokens, version)?;
        let tokens = vocab[..ranked as usize].iter().enumerate().map(|(index, Object(token))| {
            check_rank("vocab", index, token.rank)?;
            base64::decode(token.token_bytes.as_bytes())
                .ok_or_else(|| TekkenFileError::NotBase64 { index, text: token.token_bytes.to_string() })
        });
        let tokens = tokens.collect::<Result<Vec<_>, _>>()?;
        Tekken::new(version, &names, special, &tokens)
    }

    /// The tokens of a file in parts: the names of the special tokens in front of those that fill up, the
    /// number of special tokens, the bytes of the ranked tokens.
    pub(super) fn new(
        version: &str,
        special_names: &[impl AsRef<str>],
        special_count: u64,
        tokens: &[impl AsRef<[u8]>],
    ) -> Result<Tekken, TekkenFileError> {
        let version = known_version(version)?;
        let (listed, ranked) = (special_names.len(), tokens.len());
        let vocab_size = special_count.saturating_add(ranked as u64);
        if ranked < BYTE_RANKS as usize || vocab_size > MAX_VOCAB_SIZE {
            return Err(TekkenFileError::WrongSizes { vocab_size, special: special_count, ranked });
        }
        if listed as u64 > special_count {
            return Err(TekkenFileError::TooManySpecialTokens { found: listed, room: special_count });
        }
        let first_id = special_count as TokenId;
        let listed_names = special_names.iter().map(|name| Cow::Borrowed(name.as_ref()));
        let fillers = (listed as TokenId..first_id).map(|id| Cow::Owned(filler_name(id)));
        let mut bytes = Vec::new();
        let mut starts = Vec::with_capacity(vocab_size as usize + 1);
        let mut ids = HashMap::with_capacity(first_id as usize);
        for (id, name) in (0..).zip(listed_names.chain(fillers)) {
            if name.is_empty() {
                return Err(TekkenFileError::Empty { list: "special_tokens", index: id as usize });
            }
            if ids.contains_key(&name) {
                return Err(TekkenFileError::DuplicateName { name: name.into_owned() });
            }
            starts.push(bytes.len() as u32);
            bytes.extend_from_slice(name.as_bytes());
            ids.insert(name, id);
        }
        let named = |name| ids.get(name).copied().ok_or(TekkenFileError::MissingName { name });
        let (bos, eos) = (named(BOS_NAME)?, named(EOS_NAME)?);
        let mut ranks = HashMap::with_capacity(ranked);
        for (rank, token) in tokens.iter().enumerate() {
            let token = token.as_ref();
            if rank < BYTE_RANKS as usize && token != [rank as u8] {
                return Err(TekkenFileError::NotAByte { rank, found: token.to_vec() });
            }
            if token.is_empty() {
                return Err(TekkenFileError::Empty { list: "vocab", index: rank });
            }
            if let Some(first) = ranks.insert(token, rank) {
                return Err(TekkenFileError::DuplicateToken { first, second: rank });
            }
            starts.push(bytes.len() as u32);
            bytes.extend_from_slice(token);
        }
        starts.push(bytes.len() as u32);
        // So every start fits 32 bits.
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(TekkenFileError::FileTooLarge);
        }
        bytes.resize(bytes.len() + COPIED, 0);
        let token_table = TokenTable::of_parts(Cow::Owned(bytes), Cow::Owned(starts), 0..first_id);
        Ok(Tekken { version, first_id, bos, eos, token_table: Arc::new(token_table) })
    }
}

fn known_version(version: &str) -> Result<&'static str, TekkenFileError> {
    let known = VERSIONS.into_iter().find(|&known| known == version);
    known.ok_or_else(|| TekkenFileError::UnknownVersion { version: version.to_owned() })
}

/// The names that a file lists, or those that its version stands for.
fn special_names<'a>(
    listed: Option<Vec<Object<JsonSpecialToken<'a>>>>,
    version: &'static str,
) -> Result<Vec<Cow<'a, str>>, TekkenFileError> {
    if let Some(listed) = listed {
        let names = listed.into_iter().enumerate().map(|(index, Object(token))| {
            check_rank("special_tokens", index, token.rank)?;
            Ok(token.token_str)
        });
        return names.collect();
    }
    if VERSIONS
        .into_iter()
        .skip_while(|&known| known != LAST_WITHOUT_LIST)
        .skip(1)
        .any(|later| later == version)
    {
        return Err(TekkenFileError::NoSpecialTokens { version });
    }
    Ok(NAMES.into_iter().map(Cow::Borrowed).collect())
}

fn check_rank(list: &'static str, index: usize, rank: u64) -> Result<(), TekkenFileError> {
    if rank == index as u64 { Ok(()) } else { Err(TekkenFileError::WrongRank { list, index, rank }) }
}

/// A parser's error with its place in bytes, which is more use in a file of one line than line and column.
fn located(error: &serde_json::Error, json: &[u8]) -> TekkenFileError {
    let (line, column) = (error.line(), error.column());
    let newlines = json.iter().enumerate().filter(|&(_, &byte)| byte == b'\n').map(|(index, _)| index + 1);
    let line_start = [0].into_iter().chain(newlines).nth(line.saturating_sub(1)).unwrap_or(json.len());
    let message = error.to_string();
    let reason =
        message.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&message).to_owned();
    match error.classify() {
        Category::Eof => TekkenFileError::NotJson { offset: json.len(), reason },
        Category::Data => TekkenFileError::Format { offset: line_start + column, reason },
        Category::Syntax | Category::Io => {
            TekkenFileError::NotJson { offset: line_start + column.saturating_sub(1), reason }
        }
    }
}
