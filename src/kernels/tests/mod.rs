//! Every instruction set of this machine against the naive reference, by kernel; here is what the tests share.

#![allow(
    clippy::print_stdout,
    reason = "which instruction sets ran and how far they err belongs in the log"
)]

mod activation;
mod attention;
mod layer;
mod linear;

use super::{Int8Linear, Isa, Lengths, PackedLinear};

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
