//! The handlers.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use super::answers::{
    Answer, ClassifyAnswer, ClassifyRequest, Live, ModelDescription, Models, Ready, TopicDescription, Topics, Verdicts,
};
use super::body::{self, MediaType};
use super::call::{self, Call};
use super::openapi::{ClassifyResponses, LiveResponses, ModelsResponses, ReadyResponses, TopicsResponses};
use super::{ApiError, App, examples, stream};
use crate::article::{Article, InputError};
use crate::batcher::Admission;

/// Classify one article, many, or a stream
///
/// As `application/json`, one article or `{"articles": [...]}`. As `application/x-ndjson`, a stream: one article a line, without
/// an end, answered by one verdict a line in the same order while it is being sent. A line that can't be answered is an
/// error in its place, with its number. Read while you send: the service reads no more lines than it has answers taken.
#[utoipa::path(
    post,
    path = "/v1/classify",
    tag = "articles",
    params(call::Headers),
    request_body(content(
        (ClassifyRequest = "application/json", examples(
            ("one article" = (value = json!(examples::article()))),
            ("many articles" = (value = json!(examples::articles()))),
        )),
        (Article = "application/x-ndjson", examples(("two lines" = (value = json!(examples::lines()))))),
    )),
    security((), ("key" = [])),
    responses(ClassifyResponses)
)]
pub(super) async fn classify(
    State(service): App,
    call: Call,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if body::media_type(&headers)? == MediaType::Ndjson {
        call.admit()?;
        return Ok(stream::classify(&service, call, body));
    }
    let body = body::bytes(body, &service.limits).await?;
    call.admit()?;
    let mut value = body::parse(&body)?;
    match value.as_object_mut().and_then(|object| object.remove("articles")) {
        None => {
            let verdict = call.classify(Article::from_json(value)?, Admission::Refuse).await?;
            Ok(Json(ClassifyAnswer::One(Box::new(verdict))).into_response())
        }
        Some(articles) => {
            let articles = many(value, articles, service.limits.articles)?;
            let verdicts = classify_many(&call, articles).await?;
            Ok(Json(ClassifyAnswer::Many(Verdicts { verdicts })).into_response())
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
        return Err(body::no_articles());
    }
    if articles.len() > limit {
        return Err(body::too_many_articles(articles.len(), limit));
    }
    Ok(articles)
}

/// The answer to one article of many. It waits for room in the queue; whoever sent many was let in already.
pub(super) async fn answer(call: &Call, article: Value, line: Option<u64>) -> Answer {
    let id = article.get("id").and_then(Value::as_str).map(str::to_owned);
    let outcome = async { call.classify(Article::from_json(article)?, Admission::Wait).await };
    match outcome.await {
        Ok(verdict) => Answer::Verdict(Box::new(verdict)),
        Err(error) => Answer::error(id, line, error),
    }
}

/// Verdicts and errors in the order of the articles. Dropping the future drops what has not begun.
async fn classify_many(call: &Call, articles: Vec<Value>) -> Result<Vec<Answer>, ApiError> {
    let tasks: Vec<_> = articles
        .into_iter()
        .map(|article| {
            let call = call.clone();
            AbortOnDropHandle::new(tokio::spawn(async move { answer(&call, article, None).await }))
        })
        .collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(task.await.map_err(|_| ApiError::internal())?);
    }
    Ok(answers)
}

/// The models that are served
///
/// What each can do, and what it was learned from.
#[utoipa::path(get, path = "/v1/models", tag = "models", security((), ("key" = [])), responses(ModelsResponses))]
pub(super) async fn models(State(service): App) -> Result<Json<Models>, ApiError> {
    let models = service.registry()?.list().iter().map(ModelDescription::from).collect();
    Ok(Json(Models::new(models, service.since)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicsQuery {
    model: Option<String>,
}

/// The topics that a model knows
///
/// Their labels, names, IPTC Media Topic codes and thresholds.
#[utoipa::path(get, path = "/v1/topics", tag = "models", params(("model" = Option<String>, Query, description = "A name, `name@version` or alias; the default model without one")), security((), ("key" = [])), responses(TopicsResponses))]
pub(super) async fn topics(
    State(service): App,
    query: Result<Query<TopicsQuery>, QueryRejection>,
) -> Result<Json<Topics>, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::query_invalid(&error.body_text()))?;
    let pipeline = service.registry()?.resolve(query.model.as_deref())?;
    let labels = pipeline.manifest().topics.iter().flat_map(|topics| &topics.labels);
    let topics = labels
        .map(|label| TopicDescription {
            label: label.id.clone(),
            name: label.name.clone(),
            iptc: label.iptc.clone(),
            threshold: label.threshold,
        })
        .collect();
    let model = pipeline.model_ref();
    Ok(Json(Topics { model, topics }))
}

/// Whether the process answers
#[utoipa::path(get, path = "/health/live", tag = "service", responses(LiveResponses))]
pub(super) async fn live() -> Json<Live> {
    Json(Live { status: "live" })
}

/// Whether articles are answered
///
/// Not before a model is loaded, and not once the service is shutting down.
#[utoipa::path(get, path = "/health/ready", tag = "service", responses(ReadyResponses))]
pub(super) async fn ready(State(service): App) -> Result<Json<Ready>, ApiError> {
    let registry = service.registry()?;
    if service.is_draining() {
        return Err(ApiError::shutting_down());
    }
    let listed = registry.list();
    let models = listed.iter().map(|listed| listed.served.pipeline.model_ref()).collect();
    let status = "ready";
    Ok(Json(Ready { status, models }))
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
