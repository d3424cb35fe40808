//! The way of an article through a model: [`Pipeline::prepare`] (tokenize, window), [`Pipeline::read`] (encode, heads),
//! [`Pipeline::conclude`] (calibrate, verdict).
//!
//! The three are apart because they run in different places: preparing rejects bad input before anything is queued and
//! tells how many tokens there are to encode; reading takes sequences of many articles at a time; concluding needs all of
//! one article's readings. The service, the command line and the evaluation go through these same three.

mod calibrate;
mod document;
mod evidence;
mod language;
mod prepare;
mod selftest;
mod tokenize;
mod window;

use std::cmp::Ordering;
use std::path::Path;

use candle_core::Tensor;
use tokenizers::Tokenizer;

use crate::article::{self, ModelRef, StanceScores, Topic, Usage, Verdict};
use crate::encoder::EncoderError;
use crate::model::{Manifest, Model, ModelError, STANCES};

pub use prepare::{PrepareError, Prepared, Sequence};
pub use tokenize::{PairTemplate, TextTokenizer, Tokens};
pub use window::{sentence_starts, windows};

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
    model: Model,
    tokenizer: TextTokenizer,
    template: PairTemplate,
    prefix: Vec<u32>,
}

/// What the heads say of one sequence: uncalibrated logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub topics: Option<TopicReading>,
    pub stance: Option<[f32; 4]>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TopicReading {
    pub logits: Vec<f32>,
    /// Each text token's share of each logit; empty where no evidence was asked for.
    pub shares: Vec<Vec<f32>>,
}

impl Pipeline {
    /// Loads the bundle in `dir` and runs its self-test.
    pub fn load(dir: &Path) -> Result<Self, ModelError> {
        let (model, tokenizer) = Model::load(dir)?;
        let pipeline = Self::new(model, tokenizer)?;
        selftest::run(&pipeline)?;
        Ok(pipeline)
    }

    fn new(model: Model, tokenizer: Tokenizer) -> Result<Self, ModelError> {
        let broken = |error: PipelineError| ModelError::Tokenizer {
            path: model.dir.join("tokenizer.json"),
            message: error.to_string(),
        };
        let tokenizer = TextTokenizer::new(tokenizer).map_err(broken)?;
        let template = tokenizer.pair_template().map_err(broken)?;
        let prefix = tokenizer.tokens(&model.manifest.input.prefix).map_err(broken)?.ids;
        Ok(Self {
            model,
            tokenizer,
            template,
            prefix,
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
        let ids: Vec<&[u32]> = sequences.iter().map(|sequence| sequence.ids.as_slice()).collect();
        let states = self.model.encoder.encode(&ids)?;
        let mut first = 0;
        let mut readings = Vec::with_capacity(sequences.len());
        for sequence in sequences {
            let own = states.narrow(0, first, sequence.ids.len())?;
            readings.push(self.apply_heads(sequence, &own)?);
            first += sequence.ids.len();
        }
        Ok(readings)
    }

    fn apply_heads(&self, sequence: &Sequence, states: &Tensor) -> Result<Reading, PipelineError> {
        let text = states.narrow(0, sequence.text.start, sequence.text.len())?;
        let topics = match &self.model.topics {
            Some(head) if sequence.topics => {
                let (logits, shares) = head.apply(&text)?;
                let shares = if sequence.evidence { shares } else { Vec::new() };
                Some(TopicReading { logits, shares })
            }
            _ => None,
        };
        let stance = match &self.model.stance {
            Some(head) if sequence.stance => {
                let target = states.narrow(0, 0, sequence.target_end)?;
                Some(head.apply(&target, &text)?)
            }
            _ => None,
        };
        Ok(Reading { topics, stance })
    }

    /// The verdict on an article from the readings of all its sequences, in their order.
    #[must_use]
    pub fn conclude(&self, prepared: &Prepared, readings: &[Reading]) -> Verdict {
        Verdict {
            id: prepared.id.clone(),
            model: self.model_ref(),
            language: prepared.language.clone(),
            topics: prepared.asks_topics.then(|| self.topics(prepared, readings)),
            stance: prepared.asks_stance.then(|| self.stance(prepared, readings)),
            usage: Usage {
                tokens: prepared.document.tokens.len() + self.overhead(),
                windows: prepared.windows,
                truncated: false,
            },
        }
    }

    fn topics(&self, prepared: &Prepared, readings: &[Reading]) -> Vec<Topic> {
        let Some(manifest) = &self.manifest().topics else {
            return Vec::new();
        };
        let windows: Vec<(&Sequence, &TopicReading)> = prepared
            .sequences
            .iter()
            .zip(readings)
            .filter_map(|(sequence, reading)| Some((sequence, reading.topics.as_ref()?)))
            .collect();
        let wanted = |id: &str| {
            prepared
                .topics
                .as_ref()
                .is_none_or(|topics| topics.iter().any(|topic| topic == id))
        };

        let mut topics = Vec::with_capacity(manifest.labels.len());
        for (index, label) in manifest
            .labels
            .iter()
            .enumerate()
            .filter(|(_, label)| wanted(&label.id))
        {
            let logit = |reading: &TopicReading| reading.logits.get(index).copied().unwrap_or(f32::NEG_INFINITY);
            let pooled = calibrate::pool(
                manifest.windows,
                windows
                    .iter()
                    .map(|(sequence, reading)| (logit(reading), sequence.text.len())),
            );
            let score = calibrate::platt(label.calibration, pooled);
            let threshold = prepared.threshold.unwrap_or(label.threshold);
            let assigned = score >= threshold;
            let evidence = (prepared.evidence && assigned)
                .then(|| windows.iter().max_by(|a, b| logit(a.1).total_cmp(&logit(b.1))))
                .flatten()
                .map(|(sequence, reading)| {
                    let share = |token: usize| {
                        reading
                            .shares
                            .get(token)
                            .and_then(|shares| shares.get(index))
                            .copied()
                            .unwrap_or(0.0)
                    };
                    evidence::passages(&prepared.document, &sequence.tokens, share)
                });
            topics.push(Topic {
                label: label.id.clone(),
                score,
                assigned,
                threshold,
                name: label.name.clone(),
                iptc: label.iptc.clone(),
                evidence,
            });
        }
        // Stable: equal scores stay in the order of the taxonomy.
        topics.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap_or(Ordering::Equal));
        topics.truncate(prepared.top_k.unwrap_or(usize::MAX));
        topics
    }

    fn stance(&self, prepared: &Prepared, readings: &[Reading]) -> Vec<article::Stance> {
        let Some(manifest) = &self.manifest().stance else {
            return Vec::new();
        };
        prepared
            .targets()
            .map(|(index, target)| {
                let windows: Vec<([f32; 4], usize)> = prepared
                    .sequences
                    .iter()
                    .zip(readings)
                    .filter(|(sequence, _)| sequence.target == index)
                    .filter_map(|(sequence, reading)| {
                        let scores = calibrate::stance(manifest.calibration, reading.stance?);
                        Some((scores, sequence.text.len()))
                    })
                    .collect();
                let scores = calibrate::pool_stance(&windows);
                let best = (0..scores.len())
                    .max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
                    .unwrap_or(0);
                let [favor, against, neutral, unrelated] = scores;
                article::Stance {
                    target: target.map(str::to_owned),
                    label: STANCES[best].to_owned(),
                    score: scores[best],
                    scores: StanceScores {
                        favor,
                        against,
                        neutral,
                        unrelated,
                    },
                }
            })
            .collect()
    }
}
