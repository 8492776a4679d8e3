//! The CPU: buffers in main memory, operations in plain Rust, rows shared by a small pool of threads.
//!
//! A [`Buffer`](CpuBackend) of `[n, width]` activations is stored row by row. Threads share out the columns of an
//! operation's result, or its rows.
//!
//! Activations are f32 in memory; where [`Backend`] says bf16 they hold values that a bf16 can.

mod attention;
mod cores;
mod dense;
mod exp;
mod fetch;
mod fp8_matmul;
mod kv_cache;
mod level;
mod limits;
mod memory;
mod ops;
mod threads;

use std::num::NonZero;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use fp8_matmul::{Rounded, int8};
pub use kv_cache::KvCache;
pub use level::KernelLevel;
pub use limits::Limits;
pub use threads::ThreadPool;

use super::{Backend, Epilogue, KvShape, PAGE, Rows};
use crate::checkpoint::Tensor;
use crate::error::Result;
use crate::fp8::{Fp8Rows, Panels};
use crate::model::RopeTable;

/// The largest head: larger ones are no model's, and a config with one is a slip.
const LARGEST_HEAD: usize = 512;

/// The CPU as a device.
pub struct CpuBackend {
    pool: ThreadPool,
    level: KernelLevel,
    /// Room for the activations of a product.
    rounded: Mutex<Rounded>,
    /// The same for products in integers.
    integers: Mutex<Vec<int8::Group>>,
    /// Room for the activations that logits are computed of.
    selected: Mutex<Vec<u16>>,
    /// Room for those that a head in E4M3 is multiplied with.
    fp8_selected: Mutex<Vec<f32>>,
    /// Room for what attention is cut into.
    attention: Mutex<attention::Scratch>,
}

impl CpuBackend {
    /// A device of that many threads; `None` takes what the process may use. Its kernels are [`KernelLevel::in_use`].
    pub fn new(threads: Option<NonZero<usize>>) -> Result<CpuBackend> {
        CpuBackend::at_level(KernelLevel::in_use()?, threads)
    }

    /// The same with other kernels: what the tests of the levels are made of.
    ///
    /// # Panics
    /// If the processor does not have the level.
    pub fn at_level(level: KernelLevel, threads: Option<NonZero<usize>>) -> Result<CpuBackend> {
        assert!(KernelLevel::available().contains(&level), "{level:?} is not available");
        let available = || std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let pool = ThreadPool::new(threads.unwrap_or_else(available))?;
        Ok(CpuBackend {
            pool,
            level,
            rounded: Mutex::default(),
            integers: Mutex::default(),
            selected: Mutex::default(),
            fp8_selected: Mutex::default(),
            attention: Mutex::default(),
        })
    }

    /// What this machine can do at most with these threads: measured, which takes about a second and 1 GiB.
    pub fn limits(&self) -> Result<Limits> {
        Ok(limits::measure(&self.pool, self.level)?)
    }

    /// Refuses a model, before it is loaded, whose weights (`weights` bytes in memory of its own) and KV cache do not fit.
    pub fn check_memory(&self, weights: usize, cache: &KvShape) -> Result<()> {
        Ok(memory::check(weights, cache)?)
    }

    /// The kernels in use.
    pub fn level(&self) -> KernelLevel {
        self.level
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }
}

impl Backend for CpuBackend {
    type Fp8Matrix = Panels;
    type DenseMatrix = Tensor;
    type Vector = Vec<f32>;
    type Buffer = Vec<f32>;
    type Indices = Vec<u32>;
    type KvCache = KvCache;

    fn largest_head(&self) -> usize {
        LARGEST_HEAD
    }

    fn fp8_matrix(&self, rows: Fp8Rows) -> Result<Panels> {
        Ok(Panels::pack(&rows))
    }

    fn gated_matrix(&self, gates: Fp8Rows, values: Fp8Rows) -> Result<Panels> {
        Ok(Panels::pack_gated(&gates, &values))
    }

    fn packed_matrix(&self, panels: Panels) -> Result<Panels> {
        Ok(panels)
    }

    fn dense_matrix(&self, tensor: Tensor) -> Result<Tensor> {
        Ok(tensor)
    }

    fn vector(&self, values: Vec<f32>) -> Result<Vec<f32>> {
        Ok(values)
    }

    fn growing_vector(&self, capacity: usize) -> Result<Vec<f32>> {
        Ok(Vec::with_capacity(capacity))
    }

    fn append(&self, values: &[f32], target: &mut Vec<f32>) {
        debug_assert!(values.len() <= target.capacity() - target.len(), "it would move");
        target.extend_from_slice(values);
    }

    fn buffer(&self, rows: usize, width: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; rows * width])
    }

    fn indices(&self, len: usize) -> Result<Vec<u32>> {
        Ok(vec![0; len])
    }

    fn kv_cache(&self, shape: KvShape) -> Result<KvCache> {
        assert!(shape.head_dim <= LARGEST_HEAD, "checked when the model was loaded");
        Ok(KvCache::new(shape)?)
    }

    fn write(&self, values: &[u32], target: &mut Vec<u32>) {
        target[..values.len()].copy_from_slice(values);
    }

    fn read(&self, source: &Vec<f32>, row: usize, target: &mut [f32]) {
        target.copy_from_slice(&source[row * target.len()..(row + 1) * target.len()]);
    }

    fn embed(&self, table: &Tensor, rows: &Rows<Self>, out: &mut Vec<f32>) {
        ops::embed(table, rows, out);
    }

    fn rms_norm(&self, x: &Vec<f32>, weight: &Vec<f32>, eps: f32, n: usize, out: &mut Vec<f32>) {
        ops::rms_norm(self.level, &self.pool, x, weight, eps, n, out);
    }

    fn matmul(&self, w: &Panels, x: &Vec<f32>, n: usize, epilogue: Epilogue, out: &mut Vec<f32>) {
        let mut rounded = self.rounded.lock().unwrap_or_else(PoisonError::into_inner);
        fp8_matmul::matmul(self.level, &self.pool, &mut rounded, w, x, n, epilogue, out);
    }

    fn int8_matmul(
        &self,
        w: &Panels,
        x: &Vec<f32>,
        rows: Range<usize>,
        epilogue: Epilogue,
        out: &mut Vec<f32>,
    ) {
        let mut integers = self.integers.lock().unwrap_or_else(PoisonError::into_inner);
        let (x, out) = (&x[rows.start * w.columns..], &mut out[rows.start * w.outputs..]);
        int8::matmul(self.level, &self.pool, &mut integers, w, x, rows.len(), epilogue, out);
    }

    fn rope_append(
        &self,
        qkv: &mut Vec<f32>,
        rope: &RopeTable<Self>,
        rows: &Rows<Self>,
        layer: usize,
        cache: &mut KvCache,
    ) {
        ops::rope_append(self.level, &self.pool, qkv, rope, rows, layer, cache);
    }

    fn attend(&self, qkv: &Vec<f32>, rows: &Rows<Self>, layer: usize, cache: &KvCache, out: &mut Vec<f32>) {
        let mut scratch = self.attention.lock().unwrap_or_else(PoisonError::into_inner);
        attention::attend(self.level, &self.pool, &mut scratch, qkv, rows, layer, cache, out);
    }

    fn logits(&self, head: &Tensor, x: &Vec<f32>, selected: &Vec<u32>, count: usize, out: &mut Vec<f32>) {
        let mut narrowed = self.selected.lock().unwrap_or_else(PoisonError::into_inner);
        dense::logits(self.level, &self.pool, &mut narrowed, head, x, &selected[..count], out);
    }

    fn fp8_logits(&self, head: &Panels, x: &Vec<f32>, selected: &Vec<u32>, count: usize, out: &mut Vec<f32>) {
        let mut rows = self.fp8_selected.lock().unwrap_or_else(PoisonError::into_inner);
        rows.clear();
        for &i in &selected[..count] {
            rows.extend_from_slice(&x[i as usize * head.columns..][..head.columns]);
        }
        self.matmul(head, &rows, count, Epilogue::Store, out);
    }
}
