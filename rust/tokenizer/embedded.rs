//! What the build script laid out, in read-only data: the tables of the Nemo vocabulary and of Unicode.

use std::borrow::Cow;

use super::tables::Tables;
use super::tables::classes::ClassTables;
use super::token_table::TokenTable;

/// Special tokens and tokens with a rank.
pub(super) const VOCABULARY_SIZE: usize = 131_072;

#[repr(C, align(64))]
struct Aligned<T: ?Sized>(T);

macro_rules! built {
    ($name:ident: $type:ty = $file:literal) => {
        static $name: Aligned<[u8; size_of::<$type>()]> =
            Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/", $file)));
    };
}
built!(TABLES: Tables = "tables");
built!(CLASSES: ClassTables = "class_tables");
built!(TOKEN_STARTS: [u32; VOCABULARY_SIZE + 1] = "token_starts");
static TOKEN_BYTES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/token_bytes"));

#[cfg(not(target_endian = "little"))]
compile_error!("the build script writes little-endian tables");

/// The tables of the Nemo vocabulary.
#[inline(always)]
pub(super) fn tables() -> &'static Tables {
    bytemuck::from_bytes(&TABLES.0)
}

/// The classes of characters, which no vocabulary changes.
#[inline(always)]
pub(super) fn class_tables() -> &'static ClassTables {
    bytemuck::from_bytes(&CLASSES.0)
}

/// The bytes of every token of the Nemo vocabulary.
pub(super) fn token_table() -> TokenTable {
    let starts = bytemuck::cast_slice(&TOKEN_STARTS.0);
    TokenTable::of_parts(Cow::Borrowed(TOKEN_BYTES), Cow::Borrowed(starts), 0..tables().first_id())
}
