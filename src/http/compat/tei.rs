//! Hugging Face text-embeddings-inference: `POST /predict` and `GET /info`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::{IntoResponses, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::document::{self, OIL, VOTE};
use super::{Function, Row, Scored, article, ask, read, resolve, topics};
use crate::article::{Article, InputError};
use crate::batcher::Times;
use crate::encoder::Precision;
use crate::http::call::{Call, Headers};
use crate::http::openapi::{Responses, unknown_model};
use crate::http::{ApiError, App, Service, error};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(predict)).routes(routes!(info))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = tei::Error)]
pub(super) struct Failure {
    error: String,
    error_type: &'static str,
}

impl error::Failure for Failure {
    fn new(error: &ApiError) -> Self {
        let error_type = match error.status() {
            StatusCode::TOO_MANY_REQUESTS => "Overloaded",
            StatusCode::SERVICE_UNAVAILABLE => "Unhealthy",
            status if status.is_server_error() => "Backend",
            _ if error.code() == "text_empty" => "Empty",
            _ => "Validation",
        };
        Self {
            error: error.message().to_owned(),
            error_type,
        }
    }
}

/// `truncate` and `truncation_direction` are passed over: nothing is truncated here.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = tei::Request)]
struct Request {
    inputs: Inputs,
    #[serde(default)]
    raw_scores: bool,
}

/// A list of strings is one text or one pair, not a batch.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = tei::Inputs)]
#[serde(
    untagged,
    expecting = "a string, a pair [\"text\", \"target\"], or a batch [[\"text\"], [\"text\", \"target\"]] is expected"
)]
enum Inputs {
    Text(String),
    Pair(Vec<String>),
    Batch(Vec<Vec<String>>),
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = tei::Answer)]
#[serde(untagged)]
pub(super) enum Answer {
    One(Vec<Scored>),
    Batch(Vec<Vec<Scored>>),
}

impl IntoResponses for Answer {
    fn responses() -> Responses {
        let mut success = document::success("Labels by falling score", &Self::One(document::row().labels));
        for (name, _) in Figures::default().headers() {
            success
                .headers
                .insert(name.to_string(), HeaderBuilder::new().build().into());
        }
        document::texts::<Failure, Request>(success, "inputs", [])
    }
}

/// What an answer's headers tell of the work.
#[derive(Debug, Default)]
struct Figures {
    characters: usize,
    tokens: usize,
    total: Duration,
    /// The mean over the request's texts, as text-embeddings-inference gives it.
    stages: Times,
}

impl Figures {
    fn new(characters: usize, rows: &[Row], total: Duration) -> Self {
        let mean = |stage: fn(&Times) -> Duration| {
            let sum: Duration = rows.iter().map(|row| stage(&row.times)).sum();
            sum / u32::try_from(rows.len()).unwrap_or(u32::MAX).max(1)
        };
        Self {
            characters,
            tokens: rows.iter().map(|row| row.tokens).sum(),
            total,
            stages: Times {
                tokenization: mean(|times| times.tokenization),
                queue: mean(|times| times.queue),
                inference: mean(|times| times.inference),
            },
        }
    }

    /// Times in whole milliseconds.
    fn headers(&self) -> [(HeaderName, HeaderValue); 8] {
        let milliseconds = |time: Duration| HeaderValue::from(time.as_millis() as u64);
        [
            ("x-compute-type", HeaderValue::from_static("cpu")),
            ("x-compute-time", milliseconds(self.total)),
            ("x-compute-characters", HeaderValue::from(self.characters)),
            ("x-compute-tokens", HeaderValue::from(self.tokens)),
            ("x-total-time", milliseconds(self.total)),
            ("x-tokenization-time", milliseconds(self.stages.tokenization)),
            ("x-queue-time", milliseconds(self.stages.queue)),
            ("x-inference-time", milliseconds(self.stages.inference)),
        ]
        .map(|(name, value)| (HeaderName::from_static(name), value))
    }
}

/// Predict as text-embeddings-inference does
///
/// By the default model. Its options to truncate are passed over: nothing is truncated.
#[utoipa::path(
    post,
    path = "/predict",
    operation_id = "tei_predict",
    tag = "text-embeddings-inference",
    params(Headers),
    request_body(content = Request, examples(
        ("a text" = (value = json!({"inputs": OIL}))),
        ("a text and a target" = (value = json!({"inputs": [VOTE, "the government"]}))),
        ("a batch" = (value = json!({"inputs": [[OIL], [VOTE, "the government"]], "raw_scores": true}))),
    )),
    security((), ("key" = [])),
    responses(Answer)
)]
async fn predict(
    State(service): App,
    call: Call,
    headers: HeaderMap,
    body: Body,
) -> Result<([(HeaderName, HeaderValue); 8], Json<Answer>), ApiError> {
    let begun = Instant::now();
    let pipeline = resolve(&service, None)?;
    let request: Request = read(&service, &headers, body).await?;
    let (batch, articles) = match request.inputs {
        Inputs::Text(text) => (false, vec![article(text, None)]),
        Inputs::Pair(pair) => (false, vec![text_or_pair(pair)?]),
        Inputs::Batch(batch) => (true, batch.into_iter().map(text_or_pair).collect::<Result<_, _>>()?),
    };
    let characters: usize = articles.iter().map(characters).sum();
    let mut rows = ask(&service, &call, &pipeline, "inputs", articles).await?;
    let figures = Figures::new(characters, &rows, begun.elapsed());
    if request.raw_scores {
        rows.iter_mut().for_each(|row| Function::None.apply(&mut row.labels));
    }
    let mut rows: Vec<Vec<Scored>> = rows.into_iter().map(|row| row.labels).collect();
    let answer = match rows.pop() {
        Some(row) if !batch => Answer::One(row),
        last => {
            rows.extend(last);
            Answer::Batch(rows)
        }
    };
    Ok((figures.headers(), Json(answer)))
}

fn text_or_pair(texts: Vec<String>) -> Result<Article, ApiError> {
    let found = texts.len();
    let mut texts = texts.into_iter();
    match (texts.next(), texts.next(), texts.next()) {
        (Some(text), target, None) => Ok(article(text, target)),
        _ => Err(InputError::Invalid {
            param: "inputs".to_owned(),
            message: format!(
                "{found} strings; one text or a pair is expected; a batch of texts is a list of lists: [[\"a\"], [\"b\"]]"
            ),
        }
        .into()),
    }
}

fn characters(article: &Article) -> usize {
    let targets = article.targets.iter().map(|target| target.chars().count());
    article.text.chars().count() + targets.sum::<usize>()
}

/// What is served, in the words of `GET /info`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = tei::Info)]
pub(super) struct Info {
    model_id: String,
    model_sha: String,
    model_dtype: &'static str,
    model_type: ModelType,
    /// The queue is bounded in tokens, and no article has fewer than one.
    max_concurrent_requests: usize,
    /// Nothing is truncated: what fits into a body is read, and no token is shorter than a byte.
    max_input_length: usize,
    max_batch_tokens: usize,
    max_batch_requests: Option<usize>,
    max_client_batch_size: usize,
    auto_truncate: bool,
    tokenization_workers: usize,
    version: &'static str,
    sha: Option<&'static str>,
    docker_label: Option<&'static str>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = tei::ModelType)]
struct ModelType {
    classifier: Classifier,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = tei::Classifier)]
struct Classifier {
    // In JSON a key is a string.
    #[schema(value_type = BTreeMap<String, String>)]
    id2label: BTreeMap<usize, String>,
    label2id: BTreeMap<String, usize>,
}

impl Classifier {
    fn new<'a>(topics: impl Iterator<Item = &'a str> + Clone) -> Self {
        Self {
            id2label: topics.clone().map(str::to_owned).enumerate().collect(),
            label2id: topics.map(str::to_owned).zip(0..).collect(),
        }
    }
}

impl IntoResponses for Info {
    fn responses() -> Responses {
        let example = Self {
            model_id: "default".to_owned(),
            model_sha: "1.0.0".to_owned(),
            model_dtype: "int8",
            model_type: ModelType {
                classifier: Classifier::new(["economy", "sport"].into_iter()),
            },
            max_concurrent_requests: 65_536,
            max_input_length: 2 << 20,
            max_batch_tokens: 2_048,
            max_batch_requests: None,
            max_client_batch_size: 256,
            auto_truncate: false,
            tokenization_workers: 2,
            version: "0.1.0",
            sha: None,
            docker_label: None,
        };
        let success = document::success("The default model and the service's limits", &example);
        document::question::<Failure>(success, [unknown_model().into()])
    }
}

/// What is served, as text-embeddings-inference tells it
#[utoipa::path(get, path = "/info", operation_id = "tei_info", tag = "text-embeddings-inference", security((), ("key" = [])), responses(Info))]
async fn info(State(service): App) -> Result<Json<Info>, ApiError> {
    let pipeline = resolve(&service, None)?;
    let settings = service.registry()?.batcher().settings();
    let manifest = pipeline.manifest();
    Ok(Json(Info {
        model_id: manifest.name.clone(),
        model_sha: manifest.version.clone(),
        model_dtype: match service.registry()?.precision() {
            Precision::Int8 => "int8",
            Precision::F32 => "float32",
        },
        model_type: ModelType {
            classifier: Classifier::new(topics(&pipeline)),
        },
        max_concurrent_requests: settings.queue_tokens,
        max_input_length: service.limits.body_bytes,
        max_batch_tokens: settings.batch_tokens,
        max_batch_requests: None,
        max_client_batch_size: service.limits.articles,
        auto_truncate: false,
        tokenization_workers: settings.threads,
        version: env!("CARGO_PKG_VERSION"),
        sha: None,
        docker_label: None,
    }))
}
