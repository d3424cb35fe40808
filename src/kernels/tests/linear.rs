//! Quantising rows, and their product with a layer's weights.

use super::super::*;
use super::{Owned, Random, each_isa};

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
