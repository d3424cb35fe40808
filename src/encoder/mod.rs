//! The transformer encoder: token ids in, one hidden state per token out.
//!
//! BERT and its kin are ours, in f32 on candle tensors ([`Bert`]) and in int8 on our own kernels ([`Int8Bert`]): sequences of a batch lie one behind the other without padding (`[tokens, hidden]`).
//! The linear layers, LayerNorm and GELU see one long matrix; attention runs within each sequence. So a sequence is computed
//! the same way alone and in any company, and nothing is ever computed for a padding token. Every other architecture is
//! candle-transformers', one sequence at a time, for the same reason ([`stock`]).

mod bert;
mod config;
mod embeddings;
mod int8;
mod names;
pub mod stock;

use std::fmt::Debug;
use std::sync::Arc;

use candle_core::Tensor;

pub use bert::{Bert, Layer};
pub use config::{BertConfig, ConfigError, model_type};
pub use int8::Int8Bert;

use crate::kernels::Isa;
use crate::weights::{Weights, WeightsError};

/// Why an encoder can't be built or can't run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("a sequence of {length} tokens doesn't fit the encoder's {max} positions")]
    TooLong { length: usize, max: usize },
    #[error("token id {id} lies outside of the embedding table of {rows} rows; tokenizer.json doesn't fit the weights")]
    TokenId { id: u32, rows: usize },
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// What all architectures have in common.
pub trait Encoder: Debug + Send + Sync {
    /// The size of a hidden state.
    fn hidden_size(&self) -> usize;

    /// The longest sequence.
    fn max_tokens(&self) -> usize;

    /// Hidden states of the last layer, `[tokens of all sequences, hidden]`, sequence behind sequence.
    ///
    /// # Errors
    /// A sequence longer than the positions, a token id outside of the table.
    fn encode(&self, sequences: &[&[u32]]) -> Result<Tensor, EncoderError>;

    /// The same of pairs. An encoder without token types, as this is unless it says otherwise, tells the segments apart by
    /// the tokens between them alone.
    fn encode_pairs(&self, pairs: &[Pair<'_>]) -> Result<Tensor, EncoderError> {
        self.encode(&pairs.iter().map(|pair| pair.ids).collect::<Vec<_>>())
    }
}

/// A sequence of two segments: its tokens have type 0, and 1 from the position `second` on.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    pub ids: &'a [u32],
    pub second: usize,
}

/// In what numbers an encoder of the BERT family computes. The other architectures know f32 alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// int8 linears, everything else in f32.
    #[default]
    Int8,
    /// The reference.
    F32,
}

/// The encoder that a config.json describes.
pub fn load(config: &[u8], weights: &Arc<Weights>, precision: Precision) -> Result<Box<dyn Encoder>, EncoderError> {
    match model_type(config)?.as_str() {
        "bert" | "roberta" | "xlm-roberta" | "camembert" | "distilbert" => {
            let config = BertConfig::parse(config)?;
            Ok(match precision {
                Precision::Int8 => Box::new(Int8Bert::load(config, weights, Isa::detect())?),
                Precision::F32 => Box::new(Bert::load(config, weights)?),
            })
        }
        other => stock::load(other, config, weights),
    }
}
