//! The transformer encoder: token ids in, one hidden state per token out.
//!
//! BERT and its kin are ours, in f32 on candle tensors ([`Bert`]) and in int8 on our own kernels ([`Int8Bert`]): sequences of a batch lie one behind the other without padding (`[tokens, hidden]`).
//! The linear layers, LayerNorm and GELU see one long matrix; attention runs within each sequence. So a sequence is computed
//! the same way alone and in any company, and nothing is ever computed for a padding token. Every other architecture is
//! candle-transformers', one sequence at a time, for the same reason ([`stock`]).
//!
//! A sequence may have branches ([`Ids`]), which read it without being read: a text is encoded once, whatever is asked of it.

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

use crate::kernels::{Isa, Lengths};
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
    #[error("TASNIF_ISA is {asked}, but this CPU has: {supported}")]
    Isa { asked: String, supported: String },
    #[error("{0} takes no branches")]
    Branches(String),
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}

/// The token ids of a sequence: a trunk, whose tokens attend to the trunk alone, and branches behind it, whose tokens attend
/// to the trunk and to their own branch. The positions of every branch go on where the trunk ends.
///
/// So the trunk's states are the same whatever branches there are, and a branch's whatever other ones.
#[derive(Debug, Clone, Copy)]
pub struct Ids<'a> {
    pub trunk: &'a [u32],
    /// The position in the trunk from which tokens have type 1, as those of a BERT's second segment do; beyond the end if none
    /// has.
    pub second: usize,
    pub branches: &'a [Vec<u32>],
}

impl<'a> Ids<'a> {
    /// Trunk and branches in the order of their rows, each with the position of its first token.
    fn parts(self) -> impl Iterator<Item = (usize, &'a [u32])> {
        let position = self.trunk.len();
        let branches = self.branches.iter().map(move |branch| (position, branch.as_slice()));
        std::iter::once((0, self.trunk)).chain(branches)
    }

    /// How its rows lie.
    #[must_use]
    pub fn lengths(&self) -> Lengths {
        Lengths {
            trunk: self.trunk.len(),
            branches: self.branches.iter().map(Vec::len).collect(),
        }
    }
}

/// A sequence without branches.
impl<'a> From<&'a [u32]> for Ids<'a> {
    fn from(trunk: &'a [u32]) -> Self {
        Self {
            trunk,
            second: usize::MAX,
            branches: &[],
        }
    }
}

/// What all architectures have in common.
pub trait Encoder: Debug + Send + Sync {
    /// The size of a hidden state.
    fn hidden_size(&self) -> usize;

    /// The longest sequence: a trunk with any one of its branches.
    fn max_tokens(&self) -> usize;

    /// Whether sequences may have branches.
    fn takes_branches(&self) -> bool;

    /// Hidden states of the last layer, `[tokens of all sequences, hidden]`, sequence behind sequence, branches behind their
    /// trunk.
    ///
    /// # Errors
    /// A sequence longer than the positions, a token id outside of the table, branches where none are taken.
    fn encode(&self, sequences: &[Ids<'_>]) -> Result<Tensor, EncoderError>;
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

/// The instruction set of the int8 kernels: the fastest that this CPU has, or the one that TASNIF_ISA names, to compare them.
fn isa() -> Result<Isa, EncoderError> {
    let Some(asked) = std::env::var_os("TASNIF_ISA").filter(|asked| !asked.is_empty()) else {
        return Ok(Isa::detect());
    };
    let named = Isa::supported().find(|isa| asked == isa.name());
    named.ok_or_else(|| EncoderError::Isa {
        asked: asked.to_string_lossy().into_owned(),
        supported: Isa::supported().map(Isa::name).collect::<Vec<_>>().join(", "),
    })
}

/// The encoder that a config.json describes.
pub fn load(config: &[u8], weights: &Arc<Weights>, precision: Precision) -> Result<Box<dyn Encoder>, EncoderError> {
    match model_type(config)?.as_str() {
        "bert" | "roberta" | "xlm-roberta" | "camembert" | "distilbert" => {
            let config = BertConfig::parse(config)?;
            Ok(match precision {
                Precision::Int8 => Box::new(Int8Bert::load(config, weights, isa()?)?),
                Precision::F32 => Box::new(Bert::load(config, weights)?),
            })
        }
        other => stock::load(other, config, weights),
    }
}
