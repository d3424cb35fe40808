//! The article, and all that can be wrong with one before a model sees it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Label;

/// Limits that belong to the contract, not to a model. In characters, so that they mean the same in every script.
pub mod limits {
    pub const ID_CHARS: usize = 512;
    pub const TARGETS: usize = 16;
    pub const TARGET_CHARS: usize = 300;
    pub const LABELS: usize = 64;
    /// Of a label, a hypothesis and a hypothesis template alike.
    pub const LABEL_CHARS: usize = 300;
}

/// One article and what is asked about it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Article {
    /// Given back in the verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 512)]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[schema(required, min_length = 1)]
    pub text: String,
    /// An ISO 639-1 code, where the caller knows the language; detected otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9-]{2,16}$")]
    pub language: Option<String>,
    /// What to judge the stance toward; without any, the article's main subject.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 16)]
    pub targets: Vec<String>,
    /// All that the model can do, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1)]
    pub tasks: Option<Vec<Task>>,
    /// Restricts the answer to these topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<String>>,
    /// Labels to score in place of the model's own topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 64)]
    pub labels: Option<Vec<Label>>,
    /// What an NLI model is to judge of each label: a sentence with `{}`; by the article's language, if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 300)]
    pub hypothesis_template: Option<String>,
    /// Whether many labels may be true at once, which they may if not given, or only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_label: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The best so many topics instead of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub top_k: Option<usize>,
    /// One threshold in 0..1 for all topics instead of the model's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub threshold: Option<f32>,
    /// Whether assigned topics show the passages that speak for them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub evidence: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    Topics,
    Stance,
}

/// What is wrong with an article.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InputError {
    #[error("{param} is missing")]
    Missing { param: String },
    #[error("{param}: {message}")]
    Invalid { param: String, message: String },
    #[error("{param} is empty or only white space")]
    Empty { param: String },
    #[error("{param} has nothing that this model can read: no piece of it is in its vocabulary")]
    Unreadable { param: String },
    #[error("{param} has {found} characters, at most {max} are read")]
    TooLong { param: String, found: usize, max: usize },
    #[error("{param} has {found} tokens in this model's vocabulary, at most {max} are read")]
    TooManyTokens { param: String, found: usize, max: usize },
    #[error("{found} targets, at most {max} are judged in one request; send the rest in another")]
    TooManyTargets { found: usize, max: usize },
    #[error("{found} labels, at most {max} are scored in one request; send the rest in another")]
    TooManyLabels { found: usize, max: usize },
    #[error("model {model:?} has no topics of its own, it scores the labels of a request; give it labels")]
    LabelsMissing { model: String },
    #[error("model {model:?} judges the stance toward targets of the request alone; give it targets")]
    TargetsMissing { model: String },
    #[error("{param}: model {model:?} {message}")]
    LabelsNotServed {
        param: String,
        model: String,
        message: &'static str,
    },
    #[error("{param}: {message}")]
    UnknownTask { param: String, message: String },
    #[error("model {model:?} has no task {task:?}")]
    TaskNotServed { model: String, task: Task },
    #[error("{param}: the model has no topic {topic:?}; GET /v1/topics lists them")]
    UnknownTopic { param: String, topic: String },
    #[error("no model {model:?} is served; GET /v1/models lists them")]
    UnknownModel { model: String },
}

impl InputError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "field_missing",
            Self::Invalid { .. } => "field_invalid",
            Self::Empty { param } if param.starts_with("targets") => "target_empty",
            Self::Empty { param } if param.starts_with("labels") => "label_empty",
            Self::Empty { .. } => "text_empty",
            Self::Unreadable { param } if param.starts_with("targets") => "target_unreadable",
            Self::Unreadable { param } if param.starts_with("labels") => "label_unreadable",
            Self::Unreadable { .. } => "text_unreadable",
            Self::TooLong { param, .. } | Self::TooManyTokens { param, .. } if param.starts_with("targets") => {
                "target_too_long"
            }
            Self::TooLong { param, .. } | Self::TooManyTokens { param, .. } if param.starts_with("labels") => {
                "label_too_long"
            }
            Self::TooLong { .. } | Self::TooManyTokens { .. } => "field_too_long",
            Self::TooManyTargets { .. } => "targets_too_many",
            Self::TooManyLabels { .. } => "labels_too_many",
            Self::LabelsMissing { .. } => "labels_missing",
            Self::TargetsMissing { .. } => "targets_missing",
            Self::LabelsNotServed { .. } => "labels_not_served",
            Self::UnknownTask { .. } | Self::TaskNotServed { .. } => "task_unknown",
            Self::UnknownTopic { .. } => "topic_unknown",
            Self::UnknownModel { .. } => "model_unknown",
        }
    }

    /// The field of the request that is at fault.
    #[must_use]
    pub fn param(&self) -> &str {
        match self {
            Self::Missing { param }
            | Self::Invalid { param, .. }
            | Self::Empty { param }
            | Self::Unreadable { param }
            | Self::TooLong { param, .. }
            | Self::TooManyTokens { param, .. }
            | Self::LabelsNotServed { param, .. }
            | Self::UnknownTask { param, .. }
            | Self::UnknownTopic { param, .. } => param,
            Self::TooManyTargets { .. } | Self::TargetsMissing { .. } => "targets",
            Self::TooManyLabels { .. } | Self::LabelsMissing { .. } => "labels",
            Self::TaskNotServed { .. } => "tasks",
            Self::UnknownModel { .. } => "model",
        }
    }
}

impl Article {
    /// Reads an article from JSON and checks it.
    pub fn from_json(value: Value) -> Result<Self, InputError> {
        let Some(object) = value.as_object() else {
            return Err(InputError::Invalid {
                param: "article".to_owned(),
                message: "an object with a text is expected".to_owned(),
            });
        };
        if object.get("text").is_none_or(Value::is_null) {
            return Err(InputError::Missing {
                param: "text".to_owned(),
            });
        }
        let article: Self = serde_path_to_error::deserialize(value).map_err(|error| {
            let message = error.inner().to_string();
            let param = match (error.path().to_string(), unknown_field(&message)) {
                (_, Some(field)) => field.to_owned(),
                (path, None) => path,
            };
            if param.starts_with("tasks[") && message.starts_with("unknown variant") {
                InputError::UnknownTask { param, message }
            } else {
                InputError::Invalid { param, message }
            }
        })?;
        article.check()?;
        Ok(article)
    }

    /// Whether topics are asked for, of a model that has them.
    #[must_use]
    pub fn asks_topics(&self) -> bool {
        self.tasks.as_ref().is_none_or(|tasks| tasks.contains(&Task::Topics))
    }

    /// What can be said without a model.
    pub fn check(&self) -> Result<(), InputError> {
        let empty = |param: String| InputError::Empty { param };
        if self.text.trim().is_empty() {
            return Err(empty("text".to_owned()));
        }
        at_most("id", self.id.as_deref(), limits::ID_CHARS)?;
        if self.targets.len() > limits::TARGETS {
            return Err(InputError::TooManyTargets {
                found: self.targets.len(),
                max: limits::TARGETS,
            });
        }
        for (index, target) in self.targets.iter().enumerate() {
            let param = format!("targets[{index}]");
            at_most(&param, Some(target), limits::TARGET_CHARS)?;
            if target.trim().is_empty() {
                return Err(empty(param));
            }
        }
        let invalid = |param: &str, message: &str| InputError::Invalid {
            param: param.to_owned(),
            message: message.to_owned(),
        };
        if self.tasks.as_ref().is_some_and(Vec::is_empty) {
            return Err(invalid(
                "tasks",
                "at least one task is expected, or no such field for all",
            ));
        }
        if let Some(threshold) = self.threshold
            && !(0.0..=1.0).contains(&threshold)
        {
            return Err(invalid("threshold", "a probability from 0 to 1 is expected"));
        }
        if self.top_k == Some(0) {
            return Err(invalid(
                "top_k",
                "at least 1 is expected, or no such field for all topics",
            ));
        }
        if let Some(language) = &self.language
            && !(language.len() <= 16
                && language.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                && language.len() >= 2)
        {
            return Err(invalid("language", "a language code such as \"ar\" is expected"));
        }
        self.check_labels()
    }
}

pub(super) fn at_most(param: &str, text: Option<&str>, max: usize) -> Result<(), InputError> {
    let found = text.map_or(0, |text| text.chars().count());
    if found > max {
        return Err(InputError::TooLong {
            param: param.to_owned(),
            found,
            max,
        });
    }
    Ok(())
}

/// serde names an unknown field only in its message: "unknown field `txt`, expected one of …".
fn unknown_field(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}
