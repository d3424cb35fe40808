//! The architectures that candle-transformers computes: DeBERTa v2 and v3, ModernBERT.
//!
//! Only their encoders are taken. The classification heads are our own, as for every model: candle's ModernBERT applies a
//! softmax whatever the model's `problem_type`. (Its DistilBERT computes GELU by tanh where the model has it by erf, which
//! moves logits by 1e-4; that one is ours, being BERT under other names.)

use std::sync::Arc;

use candle_core::{Device, Tensor};
use candle_transformers::models::{debertav2, modernbert};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ConfigError, Encoder, EncoderError, Ids};
use crate::weights::{Weights, var_builder};

/// One of candle's encoders.
struct Stock {
    name: String,
    network: Network,
    dimensions: Dimensions,
}

enum Network {
    DebertaV2(Box<debertav2::DebertaV2Model>),
    ModernBert(modernbert::ModernBert),
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Dimensions {
    hidden_size: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
    #[serde(default)]
    type_vocab_size: usize,
}

/// Loads the encoder of architecture `name`.
pub(super) fn load(name: &str, config: &[u8], weights: &Arc<Weights>) -> Result<Box<dyn Encoder>, EncoderError> {
    let mut config: Value = serde_json::from_slice(config).map_err(ConfigError::from)?;
    let dimensions = Dimensions::deserialize(&config).map_err(ConfigError::from)?;
    let vars = var_builder(weights);
    let network = match name {
        "deberta-v2" => {
            let config = debertav2::Config::deserialize(&config).map_err(ConfigError::from)?;
            Network::DebertaV2(Box::new(debertav2::DebertaV2Model::load(vars, &config)?))
        }
        "modernbert" => {
            modernbert_names(&mut config);
            let config = modernbert::Config::deserialize(&config).map_err(ConfigError::from)?;
            Network::ModernBert(modernbert::ModernBert::load(vars, &config)?)
        }
        other => return Err(ConfigError::Architecture(other.to_owned()).into()),
    };
    Ok(Box::new(Stock {
        name: name.to_owned(),
        network,
        dimensions,
    }))
}

/// transformers 5 names differently what candle reads under the names of version 4.
fn modernbert_names(config: &mut Value) {
    let moved = [
        ("layer_norm_eps", config.get("norm_eps")),
        (
            "global_rope_theta",
            config.pointer("/rope_parameters/full_attention/rope_theta"),
        ),
        (
            "local_rope_theta",
            config.pointer("/rope_parameters/sliding_attention/rope_theta"),
        ),
    ]
    .map(|(name, value)| (name, value.cloned()));
    let Some(object) = config.as_object_mut() else { return };
    for (name, value) in moved {
        if let Some(value) = value {
            object.entry(name).or_insert(value);
        }
    }
    object.entry("global_attn_every_n_layers").or_insert(json!(3));
    // candle would read these into a classifier that isn't used here, and fail where label ids are numbers.
    for name in ["id2label", "label2id", "classifier_pooling"] {
        object.remove(name);
    }
}

impl std::fmt::Debug for Stock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stock")
            .field("name", &self.name)
            .field("dimensions", &self.dimensions)
            .finish_non_exhaustive()
    }
}

impl Encoder for Stock {
    fn hidden_size(&self) -> usize {
        self.dimensions.hidden_size
    }

    fn max_tokens(&self) -> usize {
        self.dimensions.max_position_embeddings
    }

    /// candle's attention masks keys for all queries alike.
    fn takes_branches(&self) -> bool {
        false
    }

    fn encode(&self, sequences: &[Ids<'_>]) -> Result<Tensor, EncoderError> {
        if sequences.iter().any(|ids| !ids.branches.is_empty()) {
            return Err(EncoderError::Branches(self.name.clone()));
        }
        let states: Vec<Tensor> = sequences
            .iter()
            .map(|ids| self.encode_one(ids))
            .collect::<Result<_, _>>()?;
        Ok(Tensor::cat(&states, 0)?)
    }
}

impl Stock {
    fn encode_one(&self, sequence: &Ids<'_>) -> Result<Tensor, EncoderError> {
        let ids = sequence.trunk;
        let max = self.max_tokens();
        if ids.len() > max {
            return Err(EncoderError::TooLong { length: ids.len(), max });
        }
        let rows = self.dimensions.vocab_size;
        if let Some(&id) = ids.iter().find(|&&id| id as usize >= rows) {
            return Err(EncoderError::TokenId { id, rows });
        }
        let input = Tensor::new(ids, &Device::Cpu)?.unsqueeze(0)?;
        let states = match &self.network {
            Network::DebertaV2(model) => {
                let typed = self.dimensions.type_vocab_size > 1;
                let kind = |position| u32::from(typed && position >= sequence.second);
                let types: Vec<u32> = (0..ids.len()).map(kind).collect();
                model.forward(&input, Some(Tensor::new(types, &Device::Cpu)?.unsqueeze(0)?), None)?
            }
            Network::ModernBert(model) => model.forward(&input, &input.ones_like()?)?,
        };
        Ok(states.squeeze(0)?)
    }
}
