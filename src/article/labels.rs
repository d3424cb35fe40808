//! Labels that a request brings instead of the model's own topics.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::{Article, InputError, at_most};
use super::limits;

/// Where a hypothesis template takes the label.
pub const SLOT: &str = "{}";

/// A label of the caller's own: in JSON a string, or an object where it has a hypothesis of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "a string or an object {\"label\": …, \"hypothesis\": …} is expected"
)]
pub enum Label {
    Name(String),
    Explained(ExplainedLabel),
}

/// A label and the whole sentence that is tested for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainedLabel {
    pub label: String,
    pub hypothesis: String,
}

impl Label {
    /// What the verdict calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Explained(explained) => &explained.label,
        }
    }

    /// Its own hypothesis, which no template is applied to.
    #[must_use]
    pub fn hypothesis(&self) -> Option<&str> {
        match self {
            Self::Name(_) => None,
            Self::Explained(explained) => Some(&explained.hypothesis),
        }
    }
}

impl Article {
    /// What can be said of the labels without a model.
    pub(crate) fn check_labels(&self) -> Result<(), InputError> {
        let invalid = |param: &str, message: &str| InputError::Invalid {
            param: param.to_owned(),
            message: message.to_owned(),
        };
        let Some(labels) = &self.labels else {
            let unused = [
                ("hypothesis_template", self.hypothesis_template.is_some()),
                ("multi_label", self.multi_label.is_some()),
            ];
            return match unused.into_iter().find(|(_, given)| *given) {
                Some((param, _)) => Err(invalid(param, "it says how labels are scored, and there are no labels")),
                None => Ok(()),
            };
        };
        if labels.is_empty() {
            return Err(invalid(
                "labels",
                "at least one label is expected, or no such field for the model's own topics",
            ));
        }
        if self.topics.is_some() {
            return Err(invalid(
                "topics",
                "it chooses among the model's own topics, and labels take their place; give one of the two",
            ));
        }
        if labels.len() > limits::LABELS {
            return Err(InputError::TooManyLabels {
                found: labels.len(),
                max: limits::LABELS,
            });
        }
        let mut seen = HashSet::new();
        for (index, label) in labels.iter().enumerate() {
            for (part, text) in [("", Some(label.name())), (".hypothesis", label.hypothesis())] {
                let param = format!("labels[{index}]{part}");
                at_most(&param, text, limits::LABEL_CHARS)?;
                if text.is_some_and(|text| text.trim().is_empty()) {
                    return Err(InputError::Empty { param });
                }
            }
            if !seen.insert(label.name().trim()) {
                return Err(invalid(&format!("labels[{index}]"), "this label stands twice"));
            }
        }
        if let Some(template) = &self.hypothesis_template {
            at_most("hypothesis_template", Some(template), limits::LABEL_CHARS)?;
            if !is_template(template) {
                return Err(invalid(
                    "hypothesis_template",
                    "a sentence with {} where the label belongs is expected, such as \"This text is about {}.\"",
                ));
            }
        }
        Ok(())
    }
}

/// Whether there is one place for a label.
#[must_use]
pub fn is_template(text: &str) -> bool {
    text.matches(SLOT).count() == 1
}
