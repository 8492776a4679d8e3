//! The CPU: buffers in main memory, operations in plain Rust, rows shared by a small pool of threads.
//!
//! A [`Buffer`](CpuBackend) of `[n, width]` activations is stored feature by feature: element (row i, feature f)
//! is at `f · n + i`. So an operation's outputs for a range of features are one slice, which a thread can own, and
//! the innermost loop over rows is over neighbours.
//!
//! Activations are f32 in memory; where [`Backend`] says bf16 they hold values that a bf16 can.

mod fp8_matmul;
mod ops;
mod threads;

use std::num::NonZero;

pub use threads::ThreadPool;

use super::{Backend, DeviceError, Epilogue, KvShape, PAGE, Rows};
use crate::checkpoint::Tensor;
use crate::error::Result;
use crate::fp8::Fp8Rows;
use crate::model::RopeTable;

/// The largest head that attention has room for on a thread's stack.
const LARGEST_HEAD: usize = 512;

/// The CPU as a device.
pub struct CpuBackend {
    pool: ThreadPool,
}

impl CpuBackend {
    /// A device of that many threads; `None` takes what the process may use.
    pub fn new(threads: Option<NonZero<usize>>) -> Result<CpuBackend> {
        let available = || std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        Ok(CpuBackend { pool: ThreadPool::new(threads.unwrap_or_else(available))? })
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }
}

/// Keys and values in bf16, a vector a layer: `[pages, heads, PAGE, head_dim]`.
///
/// Zeroed memory from the operating system takes no room until it is written, so the length costs nothing.
pub struct KvCache {
    shape: KvShape,
    keys: Vec<Vec<u16>>,
    values: Vec<Vec<u16>>,
}

impl KvCache {
    /// Index of the first element of a position of a head.
    fn offset(&self, page: usize, head: usize, slot: usize) -> usize {
        ((page * self.shape.heads + head) * PAGE + slot) * self.shape.head_dim
    }
}

impl Backend for CpuBackend {
    type Fp8Matrix = Fp8Rows;
    type DenseMatrix = Tensor;
    type Vector = Vec<f32>;
    type Buffer = Vec<f32>;
    type Indices = Vec<u32>;
    type KvCache = KvCache;

    fn largest_head(&self) -> usize {
        LARGEST_HEAD
    }

    fn fp8_matrix(&self, rows: Fp8Rows) -> Result<Fp8Rows> {
        Ok(rows)
    }

    fn dense_matrix(&self, tensor: Tensor) -> Result<Tensor> {
        Ok(tensor)
    }

    fn vector(&self, values: Vec<f32>) -> Result<Vec<f32>> {
        Ok(values)
    }

    fn buffer(&self, rows: usize, width: usize) -> Result<Vec<f32>> {
        Ok(vec![0.0; rows * width])
    }

    fn indices(&self, len: usize) -> Result<Vec<u32>> {
        Ok(vec![0; len])
    }

    fn kv_cache(&self, shape: KvShape) -> Result<KvCache> {
        assert!(shape.head_dim <= LARGEST_HEAD, "checked when the model was loaded");
        let elements = shape.pages * shape.heads * PAGE * shape.head_dim;
        let layers = || {
            (0..shape.layers).map(|_| zeroed(elements)).collect::<Option<Vec<_>>>().ok_or(
                DeviceError::KvCacheMemory {
                    bytes: 2 * shape.layers * elements * size_of::<u16>(),
                    positions: shape.pages * PAGE,
                },
            )
        };
        Ok(KvCache { shape, keys: layers()?, values: layers()? })
    }

    fn write(&self, values: &[u32], target: &mut Vec<u32>) {
        target[..values.len()].copy_from_slice(values);
    }

    fn read(&self, source: &Vec<f32>, rows: usize, row: usize, target: &mut [f32]) {
        for (target, values) in target.iter_mut().zip(source.chunks_exact(rows)) {
            *target = values[row];
        }
    }

    fn embed(&self, table: &Tensor, rows: &Rows<Self>, out: &mut Vec<f32>) {
        ops::embed(table, rows, out);
    }

    fn rms_norm(&self, x: &Vec<f32>, weight: &Vec<f32>, eps: f32, n: usize, out: &mut Vec<f32>) {
        ops::rms_norm(x, weight, eps, n, out);
    }

    fn matmul(&self, w: &Fp8Rows, x: &Vec<f32>, n: usize, epilogue: Epilogue, out: &mut Vec<f32>) {
        fp8_matmul::matmul(&self.pool, w, x, n, epilogue, out);
    }

    fn rope_append(
        &self,
        qkv: &mut Vec<f32>,
        rope: &RopeTable<Self>,
        rows: &Rows<Self>,
        layer: usize,
        cache: &mut KvCache,
    ) {
        ops::rope_append(qkv, rope, rows, layer, cache);
    }

    fn attend(&self, qkv: &Vec<f32>, rows: &Rows<Self>, layer: usize, cache: &KvCache, out: &mut Vec<f32>) {
        ops::attend(&self.pool, qkv, rows, layer, cache, out);
    }

    fn logits(
        &self,
        head: &Tensor,
        x: &Vec<f32>,
        n: usize,
        selected: &Vec<u32>,
        count: usize,
        out: &mut Vec<f32>,
    ) {
        ops::logits(&self.pool, head, x, n, &selected[..count], out);
    }
}

/// Zeros, or `None` where the operating system does not have that much.
fn zeroed(elements: usize) -> Option<Vec<u16>> {
    // `try_reserve` asks without touching the memory, `vec!` then takes zero pages.
    Vec::<u16>::new().try_reserve_exact(elements).ok()?;
    Some(vec![0; elements])
}
