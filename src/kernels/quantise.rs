//! Activations as bytes: per row and per block of its values a scale and an offset, chosen from the least and the
//! greatest of them; value = scale * byte + offset. The outliers of a row, if its weights name any, are a block of their own.

use super::Isa;
use super::pack::{LINE, OUTLIERS_MOST, Panel, RowLayout};
use super::simd::{Kernel, LANES, Simd, TILE_ROWS_MOST};

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
    /// Rows of [`RowLayout::stride`] bytes, from the first whole line of the cache on.
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
        self.check_bytes(rows, panel);
        assert!(panel.sums.len() == self.blocks && self.ranges.len() >= rows * self.blocks);
    }

    /// As [`Self::check`], for rows whose ranges are not asked for.
    #[inline(always)]
    pub(super) fn check_bytes(&self, rows: usize, panel: &Panel<'_>) {
        assert!(panel.quads.len() * 4 <= self.stride && self.values.len() >= rows * self.stride);
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
        let block = self.isa.cut().block;
        self.substitutes.extend(outliers.iter().map(|&outlier| {
            let start = outlier - outlier % block;
            let others = (start..columns.min(start + block)).find(|channel| !outliers.contains(channel));
            others.unwrap_or(outlier)
        }));
        let layout = self.layout();
        // A tile of a matrix unit reads whole tiles of rows; what the last ones hold does not matter.
        let bytes = rows.next_multiple_of(TILE_ROWS_MOST) * layout.stride() + LINE;
        let ranges = rows * layout.blocks();
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
            cut: self.isa.cut(),
        }
    }

    /// Quantises `values`, rows of `columns` each, into the blocks from `first_block` on.
    pub(super) fn quantize_columns(&mut self, values: &[f32], columns: usize, first_block: usize) {
        assert!(first_block * self.isa.cut().block + columns <= self.columns && values.len() == self.rows * columns);
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
        let (stride, blocks) = (layout.stride(), layout.blocks());
        RowTile {
            values: &self.values[line_start(&self.values) + row * stride..],
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
                let range = tile.ranges[column / self.isa.cut().block];
                values.push(f64::from(range.scale) * byte(value) + f64::from(range.offset));
            }
            let row = values.len() - self.columns;
            let slots = tile.values[self.layout().plain_bytes()..].chunks(self.layout().bytes_of_outlier());
            for (slots, outlier) in slots.zip(&self.outliers) {
                let range = tile.ranges[tile.blocks - 1];
                let sum: f64 = slots.iter().map(|slot| byte(*slot)).sum();
                values[row + outlier] = f64::from(range.scale) * sum + f64::from(range.offset);
            }
        }
        values
    }
}

/// Where the first whole line of the cache begins.
#[inline]
fn line_start(values: &[u8]) -> usize {
    values.as_ptr().align_offset(LINE)
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
            cut: S::CUT,
        };
        let block = S::CUT.block;
        let start = line_start(values);
        let bytes = values[start..].chunks_exact_mut(layout.stride()).take(*rows);
        let ranges = ranges.chunks_exact_mut(layout.blocks());
        for ((row, bytes), ranges) in self.values.chunks_exact(self.columns).zip(bytes).zip(ranges) {
            let (bytes, slots) = bytes.split_at_mut(layout.plain_bytes());
            let mut own = [0.0; OUTLIERS_MOST];
            let own = &mut own[..outliers.len()];
            let row = if outliers.is_empty() {
                row
            } else {
                take_outliers(row, outliers, substitutes, plain, own);
                plain.as_slice()
            };
            let (ranges, of_outliers) = ranges.split_at_mut(columns.div_ceil(block));
            let spread = (S::CUT.spread && !own.is_empty()).then(|| Spread::of(own, layout.bytes_of_outlier()));
            let last = ranges.len() - 1;
            let bytes = bytes[self.first_block * block..].chunks_mut(block);
            let blocks = (self.first_block..).zip(ranges[self.first_block..].iter_mut());
            for ((values, bytes), (index, range)) in row.chunks(block).zip(bytes).zip(blocks) {
                let least_scale = spread
                    .as_ref()
                    .filter(|_| index == last)
                    .map_or(0.0, Spread::least_scale);
                *range = quantize_block(simd, values, bytes, least_scale);
            }
            if let Some(of_outliers) = of_outliers.first_mut() {
                *of_outliers = match spread {
                    Some(spread) => spread.write(own, ranges[last].scale, slots),
                    None => quantize_block(simd, own, slots, 0.0),
                };
            }
        }
    }
}

/// Leaves the outliers of a row in `own` and the row without them in `plain`. Their places take the value of another channel
/// of their block, which does not widen its range; it meets weights of 0.
#[inline(always)]
fn take_outliers(row: &[f32], outliers: &[usize], substitutes: &[usize], plain: &mut Vec<f32>, own: &mut [f32]) {
    plain.clear();
    plain.extend_from_slice(row);
    for ((own, outlier), substitute) in own.iter_mut().zip(outliers).zip(substitutes) {
        *own = row[*outlier];
        plain[*outlier] = row[*substitute];
    }
}

/// Outliers that share the scale of a block; see [`super::simd::Cut::spread`].
struct Spread {
    least: f32,
    greatest: f32,
    bytes: usize,
}

impl Spread {
    const STEPS: i32 = 255;

    /// `bytes` for each of the values.
    #[inline(always)]
    fn of(values: &[f32], bytes: usize) -> Self {
        let (mut least, mut greatest, mut sum) = (f32::INFINITY, f32::NEG_INFINITY, 0.0);
        for value in values {
            least = least.min(*value);
            greatest = greatest.max(*value);
            sum += value;
        }
        Self {
            // Else a NaN, which is neither, would pass unseen.
            least: least + 0.0 * sum,
            greatest,
            bytes,
        }
    }

    /// In which the greatest still fits its bytes.
    #[inline(always)]
    fn least_scale(&self) -> f32 {
        (self.greatest - self.least) / (Self::STEPS as f32 * self.bytes as f32)
    }

    #[inline(always)]
    fn write(&self, values: &[f32], scale: f32, bytes: &mut [u8]) -> Range {
        let inverse = 1.0 / scale;
        let inverse = if inverse.is_finite() { inverse } else { 0.0 };
        for (value, bytes) in values.iter().zip(bytes.chunks_mut(self.bytes)) {
            let steps = ((value - self.least) * inverse).round_ties_even() as i32;
            for (before, byte) in (0..).step_by(Self::STEPS as usize).zip(bytes) {
                *byte = (steps - before).clamp(0, Self::STEPS) as u8;
            }
        }
        Range {
            scale,
            offset: self.least,
        }
    }
}

/// Quantises the values of a block in steps of `least_scale` or more; `bytes` may be longer by the padding of a row, whose content does not matter because
/// its weights are 0.
#[inline(always)]
fn quantize_block<S: Simd>(simd: S, values: &[f32], bytes: &mut [u8], least_scale: f32) -> Range {
    let (chunks, tail) = values.as_chunks::<LANES>();
    let last = simd.load_partial(tail, values[0]);
    let (mut least, mut greatest) = (last, last);
    for chunk in chunks {
        let chunk = simd.load(chunk);
        least = simd.min(least, chunk);
        greatest = simd.max(greatest, chunk);
    }
    let (least, greatest) = (simd.least(least), simd.greatest(greatest));
    let scale = ((greatest - least) / S::STEPS as f32).max(least_scale);
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
/// leave the others theirs. 8 of 384 are enough: they halve the error (see `Cut`), more do not help. They can be told
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
