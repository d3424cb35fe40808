//! Attention within sequences and their branches.

use super::super::*;
use super::{Random, each_isa, lengths, rows};

#[test]
fn attention_is_that_of_the_reference() {
    const CASES: [&[&[usize]]; 16] = [
        &[],
        &[&[1]],
        &[&[0], &[2], &[0]],
        &[&[5], &[6], &[7]],
        &[&[15], &[16], &[17], &[23]],
        &[&[24], &[25]],
        &[&[49], &[1], &[130]],
        &[&[257]],
        // With branches.
        &[&[1, 1]],
        &[&[1, 2, 17], &[3]],
        &[&[15, 1, 2, 3], &[15, 16], &[15, 17]],
        &[&[16, 1], &[16, 15, 16, 17, 1]],
        &[&[17, 15, 14, 31]],
        &[&[0, 3, 20]],
        &[&[40, 0, 4, 0], &[9]],
        &[&[250, 2, 9, 66, 24, 25]],
    ];
    each_isa(|isa| {
        let mut random = Random(8);
        let mut scratch = AttentionScratch::default();
        for dimension in [32, 8, 20, 64] {
            let width = usize::next_multiple_of(dimension, 16);
            for sequences in CASES {
                let lengths = lengths(sequences);
                let (as_read, most_error): (fn(f32) -> f32, f64) = if isa.name() == "amx" && width.is_multiple_of(32) {
                    // The weights lose up to 2^-9 of themselves as well, and the values that they mix reach 2.
                    (reference::bf16, 4e-3)
                } else {
                    (|value| value, 1e-5)
                };
                // Scores of deviation 1, as the scaling of the queries makes them; behind each part its zeros.
                let mut projected = Vec::new();
                let mut natural = Vec::new();
                for _ in 0..rows(&lengths) {
                    for factor in [std::f64::consts::LN_2, 1.0, 1.0] {
                        let part = random.normals(dimension, (dimension as f32).powf(-0.25));
                        natural.extend(part.iter().map(|x| f64::from(as_read(*x)) * factor));
                        projected.extend(part);
                        projected.extend(vec![0.0; width - dimension]);
                    }
                }
                let mut out = vec![f32::NAN; rows(&lengths) * (dimension + 3)];
                attention(isa, &projected, &lengths, &mut out, 2..dimension + 2, &mut scratch);
                let expected = reference::attention(&natural, 1, dimension, &lengths);
                for (out, expected) in out.chunks(dimension + 3).zip(expected.chunks(dimension)) {
                    assert!(out[0].is_nan() && out[1].is_nan() && out[dimension + 2].is_nan());
                    for (found, expected) in out[2..].iter().zip(expected) {
                        let error = (f64::from(*found) - expected).abs();
                        assert!(
                            error <= most_error,
                            "{}, {sequences:?}: {found}, {expected}",
                            isa.name()
                        );
                    }
                }
            }
        }
    });
}
