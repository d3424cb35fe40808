//! BERT and its kin (RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT) on candle tensors, in f32: the reference.
//!
//! Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding"; post-norm
//! layers, exact GELU. candle-transformers' own structs are private and bound to its linear layer and its padding mask,
//! so it serves as an oracle in the tests instead.

use candle_core::{Device, Module, Tensor};
use candle_nn::{LayerNorm, Linear};

use super::embeddings::Embeddings;
use super::names::Names;
use super::{BertConfig, Encoder, EncoderError, Ids};
use crate::kernels::Lengths;
use crate::weights::{Weights, WeightsError};

/// An encoder with its weights.
#[derive(Debug)]
pub struct Bert {
    config: BertConfig,
    embeddings: Embeddings,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Bert {
    /// Reads the encoder's tensors, by Hugging Face's names, from `weights`.
    pub fn load(config: BertConfig, weights: &Weights) -> Result<Self, EncoderError> {
        let embeddings = Embeddings::load(&config, weights)?;
        let names = Names::of(&config.model_type);
        let norm = layer_norm(weights, "embeddings.LayerNorm", &config)?;
        let layers = (0..config.num_hidden_layers)
            .map(|index| Layer::load(&config, weights, &names, index))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            config,
            embeddings,
            norm,
            layers,
        })
    }

    #[must_use]
    pub fn config(&self) -> &BertConfig {
        &self.config
    }

    /// The layers in order; [`Encoder::encode`] is [`Bert::embed`] followed by each of them.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Word, position and type embeddings, normalised: what the first layer reads.
    pub fn embed(&self, sequences: &[Ids<'_>]) -> Result<Tensor, EncoderError> {
        let hidden = self.config.hidden_size;
        let rows = self.embeddings.sum(sequences)?;
        let rows = Tensor::from_vec(rows, ((), hidden), &Device::Cpu)?;
        Ok(self.norm.forward(&rows)?)
    }
}

impl Encoder for Bert {
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
        let mut states = self.embed(sequences)?;
        for layer in &self.layers {
            states = layer.forward(&states, &lengths)?;
        }
        Ok(states)
    }
}

/// One transformer layer: self-attention and feed-forward, each with a residual and a LayerNorm behind it.
#[derive(Debug)]
pub struct Layer {
    heads: usize,
    /// Query, key and value in one product; the query rows carry the 1/sqrt(head size) of the scores.
    query_key_value: Linear,
    attention_output: Linear,
    attention_norm: LayerNorm,
    intermediate: Linear,
    output: Linear,
    output_norm: LayerNorm,
}

impl Layer {
    fn load(config: &BertConfig, weights: &Weights, names: &Names, index: usize) -> Result<Self, WeightsError> {
        let hidden = config.hidden_size;
        let prefix = format!("{}.{index}", names.layers);
        let linear =
            |name: &str, inputs: usize, outputs: usize| linear(weights, &format!("{prefix}.{name}"), inputs, outputs);
        let norm = |name: &str| layer_norm(weights, &format!("{prefix}.{name}"), config);

        let heads = config.num_attention_heads;
        let scale = 1.0 / ((hidden / heads) as f64).sqrt();
        let tensor = |suffix: &str, shape: &[usize]| -> Result<Tensor, WeightsError> {
            let [query, key, value] = names
                .query_key_value
                .map(|part| weights.tensor(&format!("{prefix}.{part}.{suffix}"), shape));
            Ok(Tensor::cat(&[(query? * scale)?, key?, value?], 0)?)
        };
        let query_key_value = Linear::new(tensor("weight", &[hidden, hidden])?, Some(tensor("bias", &[hidden])?));

        Ok(Self {
            heads,
            query_key_value,
            attention_output: linear(names.attention_output, hidden, hidden)?,
            attention_norm: norm(names.attention_norm)?,
            intermediate: linear(names.intermediate, hidden, config.intermediate_size)?,
            output: linear(names.output, config.intermediate_size, hidden)?,
            output_norm: norm(names.output_norm)?,
        })
    }

    /// `states` is `[tokens, hidden]`; `sequences` says how its rows make sequences.
    pub fn forward(&self, states: &Tensor, sequences: &[Lengths]) -> Result<Tensor, EncoderError> {
        let attended = self.attention_output.forward(&self.attention(states, sequences)?)?;
        let states = self.attention_norm.forward(&(attended + states)?)?;
        let wide = self.intermediate.forward(&states)?.gelu_erf()?;
        let narrow = self.output.forward(&wide)?;
        Ok(self.output_norm.forward(&(narrow + states)?)?)
    }

    fn attention(&self, states: &Tensor, sequences: &[Lengths]) -> Result<Tensor, candle_core::Error> {
        let (tokens, hidden) = states.dims2()?;
        let head = hidden / self.heads;
        let projected = self
            .query_key_value
            .forward(states)?
            .reshape((tokens, 3, self.heads, head))?;
        let mut contexts = Vec::with_capacity(sequences.len());
        let mut first = 0;
        for sequence in sequences {
            // [3, heads, length, head]
            let own = projected.narrow(0, first, sequence.total())?.permute((1, 2, 0, 3))?;
            let (query, key, value) = (own.get(0)?, own.get(1)?, own.get(2)?);
            for (trunk, rows) in sequence.parts() {
                let query = query.narrow(1, rows.start, rows.len())?;
                let seen = |all: &Tensor| {
                    let own = all.narrow(1, rows.start, rows.len())?;
                    match trunk {
                        0 => Ok(own),
                        _ => Tensor::cat(&[all.narrow(1, 0, trunk)?, own], 1),
                    }
                };
                let scores = query.matmul(&seen(&key)?.t()?)?;
                let context = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&seen(&value)?)?;
                contexts.push(context.transpose(0, 1)?.reshape((rows.len(), hidden))?);
            }
            first += sequence.total();
        }
        Tensor::cat(&contexts, 0)
    }
}

fn linear(weights: &Weights, name: &str, inputs: usize, outputs: usize) -> Result<Linear, WeightsError> {
    let weight = weights.tensor(&format!("{name}.weight"), &[outputs, inputs])?;
    let bias = weights.tensor(&format!("{name}.bias"), &[outputs])?;
    Ok(Linear::new(weight, Some(bias)))
}

fn layer_norm(weights: &Weights, name: &str, config: &BertConfig) -> Result<LayerNorm, WeightsError> {
    let shape = [config.hidden_size];
    let weight = weights.tensor(&format!("{name}.weight"), &shape)?;
    let bias = weights.tensor(&format!("{name}.bias"), &shape)?;
    Ok(LayerNorm::new(weight, bias, config.layer_norm_eps))
}
