//! Plain Rust for CPUs without a file of their own; the compiler vectorises what it can with the target's baseline.

use super::pack::Panel;
use super::quantise::RowTile;
use super::simd::{Kernel, LANES, PANEL, Simd};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portable;

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], operation: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut result = a;
    for (result, b) in result.iter_mut().zip(b) {
        *result = operation(*result, b);
    }
    result
}

impl Simd for Portable {
    type F32 = [f32; LANES];

    const LOWEST: i32 = 0;
    const STEPS: i32 = 255;
    const LANE_LIMIT: Option<i32> = None;
    const TILE_ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F32 {
        [value; LANES]
    }

    #[inline(always)]
    fn load(self, source: &[f32; LANES]) -> Self::F32 {
        *source
    }

    #[inline(always)]
    fn store(self, vector: Self::F32, target: &mut [f32; LANES]) {
        *target = vector;
    }

    #[inline(always)]
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| a * b)
    }

    /// Rounded twice: without an FMA instruction `f32::mul_add` is a call into the C library.
    #[inline(always)]
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32 {
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32 {
        zip(a, b, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn abs(self, a: Self::F32) -> Self::F32 {
        a.map(f32::abs)
    }

    #[inline(always)]
    fn scale_by_exponent(self, value: Self::F32, biased: Self::F32) -> Self::F32 {
        zip(value, biased, |value, biased| {
            f32::from_bits(value.to_bits().wrapping_add(biased.to_bits() << 23))
        })
    }

    #[inline(always)]
    fn to_bytes(self, values: Self::F32) -> [u8; LANES] {
        values.map(|value| value.round_ties_even() as u8)
    }

    #[inline(always)]
    fn transpose(self, rows: [Self::F32; LANES]) -> [Self::F32; LANES] {
        let mut columns = rows;
        for (index, row) in rows.iter().enumerate() {
            for (column, value) in columns.iter_mut().zip(row) {
                column[index] = *value;
            }
        }
        columns
    }

    #[inline(always)]
    fn sum(self, a: Self::F32) -> f32 {
        a.iter().sum()
    }

    #[inline(always)]
    fn least(self, a: Self::F32) -> f32 {
        a.into_iter()
            .reduce(|a, b| if a < b { a } else { b })
            .unwrap_or(f32::NAN)
    }

    #[inline(always)]
    fn greatest(self, a: Self::F32) -> f32 {
        a.into_iter()
            .reduce(|a, b| if a > b { a } else { b })
            .unwrap_or(f32::NAN)
    }

    fn tile(self, panels: &[Panel<'_>], rows: RowTile<'_>, count: usize, out: &mut [[f32; PANEL]]) {
        for (panel, out) in panels.iter().zip(out.chunks_exact_mut(count)) {
            tile(*panel, rows, out);
        }
    }

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}

fn tile(panel: Panel<'_>, rows: RowTile<'_>, out: &mut [[f32; PANEL]]) {
    rows.check(out.len(), &panel);
    for (row, out) in out.iter_mut().enumerate() {
        let (quads_of_row, _) = rows.values[row * rows.stride..].as_chunks::<4>();
        let ranges = &rows.ranges[row * rows.blocks..];
        *out = [0.0; PANEL];
        let mut start = 0;
        for (block, &end) in panel.block_ends.iter().enumerate() {
            let quads = panel.quads[start..end].iter().zip(&quads_of_row[start..]);
            start = end;
            let mut sums = [0i32; PANEL];
            for (quad, activations) in quads {
                for (sum, weights) in sums.iter_mut().zip(quad.0.as_chunks::<4>().0) {
                    for (weight, activation) in weights.iter().zip(activations) {
                        *sum += i32::from(*weight) * i32::from(*activation);
                    }
                }
            }
            for ((out, sum), weights) in out.iter_mut().zip(sums).zip(panel.sums[block]) {
                *out += ranges[block].scale * sum as f32 + ranges[block].offset * weights;
            }
        }
    }
}
