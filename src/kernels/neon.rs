//! NEON with the dot product of Armv8.2 (`sdot`): Graviton 2 and later, Ampere, Apple's M1 and later, most phones since 2019.
//! Sixteen floats are four registers; `sdot` multiplies 16 signed bytes and adds the products four by four in 32 bits, so
//! activations have all 8 bits, as signed ones.

use std::arch::aarch64::*;
use std::arch::asm;

use super::pack::Panel;
use super::quantise::RowTile;
use super::simd::{Cut, Kernel, LANES, PANEL, Simd};

/// Proof that the CPU has NEON and the dot product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neon(());

impl Neon {
    pub(super) fn detect() -> Option<Self> {
        let found =
            std::arch::is_aarch64_feature_detected!("neon") && std::arch::is_aarch64_feature_detected!("dotprod");
        found.then_some(Self(()))
    }
}

/// Sixteen floats in four registers.
type F32x16 = [float32x4_t; 4];

/// Applies an intrinsic to each quarter.
macro_rules! quarters {
    ($intrinsic:ident, $first:expr $(, $other:expr)*) => {{
        let mut result = $first;
        for quarter in 0..4 {
            // SAFETY: a `Neon` exists only where NEON was detected.
            result[quarter] = unsafe { $intrinsic($first[quarter] $(, $other[quarter])*) };
        }
        result
    }};
}

impl Simd for Neon {
    type F32 = F32x16;

    const LOWEST: i32 = -128;
    const STEPS: i32 = 255;
    const LANE_LIMIT: Option<i32> = None;
    const CUT: Cut = Cut {
        block: 384,
        quads: 2,
        spread: false,
    };

    /// 4 rows x 4 registers are 16 sums; with the 4 of a quad's weights and a row's bytes 21 of 32 registers, and 16 chains cover
    /// the latency of `sdot` (3 or 4 cycles, 2 to 4 a cycle).
    const TILE_ROWS: usize = 4;

    #[inline(always)]
    fn splat(self, value: f32) -> F32x16 {
        // SAFETY: a `Neon` exists only where NEON was detected.
        [unsafe { vdupq_n_f32(value) }; 4]
    }

    #[inline(always)]
    fn load(self, source: &[f32; LANES]) -> F32x16 {
        // SAFETY: NEON was detected, and `source` has 16 floats.
        [0, 4, 8, 12].map(|first| unsafe { vld1q_f32(source.as_ptr().add(first)) })
    }

    #[inline(always)]
    fn store(self, vector: F32x16, target: &mut [f32; LANES]) {
        for (quarter, vector) in vector.into_iter().enumerate() {
            // SAFETY: NEON was detected, and `target` has 16 floats.
            unsafe { vst1q_f32(target.as_mut_ptr().add(4 * quarter), vector) };
        }
    }

    #[inline(always)]
    fn add(self, a: F32x16, b: F32x16) -> F32x16 {
        quarters!(vaddq_f32, a, b)
    }

    #[inline(always)]
    fn sub(self, a: F32x16, b: F32x16) -> F32x16 {
        quarters!(vsubq_f32, a, b)
    }

    #[inline(always)]
    fn mul(self, a: F32x16, b: F32x16) -> F32x16 {
        quarters!(vmulq_f32, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: F32x16, b: F32x16, c: F32x16) -> F32x16 {
        // Arm names the addend first.
        quarters!(vfmaq_f32, c, a, b)
    }

    #[inline(always)]
    fn min(self, a: F32x16, b: F32x16) -> F32x16 {
        // NEON's own minimum is NaN where either is.
        let mut result = a;
        for quarter in 0..4 {
            // SAFETY: a `Neon` exists only where NEON was detected.
            result[quarter] = unsafe { vbslq_f32(vcltq_f32(a[quarter], b[quarter]), a[quarter], b[quarter]) };
        }
        result
    }

    #[inline(always)]
    fn max(self, a: F32x16, b: F32x16) -> F32x16 {
        let mut result = a;
        for quarter in 0..4 {
            // SAFETY: a `Neon` exists only where NEON was detected.
            result[quarter] = unsafe { vbslq_f32(vcgtq_f32(a[quarter], b[quarter]), a[quarter], b[quarter]) };
        }
        result
    }

    #[inline(always)]
    fn abs(self, a: F32x16) -> F32x16 {
        quarters!(vabsq_f32, a)
    }

    #[inline(always)]
    fn scale_by_exponent(self, value: F32x16, biased: F32x16) -> F32x16 {
        let mut result = value;
        for quarter in 0..4 {
            // SAFETY: a `Neon` exists only where NEON was detected.
            result[quarter] = unsafe {
                let exponent = vshlq_n_s32::<23>(vreinterpretq_s32_f32(biased[quarter]));
                vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(value[quarter]), exponent))
            };
        }
        result
    }

    #[inline(always)]
    fn to_bytes(self, values: F32x16) -> [u8; LANES] {
        let mut bytes = [0; LANES];
        // SAFETY: NEON was detected, and `bytes` has the 16 bytes that are stored.
        unsafe {
            let [a, b, c, d] = values.map(|quarter| vqmovn_s32(vcvtnq_s32_f32(quarter)));
            let (low, high) = (vcombine_s16(a, b), vcombine_s16(c, d));
            let packed = vcombine_s8(vqmovn_s16(low), vqmovn_s16(high));
            vst1q_s8(bytes.as_mut_ptr().cast(), packed);
        }
        bytes
    }

    #[inline(always)]
    fn transpose(self, rows: [F32x16; LANES]) -> [F32x16; LANES] {
        let mut columns = rows;
        for top in 0..4 {
            for left in 0..4 {
                let square = [0, 1, 2, 3].map(|row| rows[4 * top + row][left]);
                // SAFETY: a `Neon` exists only where NEON was detected.
                let square = unsafe { transpose_4x4(square) };
                for (row, quarter) in square.into_iter().enumerate() {
                    columns[4 * left + row][top] = quarter;
                }
            }
        }
        columns
    }

    #[inline(always)]
    fn sum(self, a: F32x16) -> f32 {
        // SAFETY: a `Neon` exists only where NEON was detected.
        unsafe { vaddvq_f32(vaddq_f32(vaddq_f32(a[0], a[1]), vaddq_f32(a[2], a[3]))) }
    }

    #[inline(always)]
    fn least(self, a: F32x16) -> f32 {
        // SAFETY: a `Neon` exists only where NEON was detected.
        unsafe { vminvq_f32(vminq_f32(vminq_f32(a[0], a[1]), vminq_f32(a[2], a[3]))) }
    }

    #[inline(always)]
    fn greatest(self, a: F32x16) -> f32 {
        // SAFETY: a `Neon` exists only where NEON was detected.
        unsafe { vmaxvq_f32(vmaxq_f32(vmaxq_f32(a[0], a[1]), vmaxq_f32(a[2], a[3]))) }
    }

    #[inline(always)]
    fn tile(self, panels: &[Panel<'_>], rows: RowTile<'_>, count: usize, out: &mut [[f32; PANEL]]) {
        for (panel, out) in panels.iter().zip(out.chunks_exact_mut(count)) {
            // SAFETY: a `Neon` exists only where NEON and the dot product were detected.
            unsafe {
                if let Some(out) = out.first_chunk_mut::<4>() {
                    tile(*panel, rows, out);
                } else {
                    for (row, out) in out.as_chunks_mut::<1>().0.iter_mut().enumerate() {
                        tile(*panel, rows.skip(row), out);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "neon,dotprod")]
        fn enter<K: Kernel>(simd: Neon, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        // SAFETY: a `Neon` exists only where both were detected.
        unsafe { enter(self, kernel) }
    }
}

#[target_feature(enable = "neon,dotprod")]
fn tile<const ROWS: usize>(panel: Panel<'_>, rows: RowTile<'_>, out: &mut [[f32; PANEL]; ROWS]) {
    rows.check(ROWS, &panel);
    let activations = rows.values.as_ptr();
    *out = [[0.0; PANEL]; ROWS];
    let mut start = 0;
    for (block, &end) in panel.block_ends.iter().enumerate() {
        let mut sums = [[vdupq_n_s32(0); 4]; ROWS];
        for (quad, weights) in (start..).zip(&panel.quads[start..end]) {
            // SAFETY: a quad is 64 bytes.
            let weights = [0, 16, 32, 48].map(|first| unsafe { vld1q_s8(weights.0.as_ptr().add(first)) });
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: row < ROWS and quad < panel.quads.len(): inside of `values` by `rows.check`.
                let bytes = unsafe {
                    let bytes = activations.add(row * rows.stride + quad * 4);
                    bytes.cast::<i32>().read_unaligned()
                };
                let bytes = vreinterpretq_s8_s32(vdupq_n_s32(bytes));
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = dot(*sum, weights, bytes);
                }
            }
        }
        start = end;
        for (row, (out, sums)) in out.iter_mut().zip(sums).enumerate() {
            let range = rows.ranges[row * rows.blocks + block];
            let quarters = out
                .as_chunks_mut::<4>()
                .0
                .iter_mut()
                .zip(panel.sums[block].as_chunks::<4>().0);
            for ((out, weight_sums), sum) in quarters.zip(sums) {
                // SAFETY: both quarters are 4 floats.
                unsafe {
                    let total = vfmaq_n_f32(vld1q_f32(out.as_ptr()), vld1q_f32(weight_sums.as_ptr()), range.offset);
                    let total = vfmaq_n_f32(total, vcvtq_f32_s32(sum), range.scale);
                    vst1q_f32(out.as_mut_ptr(), total);
                }
            }
        }
    }
}

/// `sdot`, whose intrinsic is not stable yet.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot(sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: the instruction is part of `dotprod`, and touches these registers alone.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sum
}

#[inline]
#[target_feature(enable = "neon")]
fn transpose_4x4([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    let (ab_even, ab_odd) = (vtrn1q_f32(a, b), vtrn2q_f32(a, b));
    let (cd_even, cd_odd) = (vtrn1q_f32(c, d), vtrn2q_f32(c, d));
    let join = |low: float32x4_t, high: float32x4_t| {
        let (low, high) = (vreinterpretq_f64_f32(low), vreinterpretq_f64_f32(high));
        (
            vreinterpretq_f32_f64(vtrn1q_f64(low, high)),
            vreinterpretq_f32_f64(vtrn2q_f64(low, high)),
        )
    };
    let (first, third) = join(ab_even, cd_even);
    let (second, fourth) = join(ab_odd, cd_odd);
    [first, second, third, fourth]
}
