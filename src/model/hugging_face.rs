//! An ordinary Hugging Face sequence classifier: its manifest from config.json, and where its head's tensors are.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::manifest::{Head, Input, Manifest, Platt, Scores, Template, TopicLabel, Topics, WindowPooling, Windows};
use super::nli::{Nli, NliRows};

/// The part of config.json that is about labels and heads.
#[derive(Debug, Clone, Deserialize)]
pub struct ClassifierConfig {
    model_type: String,
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default)]
    id2label: BTreeMap<usize, String>,
    problem_type: Option<String>,
    classifier_pooling: Option<String>,
    pooler_hidden_act: Option<String>,
    classifier_activation: Option<String>,
    #[serde(alias = "layer_norm_eps")]
    norm_eps: Option<f64>,
}

/// Where a head's tensors are and what is computed between them.
#[derive(Debug, Clone)]
pub struct ClassifierShape {
    pub pooling: Pooling,
    pub dense: &'static str,
    pub activation: Activation,
    pub norm: Option<&'static str>,
    pub norm_epsilon: f64,
    pub output: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The state of `<s>` or `[CLS]`.
    First,
    /// The mean of all states, special tokens included.
    Mean,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    Tanh,
    Relu,
    Gelu,
}

impl ClassifierConfig {
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }

    /// The head of this architecture's `…ForSequenceClassification` in transformers.
    pub fn shape(&self) -> Result<ClassifierShape, String> {
        let first = |dense, activation, output| ClassifierShape {
            pooling: Pooling::First,
            dense,
            activation,
            norm: None,
            norm_epsilon: 0.0,
            output,
        };
        match self.model_type.as_str() {
            "bert" => Ok(first("pooler.dense", Activation::Tanh, "classifier")),
            "roberta" | "xlm-roberta" | "camembert" => {
                Ok(first("classifier.dense", Activation::Tanh, "classifier.out_proj"))
            }
            "distilbert" => Ok(first("pre_classifier", Activation::Relu, "classifier")),
            "deberta-v2" => {
                let activation = activation("pooler_hidden_act", self.pooler_hidden_act.as_deref())?;
                Ok(first("pooler.dense", activation, "classifier"))
            }
            "modernbert" => Ok(ClassifierShape {
                pooling: match self.classifier_pooling.as_deref() {
                    None | Some("cls") => Pooling::First,
                    Some("mean") => Pooling::Mean,
                    Some(other) => return Err(format!("classifier_pooling {other:?} is not served; cls and mean are")),
                },
                norm: Some("head.norm"),
                norm_epsilon: self.norm_eps.unwrap_or(1e-5),
                ..first(
                    "head.dense",
                    activation("classifier_activation", self.classifier_activation.as_deref())?,
                    "classifier",
                )
            }),
            other => Err(format!("no classification head is known for model_type {other:?}")),
        }
    }

    /// What a tasnif.toml would say of this model: windows as long as its positions, thresholds that leave the scores as
    /// they are, no calibration.
    pub fn manifest(&self, name: &str, max_tokens: usize) -> Result<Manifest, String> {
        if !self
            .architectures
            .iter()
            .any(|name| name.ends_with("ForSequenceClassification"))
        {
            return Err(format!(
                "architectures is {:?}, and there is no tasnif.toml that would say what the model does; \
                 a …ForSequenceClassification is served as it is",
                self.architectures
            ));
        }
        if self.id2label.is_empty() || !self.id2label.keys().copied().eq(0..self.id2label.len()) {
            return Err("id2label must name the labels 0, 1, 2 … without a gap".to_owned());
        }
        // BERT's kin are trained on up to 512; longer windows of ModernBERT would cost quadratic attention for nothing.
        let tokens = max_tokens.min(512);
        let input = |template| Input {
            template,
            prefix: String::new(),
        };
        let windows = |target_tokens| Windows {
            tokens,
            overlap: tokens / 8,
            target_tokens,
        };
        let labels: Vec<String> = self.id2label.values().cloned().collect();
        if NliRows::find(&labels).is_some() {
            let nli = Nli {
                labels,
                hypotheses: BTreeMap::new(),
            };
            return Manifest::new(name, input(Template::Pair), windows(tokens / 4), None, Some(nli));
        }
        let topics = self.topics(labels)?;
        Manifest::new(name, input(Template::Single), windows(0), Some(topics), None)
    }

    fn topics(&self, labels: Vec<String>) -> Result<Topics, String> {
        let scores = match (self.problem_type.as_deref(), labels.len()) {
            (Some("multi_label_classification"), _) | (None, 1) => Scores::Sigmoid,
            // As transformers' own pipeline does where the type is not said.
            (Some("single_label_classification") | None, _) => Scores::Softmax,
            (Some(other), _) => {
                return Err(format!(
                    "problem_type {other:?} is not served; single_label_classification and multi_label_classification are"
                ));
            }
        };
        let (threshold, windows) = match scores {
            Scores::Sigmoid => (0.5, WindowPooling::Max),
            Scores::Softmax => (0.0, WindowPooling::Mean),
        };
        let labels = labels.into_iter().map(|label| TopicLabel {
            id: label,
            name: BTreeMap::new(),
            iptc: Vec::new(),
            threshold,
            calibration: Platt::default(),
        });
        Ok(Topics {
            head: Head::Classifier,
            scores,
            windows,
            labels: labels.collect(),
        })
    }
}

fn activation(field: &str, name: Option<&str>) -> Result<Activation, String> {
    match name {
        None | Some("gelu") => Ok(Activation::Gelu),
        Some("tanh") => Ok(Activation::Tanh),
        Some("relu") => Ok(Activation::Relu),
        Some(other) => Err(format!("{field} {other:?} is not served; gelu, tanh and relu are")),
    }
}
