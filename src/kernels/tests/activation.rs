//! GELU, exponentials and norms.

use super::super::*;
use super::{Random, each_isa, f64s};

#[test]
fn gelu_errs_by_less_than_a_millionth() {
    each_isa(|isa| {
        let all = (0..=u32::MAX)
            .step_by(9_973)
            .map(f32::from_bits)
            .filter(|x| x.is_finite());
        let near = (-800_000..=800_000).map(|step| step as f32 * 1e-5);
        let values: Vec<f32> = all.chain(near).collect();
        let mut found = values.clone();
        gelu(isa, &mut found);
        let mut worst = (0.0, 0.0);
        for (x, found) in values.into_iter().zip(found) {
            let expected = reference::gelu(f64::from(x));
            // Beyond 16 the spacing of f32 itself passes a millionth: there the result must be x.
            let error = if x > 16.0 {
                f64::from((found - x).abs())
            } else {
                (f64::from(found) - expected).abs()
            };
            if error > worst.0 {
                worst = (error, x);
            }
        }
        println!("{}: gelu errs by {:.2e} at {}", isa.name(), worst.0, worst.1);
        assert!(worst.0 <= 1e-6);
        let mut special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        gelu(isa, &mut special);
        assert!(
            special[0].is_nan() && special[1] == f32::INFINITY && special[2].abs() < 1e-6,
            "{special:?}"
        );
    });
}

#[test]
fn exp2_errs_by_less_than_a_millionth() {
    struct Exp2<'a>(&'a mut [f32]);
    impl Kernel for Exp2<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) {
            for chunk in self.0.as_chunks_mut().0 {
                simd.store(activation::exp2_vector(simd, simd.load(chunk)), chunk);
            }
        }
    }
    each_isa(|isa| {
        let values: Vec<f32> = (0..2_520_000).map(|step| -125.0 + step as f32 * 1e-4).collect();
        let mut found = values.clone();
        isa.run(Exp2(&mut found));
        let errors = values.iter().zip(&found).map(|(x, found)| {
            let expected = f64::from(*x).exp2();
            (f64::from(*found) - expected).abs() / expected
        });
        let worst = errors.fold(0.0, f64::max);
        println!("{}: exp2 errs by {worst:.2e}", isa.name());
        assert!(worst <= 3e-7);
    });
}

#[test]
fn exponentials_are_those_of_a_softmax() {
    struct Exponentials<'a>(&'a mut [f32]);
    impl Kernel for Exponentials<'_> {
        type Output = f32;
        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> f32 {
            activation::exponentials(simd, self.0)
        }
    }
    each_isa(|isa| {
        let mut random = Random(6);
        for length in [1, 2, 15, 16, 17, 31, 256, 513] {
            for deviation in [0.1, 3.0, 60.0] {
                let scores = random.normals(length, deviation);
                let mut expected: Vec<f64> = scores.iter().map(|x| f64::from(*x) * std::f64::consts::LN_2).collect();
                reference::softmax(&mut expected);
                let mut found = scores;
                let sum = isa.run(Exponentials(&mut found));
                for (found, expected) in found.iter().zip(expected) {
                    let found = f64::from(found / sum);
                    assert!((found - expected).abs() <= 1e-6, "{}: {found}, {expected}", isa.name());
                }
            }
        }
    });
}

#[test]
fn layer_norm_keeps_its_digits_at_a_large_mean() {
    each_isa(|isa| {
        let mut random = Random(7);
        for columns in [1, 7, 16, 17, 384, 391] {
            for mean in [0.0, 100.0] {
                let (weight, bias) = (random.normals(columns, 1.0), random.normals(columns, 1.0));
                let mut rows = random.normals(3 * columns, 1.0);
                rows.iter_mut().for_each(|value| *value += mean);
                let mut expected = f64s(&rows);
                for row in expected.chunks_mut(columns) {
                    reference::layer_norm(row, &weight, &bias, 1e-5);
                }
                LayerNorm::new(isa, weight, bias, 1e-5).apply(&mut rows);
                for (found, expected) in rows.iter().zip(expected) {
                    let error = (f64::from(*found) - expected).abs();
                    // At mean 100 the mean itself is rounded to some 2e-5; one-pass variance would err by 1e-3.
                    assert!(error <= 1e-4, "{}, {columns}: {found}, {expected}", isa.name());
                }
            }
        }
    });
}
