//! Every instruction set of this machine against the naive reference.

#![allow(
    clippy::print_stdout,
    reason = "which instruction sets ran and how far they err belongs in the log"
)]

use super::layer::{Int8Layer, Int8Linear, LayerParts, Workspace};
use super::reference;
use super::*;

/// SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Roughly normal: the sum of twelve uniform numbers.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    fn normals(&mut self, count: usize, deviation: f32) -> Vec<f32> {
        (0..count).map(|_| self.normal() * deviation).collect()
    }
}

fn each_isa(mut check: impl FnMut(Isa)) {
    let ran: Vec<_> = Isa::supported().map(Isa::name).collect();
    println!("instruction sets: {ran:?}");
    Isa::supported().for_each(&mut check);
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// A linear layer that owns its parts.
#[derive(Clone)]
struct Owned {
    weights: Vec<i8>,
    scales: Vec<f32>,
    biases: Vec<f32>,
}

impl Owned {
    fn new(random: &mut Random, outputs: usize, inputs: usize, weight: impl Fn(&mut Random, usize) -> i8) -> Self {
        Self {
            weights: (0..outputs * inputs).map(|index| weight(random, index)).collect(),
            scales: (0..outputs).map(|_| 0.001 + random.unit() * 0.001).collect(),
            biases: random.normals(outputs, 0.1),
        }
    }

    /// Weights as training leaves them: normal, the largest of a channel at 127.
    fn trained(random: &mut Random, outputs: usize, inputs: usize) -> Self {
        Self::new(random, outputs, inputs, |random, _| {
            (random.normal() * 38.0).clamp(-127.0, 127.0) as i8
        })
    }

    fn borrow(&self) -> Int8Linear<'_> {
        Int8Linear {
            weights: &self.weights,
            scales: &self.scales,
            biases: &self.biases,
        }
    }

    fn pack(&self, isa: Isa, inputs: usize, outliers: &[usize]) -> PackedLinear {
        PackedLinear::pack(isa, &self.weights, &self.scales, &self.biases, inputs, outliers)
    }
}

type Weight = fn(&mut Random, usize) -> i8;
type Activation = fn(&mut Random, usize) -> f32;

const WEIGHTS: [(&str, Weight); 7] = [
    ("127", |_, _| 127),
    ("-127", |_, _| -127),
    ("-128", |_, _| -128),
    ("alternating", |_, index| if index % 2 == 0 { 127 } else { -128 }),
    ("alternating by two", |_, index| if index % 4 < 2 { 127 } else { -128 }),
    ("uniform", |random, _| random.next() as i8),
    ("normal", |random, _| (random.normal() * 38.0) as i8),
];

const ACTIVATIONS: [(&str, Activation); 5] = [
    ("greatest", |_, index| if index % 61 == 60 { 0.0 } else { 255.0 }),
    ("least", |_, index| if index % 61 == 60 { 0.0 } else { -255.0 }),
    ("alternating", |_, index| (index % 2) as f32),
    ("constant", |_, _| -3.5),
    ("normal", |random, _| random.normal() + 2.0),
];

/// The product is exact in integers, so that only the rounding of the dequantisation is left.
#[test]
fn linear_is_exact_on_saturating_values() {
    each_isa(|isa| {
        let mut random = Random(1);
        for (name, weight) in WEIGHTS {
            for (activations, activation) in ACTIVATIONS {
                for (rows, inputs, outputs) in [(5, 384, 17), (3, 136, 33), (2, 1536, 16)] {
                    let layer = Owned::new(&mut random, outputs, inputs, weight);
                    let values: Vec<f32> = (0..rows * inputs).map(|index| activation(&mut random, index)).collect();
                    check_linear(
                        isa,
                        &layer,
                        &values,
                        inputs,
                        &[3, 40, 77],
                        &format!("weights {name}, activations {activations}"),
                    );
                }
            }
        }
    });
}

#[test]
fn linear_fits_any_shape() {
    each_isa(|isa| {
        let mut random = Random(2);
        for rows in [0, 1, 2, 3, 4, 5, 7, 8, 9, 127, 128, 129, 133] {
            for (inputs, outputs) in [
                (384, 48),
                (8, 16),
                (1, 1),
                (3, 15),
                (4, 17),
                (7, 31),
                (33, 16),
                (127, 5),
                (128, 5),
                (129, 5),
            ] {
                let layer = Owned::trained(&mut random, outputs, inputs);
                let values = random.normals(rows * inputs, 1.0);
                check_linear(isa, &layer, &values, inputs, &[], "shape");
                check_linear(isa, &layer, &values, inputs, &[inputs - 1], "shape, one outlier");
                let all: Vec<usize> = (0..inputs.min(9)).collect();
                check_linear(isa, &layer, &values, inputs, &all, "shape, outliers throughout");
            }
        }
        for (inputs, outputs) in [(0, 3), (5, 0)] {
            let layer = Owned::trained(&mut random, outputs, inputs);
            let mut quantized = QuantizedRows::new(isa);
            quantized.quantize(&[], inputs, &[]);
            linear(&layer.pack(isa, inputs, &[]), &quantized, &mut [], Epilogue::Store);
        }
    });
}

fn check_linear(isa: Isa, layer: &Owned, values: &[f32], inputs: usize, outliers: &[usize], what: &str) {
    let outputs = layer.biases.len();
    let packed = layer.pack(isa, inputs, outliers);
    let mut quantized = QuantizedRows::new(isa);
    quantized.quantize(values, inputs, outliers);
    let rows = values.len() / inputs;
    let (expected, mut sizes) = reference::linear(&layer.borrow(), &quantized.dequantize(), inputs);
    // The offset of a block is multiplied with the sum of the weights apart from the bytes: its size counts too.
    let span = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
    for (index, size) in sizes.iter_mut().enumerate() {
        let weights = &layer.weights[index % outputs * inputs..][..inputs];
        let sum: f64 = weights.iter().map(|weight| f64::from(weight.unsigned_abs())).sum();
        *size += sum * f64::from(span) * f64::from(layer.scales[index % outputs]);
    }
    for epilogue in [Epilogue::Store, Epilogue::Gelu, Epilogue::Accumulate] {
        let mut out = vec![0.25; rows * outputs];
        linear(&packed, &quantized, &mut out, epilogue);
        for ((index, &out), (&expected, &size)) in out.iter().enumerate().zip(expected.iter().zip(&sizes)) {
            let expected = match epilogue {
                Epilogue::Store => expected,
                Epilogue::Gelu => reference::gelu(expected),
                Epilogue::Accumulate => expected + 0.25,
            };
            assert!(
                (f64::from(out) - expected).abs() <= 1e-6 * (size + 1.0),
                "{}, {what}, {rows} x {inputs} x {outputs}, {epilogue:?}: {out} instead of {expected} at {index}",
                isa.name()
            );
        }
    }
}

#[test]
fn quantised_values_are_within_half_a_step() {
    each_isa(|isa| {
        let mut random = Random(3);
        for columns in [1, 5, 15, 16, 17, 127, 128, 129, 384, 390] {
            let mut values = random.normals(4 * columns, 1.0);
            values[..columns].fill(7.0);
            let mut quantized = QuantizedRows::new(isa);
            quantized.quantize(&values, columns, &[]);
            let found = quantized.dequantize();
            for (row, (found, values)) in found.chunks(columns).zip(values.chunks(columns)).enumerate() {
                let block = isa.cut().block;
                for (found, values) in found.chunks(block).zip(values.chunks(block)) {
                    let least = values.iter().copied().fold(f32::INFINITY, f32::min);
                    let greatest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    let half = f64::from(greatest - least) / 254.0;
                    for (found, value) in found.iter().zip(values) {
                        let error = (found - f64::from(*value)).abs();
                        assert!(
                            error <= half * 1.001 + 1e-6,
                            "{}: row {row}: {found} for {value}",
                            isa.name()
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn outliers_leave_the_others_their_range() {
    each_isa(|isa| {
        let mut random = Random(11);
        let mut values = random.normals(3 * 384, 1.0);
        for row in values.chunks_mut(384) {
            row[15] = 90.0;
            row[35] = -70.0;
        }
        assert_eq!(outliers(&values, 384, 2), [15, 35]);
        let mut quantized = QuantizedRows::new(isa);
        quantized.quantize(&values, 384, &[15, 35]);
        for (found, value) in quantized.dequantize().iter().zip(&values) {
            let (error, step) = (
                (found - f64::from(*value)).abs(),
                if value.abs() > 60.0 { 160.0 } else { 9.0 } / 127.0,
            );
            assert!(error <= step / 2.0, "{}: {found} for {value}", isa.name());
        }
    });
}

#[test]
fn a_nan_or_an_infinity_does_not_pass_unseen() {
    each_isa(|isa| {
        let layer = Owned::trained(&mut Random(4), 16, 384);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut norm = vec![1.0; 384];
            norm[100] = bad;
            LayerNorm::new(isa, vec![1.0; 384], vec![0.0; 384], 1e-12).apply(&mut norm);
            assert!(norm.iter().all(|value| value.is_nan()));
            let mut quantized = QuantizedRows::new(isa);
            quantized.quantize(&norm, 384, &[]);
            let mut out = [0.0; 16];
            linear(&layer.pack(isa, 384, &[]), &quantized, &mut out, Epilogue::Gelu);
            assert!(out.iter().all(|value| value.is_nan()), "{}: {out:?}", isa.name());
        }
    });
}

#[test]
#[should_panic(expected = "different instruction sets")]
fn rows_of_another_instruction_set_are_refused() {
    let isas: Vec<_> = Isa::supported().collect();
    let [fast, .., portable] = isas[..] else {
        panic!("only one: different instruction sets can't be had");
    };
    let packed = Owned::trained(&mut Random(5), 16, 8).pack(fast, 8, &[]);
    let mut quantized = QuantizedRows::new(portable);
    quantized.quantize(&[1.0; 8], 8, &[]);
    linear(&packed, &quantized, &mut [0.0; 16], Epilogue::Store);
}

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

/// Sequences as tables write them: the trunk's length, then the branches'.
fn lengths(sequences: &[&[usize]]) -> Vec<Lengths> {
    let lengths = |sequence: &&[usize]| {
        let (&trunk, branches) = sequence.split_first().expect("a trunk");
        Lengths {
            trunk,
            branches: branches.to_vec(),
        }
    };
    sequences.iter().map(lengths).collect()
}

fn rows(sequences: &[Lengths]) -> usize {
    sequences.iter().map(Lengths::total).sum()
}

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

/// A layer of 2 heads of 32 and 200 intermediate channels, its parts owned.
struct Parts {
    linears: [Owned; 6],
    norms: [[Vec<f32>; 2]; 2],
}

const HEADS: usize = 2;
const HIDDEN: usize = 64;
const WIDE: usize = 200;

impl Parts {
    fn new(random: &mut Random) -> Self {
        let shapes = [
            (HIDDEN, HIDDEN),
            (HIDDEN, HIDDEN),
            (HIDDEN, HIDDEN),
            (HIDDEN, HIDDEN),
            (WIDE, HIDDEN),
            (HIDDEN, WIDE),
        ];
        let mut norm = || {
            [
                random.normals(HIDDEN, 0.1).iter().map(|x| x + 1.0).collect(),
                random.normals(HIDDEN, 0.1),
            ]
        };
        let norms = [norm(), norm()];
        Self {
            linears: shapes.map(|(outputs, inputs)| Owned::trained(random, outputs, inputs)),
            norms,
        }
    }

    fn layer(&self, isa: Isa) -> Int8Layer {
        let [query, key, value, attention_output, intermediate, output] = self.linears.each_ref().map(Owned::borrow);
        let [attention_norm, output_norm] = self
            .norms
            .each_ref()
            .map(|[weight, bias]| LayerNorm::new(isa, weight.clone(), bias.clone(), 1e-12));
        let parts = LayerParts {
            query,
            key,
            value,
            attention_output,
            attention_norm,
            intermediate,
            output,
            output_norm,
            attention_outliers: &[1, 63],
            feed_forward_outliers: &[7],
        };
        Int8Layer::new(isa, HEADS, parts)
    }

    /// The layer in f64 with exact activations.
    fn reference(&self, states: &[f64], lengths: &[Lengths]) -> Vec<f64> {
        let linear =
            |index: usize, rows: &[f64], inputs| reference::linear(&self.linears[index].borrow(), rows, inputs).0;
        let [query, key, value] = [0, 1, 2].map(|index| linear(index, states, HIDDEN));
        let mut projected = Vec::new();
        for row in 0..states.len() / HIDDEN {
            let own = |part: &[f64], factor: f64| -> Vec<f64> {
                part[row * HIDDEN..][..HIDDEN].iter().map(|x| x * factor).collect()
            };
            let scale = 1.0 / ((HIDDEN / HEADS) as f64).sqrt();
            projected.extend([own(&query, scale), own(&key, 1.0), own(&value, 1.0)].concat());
        }
        let add_and_norm = |mut rows: Vec<f64>, residual: &[f64], [weight, bias]: &[Vec<f32>; 2]| {
            rows.iter_mut().zip(residual).for_each(|(x, residual)| *x += residual);
            rows.chunks_mut(HIDDEN)
                .for_each(|row| reference::layer_norm(row, weight, bias, 1e-12));
            rows
        };
        let context = reference::attention(&projected, HEADS, HIDDEN, lengths);
        let states = add_and_norm(linear(3, &context, HIDDEN), states, &self.norms[0]);
        let wide: Vec<f64> = linear(4, &states, HIDDEN).into_iter().map(reference::gelu).collect();
        add_and_norm(linear(5, &wide, WIDE), &states, &self.norms[1])
    }
}

#[test]
fn a_layer_differs_from_f64_by_its_quantisation_alone() {
    const CASES: [&[&[usize]]; 5] = [
        &[],
        &[&[1]],
        &[&[3], &[40], &[7]],
        &[&[200], &[100], &[300], &[5]],
        &[&[90, 3, 12], &[250, 20, 6], &[5, 2]],
    ];
    each_isa(|isa| {
        let mut random = Random(9);
        let parts = Parts::new(&mut random);
        let layer = parts.layer(isa);
        let mut workspace = Workspace::new(isa);
        for sequences in CASES {
            let lengths = lengths(sequences);
            let mut states = random.normals(rows(&lengths) * HIDDEN, 1.0);
            let expected = parts.reference(&f64s(&states), &lengths);
            layer.forward(&mut states, &lengths, &mut workspace);
            let (mut error, mut size) = (0.0, 1e-30);
            for (found, expected) in states.iter().zip(expected) {
                error += (f64::from(*found) - expected).powi(2);
                size += expected * expected;
            }
            let relative = f64::sqrt(error / size);
            println!("{}, {sequences:?}: relative error {relative:.2e}", isa.name());
            // A step of a range of about 5 deviations in 127 parts errs by 1.1 % of the deviation (step / sqrt(12)).
            assert!(relative <= 0.01);
        }
    });
}

/// What a sequence becomes must not depend on its neighbours in the batch, nor a trunk on its branches or a branch on the
/// others, or the same article would get different scores.
#[test]
fn nothing_depends_on_its_company() {
    each_isa(|isa| {
        let mut random = Random(10);
        let layer = Parts::new(&mut random).layer(isa);
        let mut workspace = Workspace::new(isa);
        let sequences = lengths(&[&[3], &[250, 5, 30], &[40, 17, 1, 9], &[1], &[300]]);
        let states = random.normals(rows(&sequences) * HIDDEN, 1.0);
        let mut together = states.clone();
        layer.forward(&mut together, &sequences, &mut workspace);
        let mut first = 0;
        for sequence in sequences {
            for (seen, own) in sequence.parts() {
                let rows = |part: std::ops::Range<usize>| (first + part.start) * HIDDEN..(first + part.end) * HIDDEN;
                let mut alone = [&states[rows(0..seen)], &states[rows(own.clone())]].concat();
                let lengths = match seen {
                    0 => Lengths::from(own.len()),
                    trunk => Lengths {
                        trunk,
                        branches: vec![own.len()],
                    },
                };
                layer.forward(&mut alone, &[lengths], &mut workspace);
                assert!(
                    together[rows(own.clone())] == alone[seen * HIDDEN..],
                    "{}: {own:?} of {sequence:?}",
                    isa.name()
                );
            }
            first += sequence.total();
        }
    });
}
