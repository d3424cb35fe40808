//! 2^x, the numerators of softmax, and the exact GELU.

use super::Isa;
use super::simd::{Kernel, LANES, Simd};

/// gelu(x) = max(x, 0) - |x| Q(|x|), where Q is the upper tail of the normal distribution. Beyond 5.4, |x| Q(|x|) is
/// below 1.9e-7 and |x| is held there; up to it, Q is a polynomial of degree 15 in |x| / 2.7 - 1, so that no division and
/// no exp is needed. Fitted by Lawson's iteration for the least greatest error of |x| Q(|x|): 8.7e-8 in real
/// arithmetic, 4e-7 in f32, of which the rounding of results above 4 is 2.4e-7. Degree 13 would err by 9e-7.
const TAIL_END: f32 = 5.4;
const TAIL: [f32; 16] = [
    -0.004_876_694,
    0.005_705_117_2,
    0.024_582_045,
    -0.041_713_927,
    -0.034_365_267,
    0.119_655_505,
    -0.049_149_513,
    -0.134_938_63,
    0.211_938_05,
    -0.072_035_715,
    -0.154_988_12,
    0.267_301_98,
    -0.215_001_03,
    0.102_556_31,
    -0.028_137_056,
    0.003_466_986,
];

/// 2^r on |r| <= 1/2, highest power first; relative error 7.5e-8 in real arithmetic, 2.1e-7 in f32 (Lawson's iteration
/// again).
const EXP2: [f32; 6] = [
    0.001_327_647_1,
    0.009_675_541,
    0.055_507_13,
    0.240_221_2,
    0.693_146_94,
    1.000_000_1,
];
/// 1.5 * 2^23: adding it rounds to an integer and leaves that integer in the low bits of the mantissa.
const ROUND: f32 = 12_582_912.0;
/// 2^-125 stands for everything below it: its polynomial part may be less than 1 and the whole is still a normal number.
const EXP2_LEAST: f32 = -125.0;

#[inline(always)]
fn polynomial<S: Simd>(simd: S, coefficients: &[f32], x: S::F32) -> S::F32 {
    let mut value = simd.splat(coefficients[0]);
    for coefficient in &coefficients[1..] {
        value = simd.mul_add(value, x, simd.splat(*coefficient));
    }
    value
}

#[inline(always)]
pub(super) fn gelu_vector<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    let size = simd.min(simd.splat(TAIL_END), simd.abs(x));
    let position = simd.mul_add(size, simd.splat(2.0 / TAIL_END), simd.splat(-1.0));
    let tail = simd.mul(size, polynomial(simd, &TAIL, position));
    simd.sub(simd.max(simd.splat(0.0), x), tail)
}

/// 2^x for x <= 127.
#[inline(always)]
pub(super) fn exp2_vector<S: Simd>(simd: S, x: S::F32) -> S::F32 {
    let x = simd.max(simd.splat(EXP2_LEAST), x);
    let biased = simd.add(x, simd.splat(ROUND));
    let r = simd.sub(x, simd.sub(biased, simd.splat(ROUND)));
    simd.scale_by_exponent(polynomial(simd, &EXP2, r), biased)
}

/// Replaces the scores of a row by 2^(score - greatest) and returns the sum of these.
#[inline(always)]
pub(super) fn exponentials<S: Simd>(simd: S, scores: &mut [f32]) -> f32 {
    let (chunks, tail) = scores.as_chunks_mut::<LANES>();
    let last = simd.load_partial(tail, f32::NEG_INFINITY);
    let mut greatest = last;
    for chunk in chunks.iter() {
        greatest = simd.max(greatest, simd.load(chunk));
    }
    let greatest = simd.splat(simd.greatest(greatest));
    let mut sum = simd.splat(0.0);
    for chunk in chunks {
        let value = exp2_vector(simd, simd.sub(simd.load(chunk), greatest));
        simd.store(value, chunk);
        sum = simd.add(sum, value);
    }
    if !tail.is_empty() {
        simd.store_partial(exp2_vector(simd, simd.sub(last, greatest)), tail);
        sum = simd.add(sum, simd.load_partial(tail, 0.0));
    }
    simd.sum(sum)
}

/// The exact (erf) GELU of each value, within 1e-6.
pub fn gelu(isa: Isa, values: &mut [f32]) {
    struct Gelu<'a>(&'a mut [f32]);
    impl Kernel for Gelu<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            let (chunks, tail) = self.0.as_chunks_mut::<LANES>();
            for chunk in chunks {
                simd.store(gelu_vector(simd, simd.load(chunk)), chunk);
            }
            simd.store_partial(gelu_vector(simd, simd.load_partial(tail, 0.0)), tail);
        }
    }
    isa.run(Gelu(values));
}
