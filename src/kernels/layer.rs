//! One transformer layer, post-norm, with int8 linears.

use std::ops::Range;

use super::Isa;
use super::attention::{AttentionScratch, attention};
use super::lengths::Lengths;
use super::linear::{self, Epilogue, linear};
use super::norm::LayerNorm;
use super::pack::PackedLinear;
use super::quantise::{QuantizedRows, outliers};
use super::simd::{LANES, PANEL};

/// Tokens that pass a layer together, as long as whole sequences allow. Of 256 tokens, the quantised rows and the f32 results
/// of a head or of a block of channels (98 to 131 kB each) stay in L2 whatever the size of the batch, while each panel of
/// weights serves many rows.
const GROUP: usize = 256;

/// Channels of 384 with a range of their own; see [`outliers`].
const OUTLIERS: usize = 8;

/// A linear layer as it lies in a bundle: `[outputs, inputs]` int8, one scale and one bias per output channel.
#[derive(Debug, Clone, Copy)]
pub struct Int8Linear<'a> {
    pub weights: &'a [i8],
    pub scales: &'a [f32],
    pub biases: &'a [f32],
}

impl Int8Linear<'_> {
    fn pack(&self, isa: Isa, inputs: usize, outliers: &[usize]) -> PackedLinear {
        PackedLinear::pack(isa, self.weights, self.scales, self.biases, inputs, outliers)
    }
}

/// Self-attention and feed-forward, each with a residual and a LayerNorm behind it.
#[derive(Debug)]
pub struct Int8Layer {
    isa: Isa,
    heads: usize,
    hidden: usize,
    /// One for each head: its query, key and value, each filled up to a multiple of 16 channels.
    query_key_value: Vec<PackedLinear>,
    attention_output: PackedLinear,
    attention_norm: LayerNorm,
    intermediate: PackedLinear,
    output: PackedLinear,
    output_norm: LayerNorm,
}

/// The parts of a layer; see [`Int8Layer::new`].
#[derive(Debug)]
pub struct LayerParts<'a> {
    pub query: Int8Linear<'a>,
    pub key: Int8Linear<'a>,
    pub value: Int8Linear<'a>,
    pub attention_output: Int8Linear<'a>,
    pub attention_norm: LayerNorm,
    pub intermediate: Int8Linear<'a>,
    pub output: Int8Linear<'a>,
    pub output_norm: LayerNorm,
    /// The [`super::outliers`] of what the layer reads, and of what its feed-forward part reads; none is a choice.
    pub attention_outliers: &'a [usize],
    pub feed_forward_outliers: &'a [usize],
}

/// Buffers of [`Int8Layer::forward`]; they grow to the largest group seen and are reused from layer to layer.
#[derive(Debug)]
pub struct Workspace {
    quantized: QuantizedRows,
    context: QuantizedRows,
    intermediate: QuantizedRows,
    /// Queries, keys and values of one head.
    projected: Vec<f32>,
    /// f32 results that are about to be quantised.
    chunk: Vec<f32>,
    attention: AttentionScratch,
}

impl Workspace {
    #[must_use]
    pub fn new(isa: Isa) -> Self {
        Self {
            quantized: QuantizedRows::new(isa),
            context: QuantizedRows::new(isa),
            intermediate: QuantizedRows::new(isa),
            projected: Vec::new(),
            chunk: Vec::new(),
            attention: AttentionScratch::default(),
        }
    }
}

impl Int8Layer {
    /// Packs a layer of `heads` heads. The log2(e) / sqrt(head size) of the scores goes into the scales and
    /// biases of the queries.
    ///
    /// # Panics
    /// When the parts do not fit each other.
    #[must_use]
    pub fn new(isa: Isa, heads: usize, parts: LayerParts<'_>) -> Self {
        let hidden = parts.attention_output.biases.len();
        assert!(heads > 0 && hidden.is_multiple_of(heads), "{heads} heads of {hidden}");
        let factor = std::f32::consts::LOG2_E / ((hidden / heads) as f32).sqrt();
        let parts_of_head = [(parts.query, factor), (parts.key, 1.0), (parts.value, 1.0)];
        for (part, _) in parts_of_head {
            assert_eq!(part.biases.len(), hidden, "queries, keys and values of {hidden}");
        }
        let query_key_value = (0..heads).map(|head| {
            pack_head(
                isa,
                parts_of_head,
                hidden,
                head * hidden / heads..(head + 1) * hidden / heads,
                parts.attention_outliers,
            )
        });
        let intermediate = parts.intermediate.pack(isa, hidden, parts.feed_forward_outliers);
        let layer = Self {
            isa,
            heads,
            hidden,
            query_key_value: query_key_value.collect(),
            attention_output: parts.attention_output.pack(isa, hidden, &[]),
            attention_norm: parts.attention_norm,
            output: parts.output.pack(isa, intermediate.outputs(), &[]),
            intermediate,
            output_norm: parts.output_norm,
        };
        assert_eq!(layer.output.outputs(), hidden, "outputs of the feed-forward part");
        layer
    }

    /// Bytes of the packed linears.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let others = [&self.attention_output, &self.intermediate, &self.output];
        self.query_key_value.iter().chain(others).map(PackedLinear::bytes).sum()
    }

    /// Passes `states`, `[tokens, hidden]`, through the layer in place; `sequences` says how its rows make sequences.
    ///
    /// # Panics
    /// When the lengths do not add up to the rows of `states`.
    pub fn forward(&self, states: &mut [f32], sequences: &[Lengths], workspace: &mut Workspace) {
        assert_eq!(states.len(), rows(sequences) * self.hidden, "rows of all sequences");
        let mut rest = states;
        for group in groups(sequences) {
            let sequences = &sequences[group];
            let (own, later) = rest.split_at_mut(rows(sequences) * self.hidden);
            self.attend(own, sequences, workspace);
            self.feed_forward(own, workspace);
            rest = later;
        }
    }

    /// Passes one sequence through the layer as [`Self::forward`] does, and tells the [`outliers`] of what the attention and
    /// the feed-forward part read on the way.
    pub fn forward_finding_outliers(&self, states: &mut [f32], workspace: &mut Workspace) -> [Vec<usize>; 2] {
        let attention = outliers(states, self.hidden, OUTLIERS);
        self.attend(states, &[Lengths::from(states.len() / self.hidden)], workspace);
        let feed_forward = outliers(states, self.hidden, OUTLIERS);
        self.feed_forward(states, workspace);
        [attention, feed_forward]
    }

    /// Head by head: the queries, keys and values of one head (98 kB for 256 tokens) do not leave L2, and its context
    /// becomes bytes as soon as the heads of a block are complete.
    fn attend(&self, states: &mut [f32], sequences: &[Lengths], workspace: &mut Workspace) {
        let rows = states.len() / self.hidden;
        let dimension = self.hidden / self.heads;
        let outliers = self.query_key_value.first().map_or(&[][..], PackedLinear::outliers);
        workspace.quantized.quantize(states, self.hidden, outliers);
        workspace.context.reshape(rows, self.hidden, &[]);
        let block = self.isa.cut().block;
        let heads_of_block = if block.is_multiple_of(dimension) {
            block / dimension
        } else {
            self.heads
        };
        for (chunk, heads) in self.query_key_value.chunks(heads_of_block).enumerate() {
            let columns = heads.len() * dimension;
            let context = sized(&mut workspace.chunk, rows * columns);
            for (head, query_key_value) in heads.iter().enumerate() {
                let projected = sized(&mut workspace.projected, rows * query_key_value.outputs());
                linear(query_key_value, &workspace.quantized, projected, Epilogue::Store);
                let columns = head * dimension..(head + 1) * dimension;
                attention(
                    self.isa,
                    projected,
                    sequences,
                    context,
                    columns,
                    &mut workspace.attention,
                );
            }
            workspace
                .context
                .quantize_columns(context, columns, chunk * heads_of_block * dimension / block);
        }
        linear(&self.attention_output, &workspace.context, states, Epilogue::Accumulate);
        self.attention_norm.apply(states);
    }

    /// The intermediate activations exist as f32 for one block of channels at a time, and leave it as bytes.
    fn feed_forward(&self, states: &mut [f32], workspace: &mut Workspace) {
        let rows = states.len() / self.hidden;
        let wide = self.intermediate.outputs();
        workspace
            .quantized
            .quantize(states, self.hidden, self.intermediate.outliers());
        workspace.intermediate.reshape(rows, wide, &[]);
        // Those whose outputs make one block of the second layer's quantised rows.
        let block_columns = self.isa.cut().block;
        let panels_of_block = block_columns / PANEL;
        for (block, first) in (0..self.intermediate.panels()).step_by(panels_of_block).enumerate() {
            let panels = first..(first + panels_of_block).min(self.intermediate.panels());
            let columns = block_columns.min(wide - block * block_columns);
            let chunk = sized(&mut workspace.chunk, rows * columns);
            linear::panels(&self.intermediate, panels, &workspace.quantized, chunk, Epilogue::Gelu);
            workspace.intermediate.quantize_columns(chunk, columns, block);
        }
        linear(&self.output, &workspace.intermediate, states, Epilogue::Accumulate);
        self.output_norm.apply(states);
    }
}

/// The channels `rows` of the query, the key and the value, each multiplied with its factor.
fn pack_head(
    isa: Isa,
    parts: [(Int8Linear<'_>, f32); 3],
    inputs: usize,
    rows: Range<usize>,
    outliers: &[usize],
) -> PackedLinear {
    let width = rows.len().next_multiple_of(LANES);
    let (mut weights, mut scales, mut biases) = (Vec::new(), Vec::new(), Vec::new());
    for (index, (part, factor)) in parts.into_iter().enumerate() {
        weights.extend_from_slice(&part.weights[rows.start * inputs..rows.end * inputs]);
        scales.extend(part.scales[rows.clone()].iter().map(|scale| scale * factor));
        biases.extend(part.biases[rows.clone()].iter().map(|bias| bias * factor));
        weights.resize((index + 1) * width * inputs, 0);
        scales.resize((index + 1) * width, 0.0);
        biases.resize((index + 1) * width, 0.0);
    }
    PackedLinear::pack(isa, &weights, &scales, &biases, inputs, outliers)
}

/// The first `length` values of a buffer that only grows.
fn sized(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
    &mut buffer[..length]
}

fn rows(sequences: &[Lengths]) -> usize {
    sequences.iter().map(Lengths::total).sum()
}

/// Sequences in turn, in groups of about [`GROUP`] tokens; a longer one is a group of its own.
fn groups(sequences: &[Lengths]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let first = sequences.get(start)?;
        let (mut end, mut tokens) = (start + 1, first.total());
        while let Some(next) = sequences.get(end)
            && tokens + next.total() <= GROUP
        {
            tokens += next.total();
            end += 1;
        }
        Some(std::mem::replace(&mut start, end)..end)
    })
}
