//! The way of an article through a model: [`Pipeline::prepare`] (tokenize, window), [`Pipeline::read`] (encode, heads),
//! [`Pipeline::conclude`] (calibrate, verdict).
//!
//! The three are apart because they run in different places: preparing rejects bad input before anything is queued and
//! tells how many tokens there are to encode; reading takes sequences of many articles at a time; concluding needs all of
//! one article's readings. The service, the command line and the evaluation go through these same three.

mod calibrate;
mod conclude;
mod document;
mod evidence;
mod labels;
mod language;
mod nli;
mod prepare;
mod reading;
mod selftest;
mod sequence;
mod tokenize;
mod window;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use candle_core::Tensor;

use crate::article::ModelRef;
use crate::encoder::{EncoderError, Ids, Precision};
use crate::model::{Manifest, Model, ModelError, Tokenizer};
use crate::weights::{Trim, trim};

pub use calibrate::{sigmoid, softmax};
pub use prepare::{PrepareError, Prepared};
pub use reading::Reading;
pub use sequence::{Sequence, Target};
pub use tokenize::{SequenceTemplate, TextTokenizer, Tokens};
pub use window::{Starts, windows};

/// What can go wrong between a valid article and its verdict: never the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    #[error("encoder: {0}")]
    Encoder(#[from] EncoderError),
    #[error("heads: {0}")]
    Heads(#[from] candle_core::Error),
}

/// A model, ready to read articles.
#[derive(Debug)]
pub struct Pipeline {
    /// Of this load: a process gives no other the same.
    id: u64,
    model: Model,
    tokenizer: TextTokenizer,
    template: SequenceTemplate,
    prefix: Vec<u32>,
    news_centre: OnceLock<Vec<f32>>,
    /// Last, so that all of the above is free by then.
    _trim: Trim,
}

impl Pipeline {
    /// Loads the bundle in `dir` and runs its self-test.
    pub fn load(dir: &Path, precision: Precision) -> Result<Self, ModelError> {
        let (model, tokenizer) = Model::load(dir, precision)?;
        let pipeline = Self::new(model, tokenizer)?;
        selftest::run(&pipeline, precision)?;
        // Weights were expanded and packed on the way.
        trim();
        Ok(pipeline)
    }

    fn new(model: Model, tokenizer: Arc<Tokenizer>) -> Result<Self, ModelError> {
        let broken = |error: PipelineError| ModelError::Tokenizer {
            path: model.dir.join("tokenizer.json"),
            message: error.to_string(),
        };
        let tokenizer = TextTokenizer::new(tokenizer).map_err(broken)?;
        let template = tokenizer.template(model.manifest.input.template).map_err(broken)?;
        let prefix = tokenizer.tokens(&model.manifest.input.prefix).map_err(broken)?.ids;
        static LOADS: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            id: LOADS.fetch_add(1, Ordering::Relaxed),
            model,
            tokenizer,
            template,
            prefix,
            news_centre: OnceLock::new(),
            _trim: Trim,
        })
    }

    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.model.manifest
    }

    /// What a sequence has beside target and text.
    fn overhead(&self) -> usize {
        self.template.len() + self.prefix.len()
    }

    /// Name and version, as each verdict carries them.
    #[must_use]
    pub fn model_ref(&self) -> ModelRef {
        ModelRef {
            name: self.manifest().name.clone(),
            version: self.manifest().version.clone(),
        }
    }

    /// Encodes the sequences, of whichever articles, in one batch. The readings come in the same order.
    pub fn read(&self, sequences: &[&Sequence]) -> Result<Vec<Reading>, PipelineError> {
        let ids: Vec<Ids<'_>> = sequences.iter().map(|sequence| sequence.encoder_ids()).collect();
        let states = self.model.encoder.encode(&ids)?;
        let mut first = 0;
        let mut readings = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            let own = states.narrow(0, first, sequence.rows())?;
            readings.push(self.apply_heads(sequence, &own)?);
            first += sequence.rows();
        }
        Ok(readings)
    }

    fn apply_heads(&self, sequence: &Sequence, states: &Tensor) -> Result<Reading, PipelineError> {
        let topics = match &self.model.topics {
            Some(head) if sequence.topics => {
                let trunk = states.narrow(0, 0, sequence.ids.len())?;
                let mut logits = head.apply(&trunk, &sequence.text)?;
                // A long article's shares are megabytes; they are kept only for who asked.
                logits.shares = logits.shares.filter(|_| sequence.evidence);
                Some(logits)
            }
            _ => None,
        };
        let stance = match &self.model.stance {
            Some(head) if !sequence.targets.is_empty() => {
                let targets = sequence.targets.iter().map(|target| &target.rows);
                head.apply(states, targets, &sequence.text)?
            }
            _ => Vec::new(),
        };
        let state = if sequence.state {
            let text = states.narrow(0, sequence.text.start, sequence.text.len())?;
            Some(text.mean(0)?.to_vec1()?)
        } else {
            None
        };
        let inference = self.model.nli.as_ref().map(|head| head.apply(states)).transpose()?;
        Ok(Reading {
            topics,
            stance,
            state,
            inference,
        })
    }
}
