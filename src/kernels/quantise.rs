//! Activations as bytes: per row and per [`BLOCK`] of its values a scale and an offset, chosen from the least and the
//! greatest of them; value = scale * byte + offset. The outliers of a row, if its weights name any, are a block of their own.

use super::Isa;
use super::pack::{Panel, RowLayout, padded};
use super::simd::{BLOCK, Kernel, LANES, Simd};

/// How the bytes of one block of one row map to values.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Range {
    pub(super) scale: f32,
    pub(super) offset: f32,
}

/// Rows of activations, quantised for one instruction set. The buffers only grow, so that reuse allocates nothing.
#[derive(Debug)]
pub struct QuantizedRows {
    isa: Isa,
    rows: usize,
    columns: usize,
    outliers: Vec<usize>,
    /// For each outlier another channel of its block that is none.
    substitutes: Vec<usize>,
    values: Vec<u8>,
    ranges: Vec<Range>,
    /// One row without its outliers.
    plain: Vec<f32>,
}

/// Consecutive rows for a tile.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowTile<'a> {
    /// From the first of the rows on.
    pub(super) values: &'a [u8],
    pub(super) ranges: &'a [Range],
    /// Bytes from row to row.
    pub(super) stride: usize,
    /// Ranges from row to row.
    pub(super) blocks: usize,
}

impl RowTile<'_> {
    /// From the row `rows` further down.
    #[inline(always)]
    pub(super) fn skip(&self, rows: usize) -> Self {
        Self {
            values: &self.values[rows * self.stride..],
            ranges: &self.ranges[rows * self.blocks..],
            ..*self
        }
    }

    /// Makes sure that `rows` rows are there and as long as the panel.
    #[inline(always)]
    pub(super) fn check(&self, rows: usize, panel: &Panel<'_>) {
        assert!(panel.quads.len() * 4 == self.stride && self.values.len() >= rows * self.stride);
        assert!(panel.sums.len() == self.blocks && self.ranges.len() >= rows * self.blocks);
    }
}

impl QuantizedRows {
    #[must_use]
    pub fn new(isa: Isa) -> Self {
        Self {
            isa,
            rows: 0,
            columns: 0,
            outliers: Vec::new(),
            substitutes: Vec::new(),
            values: Vec::new(),
            ranges: Vec::new(),
            plain: Vec::new(),
        }
    }

    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    #[must_use]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Inputs with a range of their own.
    #[must_use]
    pub fn outliers(&self) -> &[usize] {
        &self.outliers
    }

    /// Quantises `values`, rows of `columns`, in place of what was there; the `outliers` are those of the weights
    /// ([`super::PackedLinear::outliers`]) that the rows will meet.
    ///
    /// # Panics
    /// When `values` is not a whole number of rows, or an outlier is not among the columns.
    pub fn quantize(&mut self, values: &[f32], columns: usize, outliers: &[usize]) {
        let rows = values.len().checked_div(columns).unwrap_or(0);
        assert_eq!(values.len(), rows * columns, "whole rows of {columns}");
        assert!(
            outliers.iter().all(|outlier| *outlier < columns),
            "outliers of {columns} columns"
        );
        self.reshape(rows, columns, outliers);
        self.isa.run(Quantize {
            values,
            columns,
            first_block: 0,
            target: self,
        });
    }

    /// Makes room for `rows` of `columns`, whose blocks are then to be filled by [`Self::quantize_columns`].
    pub(super) fn reshape(&mut self, rows: usize, columns: usize, outliers: &[usize]) {
        self.rows = rows;
        self.columns = columns;
        self.outliers.clear();
        self.outliers.extend_from_slice(outliers);
        self.substitutes.clear();
        self.substitutes.extend(outliers.iter().map(|&outlier| {
            let start = outlier - outlier % BLOCK;
            let others = (start..columns.min(start + BLOCK)).find(|channel| !outliers.contains(channel));
            others.unwrap_or(outlier)
        }));
        let layout = self.layout();
        let (bytes, ranges) = (rows * layout.bytes(), rows * layout.blocks());
        if self.values.len() < bytes {
            self.values.resize(bytes, 0);
        }
        if self.ranges.len() < ranges {
            self.ranges.resize(ranges, Range::default());
        }
    }

    fn layout(&self) -> RowLayout {
        RowLayout {
            columns: self.columns,
            outliers: self.outliers.len(),
        }
    }

    /// Quantises `values`, rows of `columns` each, into the blocks from `first_block` on.
    pub(super) fn quantize_columns(&mut self, values: &[f32], columns: usize, first_block: usize) {
        assert!(first_block * BLOCK + columns <= self.columns && values.len() == self.rows * columns);
        assert!(self.outliers.is_empty(), "outliers come with whole rows");
        self.isa.run(Quantize {
            values,
            columns,
            first_block,
            target: self,
        });
    }

    #[inline]
    pub(super) fn tile(&self, row: usize) -> RowTile<'_> {
        let layout = self.layout();
        let (stride, blocks) = (layout.bytes(), layout.blocks());
        RowTile {
            values: &self.values[row * stride..],
            ranges: &self.ranges[row * blocks..],
            stride,
            blocks,
        }
    }

    /// The values that the bytes stand for.
    #[cfg(test)]
    pub(super) fn dequantize(&self) -> Vec<f64> {
        struct Lowest;
        impl Kernel for Lowest {
            type Output = i32;
            fn run<S: Simd>(self, _: S) -> i32 {
                S::LOWEST
            }
        }
        let signed = self.isa.run(Lowest) < 0;
        let byte = |byte: u8| {
            if signed {
                f64::from(byte.cast_signed())
            } else {
                f64::from(byte)
            }
        };
        let mut values = Vec::new();
        for row in 0..self.rows {
            let tile = self.tile(row);
            for (column, &value) in tile.values[..self.columns].iter().enumerate() {
                let range = tile.ranges[column / BLOCK];
                values.push(f64::from(range.scale) * byte(value) + f64::from(range.offset));
            }
            let row = values.len() - self.columns;
            for (slot, outlier) in tile.values[padded(self.columns)..].iter().zip(&self.outliers) {
                let range = tile.ranges[tile.blocks - 1];
                values[row + outlier] = f64::from(range.scale) * byte(*slot) + f64::from(range.offset);
            }
        }
        values
    }
}

struct Quantize<'a> {
    values: &'a [f32],
    columns: usize,
    first_block: usize,
    target: &'a mut QuantizedRows,
}

impl Kernel for Quantize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        if self.columns == 0 {
            return;
        }
        let QuantizedRows {
            columns,
            outliers,
            substitutes,
            values,
            ranges,
            plain,
            rows,
            ..
        } = self.target;
        let layout = RowLayout {
            columns: *columns,
            outliers: outliers.len(),
        };
        let bytes = values.chunks_exact_mut(layout.bytes()).take(*rows);
        let ranges = ranges.chunks_exact_mut(layout.blocks());
        for ((row, bytes), ranges) in self.values.chunks_exact(self.columns).zip(bytes).zip(ranges) {
            let (bytes, slots) = bytes.split_at_mut(padded(*columns));
            let row = match ranges.last_mut() {
                Some(last) if !outliers.is_empty() => {
                    *last = quantize_outliers(simd, row, outliers, substitutes, plain, slots);
                    plain.as_slice()
                }
                _ => row,
            };
            let bytes = bytes[self.first_block * BLOCK..].chunks_mut(BLOCK);
            let ranges = ranges[self.first_block..].iter_mut();
            for ((values, bytes), range) in row.chunks(BLOCK).zip(bytes).zip(ranges) {
                *range = quantize_block(simd, values, bytes);
            }
        }
    }
}

/// Quantises the outliers of a row into `slots` and leaves the row without them in `plain`. Their places take the value of
/// another channel of their block, which does not widen its range; it meets weights of 0.
#[inline(always)]
fn quantize_outliers<S: Simd>(
    simd: S,
    row: &[f32],
    outliers: &[usize],
    substitutes: &[usize],
    plain: &mut Vec<f32>,
    slots: &mut [u8],
) -> Range {
    plain.clear();
    plain.extend_from_slice(row);
    let mut own = [0.0; BLOCK];
    for ((own, outlier), substitute) in own.iter_mut().zip(outliers).zip(substitutes) {
        *own = row[*outlier];
        plain[*outlier] = row[*substitute];
    }
    quantize_block(simd, &own[..outliers.len()], slots)
}

/// Quantises up to [`BLOCK`] values; `bytes` may be longer by the padding of a row, whose content does not matter because
/// its weights are 0.
#[inline(always)]
fn quantize_block<S: Simd>(simd: S, values: &[f32], bytes: &mut [u8]) -> Range {
    let (chunks, tail) = values.as_chunks::<LANES>();
    let last = simd.load_partial(tail, values[0]);
    let (mut least, mut greatest) = (last, last);
    for chunk in chunks {
        let chunk = simd.load(chunk);
        least = simd.min(least, chunk);
        greatest = simd.max(greatest, chunk);
    }
    let (least, greatest) = (simd.least(least), simd.greatest(greatest));
    let scale = (greatest - least) / S::STEPS as f32;
    // A constant block (or one so narrow that the reciprocal overflows) is its offset alone.
    let inverse = 1.0 / scale;
    let inverse = if inverse.is_finite() { inverse } else { 0.0 };
    let lowest = S::LOWEST as f32;

    let (factor, shift) = (simd.splat(inverse), simd.splat(lowest - least * inverse));
    let (byte_chunks, byte_tail) = bytes.as_chunks_mut::<LANES>();
    let convert = (simd.splat(lowest), simd.splat(lowest + S::STEPS as f32));
    for (chunk, bytes) in chunks.iter().zip(byte_chunks.iter_mut()) {
        *bytes = to_bytes(simd, simd.load(chunk), factor, shift, convert);
    }
    if !tail.is_empty() {
        let converted = to_bytes(simd, last, factor, shift, convert);
        let rest = byte_chunks
            .get_mut(chunks.len())
            .map_or(byte_tail, <[u8; LANES]>::as_mut_slice);
        rest[..tail.len()].copy_from_slice(&converted[..tail.len()]);
    }
    Range {
        scale,
        offset: least - scale * lowest,
    }
}

#[inline(always)]
fn to_bytes<S: Simd>(
    simd: S,
    values: S::F32,
    factor: S::F32,
    shift: S::F32,
    (lowest, highest): (S::F32, S::F32),
) -> [u8; LANES] {
    // Rounding in `shift` can carry the extremes over the edge by an ulp, and by more where |least| dwarfs the range.
    let scaled = simd.mul_add(values, factor, shift);
    simd.to_bytes(simd.min(simd.max(scaled, lowest), highest))
}

/// The `count` columns of `values` (rows of `columns`) that reach furthest from 0, in ascending order.
///
/// A BERT has a few channels that are ten times as large as the rest, whatever the text; with a range of their own they
/// leave the others theirs. 8 of 384 are enough: they halve the error (see `BLOCK`), more do not help. They can be told
/// from any input; two windows of random tokens find them as well as real texts do.
#[must_use]
pub fn outliers(values: &[f32], columns: usize, count: usize) -> Vec<usize> {
    let mut reach = vec![0.0f32; columns];
    for row in values.chunks_exact(columns.max(1)) {
        for (reach, value) in reach.iter_mut().zip(row) {
            *reach = reach.max(value.abs());
        }
    }
    let mut order: Vec<usize> = (0..columns).collect();
    order.sort_by(|a, b| reach[*b].total_cmp(&reach[*a]));
    order.truncate(count);
    order.sort_unstable();
    order
}
