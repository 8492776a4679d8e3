//! A vocabulary: the bytes of every token, and how texts become their ids.
//!
//! Ids below `first_id` are special; the id of a token with a rank is its rank plus that.

use std::sync::{Arc, LazyLock, OnceLock};

use super::TokenId;
use super::embedded;
use super::fast::VocabularyKey;
use super::plain_ranks::PlainRanks;
use super::special_names::SpecialNames;
use super::special_tokens::{BOS, EOS};
use super::tables::Tables;
use super::tekken_file::Tekken;
use super::token_table::TokenTable;

/// The priority of a token in merging, from 0: lower ranks merge first.
pub(super) type Rank = u32;

/// The ranks below are the single bytes.
pub(super) const BYTE_RANKS: Rank = 256;

static EMBEDDED: LazyLock<Arc<Vocabulary>> = LazyLock::new(|| {
    let (token_table, first_id) = (Arc::new(embedded::token_table()), embedded::tables().first_id());
    let tokens = Tekken { version: "v3", first_id, bos: BOS, eos: EOS, token_table };
    Arc::new(Vocabulary::new(tokens, Some(TablesOf::Embedded(embedded::tables()))))
});

/// Tables in read-only data, or built for a file.
#[derive(Debug)]
pub(super) enum TablesOf {
    Embedded(&'static Tables),
    File(Box<Tables>),
}

/// A vocabulary. It never changes.
#[derive(Debug)]
pub(super) struct Vocabulary {
    token_table: Arc<TokenTable>,
    first_id: TokenId,
    pub(super) version: &'static str,
    pub(super) bos: TokenId,
    pub(super) eos: TokenId,
    /// Built at the first text that is searched for them.
    special_names: OnceLock<SpecialNames>,
    /// By which the threads know what they remember of it.
    pub(super) key: VocabularyKey,
    /// `None` if the vocabulary does not fit them: then every text takes the plain path.
    tables: Option<TablesOf>,
    /// What the plain path needs, built on its first use.
    plain_ranks: OnceLock<PlainRanks>,
}

impl Vocabulary {
    /// The vocabulary of Mistral Nemo: one for the process.
    pub(super) fn embedded() -> Arc<Vocabulary> {
        Arc::clone(&EMBEDDED)
    }

    pub(super) fn new(tokens: Tekken, tables: Option<TablesOf>) -> Vocabulary {
        let Tekken { version, first_id, bos, eos, token_table } = tokens;
        Vocabulary {
            token_table,
            first_id,
            version,
            bos,
            eos,
            special_names: OnceLock::new(),
            key: VocabularyKey::next(),
            tables,
            plain_ranks: OnceLock::new(),
        }
    }

    pub(super) fn token_table(&self) -> &Arc<TokenTable> {
        &self.token_table
    }

    /// Number of special tokens: the id of rank 0.
    pub(super) fn first_id(&self) -> TokenId {
        self.first_id
    }

    /// The special tokens by their names.
    pub(super) fn special_names(&self) -> &SpecialNames {
        self.special_names.get_or_init(|| SpecialNames::new(&self.token_table))
    }

    /// The tables of the fast path, if the vocabulary has them.
    #[inline]
    pub(super) fn tables(&self) -> Option<&Tables> {
        match self.tables.as_ref()? {
            TablesOf::Embedded(tables) => Some(tables),
            TablesOf::File(tables) => Some(tables),
        }
    }

    /// The token id of a rank.
    pub(super) fn id_of(&self, rank: Rank) -> TokenId {
        self.first_id + rank
    }

    /// The rank of the token that has exactly these bytes.
    pub(super) fn rank(&self, bytes: &[u8]) -> Option<Rank> {
        match self.tables() {
            Some(tables) => tables.rank_of(bytes),
            None => self.plain_ranks().rank(bytes),
        }
    }

    /// The ranks of the plain path.
    pub(super) fn plain_ranks(&self) -> &PlainRanks {
        self.plain_ranks.get_or_init(|| PlainRanks::new(&self.token_table, self.first_id))
    }
}
