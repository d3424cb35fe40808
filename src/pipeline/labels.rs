//! Labels that a request brings. Before an NLI model each is a hypothesis (`nli`); any other model with a topic head on mean
//! states is asked how near the text's mean state lies to that of the label's own words.
//!
//! All short phrases lie near each other in such a space, so what they share is taken off the label first: the mean of some
//! phrases that cover the news. Of the ways that were measured (scripts/evaluate_labels.py, docs/labels.md) this was the best
//! and the cheapest: one pass over the text whatever the number of labels.

use super::prepare::PrepareError;
use super::{Pipeline, PipelineError, Prepared, Reading, Sequence, calibrate, nli};
use crate::article::{Article, InputError, Label, Topic};
use crate::model::{Scores, WindowPooling};

/// The 17 Media Topics at the top of IPTC's tree.
const NEWS: [&str; 17] = [
    "arts, culture, entertainment and media",
    "conflict, war and peace",
    "crime, law and justice",
    "disaster, accident and emergency incident",
    "economy, business and finance",
    "education",
    "environment",
    "health",
    "human interest",
    "labour",
    "lifestyle and leisure",
    "politics and government",
    "religion",
    "science and technology",
    "society",
    "sport",
    "weather",
];

impl Pipeline {
    /// A sequence for each label, to be read beside the windows.
    pub(super) fn label_sequences(&self, article: &Article, labels: &[Label]) -> Result<Vec<Sequence>, PrepareError> {
        self.check_labels(article, labels)?;
        self.news_centre()?;
        let numbered = labels.iter().enumerate();
        numbered
            .map(|(index, label)| {
                let ids = self.readable(&format!("labels[{index}]"), label.name())?;
                Ok(Sequence {
                    label: Some(index),
                    ..self.phrase(&ids)
                })
            })
            .collect()
    }

    /// Whether this model, which is no NLI model, can score them.
    fn check_labels(&self, article: &Article, labels: &[Label]) -> Result<(), InputError> {
        let refuse = |param: String, message| {
            Err(InputError::LabelsNotServed {
                param,
                model: self.manifest().name.clone(),
                message,
            })
        };
        if !self.manifest().scores_labels() {
            return refuse(
                "labels".to_owned(),
                "can't score labels of a request; an NLI model can, and so can the shipped one",
            );
        }
        let no_hypotheses = "is no NLI model: it compares the label itself with the text, and tests no hypothesis";
        if article.hypothesis_template.is_some() {
            return refuse("hypothesis_template".to_owned(), no_hypotheses);
        }
        match labels.iter().position(|label| label.hypothesis().is_some()) {
            Some(index) => refuse(format!("labels[{index}].hypothesis"), no_hypotheses),
            None => Ok(()),
        }
    }

    /// The mean state of [`NEWS`], computed when it is first needed.
    fn news_centre(&self) -> Result<&[f32], PipelineError> {
        if let Some(centre) = self.news_centre.get() {
            return Ok(centre);
        }
        let phrases: Vec<Sequence> = NEWS
            .iter()
            .map(|phrase| Ok(self.phrase(&self.tokenizer.tokens(phrase)?.ids)))
            .collect::<Result<_, PipelineError>>()?;
        let readings = self.read(&phrases.iter().collect::<Vec<_>>())?;
        let mut centre = vec![0.0; self.model.encoder.hidden_size()];
        for state in readings.iter().filter_map(|reading| reading.state.as_ref()) {
            for (sum, value) in centre.iter_mut().zip(state) {
                *sum += value / NEWS.len() as f32;
            }
        }
        Ok(self.news_centre.get_or_init(|| centre))
    }

    /// The topics of an answer to a request with labels.
    pub(super) fn label_topics(&self, prepared: &Prepared, labels: &[Label], readings: &[Reading]) -> Vec<Topic> {
        // Alone, a label would always have all of the probability: transformers' pipeline too judges it by itself then.
        let scores = if prepared.multi_label || labels.len() == 1 {
            Scores::Sigmoid
        } else {
            Scores::Softmax
        };
        let threshold = prepared.threshold.unwrap_or(match scores {
            Scores::Sigmoid => 0.5,
            Scores::Softmax => 0.0,
        });
        let values = if self.model.nli.is_some() {
            nli::label_scores(prepared, readings, labels.len(), scores)
        } else {
            self.nearness_scores(prepared, readings, labels.len(), scores)
        };
        let best = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut topics: Vec<Topic> = labels
            .iter()
            .zip(values)
            .map(|(label, score)| Topic {
                label: label.name().to_owned(),
                score,
                logit: logit(scores, score),
                assigned: score >= threshold && (scores == Scores::Sigmoid || score >= best),
                threshold,
                name: Default::default(),
                iptc: Vec::new(),
                evidence: None,
            })
            .collect();
        topics.sort_by(|a, b| b.score.total_cmp(&a.score));
        topics.truncate(prepared.top_k.unwrap_or(usize::MAX));
        topics
    }

    fn nearness_scores(&self, prepared: &Prepared, readings: &[Reading], labels: usize, scores: Scores) -> Vec<f32> {
        let centre = self.news_centre.get().map(Vec::as_slice).unwrap_or_default();
        let states = || {
            let pairs = prepared.sequences.iter().zip(readings);
            pairs.filter_map(|(sequence, reading)| Some((sequence, reading.state.as_ref()?)))
        };
        let logits: Vec<_> = (0..labels)
            .map(|index| {
                let label = states().find(|(sequence, _)| sequence.label == Some(index));
                let label: Vec<f32> = label
                    .map(|(_, state)| state.iter().zip(centre).map(|(value, shared)| value - shared).collect())
                    .unwrap_or_default();
                let windows = states()
                    .filter(|(sequence, _)| sequence.label.is_none())
                    .map(|(sequence, state)| (cosine(state, &label), sequence.text.len()));
                let calibration = self.manifest().labels.calibration;
                (calibration, calibrate::pool(WindowPooling::Max, windows))
            })
            .collect();
        calibrate::topics(scores, &logits)
    }
}

fn cosine(left: &[f32], right: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| -> f32 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    let norms = (dot(left, left) * dot(right, right)).sqrt();
    if norms > 0.0 { dot(left, right) / norms } else { 0.0 }
}

/// What gives the score back: of a sigmoid its log-odds, of a softmax its logarithm.
fn logit(scores: Scores, score: f32) -> f32 {
    let score = score.clamp(f32::MIN_POSITIVE, 1.0 - f32::EPSILON);
    match scores {
        Scores::Sigmoid => (score / (1.0 - score)).ln(),
        Scores::Softmax => score.ln(),
    }
}
