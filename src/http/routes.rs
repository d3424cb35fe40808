//! The handlers.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::error::Body as ErrorBody;
use super::{ApiError, App, body};
use crate::article::{Article, InputError, ModelRef, Verdict};
use crate::batcher::Admission;
use crate::registry::{Listed, Registry};

/// `POST /v1/classify`: one article, or `{"articles": [...]}`.
pub(super) async fn classify(State(service): App, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let registry = service.registry()?;
    let mut value = body::json(&headers, body, service.limits.body_bytes).await?;
    match value.as_object_mut().and_then(|object| object.remove("articles")) {
        None => {
            let article = Article::from_json(value)?;
            let verdict = registry.classify(article, Admission::Refuse).await?;
            Ok(Json(verdict).into_response())
        }
        Some(articles) => {
            let articles = many(value, articles, service.limits.articles)?;
            let verdicts = classify_many(registry, articles).await?;
            Ok(Json(json!({ "verdicts": verdicts })).into_response())
        }
    }
}

/// The articles of a request with many, which says nothing else.
fn many(rest: Value, articles: Value, limit: usize) -> Result<Vec<Value>, ApiError> {
    let invalid = |param: &str, message: &str| {
        ApiError::from(InputError::Invalid {
            param: param.to_owned(),
            message: message.to_owned(),
        })
    };
    if let Some(field) = rest.as_object().and_then(|object| object.keys().next()) {
        return Err(invalid(
            field,
            "beside articles nothing else is read; put it into each article",
        ));
    }
    let Value::Array(articles) = articles else {
        return Err(invalid("articles", "an array is expected"));
    };
    if articles.is_empty() {
        return Err(
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "articles_empty", "articles is empty").param("articles"),
        );
    }
    if articles.len() > limit {
        let message = format!("{} articles, at most {limit} are read in one request", articles.len());
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "articles_too_many", message).param("articles"));
    }
    Ok(articles)
}

/// What stands in the place of one article.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Answer {
    Verdict(Box<Verdict>),
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        error: ErrorBody,
    },
}

/// Verdicts and errors in the order of the articles. The request is refused as a whole if the queue is full when it comes;
/// once it is let in, its later articles wait for room. Dropping the future drops what has not begun.
async fn classify_many(registry: &Arc<Registry>, articles: Vec<Value>) -> Result<Vec<Answer>, ApiError> {
    registry.batcher().admits()?;
    let mut tasks = JoinSet::new();
    let mut answers: Vec<Option<Answer>> = Vec::new();
    answers.resize_with(articles.len(), || None);
    for (index, value) in articles.into_iter().enumerate() {
        let id = value.get("id").and_then(Value::as_str).map(str::to_owned);
        let registry = Arc::clone(registry);
        tasks.spawn(async move {
            let outcome = async { Ok(registry.classify(Article::from_json(value)?, Admission::Wait).await?) };
            let answer = match outcome.await {
                Ok(verdict) => Answer::Verdict(Box::new(verdict)),
                Err(error) => Answer::Error {
                    id,
                    error: ApiError::into_body(error),
                },
            };
            (index, answer)
        });
    }
    while let Some(joined) = tasks.join_next().await {
        let (index, answer) = joined.map_err(|_| ApiError::internal())?;
        if let Some(place) = answers.get_mut(index) {
            *place = Some(answer);
        }
    }
    Ok(answers.into_iter().flatten().collect())
}

/// `GET /v1/models`: what is served, and what of it was learned from what.
pub(super) async fn models(State(service): App) -> Result<Response, ApiError> {
    let models: Vec<Value> = service.registry()?.list().iter().map(describe).collect();
    Ok(Json(json!({ "models": models })).into_response())
}

fn describe(listed: &Listed) -> Value {
    let manifest = listed.served.pipeline.manifest();
    let mut tasks = Vec::new();
    tasks.extend(manifest.topics.as_ref().map(|_| "topics"));
    tasks.extend(manifest.stance.as_ref().map(|_| "stance"));
    tasks.extend(manifest.scores_labels().then_some("labels"));
    json!({
        "name": manifest.name,
        "version": manifest.version,
        "aliases": listed.aliases,
        "description": manifest.description,
        "license": manifest.license,
        "base": manifest.base,
        "tasks": tasks,
        "languages": manifest.languages,
        "window_tokens": manifest.windows.tokens,
        "training": manifest.training,
    })
}

#[derive(Debug, Deserialize)]
pub(super) struct TopicsQuery {
    model: Option<String>,
}

/// `GET /v1/topics?model=NAME`: the labels, their names, codes and thresholds; of the default model without a name.
pub(super) async fn topics(State(service): App, Query(query): Query<TopicsQuery>) -> Result<Response, ApiError> {
    let pipeline = service.registry()?.resolve(query.model.as_deref())?;
    let labels = pipeline.manifest().topics.iter().flat_map(|topics| &topics.labels);
    let topics: Vec<Value> = labels
        .map(|label| {
            json!({
                "label": label.id,
                "name": label.name,
                "iptc": label.iptc,
                "threshold": label.threshold,
            })
        })
        .collect();
    Ok(Json(json!({ "model": pipeline.model_ref(), "topics": topics })).into_response())
}

/// `GET /health/live`: the process answers.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "status": "live" }))
}

/// `GET /health/ready`: articles are answered. 503 before the model is there and once the service is shutting down.
pub(super) async fn ready(State(service): App) -> Result<Response, ApiError> {
    let registry = service.registry()?;
    if service.is_draining() {
        return Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "shutting_down",
            "the service is shutting down",
        ));
    }
    let models: Vec<ModelRef> = registry
        .list()
        .iter()
        .map(|listed| listed.served.pipeline.model_ref())
        .collect();
    Ok(Json(json!({ "status": "ready", "models": models })).into_response())
}

pub(super) async fn unknown_route(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "route_unknown",
        format!("there is no {method} {}; articles go to POST /v1/classify", uri.path()),
    )
}

pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{} takes no {method}; the Allow header lists what it takes", uri.path()),
    )
}
