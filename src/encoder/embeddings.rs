//! What the first layer reads, before its norm: a row per token, the sum of the embeddings of word, position and type.

use super::names::Names;
use super::{BertConfig, EncoderError, Ids};
use crate::weights::{Rows, Weights};

/// The tables of a BERT-like encoder.
#[derive(Debug)]
pub(super) struct Embeddings {
    words: Rows,
    /// `[max_tokens, hidden]`: the position embedding plus that of token type 0, which all tokens have but those of second
    /// segments.
    positions: Vec<f32>,
    /// What a token of type 1 has over one of type 0; empty where the encoder knows one type alone.
    second_type: Vec<f32>,
    hidden: usize,
    max_tokens: usize,
}

impl Embeddings {
    pub(super) fn load(config: &BertConfig, weights: &Weights) -> Result<Self, EncoderError> {
        let hidden = config.hidden_size;
        let words = weights.rows("embeddings.word_embeddings.weight", config.vocab_size, hidden)?;
        let name = "embeddings.position_embeddings.weight";
        // llama.cpp leaves out the rows before the first position that is used.
        let used = [config.max_tokens(), hidden];
        let mut positions = if weights.shape(name).is_some_and(|shape| shape == used) {
            weights.values(name, &used)?
        } else {
            weights.values(name, &[config.max_position_embeddings, hidden])?
        };
        positions.drain(..positions.len() - config.max_tokens() * hidden);
        let mut second_type = Vec::new();
        if let Some(types) = Names::of(&config.model_type).token_types {
            let types = weights.values(types, &[config.type_vocab_size, hidden])?;
            for row in positions.chunks_exact_mut(hidden) {
                row.iter_mut()
                    .zip(&types)
                    .for_each(|(position, kind)| *position += kind);
            }
            let (first, second) = types.split_at(hidden);
            second_type = second.iter().zip(first).map(|(second, first)| second - first).collect();
        }
        Ok(Self {
            words,
            positions,
            second_type,
            hidden,
            max_tokens: config.max_tokens(),
        })
    }

    /// The rows of all sequences, one behind the other.
    pub(super) fn sum(&self, sequences: &[Ids<'_>]) -> Result<Vec<f32>, EncoderError> {
        let tokens: usize = sequences.iter().map(|sequence| sequence.lengths().total()).sum();
        let mut rows = Vec::with_capacity(tokens * self.hidden);
        for sequence in sequences {
            let trunk = rows.len();
            for (position, ids) in sequence.parts() {
                self.extend(position, ids, &mut rows)?;
            }
            let second = rows.chunks_exact_mut(self.hidden).skip(trunk / self.hidden);
            for row in second.take(sequence.trunk.len()).skip(sequence.second) {
                row.iter_mut()
                    .zip(&self.second_type)
                    .for_each(|(value, more)| *value += more);
            }
        }
        Ok(rows)
    }

    /// The rows of tokens of type 0 whose positions begin with `position`.
    fn extend(&self, position: usize, ids: &[u32], rows: &mut Vec<f32>) -> Result<(), EncoderError> {
        let (length, max) = (position + ids.len(), self.max_tokens);
        if length > max {
            return Err(EncoderError::TooLong { length, max });
        }
        let first = rows.len();
        for &id in ids {
            if !self.words.extend(id as usize, rows) {
                let rows = self.words.len();
                return Err(EncoderError::TokenId { id, rows });
            }
        }
        let words = rows.iter_mut().skip(first);
        words
            .zip(self.positions.iter().skip(position * self.hidden))
            .for_each(|(word, position)| *word += position);
        Ok(())
    }
}
