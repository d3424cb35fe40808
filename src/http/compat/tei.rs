//! Hugging Face text-embeddings-inference: `POST /predict` and `GET /info`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Function, Scored, article, ask, protocol, read, resolve, topics};
use crate::article::{Article, InputError};
use crate::encoder::Precision;
use crate::http::call::Call;
use crate::http::{ApiError, App, Service};

pub(super) fn routes() -> Router<Arc<Service>> {
    let router = Router::new().route("/predict", post(predict)).route("/info", get(info));
    protocol(router, failure)
}

fn failure(error: &ApiError) -> Value {
    let kind = match error.status() {
        StatusCode::TOO_MANY_REQUESTS => "Overloaded",
        StatusCode::SERVICE_UNAVAILABLE => "Unhealthy",
        status if status.is_server_error() => "Backend",
        _ if error.code() == "text_empty" => "Empty",
        _ => "Validation",
    };
    json!({ "error": error.message(), "error_type": kind })
}

/// `truncate` and `truncation_direction` are passed over: nothing is truncated here.
#[derive(Debug, Deserialize)]
struct Request {
    inputs: Inputs,
    #[serde(default)]
    raw_scores: bool,
}

/// A list of strings is one text or one pair, not a batch.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a string, a pair [\"text\", \"target\"], or a batch [[\"text\"], [\"text\", \"target\"]] is expected"
)]
enum Inputs {
    Text(String),
    Pair(Vec<String>),
    Batch(Vec<Vec<String>>),
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    One(Vec<Scored>),
    Batch(Vec<Vec<Scored>>),
}

async fn predict(State(service): App, call: Call, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
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
    let tokens: usize = rows.iter().map(|row| row.tokens).sum();
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
    let milliseconds = begun.elapsed().as_millis() as u64;
    let mut response = Json(answer).into_response();
    response.headers_mut().extend([
        (
            HeaderName::from_static("x-compute-type"),
            HeaderValue::from_static("cpu"),
        ),
        (
            HeaderName::from_static("x-compute-time"),
            HeaderValue::from(milliseconds),
        ),
        (
            HeaderName::from_static("x-compute-characters"),
            HeaderValue::from(characters),
        ),
        (HeaderName::from_static("x-compute-tokens"), HeaderValue::from(tokens)),
        (HeaderName::from_static("x-total-time"), HeaderValue::from(milliseconds)),
    ]);
    Ok(response)
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
#[derive(Debug, Serialize)]
struct Info {
    model_id: String,
    model_sha: String,
    model_dtype: &'static str,
    model_type: Value,
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

async fn info(State(service): App) -> Result<Json<Info>, ApiError> {
    let pipeline = resolve(&service, None)?;
    let settings = service.registry()?.batcher().settings();
    let manifest = pipeline.manifest();
    let id2label: BTreeMap<usize, &str> = topics(&pipeline).enumerate().collect();
    let label2id: BTreeMap<&str, usize> = topics(&pipeline).zip(0..).collect();
    Ok(Json(Info {
        model_id: manifest.name.clone(),
        model_sha: manifest.version.clone(),
        model_dtype: match service.registry()?.precision() {
            Precision::Int8 => "int8",
            Precision::F32 => "float32",
        },
        model_type: json!({ "classifier": { "id2label": id2label, "label2id": label2id } }),
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
