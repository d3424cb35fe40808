//! What a kernel asks of an instruction set: a handful of operations on sixteen floats and one int8 tile.
//!
//! The algorithms are written once over [`Simd`]; an instruction set is one file that implements it. A value of the
//! implementing type is a proof that the CPU has the instructions (it can only be had from detection), which is why the
//! operations are safe to call. The pattern is that of rten-simd and memchr.

use super::attention::{AttentionScratch, Part};
use super::pack::Panel;
use super::quantise::RowTile;

/// Floats in a vector of every instruction set: one register of AVX-512, two of AVX2, four of NEON. A fixed number lets
/// the algorithms use arrays, and two or more independent registers per operation hide some of its latency.
pub(super) const LANES: usize = 16;

/// Output channels of a panel of packed weights: one vector of i32 accumulators per row.
pub(super) const PANEL: usize = LANES;

/// The most rows that an int8 tile of any instruction set may have.
pub(super) const TILE_ROWS_MOST: usize = 32;

/// Panels that a tile is given together, where there are as many left: a matrix unit uses its rows for both.
pub(super) const TILE_PANELS: usize = 2;

/// How an instruction set wants the inputs of a row cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    /// Inputs that share one scale and offset in a quantised row.
    ///
    /// One range per token lets the largest channels cost all others their precision; a range per 128 confines that.
    /// Measured on multilingual-e5-small in 7 bits, as 1 - cosine of the mean-pooled states to those of f32: 9e-4 with one range
    /// per token, 3.6e-4 per 128, 2.6e-4 per 64; with the worst 8 channels set apart (see `outliers`) 1.7e-4 per 384 and 1.4e-4
    /// per 128. int8 weights alone make .7e-4.
    pub(super) block: usize,
    /// Blocks are filled up to a multiple of so many quads.
    pub(super) quads: usize,
    /// The outliers are no block of their own but stand behind the last one, in its scale: each takes as many bytes as fill
    /// up the quads, and their sum tells its distance from the least of the outliers. Of 64 bytes, eight outliers get 8 each,
    /// so that they may reach 8 times as far as the others.
    pub(super) spread: bool,
}

/// A block's end costs AVX2's tile 17 cycles, so that 128 instead of 384 takes 3 % longer, which 7 bits are worth.
pub(super) const NARROW: Cut = Cut {
    block: 128,
    quads: 2,
    spread: false,
};

/// An instruction set, proven present.
pub(super) trait Simd: Copy {
    /// [`LANES`] floats.
    type F32: Copy;

    /// Activations are quantised to `LOWEST ..= LOWEST + STEPS`, which must fit a byte (signed or not, as the tile reads it).
    const LOWEST: i32;
    const STEPS: i32;

    /// The largest sum of weights of one sign that the tile can take in a 16-bit lane over two quads; the packing moves
    /// what exceeds it to extra quads. `None` for a tile that adds in 32 bits.
    const LANE_LIMIT: Option<i32>;

    const CUT: Cut = NARROW;

    /// Rows of a full tile, up to [`TILE_ROWS_MOST`].
    const TILE_ROWS: usize;

    fn splat(self, value: f32) -> Self::F32;
    fn load(self, source: &[f32; LANES]) -> Self::F32;
    fn store(self, vector: Self::F32, target: &mut [f32; LANES]);
    fn add(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn sub(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn mul(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// a * b + c, rounded once.
    fn mul_add(self, a: Self::F32, b: Self::F32, c: Self::F32) -> Self::F32;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::F32, b: Self::F32) -> Self::F32;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::F32, b: Self::F32) -> Self::F32;
    fn abs(self, a: Self::F32) -> Self::F32;
    /// `value` * 2^n, where n is the integer in the low mantissa bits of `biased` (see `exp`). No overflow is looked for.
    fn scale_by_exponent(self, value: Self::F32, biased: Self::F32) -> Self::F32;
    /// Rounds to nearest and keeps the low byte; the caller has brought the values into `LOWEST ..= LOWEST + STEPS`.
    fn to_bytes(self, values: Self::F32) -> [u8; LANES];

    /// Rows become columns.
    fn transpose(self, rows: [Self::F32; LANES]) -> [Self::F32; LANES];

    fn sum(self, a: Self::F32) -> f32;
    fn least(self, a: Self::F32) -> f32;
    fn greatest(self, a: Self::F32) -> f32;

    /// The first `count` rows, one to `TILE_ROWS`, times one panel or [`TILE_PANELS`], into `out`, `[panel][row]`,
    /// dequantised up to the scales of the output channels: sum over blocks of row scale * (integer product) + row offset *
    /// (sum of the weights).
    fn tile(self, panels: &[Panel<'_>], rows: RowTile<'_>, count: usize, out: &mut [[f32; PANEL]]);

    /// The attention of one part, where the instruction set has a way of its own; else false, and nothing is done.
    #[inline(always)]
    fn attend(self, _: &Part<'_>, _: &mut [f32], _: &mut AttentionScratch) -> bool {
        false
    }

    /// Runs `kernel` compiled for this instruction set.
    fn run<K: Kernel>(self, kernel: K) -> K::Output;

    /// The first `source.len()` lanes from `source`, the others `fill`.
    #[inline(always)]
    fn load_partial(self, source: &[f32], fill: f32) -> Self::F32 {
        let mut lanes = [fill; LANES];
        lanes[..source.len()].copy_from_slice(source);
        self.load(&lanes)
    }

    /// The first `target.len()` lanes into `target`.
    #[inline(always)]
    fn store_partial(self, vector: Self::F32, target: &mut [f32]) {
        let mut lanes = [0.0; LANES];
        self.store(vector, &mut lanes);
        target.copy_from_slice(&lanes[..target.len()]);
    }
}

/// An algorithm over any instruction set. `run` must be `#[inline(always)]`, and so must everything below it that handles
/// vectors: only then is it compiled with the instructions of [`Simd::run`].
pub(super) trait Kernel {
    type Output;
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}
