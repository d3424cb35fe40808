//! BERT and its kin with int8 linears, on our own kernels.
//!
//! The weights are int8 with a scale per output channel (as a bundle stores them, or quantised here on loading); the
//! activations are quantised on the fly, row by row. What that costs in accuracy is measured in docs/performance.md; the f32
//! encoder ([`super::Bert`]) is the reference.

use std::sync::{Mutex, PoisonError};

use candle_core::{Device, Tensor};

use super::embeddings::Embeddings;
use super::names::Names;
use super::{BertConfig, Encoder, EncoderError, Ids};
use crate::kernels::{Int8Layer, Int8Linear, Isa, LayerNorm, LayerParts, Lengths, Workspace};
use crate::weights::{Int8Rows, Weights, WeightsError};

/// An int8 encoder with its packed weights.
#[derive(Debug)]
pub struct Int8Bert {
    config: BertConfig,
    isa: Isa,
    embeddings: Embeddings,
    norm: LayerNorm,
    layers: Vec<Int8Layer>,
    /// One for each thread that has been here at the same time as others: buffers are reused, not allocated a batch.
    workspaces: Mutex<Vec<Workspace>>,
}

impl Int8Bert {
    /// Reads the encoder's tensors, by Hugging Face's names, and packs them for `isa`.
    pub fn load(config: BertConfig, weights: &Weights, isa: Isa) -> Result<Self, EncoderError> {
        let embeddings = Embeddings::load(&config, weights)?;
        let norm = layer_norm(weights, "embeddings.LayerNorm", &config, isa)?;
        let names = Names::of(&config.model_type);
        let mut workspace = Workspace::new(isa);
        let mut probe = embeddings.sum(&[Ids::from(probe(&config).as_slice())])?;
        norm.apply(&mut probe);
        let layers = (0..config.num_hidden_layers)
            .map(|index| {
                let layer = LayerWeights::load(&config, weights, &names, index, isa)?;
                let found = layer
                    .pack(&config, isa, [&[], &[]])
                    .forward_finding_outliers(&mut probe, &mut workspace);
                Ok(layer.pack(&config, isa, found.each_ref().map(Vec::as_slice)))
            })
            .collect::<Result<_, WeightsError>>()?;
        Ok(Self {
            config,
            isa,
            embeddings,
            norm,
            layers,
            workspaces: Mutex::new(vec![workspace]),
        })
    }
}

impl Encoder for Int8Bert {
    fn hidden_size(&self) -> usize {
        self.config.hidden_size
    }

    fn max_tokens(&self) -> usize {
        self.config.max_tokens()
    }

    fn takes_branches(&self) -> bool {
        true
    }

    fn encode(&self, sequences: &[Ids<'_>]) -> Result<Tensor, EncoderError> {
        let lengths: Vec<Lengths> = sequences.iter().map(Ids::lengths).collect();
        let mut states = self.embeddings.sum(sequences)?;
        self.norm.apply(&mut states);

        let pool = || self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut workspace = pool().pop().unwrap_or_else(|| Workspace::new(self.isa));
        for layer in &self.layers {
            layer.forward(&mut states, &lengths, &mut workspace);
        }
        pool().push(workspace);

        let tokens = states.len() / self.config.hidden_size;
        Ok(Tensor::from_vec(
            states,
            (tokens, self.config.hidden_size),
            &Device::Cpu,
        )?)
    }
}

/// A sequence to find the outlier channels by: they are the same whatever the text, so any tokens do. Steps of a prime
/// spread over the vocabulary.
fn probe(config: &BertConfig) -> Vec<u32> {
    let tokens = config.max_tokens().min(128);
    (1..=tokens)
        .map(|index| (index * 7919 % config.vocab_size) as u32)
        .collect()
}

/// A layer between the file and its packed form.
struct LayerWeights {
    query_key_value: [Linear; 3],
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
}

impl LayerWeights {
    fn load(
        config: &BertConfig,
        weights: &Weights,
        names: &Names,
        index: usize,
        isa: Isa,
    ) -> Result<Self, WeightsError> {
        let (hidden, wide) = (config.hidden_size, config.intermediate_size);
        let prefix = format!("{}.{index}", names.layers);
        let linear = |name: &str, inputs: usize, outputs: usize| -> Result<Linear, WeightsError> {
            Ok(Linear {
                rows: weights.int8(&format!("{prefix}.{name}.weight"), outputs, inputs)?,
                biases: weights.values(&format!("{prefix}.{name}.bias"), &[outputs])?,
            })
        };
        let norm = |name: &str| layer_norm(weights, &format!("{prefix}.{name}"), config, isa);
        let [query, key, value] = names.query_key_value.map(|name| linear(name, hidden, hidden));
        Ok(Self {
            query_key_value: [query?, key?, value?],
            attention_output: linear(names.attention_output, hidden, hidden)?,
            attention_norm: norm(names.attention_norm)?,
            intermediate: linear(names.intermediate, hidden, wide)?,
            output: linear(names.output, wide, hidden)?,
            output_norm: norm(names.output_norm)?,
        })
    }

    fn pack(&self, config: &BertConfig, isa: Isa, outliers: [&[usize]; 2]) -> Int8Layer {
        let [query, key, value] = self.query_key_value.each_ref().map(Linear::view);
        let [attention_outliers, feed_forward_outliers] = outliers;
        let parts = LayerParts {
            query,
            key,
            value,
            attention_output: self.attention_output.view(),
            attention_norm: self.attention_norm.clone(),
            intermediate: self.intermediate.view(),
            output: self.output.view(),
            output_norm: self.output_norm.clone(),
            attention_outliers,
            feed_forward_outliers,
        };
        Int8Layer::new(isa, config.num_attention_heads, parts)
    }
}

/// A linear layer between the file and its packed form.
struct Linear {
    rows: Int8Rows,
    biases: Vec<f32>,
}

impl Linear {
    fn view(&self) -> Int8Linear<'_> {
        Int8Linear {
            weights: &self.rows.values,
            scales: &self.rows.scales,
            biases: &self.biases,
        }
    }
}

fn layer_norm(weights: &Weights, name: &str, config: &BertConfig, isa: Isa) -> Result<LayerNorm, WeightsError> {
    let shape = [config.hidden_size];
    let weight = weights.values(&format!("{name}.weight"), &shape)?;
    let bias = weights.values(&format!("{name}.bias"), &shape)?;
    Ok(LayerNorm::new(isa, weight, bias, config.layer_norm_eps as f32))
}
