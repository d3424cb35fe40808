//! LayerNorm over rows.

use super::Isa;
use super::simd::{Kernel, LANES, Simd};

/// (x - mean) / sqrt(variance + epsilon) * weight + bias, over each row.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    isa: Isa,
    weight: Vec<f32>,
    bias: Vec<f32>,
    epsilon: f32,
}

impl LayerNorm {
    /// # Panics
    /// When `weight` and `bias` differ in length or are empty.
    #[must_use]
    pub fn new(isa: Isa, weight: Vec<f32>, bias: Vec<f32>, epsilon: f32) -> Self {
        assert!(
            weight.len() == bias.len() && !weight.is_empty(),
            "weight and bias of one length"
        );
        Self {
            isa,
            weight,
            bias,
            epsilon,
        }
    }

    /// Normalises `rows` in place.
    ///
    /// # Panics
    /// When `rows` is not a whole number of rows.
    pub fn apply(&self, rows: &mut [f32]) {
        assert!(
            rows.len().is_multiple_of(self.weight.len()),
            "whole rows of {}",
            self.weight.len()
        );
        self.isa.run(Normalize { norm: self, rows });
    }
}

struct Normalize<'a> {
    norm: &'a LayerNorm,
    rows: &'a mut [f32],
}

impl Kernel for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for row in self.rows.chunks_exact_mut(self.norm.weight.len()) {
            normalize(simd, self.norm, row);
        }
    }
}

/// Three passes over a row that lies in L1: the variance is taken about the mean, because E(x^2) - E(x)^2 loses the
/// digits that a row with a large mean has in common.
#[inline(always)]
fn normalize<S: Simd>(simd: S, norm: &LayerNorm, row: &mut [f32]) {
    let count = row.len() as f32;
    let (chunks, tail) = row.as_chunks_mut::<LANES>();
    let mut sum = simd.load_partial(tail, 0.0);
    for chunk in chunks.iter() {
        sum = simd.add(sum, simd.load(chunk));
    }
    let mean_of_row = simd.sum(sum) / count;
    let mean = simd.splat(mean_of_row);

    let difference = simd.sub(simd.load_partial(tail, mean_of_row), mean);
    let mut squares = simd.mul(difference, difference);
    for chunk in chunks.iter() {
        let difference = simd.sub(simd.load(chunk), mean);
        squares = simd.mul_add(difference, difference, squares);
    }
    let variance = simd.sum(squares) / count;
    let factor = simd.splat(1.0 / (variance + norm.epsilon).sqrt());

    let (weights, weight_tail) = norm.weight.as_chunks::<LANES>();
    let (biases, bias_tail) = norm.bias.as_chunks::<LANES>();
    for ((chunk, weight), bias) in chunks.iter_mut().zip(weights).zip(biases) {
        let normal = simd.mul(simd.sub(simd.load(chunk), mean), factor);
        simd.store(simd.mul_add(normal, simd.load(weight), simd.load(bias)), chunk);
    }
    if !tail.is_empty() {
        let normal = simd.mul(simd.sub(simd.load_partial(tail, 0.0), mean), factor);
        let (weight, bias) = (simd.load_partial(weight_tail, 0.0), simd.load_partial(bias_tail, 0.0));
        simd.store_partial(simd.mul_add(normal, weight, bias), tail);
    }
}
