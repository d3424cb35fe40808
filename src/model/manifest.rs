//! `tasnif.toml`: what serving needs to know of a model and Hugging Face's files have no place for.
//!
//! The format is documented for its users in models/README.md.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::nli::Nli;

/// The version of the format that is read here.
pub const FORMAT: u32 = 1;

/// The stance classes, in the order of the head's rows and of every array of four in this crate.
pub const STANCES: [&str; 4] = ["favor", "against", "neutral", "unrelated"];

/// A whole tasnif.toml.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub name: String,
    pub version: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub license: String,
    #[serde(default)]
    pub base: String,
    /// ISO 639-1 codes of the languages trained on.
    #[serde(default)]
    pub languages: Vec<String>,
    pub input: Input,
    pub windows: Windows,
    pub topics: Option<Topics>,
    pub stance: Option<Stance>,
    /// How labels of a request are scored where there is no `[nli]`.
    #[serde(default)]
    pub labels: Labels,
    /// A model for natural language inference, which has no topics of its own.
    pub nli: Option<Nli>,
    /// What the model was trained on, for `GET /v1/models` and the card.
    #[serde(default)]
    pub training: Vec<Training>,
    /// sha256 of the bundle's other files, by name.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
}

/// How a window becomes a sequence of the encoder.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    pub template: Template,
    /// Put before the text of each window, as the base was pretrained with.
    #[serde(default)]
    pub prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Template {
    /// `<s> TARGET </s></s> PREFIX WINDOW </s>`; without a target that segment is empty. An NLI model's is
    /// `<s> PREFIX WINDOW </s></s> HYPOTHESIS </s>`.
    Pair,
    /// `<s> PREFIX WINDOW </s>`: an ordinary classifier, which knows no targets.
    Single,
    /// `<s> PREFIX WINDOW </s>`, shared by all targets: each is a branch `</s> TARGET </s>`, empty for the main subject.
    Shared,
}

/// Sizes in tokens.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// A whole sequence: special tokens, prefix, text and, with the template `pair`, a target.
    pub tokens: usize,
    /// What neighbouring windows share at most, to give a cut sentence its context.
    pub overlap: usize,
    /// The longest target.
    pub target_tokens: usize,
}

/// The topic head.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topics {
    #[serde(default)]
    pub head: Head,
    #[serde(default)]
    pub scores: Scores,
    /// How the logits of an article's windows become one.
    pub windows: WindowPooling,
    pub labels: Vec<TopicLabel>,
}

/// Which tensors make the logits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// `topics.weight` and `topics.bias` on the mean of the text states.
    #[default]
    Mean,
    /// The head of the architecture's `…ForSequenceClassification` in transformers.
    Classifier,
}

/// How logits become scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scores {
    /// Each label for itself: many at once.
    #[default]
    Sigmoid,
    /// One label among all; only the best is assigned.
    Softmax,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WindowPooling {
    /// An article is about what any of its windows is about.
    Max,
    /// The mean, weighted by the windows' text tokens.
    Mean,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TopicLabel {
    pub id: String,
    /// Display names by language code.
    #[serde(default)]
    pub name: BTreeMap<String, String>,
    /// IPTC Media Topic codes, the closest concept first.
    #[serde(default)]
    pub iptc: Vec<String>,
    /// The label is assigned from this calibrated score on.
    pub threshold: f32,
    #[serde(default)]
    pub calibration: Platt,
}

/// Platt scaling: p = sigmoid(scale * logit + bias) (Platt 1999, "Probabilistic outputs for support vector machines").
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Platt {
    pub scale: f32,
    pub bias: f32,
}

impl Platt {
    /// The calibrated logit.
    #[must_use]
    pub fn apply(self, logit: f32) -> f32 {
        self.scale * logit + self.bias
    }

    fn is_sound(self) -> bool {
        self.scale.is_finite() && self.scale > 0.0 && self.bias.is_finite()
    }
}

impl Default for Platt {
    fn default() -> Self {
        Self { scale: 1.0, bias: 0.0 }
    }
}

/// Labels of a request, scored by the cosine between the mean states of text and label.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Labels {
    pub calibration: Platt,
}

impl Default for Labels {
    /// Of multilingual-e5-small as scripts/train.py fine-tunes it, by scripts/evaluate_labels.py: even odds lie at a cosine
    /// of .28.
    fn default() -> Self {
        Self {
            calibration: Platt {
                scale: 12.1,
                bias: -3.35,
            },
        }
    }
}

/// The stance head over (target, text) pairs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stance {
    /// Must be [`STANCES`]; written out so that the file explains itself.
    pub labels: Vec<String>,
    #[serde(default)]
    pub calibration: Temperature,
}

/// p = softmax(logits / temperature + bias): temperature scaling (Guo et al. 2017, "On Calibration of Modern Neural
/// Networks") with a correction of the class prior.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Temperature {
    pub temperature: f32,
    #[serde(default)]
    pub bias: [f32; 4],
}

impl Default for Temperature {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            bias: [0.0; 4],
        }
    }
}

#[derive(Debug, Clone, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Training {
    pub source: String,
    pub license: String,
    #[serde(default)]
    pub examples: u64,
}

impl Manifest {
    /// Reads a tasnif.toml; the error is a sentence for the person who wrote it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let manifest: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        manifest.check()?;
        Ok(manifest)
    }

    /// The manifest of a model that brings none.
    pub(super) fn new(
        name: &str,
        input: Input,
        windows: Windows,
        topics: Option<Topics>,
        nli: Option<Nli>,
    ) -> Result<Self, String> {
        let manifest = Self {
            format: FORMAT,
            name: name.to_owned(),
            version: "unversioned".to_owned(),
            description: String::new(),
            license: String::new(),
            base: String::new(),
            languages: Vec::new(),
            input,
            windows,
            topics,
            stance: None,
            labels: Labels::default(),
            nli,
            training: Vec::new(),
            files: BTreeMap::new(),
        };
        manifest.check()?;
        Ok(manifest)
    }

    /// Whether labels of a request can be scored: by inference, or by the states that a mean head reads.
    #[must_use]
    pub fn scores_labels(&self) -> bool {
        let mean = |topics: &Topics| topics.head == Head::Mean;
        self.nli.is_some() || self.topics.as_ref().is_some_and(mean)
    }

    /// The positions that a sequence may need: those of a window and, where targets are branches, of one behind it.
    #[must_use]
    pub fn positions(&self) -> usize {
        let Windows {
            tokens, target_tokens, ..
        } = self.windows;
        match self.input.template {
            Template::Shared => tokens.saturating_add(target_tokens).saturating_add(2),
            Template::Pair | Template::Single => tokens,
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "format = {}, but this tasnif reads format {FORMAT}",
                self.format
            ));
        }
        if self.name.trim().is_empty() || self.version.trim().is_empty() {
            return Err("name and version must not be empty".to_owned());
        }
        self.windows.check(self.input.template)?;
        if self.topics.is_none() && self.stance.is_none() && self.nli.is_none() {
            return Err("none of [topics], [stance] and [nli] is there; a model needs a task".to_owned());
        }
        if let Some(nli) = &self.nli {
            if self.topics.is_some() || self.stance.is_some() {
                return Err("[nli] stands alone: its labels and targets come with the request".to_owned());
            }
            if self.input.template != Template::Pair {
                return Err("[nli] needs template = \"pair\": a hypothesis must have its place".to_owned());
            }
            nli.check()?;
        }
        if let Some(topics) = &self.topics {
            topics.check()?;
        }
        if let Some(stance) = &self.stance {
            if self.input.template == Template::Single {
                return Err(
                    "[stance] needs template = \"pair\" or \"shared\": a target must have its place".to_owned(),
                );
            }
            stance.check()?;
        }
        if !self.labels.calibration.is_sound() {
            return Err("[labels] calibration needs a scale > 0 and a finite bias".to_owned());
        }
        if let Some(name) = self.files.keys().find(|name| !is_plain_name(name)) {
            return Err(format!(
                "[files] {name:?}: a file of the bundle's own directory is expected"
            ));
        }
        Ok(())
    }
}

/// Whether a name is that of one file or folder, so that nothing of a bundle, of a request or of the hub leads out of its
/// directory.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    let mut components = std::path::Path::new(name).components();
    let one = matches!(
        (components.next(), components.next()),
        (Some(std::path::Component::Normal(_)), None)
    );
    one && !name.contains(['/', '\\', '\0'])
}

impl Windows {
    /// `<s>`, `</s></s>` and `</s>`, and a little room for the prefix.
    const OVERHEAD: usize = 16;

    fn check(&self, template: Template) -> Result<(), String> {
        // The overlap is at most a quarter of the text that surely fits beside the longest target: each window then
        // moves on by at least a quarter, and the number of windows stays linear in the length of the document.
        let beside = match template {
            Template::Shared => 0,
            Template::Pair | Template::Single => self.target_tokens,
        };
        let room = self.tokens.saturating_sub(beside + Self::OVERHEAD);
        if self.overlap > room / 4 || room < 16 {
            return Err(format!(
                "[windows] tokens = {}, overlap = {}, target_tokens = {}: beside {beside} tokens of a target and {} \
                 special tokens, at least 16 tokens and four times the overlap must remain for the text",
                self.tokens,
                self.overlap,
                self.target_tokens,
                Self::OVERHEAD
            ));
        }
        Ok(())
    }
}

impl Topics {
    fn check(&self) -> Result<(), String> {
        if self.labels.is_empty() {
            return Err("[topics] has no labels".to_owned());
        }
        let mut seen = HashSet::new();
        for label in &self.labels {
            if label.id.trim().is_empty() || !seen.insert(label.id.as_str()) {
                return Err(format!("[topics] label id {:?} is empty or stands twice", label.id));
            }
            if !(0.0..=1.0).contains(&label.threshold) {
                return Err(format!(
                    "[topics] {}: threshold {} is not in 0..1",
                    label.id, label.threshold
                ));
            }
            if !label.calibration.is_sound() {
                return Err(format!(
                    "[topics] {}: calibration needs a scale > 0 and a finite bias",
                    label.id
                ));
            }
        }
        Ok(())
    }
}

impl Stance {
    fn check(&self) -> Result<(), String> {
        if self.labels != STANCES {
            return Err(format!("[stance] labels must be {STANCES:?}, in this order"));
        }
        let Temperature { temperature, bias } = self.calibration;
        if !(temperature.is_finite() && temperature > 0.0 && bias.iter().all(|value| value.is_finite())) {
            return Err("[stance] calibration needs a temperature > 0 and finite biases".to_owned());
        }
        Ok(())
    }
}
