//! A whole layer.

use super::super::*;
use super::{Owned, Random, each_isa, f64s, lengths, rows};

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
