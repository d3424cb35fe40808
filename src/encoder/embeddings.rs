//! What the first layer reads, before its norm: a row per token, the sum of the embeddings of word, position and type.

use super::names::Names;
use super::{BertConfig, EncoderError, Ids};
use crate::weights::{Rows, Weights};

/// The tables of a BERT-like encoder.
#[derive(Debug)]
pub(super) struct Embeddings {
    words: Rows,
    /// `[max_tokens, hidden]`: the position embedding plus that of token type 0, which every token here has.
    positions: Vec<f32>,
    hidden: usize,
    max_tokens: usize,
}

impl Embeddings {
    pub(super) fn load(config: &BertConfig, weights: &Weights) -> Result<Self, EncoderError> {
        let hidden = config.hidden_size;
        let words = weights.rows("embeddings.word_embeddings.weight", config.vocab_size, hidden)?;
        let shape = [config.max_position_embeddings, hidden];
        let mut positions = weights.values("embeddings.position_embeddings.weight", &shape)?;
        positions.drain(..config.first_position() * hidden);
        if let Some(types) = Names::of(&config.model_type).token_types {
            let types = weights.values(types, &[config.type_vocab_size, hidden])?;
            for row in positions.chunks_exact_mut(hidden) {
                row.iter_mut()
                    .zip(&types)
                    .for_each(|(position, kind)| *position += kind);
            }
        }
        Ok(Self {
            words,
            positions,
            hidden,
            max_tokens: config.max_tokens(),
        })
    }

    /// The rows of all sequences, one behind the other.
    pub(super) fn sum(&self, sequences: &[Ids<'_>]) -> Result<Vec<f32>, EncoderError> {
        let parts = || sequences.iter().flat_map(|sequence| sequence.parts());
        let tokens: usize = parts().map(|(_, ids)| ids.len()).sum();
        let mut rows = Vec::with_capacity(tokens * self.hidden);
        for (position, ids) in parts() {
            let (length, max) = (position + ids.len(), self.max_tokens);
            if length > max {
                return Err(EncoderError::TooLong { length, max });
            }
            let first = rows.len();
            for &id in ids {
                if !self.words.extend(id as usize, &mut rows) {
                    let rows = self.words.len();
                    return Err(EncoderError::TokenId { id, rows });
                }
            }
            let words = rows.iter_mut().skip(first);
            words
                .zip(self.positions.iter().skip(position * self.hidden))
                .for_each(|(word, position)| *word += position);
        }
        Ok(rows)
    }
}
