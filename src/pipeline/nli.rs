//! Articles before an NLI model: each window is a premise, each label and each stance toward a target a hypothesis.

use std::ops::Range;

use super::document::Document;
use super::language::language;
use super::prepare::PrepareError;
use super::{Pipeline, Prepared, Reading, Sequence, calibrate};
use crate::article::{Article, InputError, Label, Task};
use crate::model::{Inference, Nli, Platt, Question, Scores, WindowPooling, fill};

/// What is tested for a target, in this order: whether the text is about it at all, and the three stances.
const STANCE: [Question; 4] = [Question::Topic, Question::Favor, Question::Against, Question::Neutral];

impl Pipeline {
    /// [`Pipeline::prepare`] for a model with `[nli]`.
    pub(super) fn prepare_nli(&self, nli: &Nli, article: &Article) -> Result<Prepared, PrepareError> {
        let labels = self.asked_labels(article)?;
        let targets = self.asked_targets(article)?;
        if labels.is_none() && targets.is_empty() {
            return Err(self.labels_missing().into());
        }
        let language = language(article.language.as_deref(), &article.text);
        let code = language.as_ref().map(|language| language.code.as_str());
        let mut hypotheses = Vec::new();
        for (index, label) in labels.into_iter().flatten().enumerate() {
            let template = article.hypothesis_template.as_deref();
            let template = template.unwrap_or_else(|| nli.template(code, Question::Topic));
            let sentence = label
                .hypothesis()
                .map_or_else(|| fill(template, label.name()), str::to_owned);
            let subject = label.hypothesis().unwrap_or_else(|| label.name());
            hypotheses.push(self.hypothesis(&format!("labels[{index}]"), subject, &sentence)?);
        }
        for (index, target) in targets.iter().enumerate() {
            for question in STANCE {
                let sentence = fill(nli.template(code, question), target);
                hypotheses.push(self.hypothesis(&format!("targets[{index}]"), target, &sentence)?);
            }
        }

        let document = self.document(article)?;
        // The same windows for all, so that their answers can be compared.
        let longest = hypotheses.iter().map(Vec::len).max().unwrap_or(0);
        let windows = self.windows(&document, longest);
        let sequences = windows
            .iter()
            .flat_map(|window| {
                let numbered = hypotheses.iter().enumerate();
                numbered.map(|(index, hypothesis)| self.pair(&document, window, index, hypothesis))
            })
            .collect();
        Ok(Prepared {
            asks_topics: labels.is_some(),
            asks_stance: !targets.is_empty(),
            labels: labels.cloned(),
            targets: targets.iter().cloned().map(Some).collect(),
            windows: windows.len(),
            ..Prepared::new(article, language, document, sequences)
        })
    }

    /// The labels that are to be scored; `None` if that isn't asked.
    fn asked_labels<'a>(&self, article: &'a Article) -> Result<Option<&'a Vec<Label>>, InputError> {
        match (&article.tasks, &article.labels) {
            (Some(tasks), None) if tasks.contains(&Task::Topics) => Err(self.labels_missing()),
            (Some(tasks), _) if !tasks.contains(&Task::Topics) => Ok(None),
            (_, labels) => Ok(labels.as_ref()),
        }
    }

    fn asked_targets<'a>(&self, article: &'a Article) -> Result<&'a [String], InputError> {
        match &article.tasks {
            Some(tasks) if !tasks.contains(&Task::Stance) => Ok(&[]),
            Some(_) if article.targets.is_empty() => Err(InputError::TargetsMissing {
                model: self.manifest().name.clone(),
            }),
            _ => Ok(&article.targets),
        }
    }

    fn labels_missing(&self) -> InputError {
        InputError::LabelsMissing {
            model: self.manifest().name.clone(),
        }
    }

    /// The tokens of a hypothesis about `subject`, which must be readable by itself: the words around it are no evidence.
    fn hypothesis(&self, param: &str, subject: &str, sentence: &str) -> Result<Vec<u32>, PrepareError> {
        self.readable(param, subject)?;
        self.readable(param, sentence)
    }

    fn pair(&self, document: &Document, window: &Range<usize>, index: usize, hypothesis: &[u32]) -> Sequence {
        let template = &self.template;
        let text = document.tokens.ids.get(window.clone()).unwrap_or_default();
        let start = template.before.len() + self.prefix.len();
        let end = start + text.len();
        let ids = [
            template.before.as_slice(),
            &self.prefix,
            text,
            &template.between,
            hypothesis,
            &template.behind,
        ]
        .concat();
        Sequence {
            ids,
            second: template.first_type.map_or(usize::MAX, |first| end + first),
            branches: Vec::new(),
            text: start..end,
            tokens: window.clone(),
            targets: Vec::new(),
            topics: false,
            evidence: false,
            state: false,
            label: None,
            hypothesis: Some(index),
        }
    }
}

/// What the model said of one hypothesis: (inference, text tokens) of each window.
fn windows<'a>(
    prepared: &'a Prepared,
    readings: &'a [Reading],
    index: usize,
) -> impl Iterator<Item = (Inference, usize)> + 'a {
    let pairs = prepared.sequences.iter().zip(readings);
    pairs
        .filter(move |(sequence, _)| sequence.hypothesis == Some(index))
        .filter_map(|(sequence, reading)| Some((reading.inference?, sequence.text.len())))
}

/// The labels' scores, as transformers' zero-shot pipeline has them for one window: entailment against contradiction for each
/// label by itself, or entailment among the labels where only one can be true. Of many windows, a label needs one that it
/// follows from; the only true one of several is the best on the whole.
pub(super) fn label_scores(prepared: &Prepared, readings: &[Reading], labels: usize, scores: Scores) -> Vec<f32> {
    let logits: Vec<(Platt, f32)> = (0..labels)
        .map(|index| {
            let windows = windows(prepared, readings, index);
            let logit = match scores {
                Scores::Sigmoid => calibrate::pool(
                    WindowPooling::Max,
                    windows.map(|(said, tokens)| (said.entailment - said.contradiction, tokens)),
                ),
                Scores::Softmax => calibrate::pool(
                    WindowPooling::Mean,
                    windows.map(|(said, tokens)| (said.entailment, tokens)),
                ),
            };
            (Platt::default(), logit)
        })
        .collect();
    calibrate::topics(scores, &logits)
}

/// The stance toward a target, and the text tokens, of each window: unrelated is what is not about it; the other three share
/// the rest by their entailment.
pub(super) fn stance_windows(prepared: &Prepared, readings: &[Reading], target: usize) -> Vec<([f32; 4], usize)> {
    let first = prepared.labels.as_ref().map_or(0, Vec::len) + target * STANCE.len();
    let about = windows(prepared, readings, first);
    let favor = windows(prepared, readings, first + 1);
    let against = windows(prepared, readings, first + 2);
    let neutral = windows(prepared, readings, first + 3);
    about
        .zip(favor.zip(against).zip(neutral))
        .map(|((about, tokens), ((favor, against), neutral))| {
            let related = calibrate::sigmoid(about.entailment - about.contradiction);
            let shares = calibrate::softmax([favor, against, neutral].map(|(said, _)| said.entailment).to_vec());
            let mut scores = [0.0, 0.0, 0.0, 1.0 - related];
            for (score, share) in scores.iter_mut().zip(shares) {
                *score = related * share;
            }
            (scores, tokens)
        })
        .collect()
}
