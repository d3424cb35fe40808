//! What the routes answer, beside verdicts.

use serde::Serialize;
use utoipa::ToSchema;

use super::ApiError;
use super::error::Body as ErrorBody;
use crate::article::{Article, ModelRef, Verdict};
use crate::model::Training;
use crate::registry::Listed;

/// What `POST /v1/classify` takes as JSON.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "a schema; read by hand, for better errors than serde's")]
pub(super) enum ClassifyRequest {
    One(Box<Article>),
    Many(Articles),
}

/// What it answers.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum ClassifyAnswer {
    One(Box<Verdict>),
    Many(Verdicts),
}

/// Many articles, each with its own questions.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "a schema; read by hand, for better errors than serde's")]
pub(super) struct Articles {
    #[schema(min_items = 1)]
    articles: Vec<Article>,
}

/// The answers to many articles, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Verdicts {
    pub(super) verdicts: Vec<Answer>,
}

/// What stands in the place of one article of many.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Answer {
    Verdict(Box<Verdict>),
    Error(ArticleError),
}

/// Why one article of many has no verdict.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ArticleError {
    /// The article's, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// Of a stream: the line, counted from 1, blank ones too.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    error: ErrorBody,
}

impl Answer {
    pub(super) fn error(id: Option<String>, line: Option<u64>, error: ApiError) -> Self {
        let error = error.into_body();
        Self::Error(ArticleError { id, line, error })
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Models {
    pub(super) models: Vec<ModelDescription>,
    /// `list`.
    pub(super) object: &'static str,
    /// The same models as OpenAI's and vLLM's clients look for them.
    pub(super) data: Vec<ModelCard>,
}

/// A model by its name alone.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelCard {
    pub(super) id: String,
    /// `model`.
    pub(super) object: &'static str,
    /// Seconds since 1970: when the service began.
    pub(super) created: u64,
    /// `tasnif`.
    pub(super) owned_by: &'static str,
}

impl Models {
    /// `since`: when the service began, in seconds since 1970.
    pub(super) fn new(models: Vec<ModelDescription>, since: u64) -> Self {
        let card = |model: &ModelDescription| ModelCard {
            id: model.name.clone(),
            object: "model",
            created: since,
            owned_by: "tasnif",
        };
        Self {
            data: models.iter().map(card).collect(),
            object: "list",
            models,
        }
    }
}

/// What can be asked of a model.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Served {
    /// Its own topics.
    Topics,
    Stance,
    /// The labels of a request.
    Labels,
}

/// A model that is served, and what it was learned from.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelDescription {
    pub(super) name: String,
    pub(super) version: String,
    /// Other names that lead to it.
    pub(super) aliases: Vec<String>,
    pub(super) description: String,
    pub(super) license: String,
    /// The pretrained model.
    pub(super) base: String,
    pub(super) tasks: Vec<Served>,
    /// ISO 639-1.
    pub(super) languages: Vec<String>,
    /// The longest sequence; longer articles are read in overlapping windows.
    pub(super) window_tokens: usize,
    pub(super) training: Vec<Training>,
}

impl From<&Listed> for ModelDescription {
    fn from(listed: &Listed) -> Self {
        let manifest = listed.served.pipeline.manifest();
        let mut tasks = Vec::new();
        tasks.extend(manifest.topics.as_ref().map(|_| Served::Topics));
        tasks.extend(manifest.stance.as_ref().map(|_| Served::Stance));
        tasks.extend(manifest.scores_labels().then_some(Served::Labels));
        Self {
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            aliases: listed.aliases.clone(),
            description: manifest.description.clone(),
            license: manifest.license.clone(),
            base: manifest.base.clone(),
            tasks,
            languages: manifest.languages.clone(),
            window_tokens: manifest.windows.tokens,
            training: manifest.training.clone(),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Topics {
    pub(super) model: ModelRef,
    pub(super) topics: Vec<TopicDescription>,
}

/// A topic that a model knows.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TopicDescription {
    pub(super) label: String,
    /// By language.
    pub(super) name: std::collections::BTreeMap<String, String>,
    /// IPTC Media Topic codes.
    pub(super) iptc: Vec<String>,
    /// The score from which on the topic is assigned.
    pub(super) threshold: f32,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Live {
    /// `live`.
    pub(super) status: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    /// `ready`.
    pub(super) status: &'static str,
    pub(super) models: Vec<ModelRef>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Loaded {
    pub(super) model: ModelRef,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Unloaded {
    pub(super) unloaded: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Aliased {
    pub(super) alias: String,
    pub(super) model: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AliasRemoved {
    pub(super) removed: String,
}
