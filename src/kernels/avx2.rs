//! AVX2 with FMA: every x86-64 server CPU since Haswell (2013) and Zen 1. What multiplies the int8 tiles is a parameter:
//! [`Pairs`], or [`Vnni`] where a CPU has VNNI in 256 bits (Intel's cores without AVX-512 since Alder Lake, 2021).
//!
//! # The int8 tile
//! Without VNNI the dot product of bytes is `vpmaddubsw` (u8 x i8, pairs added in 16 bits), `vpmaddwd` by ones (pairs
//! added in 32 bits) and `vpaddd`. The two multiplications are the bottleneck: Zen 3 starts two of them a cycle, so 32
//! multiply-adds a cycle is the roof. Two choices lift it:
//!
//! * activations are 0 ..= 127, so a pair of products is at most 2 * 127 * 128 = 32,512 and `vpmaddubsw` never saturates;
//! * two quads are added in 16 bits before the one `vpmaddwd` for both: 3 multiplications for 64 multiply-adds instead
//!   of 4. A lane then holds four products, and 127 * (sum of the weights of one sign) must stay within 32,767: that sum
//!   may be 258. Trained weights exceed it in 0.2 % of the lanes; the packing moves the excess to an extra quad, so that
//!   the result stays exact for any weights (FBGEMM's "outlier-aware" 16-bit accumulation is the model).
//!
//! Measured on Zen 3 at 3.2 GHz, k = 384, the bare loops: 117 GMAC/s against 96 for the plain sequence and 74 for bytes
//! widened to 16 bits (`vpmaddwd` alone, which would keep 8-bit activations). Groups of four quads need each lane's
//! overflow corrected per row and reach 111.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::pack::Panel;
use super::quantise::RowTile;
use super::simd::{Kernel, LANES, PANEL, Simd};

/// Proof that the CPU has AVX2 and FMA, and what `M` asks for besides.
#[derive(Debug, PartialEq, Eq)]
pub struct Avx2<M>(PhantomData<M>);

impl<M> Clone for Avx2<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Avx2<M> {}

impl<M> Avx2<M> {
    /// `has` says whether the CPU has what `M` needs.
    fn detect_with(has: impl FnOnce() -> bool) -> Option<Self> {
        let vectors = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        (vectors && has()).then_some(Self(PhantomData))
    }
}

/// What multiplies int8 tiles.
pub(super) trait Multiplier {
    /// Of [`Simd`].
    const STEPS: i32;
    const LANE_LIMIT: Option<i32>;
    /// Rows of a full tile; any rest is taken row by row.
    const ROWS: usize;

    /// The rows of `out`, `ROWS` of them or one, times a panel.
    ///
    /// # Safety
    /// The CPU must have AVX2, FMA and what the multiplier needs.
    unsafe fn tile(panel: Panel<'_>, rows: RowTile<'_>, out: &mut [[f32; PANEL]]);
}

/// `vpmaddubsw`, whose pairs of products are added in 16 bits.
#[derive(Debug, PartialEq, Eq)]
pub struct Pairs;

impl Avx2<Pairs> {
    pub(super) fn detect() -> Option<Self> {
        Self::detect_with(|| true)
    }
}

impl Multiplier for Pairs {
    const STEPS: i32 = 127;
    const LANE_LIMIT: Option<i32> = Some(i16::MAX as i32 / Self::STEPS);
    /// 3 rows x 2 registers are 6 accumulators; four vectors of weights, two of activations, the products and the ones make
    /// 15 of 16 registers. A fourth row spills one of them in the inner loop and is no faster.
    const ROWS: usize = 3;

    #[inline(always)]
    unsafe fn tile(panel: Panel<'_>, rows: RowTile<'_>, out: &mut [[f32; PANEL]]) {
        // SAFETY: the caller vouches for AVX2 and FMA.
        unsafe {
            match out.first_chunk_mut::<3>() {
                Some(out) => tile(panel, rows, out),
                None => tile(panel, rows, out.first_chunk_mut::<1>().unwrap_or(&mut [[0.0; PANEL]])),
            }
        }
    }
}

/// `vpdpbusd`: all 8 bits of the activations, and sums in 32 bits.
#[derive(Debug, PartialEq, Eq)]
pub struct Vnni;

impl Avx2<Vnni> {
    pub(super) fn detect() -> Option<Self> {
        Self::detect_with(|| is_x86_feature_detected!("avxvnni"))
    }
}

impl Multiplier for Vnni {
    const STEPS: i32 = 255;
    const LANE_LIMIT: Option<i32> = None;
    /// 5 rows x 2 registers are 10 accumulators, which cover the latency (5 cycles, 2 a cycle); with the weights and a row's
    /// bytes 13 of 16 registers. The totals wait in memory for a block's end.
    const ROWS: usize = 5;

    #[inline(always)]
    unsafe fn tile(panel: Panel<'_>, rows: RowTile<'_>, out: &mut [[f32; PANEL]]) {
        // SAFETY: the caller vouches for AVX2, FMA and VNNI.
        unsafe {
            match out.first_chunk_mut::<5>() {
                Some(out) => vnni_tile(panel, rows, out),
                None => vnni_tile(panel, rows, out.first_chunk_mut::<1>().unwrap_or(&mut [[0.0; PANEL]])),
            }
        }
    }
}

/// Sixteen floats in two registers.
#[derive(Debug, Clone, Copy)]
pub(super) struct F32x16(__m256, __m256);

/// Applies an intrinsic to both halves.
macro_rules! halves {
    ($intrinsic:ident, $($operand:expr),+) => {
        // SAFETY: an `Avx2` exists only where AVX2 and FMA were detected.
        unsafe { F32x16($intrinsic($($operand.0),+), $intrinsic($($operand.1),+)) }
    };
}

impl<M: Multiplier> Simd for Avx2<M> {
    type F32 = F32x16;

    const LOWEST: i32 = 0;
    const STEPS: i32 = M::STEPS;
    const LANE_LIMIT: Option<i32> = M::LANE_LIMIT;
    const TILE_ROWS: usize = M::ROWS;

    #[inline(always)]
    fn splat(self, value: f32) -> F32x16 {
        // SAFETY: an `Avx2` exists only where AVX2 was detected.
        let half = unsafe { _mm256_set1_ps(value) };
        F32x16(half, half)
    }

    #[inline(always)]
    fn load(self, source: &[f32; LANES]) -> F32x16 {
        let source = source.as_ptr();
        // SAFETY: AVX2 was detected, and `source` has 16 floats; loads need no alignment.
        unsafe { F32x16(_mm256_loadu_ps(source), _mm256_loadu_ps(source.add(8))) }
    }

    #[inline(always)]
    fn store(self, vector: F32x16, target: &mut [f32; LANES]) {
        let target = target.as_mut_ptr();
        // SAFETY: AVX2 was detected, and `target` has 16 floats; stores need no alignment.
        unsafe {
            _mm256_storeu_ps(target, vector.0);
            _mm256_storeu_ps(target.add(8), vector.1);
        }
    }

    #[inline(always)]
    fn add(self, a: F32x16, b: F32x16) -> F32x16 {
        halves!(_mm256_add_ps, a, b)
    }

    #[inline(always)]
    fn sub(self, a: F32x16, b: F32x16) -> F32x16 {
        halves!(_mm256_sub_ps, a, b)
    }

    #[inline(always)]
    fn mul(self, a: F32x16, b: F32x16) -> F32x16 {
        halves!(_mm256_mul_ps, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: F32x16, b: F32x16, c: F32x16) -> F32x16 {
        halves!(_mm256_fmadd_ps, a, b, c)
    }

    #[inline(always)]
    fn min(self, a: F32x16, b: F32x16) -> F32x16 {
        halves!(_mm256_min_ps, a, b)
    }

    #[inline(always)]
    fn max(self, a: F32x16, b: F32x16) -> F32x16 {
        halves!(_mm256_max_ps, a, b)
    }

    #[inline(always)]
    fn abs(self, a: F32x16) -> F32x16 {
        let sign = self.splat(-0.0);
        halves!(_mm256_andnot_ps, sign, a)
    }

    #[inline(always)]
    fn scale_by_exponent(self, value: F32x16, biased: F32x16) -> F32x16 {
        // SAFETY: an `Avx2` exists only where AVX2 was detected.
        let half = |value: __m256, biased: __m256| unsafe {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(biased));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(value), exponent))
        };
        F32x16(half(value.0, biased.0), half(value.1, biased.1))
    }

    #[inline(always)]
    fn to_bytes(self, values: F32x16) -> [u8; LANES] {
        let mut bytes = [0; LANES];
        // SAFETY: AVX2 was detected, and `bytes` has the 16 bytes that are stored.
        unsafe {
            let words = _mm256_packs_epi32(_mm256_cvtps_epi32(values.0), _mm256_cvtps_epi32(values.1));
            // The packs work within 128-bit halves; this restores the order: a0 b0 a1 b1 -> a0 a1 b0 b1.
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let packed = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), packed);
        }
        bytes
    }

    #[inline(always)]
    fn transpose(self, rows: [F32x16; LANES]) -> [F32x16; LANES] {
        let mut columns = rows;
        for top in [0, 8] {
            let (mut left, mut right) = ([rows[0].0; 8], [rows[0].0; 8]);
            for index in 0..8 {
                left[index] = rows[top + index].0;
                right[index] = rows[top + index].1;
            }
            // SAFETY: an `Avx2` exists only where AVX2 was detected.
            let (left, right) = unsafe { (transpose_8x8(left), transpose_8x8(right)) };
            for index in 0..8 {
                if top == 0 {
                    columns[index].0 = left[index];
                    columns[index + 8].0 = right[index];
                } else {
                    columns[index].1 = left[index];
                    columns[index + 8].1 = right[index];
                }
            }
        }
        columns
    }

    #[inline(always)]
    fn sum(self, a: F32x16) -> f32 {
        // SAFETY: an `Avx2` exists only where AVX2 was detected.
        unsafe {
            let eight = _mm256_add_ps(a.0, a.1);
            let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn least(self, a: F32x16) -> f32 {
        // SAFETY: an `Avx2` exists only where AVX2 was detected.
        unsafe {
            let eight = _mm256_min_ps(a.0, a.1);
            let four = _mm_min_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_min_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_min_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn greatest(self, a: F32x16) -> f32 {
        // SAFETY: an `Avx2` exists only where AVX2 was detected.
        unsafe {
            let eight = _mm256_max_ps(a.0, a.1);
            let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
        }
    }

    #[inline(always)]
    fn tile(self, panels: &[Panel<'_>], rows: RowTile<'_>, count: usize, out: &mut [[f32; PANEL]]) {
        for (panel, out) in panels.iter().zip(out.chunks_exact_mut(count)) {
            // A whole tile at once, what is less row by row.
            let rows_at_once = if count == M::ROWS { M::ROWS } else { 1 };
            for (index, out) in out.chunks_exact_mut(rows_at_once).enumerate() {
                // SAFETY: an `Avx2<M>` exists only where AVX2, FMA and what `M` needs were detected.
                unsafe { M::tile(*panel, rows.skip(index * rows_at_once), out) }
            }
        }
    }

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma")]
        fn enter<K: Kernel, M: Multiplier>(simd: Avx2<M>, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: an `Avx2` exists only where AVX2 and FMA were detected.
        unsafe { enter(self, kernel) }
    }
}

#[target_feature(enable = "avx2,fma,avxvnni")]
fn vnni_tile<const ROWS: usize>(panel: Panel<'_>, rows: RowTile<'_>, out: &mut [[f32; PANEL]; ROWS]) {
    rows.check(ROWS, &panel);
    let activations = rows.values.as_ptr();
    *out = [[0.0; PANEL]; ROWS];
    let mut start = 0;
    for (block, &end) in panel.block_ends.iter().enumerate() {
        let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
        for (quad, weights) in (start..).zip(&panel.quads[start..end]) {
            let weights = weights.halves();
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: row < ROWS and quad < panel.quads.len(): inside of `values` by `rows.check`.
                let bytes = unsafe {
                    let bytes = activations.add(row * rows.stride + quad * 4);
                    bytes.cast::<i32>().read_unaligned()
                };
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = _mm256_dpbusd_avx_epi32(*sum, _mm256_set1_epi32(bytes), weights);
                }
            }
        }
        start = end;
        for (row, (out, sums)) in out.iter_mut().zip(sums).enumerate() {
            let range = rows.ranges[row * rows.blocks + block];
            let halves = out
                .as_chunks_mut::<8>()
                .0
                .iter_mut()
                .zip(panel.sums[block].as_chunks::<8>().0);
            for ((out, weight_sums), sum) in halves.zip(sums) {
                // SAFETY: both halves are 8 floats.
                unsafe {
                    let weight_sums = _mm256_loadu_ps(weight_sums.as_ptr());
                    let total = _mm256_loadu_ps(out.as_ptr());
                    let total = _mm256_fmadd_ps(_mm256_set1_ps(range.offset), weight_sums, total);
                    let total = _mm256_fmadd_ps(_mm256_set1_ps(range.scale), _mm256_cvtepi32_ps(sum), total);
                    _mm256_storeu_ps(out.as_mut_ptr(), total);
                }
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn tile<const ROWS: usize>(panel: Panel<'_>, rows: RowTile<'_>, out: &mut [[f32; PANEL]; ROWS]) {
    rows.check(ROWS, &panel);
    let ones = _mm256_set1_epi16(1);
    let activations = rows.values.as_ptr();
    // `rows.check` has made sure that every quad of the panel lies within each of the rows.
    let quad_of = |row: usize, quad: usize| {
        // SAFETY: row < ROWS and quad < panel.quads.len(): inside of `values` by `rows.check`.
        _mm256_set1_epi32(unsafe {
            activations
                .add(row * rows.stride + quad * 4)
                .cast::<i32>()
                .read_unaligned()
        })
    };
    let mut totals = [[_mm256_setzero_ps(); 2]; ROWS];
    let mut extras = panel.extras;

    let mut start = 0;
    for (block, &end) in panel.block_ends.iter().enumerate() {
        let mut sums = [[_mm256_setzero_si256(); 2]; ROWS];
        let (pairs, _) = panel.quads[start..end].as_chunks::<2>();
        for (pair, [first, second]) in pairs.iter().enumerate() {
            let quad = start + pair * 2;
            let (first, second) = (first.halves(), second.halves());
            for (row, sums) in sums.iter_mut().enumerate() {
                let (a, b) = (quad_of(row, quad), quad_of(row, quad + 1));
                for (half, sum) in sums.iter_mut().enumerate() {
                    let words = _mm256_add_epi16(
                        _mm256_maddubs_epi16(a, first[half]),
                        _mm256_maddubs_epi16(b, second[half]),
                    );
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(words, ones));
                }
            }
        }
        start = end;
        let (here, later) = extras.split_at(panel.extra_counts[block] as usize);
        extras = later;
        for extra in here {
            let weights = extra.weights.halves();
            for (row, sums) in sums.iter_mut().enumerate() {
                let a = quad_of(row, extra.quad as usize);
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    let words = _mm256_maddubs_epi16(a, weights);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(words, ones));
                }
            }
        }
        let weight_sums = panel.sums[block].as_ptr();
        for half in 0..2 {
            // SAFETY: a block's sums are 16 floats.
            let weight_sums = unsafe { _mm256_loadu_ps(weight_sums.add(half * 8)) };
            for row in 0..ROWS {
                let range = rows.ranges[row * rows.blocks + block];
                let total = _mm256_fmadd_ps(_mm256_set1_ps(range.offset), weight_sums, totals[row][half]);
                let sum = _mm256_cvtepi32_ps(sums[row][half]);
                totals[row][half] = _mm256_fmadd_ps(_mm256_set1_ps(range.scale), sum, total);
            }
        }
    }
    for (out, totals) in out.iter_mut().zip(totals) {
        for (half, total) in totals.into_iter().enumerate() {
            // SAFETY: a row of `out` is 16 floats.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(half * 8), total) };
        }
    }
}

/// Pairs, then fours, then the 128-bit halves change places.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose_8x8(rows: [__m256; 8]) -> [__m256; 8] {
    let [a, b, c, d, e, f, g, h] = rows;
    let fours = |a, b, c, d| {
        let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
        let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0b01_00_01_00>(ab, cd),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab, cd),
            _mm256_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high),
            _mm256_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high),
        ]
    };
    let [upper, lower] = [fours(a, b, c, d), fours(e, f, g, h)];
    let mut columns = rows;
    for index in 0..4 {
        columns[index] = _mm256_permute2f128_ps::<0x20>(upper[index], lower[index]);
        columns[index + 4] = _mm256_permute2f128_ps::<0x31>(upper[index], lower[index]);
    }
    columns
}

impl super::pack::Quad {
    /// The weights of channels 0-7 and of channels 8-15.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves(&self) -> [__m256i; 2] {
        let weights = self.0.as_ptr();
        // SAFETY: a quad is 64 bytes, aligned to 64.
        unsafe {
            [
                _mm256_load_si256(weights.cast()),
                _mm256_load_si256(weights.add(32).cast()),
            ]
        }
    }
}
