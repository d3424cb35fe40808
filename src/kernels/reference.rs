//! The naive truth in f64, for the tests.

use super::layer::Int8Linear;
use super::lengths::Lengths;

/// erf by the series with positive terms only, 2/sqrt(pi) e^(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!.
pub(super) fn erf(x: f64) -> f64 {
    if x.is_nan() || x.abs() > 6.0 {
        return x.clamp(-1.0, 1.0);
    }
    let (mut term, mut sum, mut n) = (x, x, 1.0);
    while term.abs() > 1e-18 * sum.abs() {
        term *= 2.0 * x * x / (2.0 * n + 1.0);
        sum += term;
        n += 1.0;
    }
    2.0 / std::f64::consts::PI.sqrt() * (-x * x).exp() * sum
}

/// The nearest number of 8 bits of mantissa, the even one of two.
pub(super) fn bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

pub(super) fn gelu(x: f64) -> f64 {
    // Where erf is -1 to the last bit, -inf * 0 must not become NaN.
    if x < -9.0 {
        0.0
    } else {
        0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
    }
}

pub(super) fn softmax(scores: &mut [f64]) {
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for score in scores.iter_mut() {
        *score = (*score - greatest).exp();
    }
    let sum: f64 = scores.iter().sum();
    for score in scores {
        *score /= sum;
    }
}

pub(super) fn layer_norm(row: &mut [f64], weight: &[f32], bias: &[f32], epsilon: f64) {
    let count = row.len() as f64;
    let mean = row.iter().sum::<f64>() / count;
    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
    for ((x, weight), bias) in row.iter_mut().zip(weight).zip(bias) {
        *x = (*x - mean) / (variance + epsilon).sqrt() * f64::from(*weight) + f64::from(*bias);
    }
}

/// rows * weights + bias, and beside it the sum of the sizes of all terms, which bounds the rounding.
pub(super) fn linear(layer: &Int8Linear<'_>, rows: &[f64], inputs: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut values, mut sizes) = (Vec::new(), Vec::new());
    let count = rows.len().checked_div(inputs).unwrap_or(0);
    for row in 0..count {
        let row = &rows[row * inputs..][..inputs];
        for (output, bias) in layer.biases.iter().enumerate() {
            let weights = &layer.weights[output * inputs..][..inputs];
            let scale = f64::from(layer.scales[output]);
            let terms = || {
                row.iter()
                    .zip(weights)
                    .map(|(x, weight)| x * f64::from(*weight) * scale)
            };
            values.push(terms().sum::<f64>() + f64::from(*bias));
            sizes.push(terms().map(f64::abs).sum::<f64>() + f64::from(bias.abs()));
        }
    }
    (values, sizes)
}

/// softmax(q k^T) v per head and sequence; `projected` is `[tokens, 3 * hidden]`.
pub(super) fn attention(projected: &[f64], heads: usize, hidden: usize, sequences: &[Lengths]) -> Vec<f64> {
    let dimension = hidden / heads;
    let at = |token: usize, part: usize, column: usize| projected[token * 3 * hidden + part * hidden + column];
    let mut out = vec![0.0; projected.len() / 3];
    // Of each token: its sequence, and its part of that; 0 is the trunk.
    let tokens: Vec<(usize, usize)> = (0..)
        .zip(sequences)
        .flat_map(|(sequence, lengths)| {
            let parts = (0..).zip(std::iter::once(&lengths.trunk).chain(&lengths.branches));
            parts.flat_map(move |(part, &length)| vec![(sequence, part); length])
        })
        .collect();
    for (query, own) in tokens.iter().enumerate() {
        let sees = |key: &usize| tokens[*key] == *own || tokens[*key] == (own.0, 0);
        let keys: Vec<usize> = (0..tokens.len()).filter(sees).collect();
        for head in 0..heads {
            let columns = || head * dimension..(head + 1) * dimension;
            let score = |&key: &usize| columns().map(|c| at(query, 0, c) * at(key, 1, c)).sum();
            let mut scores: Vec<f64> = keys.iter().map(score).collect();
            softmax(&mut scores);
            for column in columns() {
                let terms = scores.iter().zip(&keys).map(|(p, &key)| p * at(key, 2, column));
                out[query * hidden + column] = terms.sum();
            }
        }
    }
    out
}
