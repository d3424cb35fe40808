//! Text to token ids, and the shape of the sequences that the tokenizer's own template makes of them.

use std::ops::Range;

use tokenizers::{Encoding, Tokenizer};

use super::PipelineError;

/// The tokens of a text without special tokens, and the bytes of the source that each stands for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    pub ids: Vec<u32>,
    /// Byte ranges of the source. Normalisation can fold several characters into one token and give neighbouring tokens
    /// the same range; ranges never run backwards.
    pub offsets: Vec<Range<usize>>,
}

impl Tokens {
    /// All of `text`, however long.
    pub fn of(tokenizer: &Tokenizer, text: &str) -> Result<Self, PipelineError> {
        let encoding = tokenizer
            .encode(text, false)
            .map_err(|error| PipelineError::Tokenizer(error.to_string()))?;
        let offsets = encoding.get_offsets().iter().map(|&(start, end)| start..end).collect();
        Ok(Self {
            ids: encoding.get_ids().to_vec(),
            offsets,
        })
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}

/// The special tokens that the tokenizer's post-processor puts around a pair: before the first text, between, behind.
/// For XLM-RoBERTa that is `<s> A </s></s> B </s>`, for BERT `[CLS] A [SEP] B [SEP]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairTemplate {
    pub before: Vec<u32>,
    pub between: Vec<u32>,
    pub behind: Vec<u32>,
}

impl PairTemplate {
    /// Learned from the tokenizer itself: two placeholders go through its post-processor.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self, PipelineError> {
        const FIRST: u32 = u32::MAX - 1;
        const SECOND: u32 = u32::MAX;
        let placeholder = |id| {
            Encoding::new(
                vec![id],
                vec![0],
                vec![String::new()],
                vec![None],
                vec![(0, 0)],
                vec![0],
                vec![1],
                Vec::new(),
                Default::default(),
            )
        };
        let pair = tokenizer
            .post_process(placeholder(FIRST), Some(placeholder(SECOND)), true)
            .map_err(|error| PipelineError::Tokenizer(error.to_string()))?;
        let ids = pair.get_ids();
        let at = |wanted| ids.iter().position(|&id| id == wanted);
        match (at(FIRST), at(SECOND)) {
            (Some(first), Some(second)) if 0 < first && first + 1 < second => Ok(Self {
                before: ids[..first].to_vec(),
                between: ids[first + 1..second].to_vec(),
                behind: ids[second + 1..].to_vec(),
            }),
            _ => Err(PipelineError::Tokenizer(
                "its post-processor has no template for pairs with special tokens around and between them".to_owned(),
            )),
        }
    }

    /// How many special tokens a pair has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.before.len() + self.between.len() + self.behind.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
