//! The answer. Scores are calibrated probabilities; offsets count Unicode characters (scalar values).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the model says of one article.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Verdict {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub model: ModelRef,
    /// Absent where the text is too short or too mixed to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Language>,
    /// By falling score. Absent where the topics task was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics: Option<Vec<Topic>>,
    /// In the order of the targets. Absent where the stance task was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stance: Option<Vec<Stance>>,
    pub usage: Usage,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelRef {
    pub name: String,
    pub version: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Language {
    /// ISO 639-1.
    pub code: String,
    /// 1 where the caller gave the code.
    pub confidence: f32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Topic {
    pub label: String,
    pub score: f32,
    /// The calibrated logit that the score was made of; for protocols that can ask for it.
    #[serde(skip)]
    pub logit: f32,
    /// Whether the score reaches the threshold.
    pub assigned: bool,
    pub threshold: f32,
    pub name: BTreeMap<String, String>,
    pub iptc: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Vec<Evidence>>,
}

/// A passage that speaks for a topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    #[serde(rename = "in", default, skip_serializing_if = "Field::is_text")]
    pub field: Field,
    pub start: usize,
    pub end: usize,
    /// Its share of the topic's uncalibrated logit.
    pub score: f32,
}

/// The field of the article that a span lies in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Field {
    Title,
    #[default]
    Text,
}

impl Field {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_text(&self) -> bool {
        *self == Self::Text
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Stance {
    /// `null` is the article's main subject.
    pub target: Option<String>,
    /// The class with the highest score.
    pub label: String,
    pub score: f32,
    pub scores: StanceScores,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StanceScores {
    pub favor: f32,
    pub against: f32,
    pub neutral: f32,
    pub unrelated: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Of title and text as one sequence of the model: with its prefix and special tokens, without what overlapping windows
    /// read twice, without targets.
    pub tokens: usize,
    pub windows: usize,
    /// Always false: long articles are read in windows. Part of the contract for models that can't.
    pub truncated: bool,
}
