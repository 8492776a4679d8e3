//! Keys and values of every position, in pages, as the kernels of attention read them.
//!
//! An element is a bf16, or an E4M3 code with an f32 scale for each position of a head. A page of a head consists of units
//! of 64 elements, each two registers of 32 bf16 when it is decoded:
//!
//! ```text
//! keys    [PAGE / 16, dimensions / 4] units   16 positions, 4 dimensions: a register has the pair of dimensions
//!                                             k, k + 1 of each position, which one `vdpbf16ps` multiplies with a
//!                                             pair of a query: no sum across a register is ever needed
//! values  [dimensions / 64, PAGE] units       64 dimensions of a position: a register has the pairs d, d + 16, whose
//!                                             halves are sixteen neighbours each
//! ```
//!
//! Dimensions are filled up with zeros to whole units. The memory is the system's zero pages, taken as they are first
//! written: a cache as long as the context costs address space only.

use std::ops::Range;

use memmap2::{MmapMut, MmapOptions};

use super::memory;
use super::ops::{narrow, round_bf16, widen};
use crate::backend::{DeviceError, KvFormat, KvShape, PAGE};
use crate::fp8::e4m3;

/// Elements of a unit.
pub(super) const UNIT: usize = 64;
/// Positions of a unit of keys.
pub(super) const POSITIONS: usize = 16;
/// Dimensions of a unit of keys.
pub(super) const QUAD: usize = 4;

/// An element of a page.
pub(super) trait Element: bytemuck::Pod {
    /// Where a unit has the element that is number `index` of register `register` when decoded.
    fn place(register: usize, index: usize) -> usize;
    fn decode(self) -> f32;
}

/// bf16.
impl Element for u16 {
    #[inline(always)]
    fn place(register: usize, index: usize) -> usize {
        32 * register + index
    }

    #[inline(always)]
    fn decode(self) -> f32 {
        widen(self)
    }
}

/// E4M3. Codes are widened by unpacking the lower and upper halves of four lanes, so these alternate.
impl Element for u8 {
    #[inline(always)]
    fn place(register: usize, index: usize) -> usize {
        16 * (index / 8) + 8 * register + index % 8
    }

    #[inline(always)]
    fn decode(self) -> f32 {
        e4m3::VALUES[usize::from(self)]
    }
}

/// Where a unit of keys has dimension k (0 to 3) of a position (0 to 15).
#[inline(always)]
pub(super) fn key_place<E: Element>(position: usize, k: usize) -> usize {
    E::place(k / 2, 2 * position + k % 2)
}

/// Where a unit of values has a dimension (0 to 63).
#[inline(always)]
pub(super) fn value_place<E: Element>(dimension: usize) -> usize {
    E::place(dimension / 32, 2 * (dimension % 16) + dimension / 16 % 2)
}

/// Dimensions of keys, and of the queries for them, whole units of them.
pub(super) fn key_dimensions(head_dim: usize) -> usize {
    head_dim.next_multiple_of(QUAD)
}

/// Dimensions of values, whole units of them.
pub(super) fn value_dimensions(head_dim: usize) -> usize {
    head_dim.next_multiple_of(UNIT)
}

/// Keys and values of all layers.
pub struct KvCache {
    shape: KvShape,
    layers: Vec<Layer>,
}

struct Layer {
    keys: Side,
    values: Side,
}

/// The keys or the values of a layer.
struct Side {
    /// Of a head, whole units.
    dimensions: usize,
    /// `[pages, heads]` pages of a head.
    elements: MmapMut,
    /// `[pages, heads, PAGE]`; none for bf16.
    scales: Option<MmapMut>,
}

/// 64 positions of a head.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    pub(super) format: KvFormat,
    pub(super) keys: &'a [u8],
    pub(super) values: &'a [u8],
    /// `[PAGE]`; empty for bf16.
    pub(super) key_scales: &'a [f32],
    pub(super) value_scales: &'a [f32],
}

impl KvCache {
    pub(super) fn new(shape: KvShape) -> Result<KvCache, DeviceError> {
        memory::check(0, &shape)?;
        let layer = || -> std::io::Result<Layer> {
            Ok(Layer {
                keys: Side::new(&shape, key_dimensions(shape.head_dim))?,
                values: Side::new(&shape, value_dimensions(shape.head_dim))?,
            })
        };
        let layers = (0..shape.layers).map(|_| layer()).collect::<std::io::Result<_>>();
        let refused = |_| DeviceError::Memory {
            bytes: KvCache::bytes(&shape),
            positions: shape.pages * PAGE,
            format: shape.format,
            weights: 0,
            total: None,
        };
        Ok(KvCache { shape, layers: layers.map_err(refused)? })
    }

    /// Bytes that a cache takes when all of it is in use, scales included.
    pub fn bytes(shape: &KvShape) -> usize {
        let dimensions = key_dimensions(shape.head_dim) + value_dimensions(shape.head_dim);
        let scales = match shape.format {
            KvFormat::Bf16 => 0,
            KvFormat::Fp8 => 2 * size_of::<f32>(),
        };
        shape.layers * shape.pages * shape.heads * PAGE * (dimensions * shape.format.bytes() + scales)
    }

    pub(super) fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// A page of a head.
    pub(super) fn page(&self, layer: usize, page: usize, head: usize) -> Page<'_> {
        let Layer { keys, values } = &self.layers[layer];
        let (at, format) = (page * self.shape.heads + head, self.shape.format);
        Page {
            format,
            keys: &keys.elements[keys.page(at, format)],
            values: &values.elements[values.page(at, format)],
            key_scales: keys.scales(at),
            value_scales: values.scales(at),
        }
    }

    /// Writes the key and the value of a position of a head, `[head_dim]` each.
    pub(super) fn append(
        &mut self,
        layer: usize,
        (page, slot): (usize, usize),
        head: usize,
        key: &[f32],
        value: &[f32],
    ) {
        let Layer { keys, values } = &mut self.layers[layer];
        let at = page * self.shape.heads + head;
        match self.shape.format {
            KvFormat::Bf16 => {
                keys.write(at, slot, key, key_index::<u16>, narrow);
                values.write(at, slot, value, value_index::<u16>, narrow);
            }
            KvFormat::Fp8 => {
                let scale = keys.set_scale(at, slot, key);
                keys.write(at, slot, key, key_index::<u8>, |x| e4m3::from_f32(x / scale));
                let scale = values.set_scale(at, slot, value);
                values.write(at, slot, value, value_index::<u8>, |x| e4m3::from_f32(round_bf16(x) / scale));
            }
        }
    }
}

impl Side {
    fn new(shape: &KvShape, dimensions: usize) -> std::io::Result<Side> {
        let positions = shape.pages * shape.heads * PAGE;
        let scales = match shape.format {
            KvFormat::Bf16 => None,
            KvFormat::Fp8 => Some(zeros(positions * size_of::<f32>())?),
        };
        Ok(Side { dimensions, elements: zeros(positions * dimensions * shape.format.bytes())?, scales })
    }

    /// The bytes of a page of a head.
    fn page(&self, at: usize, format: KvFormat) -> Range<usize> {
        let length = PAGE * self.dimensions * format.bytes();
        at * length..(at + 1) * length
    }

    fn scales(&self, at: usize) -> &[f32] {
        self.scales.as_ref().map_or(&[], |scales| &bytemuck::cast_slice(scales)[at * PAGE..(at + 1) * PAGE])
    }

    /// Keeps and returns the scale that puts the largest value on the largest code.
    fn set_scale(&mut self, at: usize, slot: usize, values: &[f32]) -> f32 {
        // By their bits, in which what is no number is the largest: it has to stay none, whatever a level makes of its code.
        let largest = values.iter().fold(0, |largest, &x| round_bf16(x).abs().to_bits().max(largest));
        let scale = f32::from_bits(largest) / e4m3::MAX;
        // Zeros need a scale, too, and the quotients of tiny values must stay finite.
        let scale = if scale < f32::MIN_POSITIVE { f32::MIN_POSITIVE } else { scale };
        if let Some(scales) = &mut self.scales {
            bytemuck::cast_slice_mut(scales)[at * PAGE + slot] = scale;
        }
        scale
    }

    fn write<E: Element>(
        &mut self,
        at: usize,
        slot: usize,
        values: &[f32],
        index: impl Fn(usize, usize, usize) -> usize,
        encode: impl Fn(f32) -> E,
    ) {
        let length = PAGE * self.dimensions;
        let page = &mut bytemuck::cast_slice_mut::<u8, E>(&mut self.elements)[at * length..(at + 1) * length];
        for (dimension, &value) in values.iter().enumerate() {
            page[index(self.dimensions, slot, dimension)] = encode(value);
        }
    }
}

/// Where a page has a dimension of the key in a slot.
fn key_index<E: Element>(dimensions: usize, slot: usize, dimension: usize) -> usize {
    let unit = slot / POSITIONS * (dimensions / QUAD) + dimension / QUAD;
    unit * UNIT + key_place::<E>(slot % POSITIONS, dimension % QUAD)
}

/// Where a page has a dimension of the value in a slot.
fn value_index<E: Element>(_dimensions: usize, slot: usize, dimension: usize) -> usize {
    (dimension / UNIT * PAGE + slot) * UNIT + value_place::<E>(dimension % UNIT)
}

/// Zero pages, which a cache far longer than what is used must be able to have: the system is not asked to back them.
fn zeros(bytes: usize) -> std::io::Result<MmapMut> {
    MmapOptions::new().len(bytes).no_reserve_swap().map_anon()
}
