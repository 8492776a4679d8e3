//! Perfect hash tables by displacement: every key has a slot of its own, so that a look-up reads one slot.
//!
//! Keys fall into buckets by the low bits of their hash. The buckets are placed one after the other, the
//! fullest first; each tries displacements until all its keys land in free slots. If one bucket finds none,
//! the next seed is tried; with the sizes of `layout.rs` one of the first few succeeds.

use super::super::layout::{bucket, displaced_slot};

/// A table that is not too full takes the first seed or the second.
const MOST_SEEDS: u64 = 20;

pub(super) struct PerfectHash {
    pub(super) seed: u64,
    /// `[1 << bucket_bits]`
    pub(super) displacements: Vec<u16>,
    /// `[keys]`
    pub(super) slots: Vec<usize>,
}

impl PerfectHash {
    /// Places `keys` keys, the hashes of which are `hash(key, seed)`; `None` if there is no room for them.
    pub(super) fn find(
        keys: usize,
        bucket_bits: u32,
        slot_bits: u32,
        hash: impl Fn(usize, u64) -> u64,
    ) -> Option<PerfectHash> {
        (1..MOST_SEEDS).map(|attempt| attempt.wrapping_mul(0x2545_F491_4F6C_DD1D)).find_map(|seed| {
            let hashes: Vec<u64> = (0..keys).map(|key| hash(key, seed)).collect();
            let (displacements, slots) = place(&hashes, bucket_bits, slot_bits)?;
            Some(PerfectHash { seed, displacements, slots })
        })
    }
}

fn place(hashes: &[u64], bucket_bits: u32, slot_bits: u32) -> Option<(Vec<u16>, Vec<usize>)> {
    if hashes.len() > 1 << slot_bits {
        return None;
    }
    let mut buckets = vec![vec![]; 1 << bucket_bits];
    for (key, &hash) in hashes.iter().enumerate() {
        buckets[bucket(hash, bucket_bits)].push(key);
    }
    let mut order: Vec<usize> = (0..buckets.len()).collect();
    order.sort_by_key(|&number| std::cmp::Reverse(buckets[number].len()));
    let mut displacements = vec![0; buckets.len()];
    let mut slots = vec![0; hashes.len()];
    let mut is_taken = vec![false; 1 << slot_bits];
    let mut places: Vec<usize> = vec![];
    for number in order {
        let keys = &buckets[number];
        displacements[number] = (0..=u16::MAX).find(|&displacement| {
            places.clear();
            keys.iter().all(|&key| {
                let slot = displaced_slot(hashes[key], displacement, slot_bits);
                let is_free = !is_taken[slot] && !places.contains(&slot);
                places.push(slot);
                is_free
            })
        })?;
        for (&key, &slot) in keys.iter().zip(&places) {
            slots[key] = slot;
            is_taken[slot] = true;
        }
    }
    Some((displacements, slots))
}
