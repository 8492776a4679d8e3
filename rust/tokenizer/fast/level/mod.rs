//! What the CPU can do: the levels, the choice among them, and the operations that differ.
//!
//! The algorithm of the tokenizer is written once, over [`Instructions`]; a level is a type that implements them.
//! **A value of a level's type is the proof that the CPU has its instructions**: `detect` is the only way to get
//! one, so that the calls that need the proof can be safe.
//!
//! The choice is made once a process. `NEMO_FAST_CPU` (`scalar`, `avx2` or `avx512`) forces one for tests; a level
//! that the CPU lacks, or another word, is passed over, and [`CpuChoice::refusal`] says so. `avx512bf16`, which the engine's
//! kernels have beside `avx512`, is no other level here. It stops at AVX-512
//! with VBMI2 (Ice Lake, Zen 4) and AVX2 with BMI2 (Haswell, Zen): what lies between gains little over AVX2.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512_look_up;
#[cfg(target_arch = "x86_64")]
mod avx512_units;
#[cfg(target_arch = "x86_64")]
mod avx512_utf8;
mod scalar;
mod unit;

use std::fmt;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
pub(super) use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub(super) use avx512::Avx512;
pub(super) use scalar::Scalar;
pub(in crate::tokenizer) use unit::UTF8_ROOM;
pub(crate) use unit::Unit;

use super::cache::{Packed, SMALL_IDS};
use super::class_masks::{ClassMasks, READ};
use super::look_up::Block;
use crate::tokenizer::TokenId;
use crate::tokenizer::tables::Tables;

/// The operations that differ from level to level.
pub(super) trait Instructions: Copy {
    /// The classes of the first `length` bytes of a window; see [`ClassMasks::plain`].
    fn class_masks(self, window: &[u8; READ], length: usize) -> ClassMasks;

    /// Writes `base` plus the position of each set bit, in order. What is behind them in `positions` may be
    /// overwritten.
    fn write_positions(self, bits: u64, base: u32, positions: &mut [u32; 64]);

    /// See [`Packed::unpack`].
    #[inline(always)]
    fn unpack(self, packed: Packed, ids: &mut [TokenId; SMALL_IDS + 1]) {
        packed.unpack(ids);
    }

    /// See [`Block::look_up`].
    #[inline(always)]
    fn look_up(
        self,
        block: &mut Block,
        tables: &Tables,
        readable: &[u8],
        starts: &[u32],
        ids: &mut [TokenId],
        misses: (u32, &mut [u32]),
    ) -> usize {
        block.look_up(tables, readable, starts, ids, misses)
    }
}

/// A set of instructions that this CPU has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuLevel(Kind);

/// Outside the module a level can be passed on but not made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Scalar(Scalar),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl CpuLevel {
    /// The levels that this CPU has, the plainest first.
    pub fn available() -> Vec<CpuLevel> {
        let mut levels = vec![CpuLevel(Kind::Scalar(Scalar))];
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Avx2::detect().map(|level| CpuLevel(Kind::Avx2(level))));
            levels.extend(Avx512::detect().map(|level| CpuLevel(Kind::Avx512(level))));
        }
        levels
    }

    /// The level in use.
    pub fn in_use() -> CpuLevel {
        CpuChoice::of_process().level
    }

    /// Its word in `NEMO_FAST_CPU`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar(_) => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "avx512",
        }
    }

    /// Writes the characters of units as UTF-8, sixteen at a time, for as long as there are sixteen without surrogates and
    /// room for [`UTF8_ROOM`] bytes. Returns how many units were read and how many bytes written: none, if the level has no
    /// way of its own.
    #[inline]
    pub(in crate::tokenizer) fn utf8_blocks<U: Unit>(self, units: &[U], bytes: &mut [u8]) -> (usize, usize) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(level) => level.utf8_blocks(units, bytes),
            _ => (0, 0),
        }
    }

    /// Writes the first characters of a text as units, as long as there is much of it and room for 64 units. Returns how many
    /// bytes were read and units written: none, if the level has no way of its own.
    #[inline]
    pub(in crate::tokenizer) fn unit_blocks<U: Unit>(
        self,
        text: &str,
        units: &mut [MaybeUninit<U>],
    ) -> (usize, usize) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(level) => level.unit_blocks(text, units),
            _ => (0, 0),
        }
    }

    #[inline(always)]
    pub(super) fn kind(self) -> Kind {
        self.0
    }
}

impl fmt::Display for CpuLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// The level that was chosen, and why it is not the one that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuChoice {
    /// The level in use.
    pub level: CpuLevel,
    /// What was wrong with the wish in `NEMO_FAST_CPU`, if it was not granted.
    pub refusal: Option<String>,
}

impl CpuChoice {
    /// The choice of this process, made on first use.
    pub fn of_process() -> &'static CpuChoice {
        static CHOICE: OnceLock<CpuChoice> = OnceLock::new();
        CHOICE.get_or_init(|| {
            let wish = std::env::var_os("NEMO_FAST_CPU").map(|wish| wish.to_string_lossy().into_owned());
            CpuChoice::among(&CpuLevel::available(), wish)
        })
    }

    /// The wish if it is among the levels, else the best of them.
    fn among(levels: &[CpuLevel], wish: Option<String>) -> CpuChoice {
        let best = levels.last().copied().unwrap_or(CpuLevel(Kind::Scalar(Scalar)));
        let Some(wish) = wish.filter(|wish| !wish.is_empty()) else {
            return CpuChoice { level: best, refusal: None };
        };
        // The engine's names.
        let name = match wish.as_str() {
            "avx512bf16" => "avx512",
            "portable" => "scalar",
            name => name,
        };
        if let Some(&level) = levels.iter().find(|level| level.name() == name) {
            return CpuChoice { level, refusal: None };
        }
        let reason = match name {
            "avx2" | "avx512" => "this CPU lacks it",
            _ => "expected portable, scalar, avx2, avx512 or avx512bf16",
        };
        CpuChoice { level: best, refusal: Some(format!("NEMO_FAST_CPU={wish}: {reason}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_granted_or_refused_with_a_reason() {
        let levels = CpuLevel::available();
        let choice = |wish: Option<&str>| CpuChoice::among(&levels, wish.map(str::to_owned));
        assert_eq!(choice(Some("scalar")), CpuChoice { level: levels[0], refusal: None });
        assert_eq!(choice(None), CpuChoice { level: *levels.last().unwrap(), refusal: None });
        assert_eq!(choice(Some("")), choice(None));
        let unknown = choice(Some("sse"));
        assert_eq!(unknown.level, choice(None).level);
        assert_eq!(
            unknown.refusal.unwrap(),
            "NEMO_FAST_CPU=sse: expected portable, scalar, avx2, avx512 or avx512bf16"
        );
        assert_eq!(choice(Some("avx512bf16")).level, choice(Some("avx512")).level);
        assert_eq!(choice(Some("portable")), choice(Some("scalar")));
        let lacking = CpuChoice::among(&levels[..1], Some("avx512".to_owned()));
        assert_eq!(
            (lacking.level, lacking.refusal.unwrap().as_str()),
            (levels[0], "NEMO_FAST_CPU=avx512: this CPU lacks it")
        );
    }
}
