//! The special tokens of the embedded vocabulary: token ids 0 to 999.
//!
//! Twenty have a meaning; the rest is reserved and called `<SPECIAL_n>`. They are put between texts by whoever builds a
//! prompt; a text becomes one of them only where a caller asks for that (`control_strings`).

use super::TokenId;

/// Number of special tokens; the token of rank 0 has this id.
pub const SPECIAL_TOKEN_COUNT: u32 = 1_000;

/// `<s>`: starts every prompt.
pub const BOS: TokenId = 1;
/// `</s>`: ends every assistant message.
pub const EOS: TokenId = 2;
/// `[INST]`: starts a user message.
pub const BEGIN_INST: TokenId = 3;
/// `[/INST]`: ends a user message.
pub const END_INST: TokenId = 4;
/// `[AVAILABLE_TOOLS]`: starts the definitions of tools.
pub const BEGIN_TOOLS: TokenId = 5;
/// `[/AVAILABLE_TOOLS]`: ends them.
pub const END_TOOLS: TokenId = 6;
/// `[TOOL_RESULTS]`: starts the result of a tool call.
pub const BEGIN_TOOL_RESULTS: TokenId = 7;
/// `[/TOOL_RESULTS]`: ends it.
pub const END_TOOL_RESULTS: TokenId = 8;
/// `[TOOL_CALLS]`: starts the tool calls of an assistant message.
pub const TOOL_CALLS: TokenId = 9;
/// `[PREFIX]`: starts what stands before a gap to fill.
pub const PREFIX: TokenId = 14;
/// `[SUFFIX]`: starts what stands behind a gap to fill.
pub const SUFFIX: TokenId = 16;

/// The name of [`BOS`].
pub(crate) const BOS_NAME: &str = "<s>";
/// The name of [`EOS`].
pub(crate) const EOS_NAME: &str = "</s>";

/// The special tokens with a meaning, also of a file up to version v7 that lists none.
pub(crate) const NAMES: [&str; 20] = [
    "<unk>",
    BOS_NAME,
    EOS_NAME,
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

/// The names of all special tokens, in the order of their ids.
pub fn special_token_names() -> impl Iterator<Item = String> {
    let reserved = NAMES.len() as u32..SPECIAL_TOKEN_COUNT;
    NAMES.iter().map(ToString::to_string).chain(reserved.map(filler_name))
}

/// The name of a special token with a meaning; empty for any other id.
pub fn special_token_name(id: TokenId) -> &'static str {
    NAMES.get(id as usize).copied().unwrap_or_default()
}

/// The name of a reserved token.
pub(crate) fn filler_name(id: TokenId) -> String {
    format!("<SPECIAL_{id}>")
}
