//! From an article's readings to its verdict: pool the windows, calibrate, assign.

use super::{Pipeline, Prepared, Reading, Sequence, calibrate, evidence, nli};
use crate::article::{self, Evidence, StanceScores, Topic, Usage, Verdict};
use crate::model::{Logits, STANCES, Scores, Temperature};

impl Pipeline {
    /// The verdict on an article from the readings of all its sequences, in their order.
    #[must_use]
    pub fn conclude(&self, prepared: &Prepared, readings: &[Reading]) -> Verdict {
        Verdict {
            id: prepared.id.clone(),
            model: self.model_ref(),
            language: prepared.language.clone(),
            topics: prepared.asks_topics.then(|| match &prepared.labels {
                Some(labels) => self.label_topics(prepared, labels, readings),
                None => self.topics(prepared, readings),
            }),
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
        let windows: Vec<Window> = prepared
            .sequences
            .iter()
            .zip(readings)
            .filter_map(|(sequence, reading)| {
                Some(Window {
                    sequence,
                    logits: reading.topics.as_ref()?,
                })
            })
            .collect();
        let logits: Vec<_> = manifest
            .labels
            .iter()
            .enumerate()
            .map(|(index, label)| {
                let windows = windows
                    .iter()
                    .map(|window| (window.logit(index), window.sequence.text.len()));
                (label.calibration, calibrate::pool(manifest.windows, windows))
            })
            .collect();
        let scores = calibrate::topics(manifest.scores, &logits);
        let logits = logits.iter().map(|(calibration, logit)| calibration.apply(*logit));
        let best = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);

        let wanted = |id: &str| prepared.topics.iter().flatten().any(|topic| topic == id) || prepared.topics.is_none();
        let labels = manifest.labels.iter().zip(scores).zip(logits).enumerate();
        let mut topics: Vec<Topic> = labels
            .filter(|(_, ((label, _), _))| wanted(&label.id))
            .map(|(index, ((label, score), logit))| {
                let threshold = prepared.threshold.unwrap_or(label.threshold);
                let possible = manifest.scores == Scores::Sigmoid || score >= best;
                let assigned = possible && score >= threshold;
                let evidence = (prepared.evidence && assigned)
                    .then(|| evidence_for(index, prepared, &windows))
                    .flatten();
                Topic {
                    label: label.id.clone(),
                    score,
                    logit,
                    assigned,
                    threshold,
                    name: label.name.clone(),
                    iptc: label.iptc.clone(),
                    evidence,
                }
            })
            .collect();
        // Stable: equal scores stay in the order of the taxonomy.
        topics.sort_by(|a, b| b.score.total_cmp(&a.score));
        topics.truncate(prepared.top_k.unwrap_or(usize::MAX));
        topics
    }

    fn stance(&self, prepared: &Prepared, readings: &[Reading]) -> Vec<article::Stance> {
        prepared
            .targets
            .iter()
            .enumerate()
            .map(|(index, target)| {
                let windows = match &self.manifest().stance {
                    Some(manifest) => stance_windows(manifest.calibration, prepared, readings, index),
                    None => nli::stance_windows(prepared, readings, index),
                };
                let scores = calibrate::pool_stance(&windows);
                let best = (0..scores.len())
                    .max_by(|&a, &b| scores[a].total_cmp(&scores[b]))
                    .unwrap_or(0);
                let [favor, against, neutral, unrelated] = scores;
                article::Stance {
                    target: target.clone(),
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

/// The stance head's probabilities toward a target, and the text tokens, of each window.
fn stance_windows(
    calibration: Temperature,
    prepared: &Prepared,
    readings: &[Reading],
    index: usize,
) -> Vec<([f32; 4], usize)> {
    let sequences = prepared.sequences.iter().zip(readings);
    sequences
        .filter_map(|(sequence, reading)| {
            let place = sequence.targets.iter().position(|target| target.index == index)?;
            let scores = calibrate::stance(calibration, *reading.stance.get(place)?);
            Some((scores, sequence.text.len()))
        })
        .collect()
}

/// What the topic head said of one window.
struct Window<'a> {
    sequence: &'a Sequence,
    logits: &'a Logits,
}

impl Window<'_> {
    fn logit(&self, label: usize) -> f32 {
        self.logits.logits.get(label).copied().unwrap_or(f32::NEG_INFINITY)
    }
}

/// The passages of the window in which the label is strongest; `None` where the head keeps no shares.
fn evidence_for(label: usize, prepared: &Prepared, windows: &[Window]) -> Option<Vec<Evidence>> {
    let window = windows
        .iter()
        .max_by(|a, b| a.logit(label).total_cmp(&b.logit(label)))?;
    let shares = window.logits.shares.as_ref()?;
    let share = |token: usize| {
        shares
            .get(token)
            .and_then(|shares| shares.get(label))
            .copied()
            .unwrap_or(0.0)
    };
    Some(evidence::passages(&prepared.document, &window.sequence.tokens, share))
}
