//! AVX-512 with VNNI: Intel servers since Cascade Lake (2019), AMD since Zen 4. Sixteen floats are one register, and
//! `vpdpbusd` multiplies 64 bytes and adds the products four by four in 32 bits, so activations have all 8 bits.
//!
//! What multiplies the int8 tiles is a parameter: [`Vnni`] here, the matrix unit in `amx.rs`.

use std::arch::x86_64::*;
use std::marker::PhantomData;

use super::attention::{AttentionScratch, Part};
use super::pack::Panel;
use super::quantise::RowTile;
use super::simd::{Cut, Kernel, LANES, NARROW, PANEL, Simd};

/// Proof that the CPU has AVX-512 (F, BW, DQ, VL) and VNNI, and what `M` asks for besides.
#[derive(Debug, PartialEq, Eq)]
pub struct Avx512<M>(PhantomData<M>);

impl<M> Clone for Avx512<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Avx512<M> {}

/// What multiplies int8 tiles.
pub(super) trait Multiplier {
    const CUT: Cut = NARROW;
    /// Rows of a full tile.
    const ROWS: usize;

    /// Of [`Simd::tile`].
    ///
    /// # Safety
    /// The CPU must have AVX-512 with VNNI and what the multiplier needs, and [`Self::begin`] must have been called on this
    /// thread.
    unsafe fn tile(panels: &[Panel<'_>], rows: RowTile<'_>, count: usize, out: &mut [[f32; PANEL]]);

    /// Of [`Simd::attend`].
    fn attend(_: &Part<'_>, _: &mut [f32], _: &mut AttentionScratch) -> bool {
        false
    }

    /// Before and after each kernel, on its thread.
    fn begin() {}
    fn end() {}
}

impl<M> Avx512<M> {
    /// `has` says whether the CPU has what `M` needs.
    pub(super) fn detect_with(has: impl FnOnce() -> bool) -> Option<Self> {
        let vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        (vectors && has()).then_some(Self(PhantomData))
    }
}

/// `vpdpbusd`, a panel at a time.
#[derive(Debug, PartialEq, Eq)]
pub struct Vnni;

impl Avx512<Vnni> {
    pub(super) fn detect() -> Option<Self> {
        Self::detect_with(|| true)
    }
}

impl Multiplier for Vnni {
    /// 8 bits can afford few blocks. The outliers have one of their own: they would take as many products as a sixth of the row.
    const CUT: Cut = Cut {
        block: 384,
        quads: 2,
        spread: false,
    };

    /// 8 rows of 2 panels are 16 sums; each quad takes 10 loads and 16 products, of which two start a cycle.
    const ROWS: usize = 8;

    #[inline(always)]
    unsafe fn tile(panels: &[Panel<'_>], rows: RowTile<'_>, count: usize, out: &mut [[f32; PANEL]]) {
        // SAFETY: the caller vouches for AVX-512 and VNNI.
        unsafe {
            match *panels {
                [first, second] => rows_of::<2>([first, second], rows, count, out),
                [only] => rows_of::<1>([only], rows, count, out),
                _ => {}
            }
        }
    }
}

/// `count` rows in tiles of 8, 4, 2 and 1.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn rows_of<const PANELS: usize>(
    panels: [Panel<'_>; PANELS],
    rows: RowTile<'_>,
    count: usize,
    out: &mut [[f32; PANEL]],
) {
    panels.iter().for_each(|panel| rows.check(count, panel));
    let mut done = 0;
    while done < count {
        done += match count - done {
            8.. => tile::<8, PANELS>(panels, rows.skip(done), &mut out[done..], count),
            4.. => tile::<4, PANELS>(panels, rows.skip(done), &mut out[done..], count),
            2.. => tile::<2, PANELS>(panels, rows.skip(done), &mut out[done..], count),
            _ => tile::<1, PANELS>(panels, rows.skip(done), &mut out[done..], count),
        };
    }
}

/// Applies an intrinsic.
macro_rules! vector {
    ($intrinsic:ident, $($operand:expr),+) => {
        // SAFETY: an `Avx512` exists only where AVX-512 was detected.
        unsafe { $intrinsic($($operand),+) }
    };
}

impl<M: Multiplier> Simd for Avx512<M> {
    type F32 = __m512;

    const LOWEST: i32 = 0;
    const STEPS: i32 = 255;
    const LANE_LIMIT: Option<i32> = None;
    const CUT: Cut = M::CUT;
    const TILE_ROWS: usize = M::ROWS;

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        vector!(_mm512_set1_ps, value)
    }

    #[inline(always)]
    fn load(self, source: &[f32; LANES]) -> __m512 {
        // SAFETY: AVX-512 was detected, and `source` has 16 floats; the load needs no alignment.
        unsafe { _mm512_loadu_ps(source.as_ptr()) }
    }

    #[inline(always)]
    fn store(self, vector: __m512, target: &mut [f32; LANES]) {
        // SAFETY: AVX-512 was detected, and `target` has 16 floats; the store needs no alignment.
        unsafe { _mm512_storeu_ps(target.as_mut_ptr(), vector) }
    }

    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        vector!(_mm512_add_ps, a, b)
    }

    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        vector!(_mm512_sub_ps, a, b)
    }

    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        vector!(_mm512_mul_ps, a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        vector!(_mm512_fmadd_ps, a, b, c)
    }

    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        vector!(_mm512_min_ps, a, b)
    }

    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        vector!(_mm512_max_ps, a, b)
    }

    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        vector!(_mm512_abs_ps, a)
    }

    #[inline(always)]
    fn scale_by_exponent(self, value: __m512, biased: __m512) -> __m512 {
        // SAFETY: an `Avx512` exists only where AVX-512 was detected.
        unsafe {
            let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(biased));
            _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(value), exponent))
        }
    }

    #[inline(always)]
    fn to_bytes(self, values: __m512) -> [u8; LANES] {
        let mut bytes = [0; LANES];
        // SAFETY: AVX-512 was detected, and `bytes` has the 16 bytes that are stored.
        unsafe {
            let packed = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(values));
            _mm_storeu_si128(bytes.as_mut_ptr().cast(), packed);
        }
        bytes
    }

    #[inline(always)]
    fn transpose(self, rows: [__m512; LANES]) -> [__m512; LANES] {
        // SAFETY: an `Avx512` exists only where AVX-512 was detected.
        unsafe { transpose(rows) }
    }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        vector!(_mm512_reduce_add_ps, a)
    }

    #[inline(always)]
    fn least(self, a: __m512) -> f32 {
        vector!(_mm512_reduce_min_ps, a)
    }

    #[inline(always)]
    fn greatest(self, a: __m512) -> f32 {
        vector!(_mm512_reduce_max_ps, a)
    }

    #[inline(always)]
    fn tile(self, panels: &[Panel<'_>], rows: RowTile<'_>, count: usize, out: &mut [[f32; PANEL]]) {
        // SAFETY: an `Avx512<M>` exists only where AVX-512, VNNI and what `M` needs were detected, and kernels run
        // between `begin` and `end`.
        unsafe { M::tile(panels, rows, count, out) }
    }

    #[inline(always)]
    fn attend(self, part: &Part<'_>, out: &mut [f32], scratch: &mut AttentionScratch) -> bool {
        M::attend(part, out, scratch)
    }

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
        fn enter<K: Kernel, M: Multiplier>(simd: Avx512<M>, kernel: K) -> K::Output {
            kernel.run(simd)
        }
        M::begin();
        // SAFETY: an `Avx512` exists only where these were detected; AVX-512 includes AVX2 and FMA.
        let output = unsafe { enter(self, kernel) };
        M::end();
        output
    }
}

/// `ROWS` rows times `PANELS` panels, whose results lie `stride` rows of `out` apart; returns `ROWS`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn tile<const ROWS: usize, const PANELS: usize>(
    panels: [Panel<'_>; PANELS],
    rows: RowTile<'_>,
    out: &mut [[f32; PANEL]],
    stride: usize,
) -> usize {
    panels.iter().for_each(|panel| rows.check(ROWS, panel));
    let activations = rows.values.as_ptr();
    let weights = panels.map(|panel| panel.quads.as_ptr());
    let mut start = 0;
    for (block, &end) in panels[0].block_ends.iter().enumerate() {
        assert!(panels.iter().all(|panel| end <= panel.quads.len()));
        let mut sums = [[_mm512_setzero_si512(); PANELS]; ROWS];
        for quad in start..end {
            // SAFETY: quad < end, within the quads of each panel; a quad is 64 bytes, aligned to 64.
            let weights = weights.map(|weights| unsafe { _mm512_load_si512(weights.add(quad).cast()) });
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: row < ROWS and the quad is one of the panels': inside of `values` by `rows.check`.
                let bytes = unsafe {
                    let bytes = activations.add(row * rows.stride + quad * 4);
                    bytes.cast::<i32>().read_unaligned()
                };
                let bytes = _mm512_set1_epi32(bytes);
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    *sum = _mm512_dpbusd_epi32(*sum, bytes, weights);
                }
            }
        }
        start = end;
        for (row, sums) in sums.into_iter().enumerate() {
            let range = rows.ranges[row * rows.blocks + block];
            for ((index, panel), sum) in panels.iter().enumerate().zip(sums) {
                let out = &mut out[index * stride + row];
                let total = if block == 0 { _mm512_setzero_ps() } else { load(out) };
                let total = _mm512_fmadd_ps(_mm512_set1_ps(range.offset), load(&panel.sums[block]), total);
                let total = _mm512_fmadd_ps(_mm512_set1_ps(range.scale), _mm512_cvtepi32_ps(sum), total);
                // SAFETY: a row of `out` is 16 floats.
                unsafe { _mm512_storeu_ps(out.as_mut_ptr(), total) };
            }
        }
    }
    ROWS
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load(values: &[f32; LANES]) -> __m512 {
    // SAFETY: these are 16 floats; the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// Pairs, then fours within the 128-bit parts, which then change places twice.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
pub(super) fn transpose(rows: [__m512; LANES]) -> [__m512; LANES] {
    let mut fours = rows;
    for index in (0..LANES).step_by(4) {
        let (ab, ab_high) = (
            _mm512_unpacklo_ps(rows[index], rows[index + 1]),
            _mm512_unpackhi_ps(rows[index], rows[index + 1]),
        );
        let (cd, cd_high) = (
            _mm512_unpacklo_ps(rows[index + 2], rows[index + 3]),
            _mm512_unpackhi_ps(rows[index + 2], rows[index + 3]),
        );
        fours[index] = _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd);
        fours[index + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd);
        fours[index + 2] = _mm512_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high);
        fours[index + 3] = _mm512_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high);
    }
    // fours[4 g + c] holds, in its part p, column 4 p + c of rows 4 g to 4 g + 3.
    let mut columns = rows;
    for column in 0..4 {
        let [a, b, c, d] = [0, 4, 8, 12].map(|group| fours[group + column]);
        let (ab_even, ab_odd) = (
            _mm512_shuffle_f32x4::<0b10_00_10_00>(a, b),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(a, b),
        );
        let (cd_even, cd_odd) = (
            _mm512_shuffle_f32x4::<0b10_00_10_00>(c, d),
            _mm512_shuffle_f32x4::<0b11_01_11_01>(c, d),
        );
        columns[column] = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_even, cd_even);
        columns[column + 8] = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_even, cd_even);
        columns[column + 4] = _mm512_shuffle_f32x4::<0b10_00_10_00>(ab_odd, cd_odd);
        columns[column + 12] = _mm512_shuffle_f32x4::<0b11_01_11_01>(ab_odd, cd_odd);
    }
    columns
}
