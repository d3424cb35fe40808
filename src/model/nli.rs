//! Natural language inference: does a hypothesis follow from a text? A model for that classifies by any labels, each made
//! a hypothesis (Yin et al. 2019, "Benchmarking Zero-shot Text Classification").

use std::collections::BTreeMap;

use candle_core::{Error, Tensor};
use serde::Deserialize;

use super::head::Classifier;
use super::hugging_face::ClassifierShape;
use super::hypotheses::{Question, built_in};
use crate::article::is_template;
use crate::weights::{Weights, WeightsError};

/// The `[nli]` of a tasnif.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nli {
    /// In the order of the head's rows: entailment, contradiction and neutral, or entailment and not_entailment.
    pub labels: Vec<String>,
    /// Templates of hypotheses by the language of the article, in place of those that tasnif brings.
    #[serde(default)]
    pub hypotheses: BTreeMap<String, BTreeMap<Question, String>>,
}

/// The rows of the head that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NliRows {
    pub entailment: usize,
    /// Contradiction; not_entailment where there are two rows.
    pub contradiction: usize,
}

/// What the head says of one pair: the logits of entailment and of contradiction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Inference {
    pub entailment: f32,
    pub contradiction: f32,
}

/// The architecture's classification head on a pair.
#[derive(Debug)]
pub struct NliHead {
    classifier: Classifier,
    rows: NliRows,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Relation {
    Entailment,
    Contradiction,
    Neutral,
    NotEntailment,
}

impl NliRows {
    /// The rows of a head with these labels, in whatever order and case; `None` if it is no head for inference.
    #[must_use]
    pub fn find(labels: &[String]) -> Option<Self> {
        use Relation::{Contradiction, Entailment, Neutral, NotEntailment};
        let relations: Vec<Relation> = labels.iter().map(|label| relation(label)).collect::<Option<_>>()?;
        let row = |wanted| relations.iter().position(|&relation| relation == wanted);
        let against = match relations.len() {
            3 => row(Neutral).and(row(Contradiction)),
            2 => row(NotEntailment),
            _ => None,
        };
        Some(Self {
            entailment: row(Entailment)?,
            contradiction: against?,
        })
    }
}

fn relation(label: &str) -> Option<Relation> {
    match label.to_lowercase().replace(['-', ' '], "_").as_str() {
        "entailment" | "entail" | "entails" => Some(Relation::Entailment),
        "contradiction" | "contradict" | "contradicts" => Some(Relation::Contradiction),
        "neutral" => Some(Relation::Neutral),
        "not_entailment" | "non_entailment" | "no_entailment" => Some(Relation::NotEntailment),
        _ => None,
    }
}

impl NliHead {
    /// `nli` is a checked one.
    pub(super) fn load(
        weights: &Weights,
        shape: ClassifierShape,
        hidden: usize,
        nli: &Nli,
    ) -> Result<Self, WeightsError> {
        let rows = NliRows::find(&nli.labels).ok_or_else(|| Error::Msg("the labels are no inference".to_owned()))?;
        Ok(Self {
            classifier: Classifier::load(weights, shape, hidden, nli.labels.len())?,
            rows,
        })
    }

    /// From the states of one whole sequence.
    pub fn apply(&self, states: &Tensor) -> Result<Inference, Error> {
        let logits = self.classifier.apply(states)?;
        let logit = |row: usize| {
            let missing = || Error::Msg("a head has a row for each label".to_owned());
            logits.get(row).copied().ok_or_else(missing)
        };
        Ok(Inference {
            entailment: logit(self.rows.entailment)?,
            contradiction: logit(self.rows.contradiction)?,
        })
    }
}

impl Nli {
    pub(super) fn check(&self) -> Result<(), String> {
        if NliRows::find(&self.labels).is_none() {
            return Err(format!(
                "[nli] labels = {:?}: entailment, contradiction and neutral are expected in the order of the head's rows, \
                 or entailment and not_entailment",
                self.labels
            ));
        }
        for (language, templates) in &self.hypotheses {
            if let Some(wrong) = templates.values().find(|template| !is_template(template)) {
                return Err(format!(
                    "[nli.hypotheses.{language}] {wrong:?}: a sentence with one {{}} for the label is expected"
                ));
            }
        }
        Ok(())
    }

    /// The template for `question` about an article in `language` (ISO 639-1, with or without a region).
    #[must_use]
    pub fn template(&self, language: Option<&str>, question: Question) -> &str {
        let language = language.and_then(|code| code.split('-').next()).unwrap_or_default();
        let own = self
            .hypotheses
            .get(language)
            .and_then(|templates| templates.get(&question));
        own.map_or_else(|| built_in(language, question), String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_for_inference_in_any_order_and_case() {
        let find = |labels: &[&str]| {
            let labels: Vec<String> = labels.iter().map(|&label| label.to_owned()).collect();
            NliRows::find(&labels).map(|rows| (rows.entailment, rows.contradiction))
        };
        assert_eq!(find(&["entailment", "neutral", "contradiction"]), Some((0, 2)));
        assert_eq!(find(&["CONTRADICTION", "NEUTRAL", "ENTAILMENT"]), Some((2, 0)));
        assert_eq!(find(&["Neutral", "Entailment", "Contradiction"]), Some((1, 2)));
        assert_eq!(find(&["entailment", "not_entailment"]), Some((0, 1)));
        assert_eq!(find(&["Not-Entailment", "Entailment"]), Some((1, 0)));
        for other in [
            &["entailment", "contradiction"][..],
            &["entailment", "neutral", "neutral"],
            &["entailment", "not_entailment", "neutral"],
            &["entailment"],
            &["positive", "negative", "neutral"],
            &[],
        ] {
            assert_eq!(find(other), None, "{other:?}");
        }
    }
}
