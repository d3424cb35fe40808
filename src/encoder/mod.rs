//! The transformer encoder: token ids in, one hidden state per token out.
//!
//! Sequences of a batch lie one behind the other without padding (`[tokens, hidden]`). The linear layers, LayerNorm and
//! GELU see one long matrix; attention runs within each sequence. So a sequence is computed the same way alone and in any
//! company, and nothing is ever computed for a padding token.

mod bert;
mod config;

pub use bert::{Bert, Layer};
pub use config::{BertConfig, ConfigError};

use crate::weights::WeightsError;

/// Why an encoder can't be built or can't run.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error("a sequence of {length} tokens doesn't fit the encoder's {max} positions")]
    TooLong { length: usize, max: usize },
    #[error("token id {id} lies outside of the embedding table of {rows} rows; tokenizer.json doesn't fit the weights")]
    TokenId { id: u32, rows: usize },
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
