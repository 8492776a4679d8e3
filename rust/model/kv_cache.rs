//! The shape of a model's KV cache, and which of its pages are free. The keys and values themselves belong to the backend.

use crate::backend::{KvFormat, KvShape};
use crate::checkpoint::ModelConfig;

/// The shape of a cache of that many pages.
pub fn kv_shape(config: &ModelConfig, pages: usize, format: KvFormat) -> KvShape {
    KvShape {
        layers: config.num_hidden_layers,
        pages,
        heads: config.num_key_value_heads,
        query_heads: config.num_attention_heads,
        head_dim: config.head_dim,
        format,
    }
}

/// Page numbers 0..n, handed out and taken back.
pub struct PagePool {
    free: Vec<u32>,
    total: usize,
}

impl PagePool {
    /// A pool of that many free pages.
    pub fn new(pages: usize) -> PagePool {
        PagePool { free: (0..pages as u32).rev().collect(), total: pages }
    }

    /// That many pages, lowest numbers first in a fresh pool; `None`, and nothing taken, if fewer are free.
    pub fn take(&mut self, pages: usize) -> Option<Vec<u32>> {
        let left = self.free.len().checked_sub(pages)?;
        Some(self.free.drain(left..).rev().collect())
    }

    /// Takes pages back.
    pub fn give(&mut self, pages: Vec<u32>) {
        self.free.extend(pages.into_iter().rev());
        debug_assert!(self.free.len() <= self.total);
    }

    /// Pages not in use.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// All pages.
    pub fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::PagePool;

    #[test]
    fn pages_are_handed_out_once_and_come_back() {
        let mut pool = PagePool::new(3);
        let first = pool.take(2).unwrap();
        assert_eq!(first, [0, 1]);
        assert_eq!(pool.take(2), None);
        assert_eq!(pool.free(), 1);
        pool.give(first);
        assert_eq!(pool.take(3), Some(vec![0, 1, 2]));
        assert_eq!((pool.free(), pool.total()), (0, 3));
    }
}
