//! Weights of a linear layer in the order in which the int8 tile reads them.
//!
//! A panel holds 16 output channels. Within it, a quad holds four consecutive inputs of each of them, channel behind
//! channel: 64 bytes, one cache line, the operand of `vpmaddubsw`, `vpdpbusd` and `sdot` alike. A panel of 384 inputs is
//! 24 KiB and stays in L1 while the rows pass by.

use super::Isa;
use super::simd::{Cut, Kernel, PANEL, Simd};

/// Weights of four inputs for each channel of a panel.
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Quad(pub(super) [i8; PANEL * 4]);

const EMPTY: Quad = Quad([0; PANEL * 4]);

/// AVX2's tile adds two quads in 16 bits.
const QUADS_TOGETHER: usize = 2;

/// What the 16-bit lanes had no room for: weights to be added to those of quad `quad` of the rows.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "AVX2's pairs alone"))]
pub(super) struct Extra {
    pub(super) quad: u32,
    pub(super) weights: Quad,
}

/// Inputs of one layer with a range of their own.
pub(super) const OUTLIERS_MOST: usize = 128;

/// Bytes of a line of the cache.
pub(super) const LINE: usize = 64;

/// How a row of inputs lies in bytes: blocks of [`Cut::block`], then the outliers, which are a block of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowLayout {
    pub(super) columns: usize,
    pub(super) outliers: usize,
    pub(super) cut: Cut,
}

impl RowLayout {
    pub(super) fn bytes(self) -> usize {
        self.plain_bytes() + self.padded(self.outliers)
    }

    /// Bytes that an outlier takes.
    pub(super) fn bytes_of_outlier(self) -> usize {
        if self.cut.spread && self.outliers > 0 {
            self.padded(self.outliers) / self.outliers
        } else {
            1
        }
    }

    /// Those before the outliers.
    pub(super) fn plain_bytes(self) -> usize {
        self.padded(self.columns)
    }

    fn padded(self, values: usize) -> usize {
        values.next_multiple_of(4 * self.cut.quads)
    }

    /// Bytes from row to row: whole lines of the cache, since a matrix unit reads a line of each row at a time.
    pub(super) fn stride(self) -> usize {
        self.bytes().next_multiple_of(LINE)
    }

    pub(super) fn blocks(self) -> usize {
        self.columns.div_ceil(self.cut.block) + usize::from(self.outliers > 0)
    }

    /// In quads; outliers that are spread belong to the last block.
    fn block_ends(self) -> Vec<usize> {
        let plain = self.plain_bytes() / 4;
        let mut ends: Vec<usize> = (1..=self.columns.div_ceil(self.cut.block))
            .map(|block| plain.min(block * self.cut.block / 4))
            .collect();
        if self.outliers > 0 {
            if self.cut.spread {
                ends.pop();
            }
            ends.push(self.bytes() / 4);
        }
        ends
    }
}

/// A linear layer, int8 with one scale per output channel, packed for one instruction set.
#[derive(Debug)]
pub struct PackedLinear {
    isa: Isa,
    inputs: usize,
    outputs: usize,
    outliers: Vec<usize>,
    /// `[block]`: where its quads end in every panel. Outliers that are spread make no block here.
    block_ends: Vec<usize>,
    /// `[panel][quad]`, the outliers behind the others
    quads: Vec<Quad>,
    /// `[panel][block]`: the sums of the weights, which the offsets of the rows multiply; the outliers' behind the others.
    sums: Vec<[f32; PANEL]>,
    extras: Vec<Extra>,
    /// `[panel]`: where its extras begin.
    extra_starts: Vec<usize>,
    /// `[panel][block]`
    extra_counts: Vec<u32>,
    /// `[panel]`: the scale and the bias of each output channel.
    scales: Vec<[f32; PANEL]>,
    biases: Vec<[f32; PANEL]>,
}

/// One panel of a [`PackedLinear`].
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "AVX2's pairs alone"))]
pub(super) struct Panel<'a> {
    pub(super) quads: &'a [Quad],
    /// Where the quads of each block end.
    pub(super) block_ends: &'a [usize],
    pub(super) sums: &'a [[f32; PANEL]],
    pub(super) extras: &'a [Extra],
    pub(super) extra_counts: &'a [u32],
    pub(super) scales: &'a [f32; PANEL],
    pub(super) biases: &'a [f32; PANEL],
}

impl PackedLinear {
    /// Packs `weights`, `[outputs, inputs]` row by row: weight = int8 * scale of its row. `outliers` names the inputs that
    /// get a range of their own in each quantised row; see [`super::outliers`].
    ///
    /// # Panics
    /// When the lengths do not fit `inputs` and the number of biases, or an outlier is not among the inputs.
    #[must_use]
    pub fn pack(isa: Isa, weights: &[i8], scales: &[f32], biases: &[f32], inputs: usize, outliers: &[usize]) -> Self {
        let outputs = biases.len();
        assert_eq!(weights.len(), outputs * inputs, "weights of {outputs} x {inputs}");
        assert!(
            outliers.iter().all(|outlier| *outlier < inputs),
            "outliers of {inputs} inputs"
        );
        assert!(outliers.len() <= OUTLIERS_MOST, "at most {OUTLIERS_MOST} outliers");
        assert_eq!(scales.len(), outputs, "one scale per output channel");
        isa.run(Pack {
            isa,
            weights,
            scales,
            biases,
            inputs,
            outliers,
        })
    }

    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Inputs with a range of their own.
    #[must_use]
    pub fn outliers(&self) -> &[usize] {
        &self.outliers
    }

    /// Bytes held, all parts together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.quads)
            + size_of_val(&*self.sums)
            + size_of_val(&*self.extras)
            + size_of_val(&*self.extra_starts)
            + size_of_val(&*self.extra_counts)
            + size_of_val(&*self.scales)
            + size_of_val(&*self.biases)
    }

    /// Quads that the 16-bit lanes of this instruction set made necessary beyond the weights' own.
    #[must_use]
    pub fn extra_quads(&self) -> usize {
        self.extras.len()
    }

    fn layout(&self) -> RowLayout {
        RowLayout {
            columns: self.inputs,
            outliers: self.outliers.len(),
            cut: self.isa.cut(),
        }
    }

    pub(super) fn panels(&self) -> usize {
        self.scales.len()
    }

    #[inline]
    pub(super) fn panel(&self, index: usize) -> Panel<'_> {
        let layout = self.layout();
        let (quads, blocks) = (layout.bytes() / 4, layout.blocks());
        Panel {
            block_ends: &self.block_ends,
            quads: &self.quads[index * quads..][..quads],
            sums: &self.sums[index * blocks..][..blocks],
            extras: &self.extras[self.extra_starts[index]..],
            extra_counts: &self.extra_counts[index * self.block_ends.len()..][..self.block_ends.len()],
            scales: &self.scales[index],
            biases: &self.biases[index],
        }
    }
}

struct Pack<'a> {
    isa: Isa,
    weights: &'a [i8],
    scales: &'a [f32],
    biases: &'a [f32],
    inputs: usize,
    outliers: &'a [usize],
}

impl Kernel for Pack<'_> {
    type Output = PackedLinear;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> PackedLinear {
        self.pack(S::LANE_LIMIT)
    }
}

impl Pack<'_> {
    fn pack(self, lane_limit: Option<i32>) -> PackedLinear {
        let Self { isa, inputs, .. } = self;
        let outputs = self.biases.len();
        let panels = outputs.div_ceil(PANEL);
        let layout = RowLayout {
            columns: inputs,
            outliers: self.outliers.len(),
            cut: isa.cut(),
        };
        let (quads_of_panel, blocks) = (layout.bytes() / 4, layout.blocks());
        let mut packed = PackedLinear {
            isa,
            inputs,
            outputs,
            outliers: self.outliers.to_vec(),
            block_ends: layout.block_ends(),
            quads: vec![EMPTY; panels * quads_of_panel],
            sums: vec![[0.0; PANEL]; panels * blocks],
            extras: Vec::new(),
            extra_starts: Vec::with_capacity(panels),
            extra_counts: Vec::with_capacity(panels * blocks),
            scales: vec![[0.0; PANEL]; panels],
            biases: vec![[0.0; PANEL]; panels],
        };
        for output in 0..outputs {
            let (panel, channel) = (output / PANEL, output % PANEL);
            packed.scales[panel][channel] = self.scales[output];
            packed.biases[panel][channel] = self.biases[output];
            let mut row = self.weights[output * inputs..][..inputs].to_vec();
            let outliers: Vec<i8> = self
                .outliers
                .iter()
                .map(|outlier| std::mem::take(&mut row[*outlier]))
                .collect();
            let quads = &mut packed.quads[panel * quads_of_panel..][..quads_of_panel];
            let (plain, others) = quads.split_at_mut(layout.plain_bytes() / 4);
            let repeated: Vec<i8> = outliers
                .iter()
                .flat_map(|weight| std::iter::repeat_n(*weight, layout.bytes_of_outlier()))
                .collect();
            for (quads, weights) in [(plain, &row), (others, &repeated)] {
                for (quad, weights) in quads.iter_mut().zip(weights.chunks(4)) {
                    quad.0[channel * 4..][..weights.len()].copy_from_slice(weights);
                }
            }
            let sums = &mut packed.sums[panel * blocks..];
            for (sums, weights) in sums
                .iter_mut()
                .zip(row.chunks(layout.cut.block).chain([outliers.as_slice()]))
            {
                sums[channel] = weights.iter().map(|weight| f32::from(*weight)).sum();
            }
        }
        for quads in packed.quads.chunks_mut(quads_of_panel.max(1)) {
            packed.extra_starts.push(packed.extras.len());
            let mut start = 0;
            for &end in &packed.block_ends {
                let before = packed.extras.len();
                let (pairs, _) = quads[start..end].as_chunks_mut::<QUADS_TOGETHER>();
                for (index, pair) in pairs.iter_mut().enumerate() {
                    if let Some(weights) = lane_limit.and_then(|limit| split_excess(pair, limit)) {
                        packed.extras.push(Extra {
                            quad: (start + index * QUADS_TOGETHER + 1) as u32,
                            weights,
                        });
                    }
                }
                packed.extra_counts.push((packed.extras.len() - before) as u32);
                start = end;
            }
        }
        packed
    }
}

/// Makes the weights of one sign in each lane (two neighbours of either quad) add up to `limit` at most; returns what had
/// to be taken from the second quad for it. The first alone is always within: 2 * 128 < 258.
fn split_excess([first, second]: &mut [Quad; 2], limit: i32) -> Option<Quad> {
    let mut taken = EMPTY;
    let mut any = false;
    for lane in (0..PANEL * 4).step_by(2) {
        for sign in [1, -1] {
            let part = |weight: i8| (i32::from(weight) * sign).max(0);
            let sum: i32 = [first.0[lane], first.0[lane + 1], second.0[lane], second.0[lane + 1]]
                .into_iter()
                .map(part)
                .sum();
            let mut excess = (sum - limit).max(0);
            for position in [lane, lane + 1] {
                let take = excess.min(part(second.0[position]));
                if take > 0 {
                    let moved = (take * sign) as i8;
                    second.0[position] -= moved;
                    taken.0[position] += moved;
                    excess -= take;
                    any = true;
                }
            }
        }
    }
    any.then_some(taken)
}
