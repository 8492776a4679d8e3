//! The operations that a device offers: the seam between the model and the machine.
//!
//! The forward pass is written once over [`Backend`]. Operations never allocate; what an operation works on
//! (activations, token ids, positions, page tables, the KV cache) lives in buffers of the device, so that a
//! device may record a whole pass and replay it. A fused operation that a device adds later enters as a method
//! whose default body composes the ones below: the default is its specification and its test.
//!
//! Shapes: a pass has `n` rows; row i is one token of one sequence. `[n, width]` names a shape, not an order
//! in memory: each device lays its buffers out as it likes, and they hold any n up to the rows they were made for.
//!
//! **Order of accumulation.** An output element is summed in one order, whatever n is and however many threads run. So a
//! token's logits do not depend on what else is in the pass.

pub mod cpu;

use std::ops::Range;

use crate::checkpoint::Tensor;
use crate::error::Result;
use crate::fp8::{Fp8Rows, Panels};
use crate::model::RopeTable;

/// Positions a page of the KV cache holds.
pub const PAGE: usize = 64;

/// What [`Backend::matmul`] does with its products y = W·x, rows of W being output dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epilogue {
    /// `out = y`
    Store,
    /// `out = out + y`
    Add,
    /// Of a gated matrix: `out = bf16(silu(y_gate) · y_value)`, silu(g) = g / (1 + e⁻ᵍ).
    SwiGlu,
}

/// How a KV cache holds its elements.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KvFormat {
    /// bf16(x)
    #[default]
    Bf16,
    /// The E4M3 code nearest to bf16(x) / s, and one f32 scale s = max(|bf16(x)|) / 448 for each position of a head.
    Fp8,
}

impl KvFormat {
    /// The format that a user means by "bf16" or "fp8".
    pub fn named(name: &str) -> Option<KvFormat> {
        match name {
            "bf16" => Some(KvFormat::Bf16),
            "fp8" => Some(KvFormat::Fp8),
            _ => None,
        }
    }

    /// Bytes of an element.
    pub fn bytes(self) -> usize {
        match self {
            KvFormat::Bf16 => 2,
            KvFormat::Fp8 => 1,
        }
    }
}

/// The shape of a KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Decoder layers.
    pub layers: usize,
    /// Pages of [`PAGE`] positions.
    pub pages: usize,
    /// Key/value heads.
    pub heads: usize,
    /// Query heads; each group of `query_heads / heads` reads one key/value head.
    pub query_heads: usize,
    /// Dimensions of a head.
    pub head_dim: usize,
    /// Of keys and values.
    pub format: KvFormat,
}

/// Which token stands in which row of a pass, in the device's buffers.
pub struct Rows<B: Backend> {
    /// How many rows the pass has.
    pub len: usize,
    /// How many of them, the last ones, take [`Backend::int8_matmul`]; the others take [`Backend::matmul`].
    pub int8_len: usize,
    /// `[n]`
    pub token_ids: B::Indices,
    /// `[n]` Position of the token in its sequence.
    pub positions: B::Indices,
    /// `[n]` Which page table the row's sequence has.
    pub sequences: B::Indices,
    /// `[sequences, pages_per_sequence]` Position p is in page `page_tables[s, p / 64]`, slot p mod 64.
    pub page_tables: B::Indices,
    /// Width of `page_tables`.
    pub pages_per_sequence: usize,
}

/// A device that can run the forward pass.
///
/// bf16(x) stands for rounding to the nearest bfloat16, ties to even.
pub trait Backend: Send + Sync + Sized + 'static {
    /// E4M3 rows with a scale each, or a scale for each group of columns.
    type Fp8Matrix: Send + Sync;
    /// A matrix as the source has it (bf16, f16 or f32): embedding and head.
    type DenseMatrix: Send + Sync;
    /// f32 values.
    type Vector: Send + Sync;
    /// Activations.
    type Buffer: Send;
    /// u32 values.
    type Indices: Send;
    /// Keys and values of all layers, in pages.
    type KvCache: Send;

    /// The most dimensions that a head can have; a model with more is refused before anything is uploaded.
    fn largest_head(&self) -> usize;
    /// Uploads a linear layer.
    fn fp8_matrix(&self, rows: Fp8Rows) -> Result<Self::Fp8Matrix>;
    /// Uploads two linear layers of one shape, with as many scales a row, whose products become one: see [`Epilogue::SwiGlu`].
    fn gated_matrix(&self, gates: Fp8Rows, values: Fp8Rows) -> Result<Self::Fp8Matrix>;
    /// Uploads a linear layer that is packed already.
    fn packed_matrix(&self, panels: Panels) -> Result<Self::Fp8Matrix>;
    /// Uploads a `[rows, columns]` tensor.
    fn dense_matrix(&self, tensor: Tensor) -> Result<Self::DenseMatrix>;
    /// Uploads values.
    fn vector(&self, values: Vec<f32>) -> Result<Self::Vector>;
    /// Allocates room for `capacity` values, none of which is there yet; memory is taken as they come, where the device can
    /// do that.
    fn growing_vector(&self, capacity: usize) -> Result<Self::Vector>;
    /// Uploads values behind those that a growing vector has, which stay where they are.
    fn append(&self, values: &[f32], target: &mut Self::Vector);
    /// Allocates activations for up to `rows` rows of `width`.
    fn buffer(&self, rows: usize, width: usize) -> Result<Self::Buffer>;
    /// Allocates `len` u32.
    fn indices(&self, len: usize) -> Result<Self::Indices>;
    /// Allocates a KV cache; memory is taken as pages are first written, where the device can do that.
    fn kv_cache(&self, shape: KvShape) -> Result<Self::KvCache>;
    /// Uploads u32 values to the start of `target`.
    fn write(&self, values: &[u32], target: &mut Self::Indices);
    /// Downloads row `row` of a buffer whose rows are as wide as `target`.
    fn read(&self, source: &Self::Buffer, row: usize, target: &mut [f32]);

    /// `out[i] = table[token_ids[i]]`
    fn embed(&self, table: &Self::DenseMatrix, rows: &Rows<Self>, out: &mut Self::Buffer);

    /// `out[i] = bf16(x[i] · weight / √(mean(x[i]²) + eps))`
    fn rms_norm(&self, x: &Self::Buffer, weight: &Self::Vector, eps: f32, n: usize, out: &mut Self::Buffer);

    /// `y[i] = scale · (W · bf16(x[i]))`, then the epilogue. With several scales a row, the sum over the groups of columns
    /// of such products, in ascending order.
    fn matmul(
        &self,
        w: &Self::Fp8Matrix,
        x: &Self::Buffer,
        n: usize,
        epilogue: Epilogue,
        out: &mut Self::Buffer,
    );

    /// The same for a range of rows, `x` and W rounded to eight-bit integers: for each 128 columns with a scale for the row of `x`
    /// and one for some rows of W, which the device chooses. A row has the same bits in any range.
    fn int8_matmul(
        &self,
        w: &Self::Fp8Matrix,
        x: &Self::Buffer,
        rows: Range<usize>,
        epilogue: Epilogue,
        out: &mut Self::Buffer,
    );

    /// Turns the query and key heads of `qkv[i]` by the angles of `positions[i]`, dimension d with d + `head_dim`/2:
    /// `(a, b) → bf16(a·cos − b·sin, b·cos + a·sin)`; appends key and bf16(value), as its [`KvFormat`] says, to the layer's
    /// cache at that position. The turned queries stay in `qkv`.
    fn rope_append(
        &self,
        qkv: &mut Self::Buffer,
        rope: &RopeTable<Self>,
        rows: &Rows<Self>,
        layer: usize,
        cache: &mut Self::KvCache,
    );

    /// For each query head: `out[i] = bf16(softmax((q / √head_dim)·Kᵀ) · V)` over positions 0 ..= `positions[i]`.
    ///
    /// One order for prefill and decode: pages ascending; within a page, scores first, then the running maximum
    /// m (raised at page ends only, where the sum and the output so far are multiplied by e to the power of old m − new m),
    /// then weights p = e^(s − m) and the sums of p and of p·v over ascending positions. After a fixed number of pages, whatever
    /// the number of rows and threads, this begins anew, and what comes out is joined to what came out of the pages before.
    fn attend(
        &self,
        qkv: &Self::Buffer,
        rows: &Rows<Self>,
        layer: usize,
        cache: &Self::KvCache,
        out: &mut Self::Buffer,
    );

    /// `out[j] = head · bf16(x[selected[j]])` for the first `count` of `selected`.
    fn logits(
        &self,
        head: &Self::DenseMatrix,
        x: &Self::Buffer,
        selected: &Self::Indices,
        count: usize,
        out: &mut Self::Buffer,
    );

    /// The same for a head in E4M3, whose scales multiply; `x` has values that a bf16 can hold.
    fn fp8_logits(
        &self,
        head: &Self::Fp8Matrix,
        x: &Self::Buffer,
        selected: &Self::Indices,
        count: usize,
        out: &mut Self::Buffer,
    );

    /// Runs a pass. `shape`, all its rows and those in integers, names it: a device may record the operations the first time and
    /// replay them.
    fn replay(&self, shape: (usize, usize), pass: impl FnOnce()) {
        let _ = shape;
        pass();
    }
}

/// A device or its memory.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No such device, or not in this version.
    #[error("device {0:?} is not available: this version runs on \"cpu\"")]
    Unavailable(String),
    /// More dimensions a head than the kernels have room for.
    #[error("head_dim {head_dim} is not supported: the largest is {largest}")]
    HeadTooLarge {
        /// Of the config.
        head_dim: usize,
        /// That the device has room for.
        largest: usize,
    },
    /// The operating system gives no more threads.
    #[error("could not start thread {started} of {wanted}: {source}")]
    Threads {
        /// Threads that had been started.
        started: usize,
        /// Threads asked for.
        wanted: usize,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// More memory for weights and KV cache than there is.
    #[error(
        "a KV cache of {positions} positions needs {bytes} bytes, {}{}; choose a smaller context_length{}{}",
        if *.weights > 0 { format!("the weights {weights}, ") } else { String::new() },
        .total.map_or("which this machine does not give".to_owned(), |total| format!("and this machine has {total}")),
        if *.format == KvFormat::Bf16 { " or kv_cache=\"fp8\"" } else { "" },
        // What helps most.
        if .weights > .bytes { ", or convert the model: packed weights are used in place" } else { "" }
    )]
    Memory {
        /// Size of the whole cache.
        bytes: usize,
        /// Positions it would hold.
        positions: usize,
        /// How it would hold them.
        format: KvFormat,
        /// Bytes of weights that would be in memory beside it.
        weights: usize,
        /// Bytes of memory that this process may use, where that is known.
        total: Option<usize>,
    },
    /// No memory to measure the limits of the machine with.
    #[error("measuring the speed of memory needs {bytes} bytes: {source}")]
    MeasurementMemory {
        /// Bytes to read.
        bytes: usize,
        /// What the operating system said.
        source: std::io::Error,
    },
}
