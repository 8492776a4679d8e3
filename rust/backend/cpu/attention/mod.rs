//! Attention, in the order that [`crate::backend::Backend::attend`] gives.
//!
//! Rows of one sequence that follow each other are a block. A task is a block and a key/value head: it reads each page once
//! for all query heads of all its rows. A kernel, one file a level, takes a page and a few queries at a time, and adds to a
//! record for each query:
//!
//! ```text
//! value dimensions   the sums of p · v
//! STATE              the maximum of the scores, the sum of p, and nothing
//! ```
//!
//! After [`PART`] positions a record begins anew and is joined to those before it: always, so that it changes no bit whether
//! one thread or several compute the parts of a long context.

#[cfg(target_arch = "x86_64")]
mod avx512bf16;
#[cfg(target_arch = "x86_64")]
mod lanes;
mod portable;

use std::cell::RefCell;
use std::ops::Range;

use super::exp::exp;
use super::kv_cache::{Page, key_dimensions, value_dimensions};
use super::level::KernelLevel;
use super::ops::{narrow, place, round_bf16};
use super::threads::Band;
use super::{CpuBackend, KvCache, PAGE, ThreadPool};
use crate::backend::Rows;

/// Positions after which a record begins anew.
const PART: usize = 2_048;
/// Rows of a block at most: their records stay in a second-level cache.
const BLOCK: usize = 16;
/// Rows of a pass whose parts may be tasks of their own; more rows make tasks enough.
const FEW: usize = 16;
/// Queries that a kernel takes at a time.
const TILE: usize = 4;
/// Floats of a record behind its sums: as many as a register has.
const STATE: usize = 16;

/// Room for what a pass is cut into; kept for the next one.
#[derive(Default)]
pub(super) struct Scratch {
    blocks: Vec<Range<usize>>,
    /// Records of the parts that are tasks of their own.
    parts: Vec<f32>,
}

/// Room for what a task works on.
#[derive(Default)]
struct Local {
    queries: Vec<u16>,
    records: Vec<f32>,
    part: Vec<f32>,
}

thread_local! {
    static LOCAL: RefCell<Local> = RefCell::default();
}

/// See [`crate::backend::Backend::attend`].
#[allow(clippy::too_many_arguments, reason = "those of the operation, and who works on it")]
pub(super) fn attend(
    level: KernelLevel,
    pool: &ThreadPool,
    scratch: &mut Scratch,
    qkv: &[f32],
    rows: &Rows<CpuBackend>,
    layer: usize,
    cache: &KvCache,
    out: &mut [f32],
) {
    let shape = cache.shape();
    let (heads, width) = (shape.heads, shape.query_heads * shape.head_dim);
    let Scratch { blocks, parts } = scratch;
    cut(rows, blocks);
    let blocks: &[Range<usize>] = blocks;
    let task = |block: usize, head| Task { level, qkv, rows, block: &blocks[block], layer, head, cache };
    let out = &mut out[..rows.len * width];
    let longest = (0..blocks.len()).map(|block| task(block, 0).parts()).max().unwrap_or(0);
    if longest <= 1 || rows.len > FEW || blocks.len() * heads >= 2 * pool.threads() {
        pool.for_each_tile(out, width, width / heads, blocks, |block, head, tile| {
            let task = task(block, head);
            LOCAL.with_borrow_mut(|Local { queries, records, part }| {
                task.read_queries(queries);
                records.resize(task.size(), 0.0);
                task.compute(0, queries, records);
                part.resize(task.size(), 0.0);
                for index in 1..task.parts() {
                    task.compute(index, queries, part);
                    join(records, part, task.stride());
                }
                task.finish(records, tile);
            });
        });
        return;
    }
    let size = (0..blocks.len()).map(|block| task(block, 0).size()).max().unwrap_or(0);
    let total = blocks.len() * heads * longest * size;
    parts.resize(parts.len().max(total), 0.0);
    pool.for_each_part(&mut parts[..total], size, |index, records| {
        let task = task(index / longest / heads, index / longest % heads);
        if index % longest < task.parts() {
            LOCAL.with_borrow_mut(|Local { queries, .. }| {
                task.read_queries(queries);
                task.compute(index % longest, queries, &mut records[..task.size()]);
            });
        }
    });
    pool.for_each_tile(out, width, width / heads, blocks, |block, head, tile| {
        let task = task(block, head);
        let mut parts = parts[(block * heads + head) * longest * size..].chunks(size).take(task.parts());
        LOCAL.with_borrow_mut(|Local { records, .. }| {
            records.clear();
            records.extend(parts.next().into_iter().flat_map(|part| &part[..task.size()]));
            parts.for_each(|part| join(records, &part[..task.size()], task.stride()));
            task.finish(records, tile);
        });
    });
}

/// Cuts a pass into blocks.
fn cut(rows: &Rows<CpuBackend>, blocks: &mut Vec<Range<usize>>) {
    blocks.clear();
    for row in 0..rows.len {
        match blocks.last_mut() {
            Some(block) if block.len() < BLOCK && rows.sequences[row] == rows.sequences[block.start] => {
                block.end += 1;
            }
            _ => blocks.push(row..row + 1),
        }
    }
}

/// A block of rows and a key/value head; its queries are the heads of that group, row by row.
struct Task<'a> {
    level: KernelLevel,
    qkv: &'a [f32],
    rows: &'a Rows<CpuBackend>,
    block: &'a Range<usize>,
    layer: usize,
    head: usize,
    cache: &'a KvCache,
}

impl Task<'_> {
    /// Query heads.
    fn group(&self) -> usize {
        self.cache.shape().query_heads / self.cache.shape().heads
    }

    /// Floats of a record.
    fn stride(&self) -> usize {
        value_dimensions(self.cache.shape().head_dim) + STATE
    }

    /// Floats of all records.
    fn size(&self) -> usize {
        self.block.len() * self.group() * self.stride()
    }

    /// Positions that each row attends to.
    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.rows.positions[self.block.clone()].iter().map(|&position| position as usize + 1)
    }

    fn longest(&self) -> usize {
        self.lengths().max().unwrap_or(0)
    }

    fn parts(&self) -> usize {
        self.longest().div_ceil(PART)
    }

    /// `[queries, key dimensions]` in bf16, which is what they are since RoPE.
    fn read_queries(&self, queries: &mut Vec<u16>) {
        let shape = self.cache.shape();
        let (head_dim, columns) = (shape.head_dim, key_dimensions(shape.head_dim));
        let width = (shape.query_heads + 2 * shape.heads) * head_dim;
        queries.clear();
        for row in self.block.clone() {
            let heads = &self.qkv[row * width + self.head * self.group() * head_dim..];
            for query in heads.chunks_exact(head_dim).take(self.group()) {
                queries.extend(query.iter().map(|&x| narrow(x)));
                queries.extend((head_dim..columns).map(|_| 0));
            }
        }
    }

    /// The records of a part of the positions.
    fn compute(&self, part: usize, queries: &[u16], records: &mut [f32]) {
        let (group, stride) = (self.group(), self.stride());
        let columns = key_dimensions(self.cache.shape().head_dim);
        for record in records.chunks_exact_mut(stride) {
            let (sums, state) = record.split_at_mut(stride - STATE);
            sums.fill(0.0);
            (state[0], state[1]) = (f32::NEG_INFINITY, 0.0);
        }
        let (shortest, longest) = (self.lengths().min().unwrap_or(0), self.longest());
        for first in (part * PART..longest.min((part + 1) * PART)).step_by(PAGE) {
            let page = self.page(first);
            let mut ahead = if first + PAGE < longest { self.page(first + PAGE) } else { page };
            let mut tiles = |count, queries: &[u16], records: &mut [f32]| {
                let tiles = queries.chunks(TILE * columns).zip(records.chunks_mut(TILE * stride));
                for (queries, records) in tiles {
                    let tile = Tile { page, ahead, count, queries, columns };
                    tile.add(self.level, self.cache.shape().head_dim, records);
                    ahead = page;
                }
            };
            if first + PAGE <= shortest {
                tiles(PAGE, queries, records);
                continue;
            }
            let rows = queries.chunks(group * columns).zip(records.chunks_mut(group * stride));
            for (length, (queries, records)) in self.lengths().zip(rows) {
                if length > first {
                    tiles(PAGE.min(length - first), queries, records);
                }
            }
        }
    }

    /// The page that has a position of the block's sequence.
    fn page(&self, position: usize) -> Page<'_> {
        let (page, _) = place(self.rows, self.block.start, position);
        self.cache.page(self.layer, page, self.head)
    }

    /// Divides the sums.
    fn finish(&self, records: &[f32], mut tile: Band<'_, f32>) {
        let (stride, head_dim) = (self.stride(), self.cache.shape().head_dim);
        for (row, records) in records.chunks_exact(self.group() * stride).enumerate() {
            for (out, record) in tile.row(row).chunks_exact_mut(head_dim).zip(records.chunks_exact(stride)) {
                let sum = record[stride - STATE + 1];
                for (out, product) in out.iter_mut().zip(record) {
                    *out = round_bf16(product / sum);
                }
            }
        }
    }
}

/// Adds the records of later positions to those before them.
fn join(records: &mut [f32], later: &[f32], stride: usize) {
    for (record, later) in records.chunks_exact_mut(stride).zip(later.chunks_exact(stride)) {
        let ((sums, state), (later, later_state)) =
            (record.split_at_mut(stride - STATE), later.split_at(stride - STATE));
        // Nothing, of a row that ends before.
        if later_state[1] == 0.0 {
            continue;
        }
        let maximum = state[0].max(later_state[0]);
        let (shrink, later_shrink) = (exp(state[0] - maximum), exp(later_state[0] - maximum));
        (state[0], state[1]) = (maximum, state[1] * shrink + later_state[1] * later_shrink);
        for (sum, later) in sums.iter_mut().zip(later) {
            *sum = *sum * shrink + later * later_shrink;
        }
    }
}

/// What a kernel multiplies: up to [`TILE`] queries and the first `count` positions of a page.
struct Tile<'a> {
    page: Page<'a>,
    /// The page that comes next, to be fetched meanwhile.
    ahead: Page<'a>,
    count: usize,
    /// `[queries, columns]`
    queries: &'a [u16],
    columns: usize,
}

impl Tile<'_> {
    fn add(&self, level: KernelLevel, head_dim: usize, records: &mut [f32]) {
        let scale = 1.0 / (head_dim as f32).sqrt();
        match level {
            #[cfg(target_arch = "x86_64")]
            KernelLevel::Avx512Bf16 => {
                #[allow(unsafe_code, reason = "the call of a function for one kind of processor")]
                // SAFETY: a backend has only levels that `KernelLevel::available` lists.
                unsafe {
                    avx512bf16::add(self, scale, records);
                }
            }
            #[cfg(target_arch = "x86_64")]
            KernelLevel::Avx2 | KernelLevel::Avx512 => {
                #[allow(unsafe_code, reason = "the call of a function for one kind of processor")]
                // SAFETY: as above.
                unsafe {
                    lanes::add(self, scale, records);
                }
            }
            _ => portable::add(self, scale, records),
        }
    }
}
