//! Other systems' protocols, thin over the same pipeline: their clients need another address and nothing else.
//!
//! Two rules hold in all of them. A text alone asks for the model's topics; a pair asks for the stance of its first text
//! toward its second, as in natural language inference, where it is premise and hypothesis. And a request is answered as a
//! whole: these protocols have no place for one text's error among many, so the first one refuses the request.
//! docs/compatibility.md is for the clients' users.

mod document;
mod hugging_face;
mod kserve;
mod openai;
mod tei;
mod vllm;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use super::body::MediaType;
use super::call::Call;
use super::error::Failure;
use super::{ApiError, Service, body, stream};
use crate::article::{Article, InputError, StanceScores, Task};
use crate::batcher::{Admission, Answered, Times};
use crate::model::STANCES;
use crate::pipeline::{Pipeline, sigmoid, softmax};

/// The routes of all protocols.
pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::with_openapi(document::schemas())
        .merge(hugging_face::routes())
        .merge(kserve::routes())
        .merge(openai::routes())
        .merge(tei::routes())
        .merge(vllm::routes())
}

/// Those of them that tell whether the service is there.
pub(super) fn health() -> OpenApiRouter<Arc<Service>> {
    kserve::health()
}

/// An error of the protocols that have a message for it and no more: Hugging Face Inference's and KServe's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = compat::Error)]
struct Message {
    error: String,
}

impl Failure for Message {
    fn new(error: &ApiError) -> Self {
        let error = error.message().to_owned();
        Self { error }
    }
}

/// How the clients that call this path read an error; none where they read ours.
fn failure(path: &str) -> Option<fn(&ApiError) -> Value> {
    fn body<F: Failure>(error: &ApiError) -> Value {
        json!(F::new(error))
    }
    let mut segments = path.split('/').skip(1);
    match (segments.next()?, segments.next()) {
        ("models", _) => Some(body::<Message>),
        ("predict" | "info", None) => Some(body::<tei::Failure>),
        ("classify", None) => Some(body::<vllm::Failure>),
        ("v1", Some("moderations")) => Some(body::<openai::Failure>),
        // GET /v1/models is ours.
        ("v1", Some("models")) => segments.next().map(|_| body::<Message> as fn(&ApiError) -> Value),
        ("v2", _) => Some(body::<Message>),
        _ => None,
    }
}

/// The middleware that gives every error on a protocol's paths its shape, whoever made it: a handler, a layer before it (a
/// key that is missing), or the router (no such route or method). Status and headers stay.
pub(super) async fn refusals(request: Request, next: Next) -> Response {
    let failure = failure(request.uri().path());
    let mut response = next.run(request).await;
    let (Some(failure), Some(error)) = (failure, response.extensions().get()) else {
        return response;
    };
    let body = Json(failure(error)).into_response().into_body();
    // The length was that of our own shape.
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = body;
    response
}

/// A request's body as JSON of the shape that a protocol prescribes; fields that we don't know are passed over, since its
/// clients may send some that mean nothing here.
async fn read<T: DeserializeOwned>(service: &Service, headers: &HeaderMap, body: Body) -> Result<T, ApiError> {
    if body::media_type(headers)? == MediaType::Ndjson {
        return Err(body::unsupported(stream::MEDIA_TYPE));
    }
    shaped(body::parse(&body::bytes(body, &service.limits).await?)?)
}

fn shaped<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let param = match error.path().to_string() {
            root if root == "." => "body".to_owned(),
            path => path,
        };
        let message = error.into_inner().to_string();
        InputError::Invalid { param, message }.into()
    })
}

/// One value, or many in a list.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged, expecting = "a string or a list of strings is expected")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Many(texts) => texts,
        }
    }
}

/// What is asked of a text alone, or of a pair.
fn article(text: String, target: Option<String>) -> Article {
    let task = if target.is_some() { Task::Stance } else { Task::Topics };
    Article {
        text,
        targets: target.into_iter().collect(),
        tasks: Some(vec![task]),
        ..Article::default()
    }
}

/// A label with its score, as most of these protocols give it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
struct Scored {
    label: String,
    score: f32,
    /// What the score was made of.
    #[serde(skip)]
    logit: f32,
    /// Whether the score reaches the label's threshold; of a stance, whether it is the best.
    #[serde(skip)]
    assigned: bool,
    /// The label's place in the model's own order.
    #[serde(skip)]
    index: usize,
}

/// The answer to one article: its labels by falling score.
#[derive(Debug)]
struct Row {
    labels: Vec<Scored>,
    tokens: usize,
    times: Times,
}

impl Row {
    fn new(pipeline: &Pipeline, Answered { verdict, times }: Answered) -> Self {
        let topics = verdict.topics.into_iter().flatten().map(|topic| Scored {
            index: topic_index(pipeline, &topic.label),
            label: topic.label,
            score: topic.score,
            logit: topic.logit,
            assigned: topic.assigned,
        });
        let stance = verdict.stance.into_iter().flatten().flat_map(|stance| {
            let StanceScores {
                favor,
                against,
                neutral,
                unrelated,
            } = stance.scores;
            let scores = STANCES
                .into_iter()
                .zip([favor, against, neutral, unrelated])
                .enumerate();
            scores.map(move |(index, (label, score))| Scored {
                label: label.to_owned(),
                score,
                // Pooled over windows, a stance has no logits of its own; its logarithms give it back under softmax.
                logit: score.max(f32::MIN_POSITIVE).ln(),
                assigned: label == stance.label,
                index,
            })
        });
        let mut labels: Vec<Scored> = topics.chain(stance).collect();
        labels.sort_by(|a, b| b.score.total_cmp(&a.score));
        Self {
            labels,
            tokens: verdict.usage.tokens,
            times,
        }
    }

    /// The labels in the model's own order.
    fn in_order(mut self) -> Vec<Scored> {
        self.labels.sort_by_key(|scored| scored.index);
        self.labels
    }
}

/// The model's topics in its own order.
fn topics(pipeline: &Pipeline) -> impl Iterator<Item = &str> + Clone {
    let labels = pipeline.manifest().topics.iter().flat_map(|topics| &topics.labels);
    labels.map(|label| label.id.as_str())
}

fn topic_index(pipeline: &Pipeline, label: &str) -> usize {
    topics(pipeline).take_while(|topic| *topic != label).count()
}

/// How a protocol's user wants the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Function {
    /// The logits themselves.
    None,
    Sigmoid,
    Softmax,
}

impl Function {
    /// Keeps the order: each is monotone in the logit.
    fn apply(self, labels: &mut [Scored]) {
        let logits = labels.iter().map(|scored| scored.logit);
        let scores: Vec<f32> = match self {
            Self::None => logits.collect(),
            Self::Sigmoid => logits.map(sigmoid).collect(),
            Self::Softmax => softmax(logits.collect()),
        };
        for (scored, score) in labels.iter_mut().zip(scores) {
            scored.score = score;
        }
    }
}

/// The answers of one model to all articles of a request, in their order. `field` is what the request calls them.
async fn ask(
    service: &Service,
    call: &Call,
    pipeline: &Arc<Pipeline>,
    field: &str,
    articles: Vec<Article>,
) -> Result<Vec<Row>, ApiError> {
    let count = articles.len();
    check_count(service, field, count)?;
    let place = |index: usize| match count {
        1 => field.to_owned(),
        _ => format!("{field}[{index}]"),
    };
    // All of them before the first is computed.
    for (index, article) in articles.iter().enumerate() {
        article
            .check()
            .map_err(|error| ApiError::from(error).at(place(index)))?;
    }
    call.admit()?;
    let admission = if count == 1 { Admission::Refuse } else { Admission::Wait };
    let mut tasks = JoinSet::new();
    for (index, article) in articles.into_iter().enumerate() {
        let (call, pipeline) = (call.clone(), Arc::clone(pipeline));
        tasks.spawn(async move { (index, call.classify_by(pipeline, article, admission).await) });
    }
    let mut rows: Vec<(usize, Row)> = Vec::with_capacity(count);
    // Leaving early drops the tasks, and with them what has not begun.
    while let Some(joined) = tasks.join_next().await {
        let (index, answered) = joined.map_err(|_| ApiError::internal())?;
        let answered = answered.map_err(|error| error.at(place(index)))?;
        rows.push((index, Row::new(pipeline, answered)));
    }
    rows.sort_by_key(|(index, _)| *index);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

/// Whether so many texts are read in one request.
fn check_count(service: &Service, field: &str, count: usize) -> Result<(), ApiError> {
    let limit = service.limits.articles;
    match count {
        0 => Err(no_texts(field)),
        _ if count > limit => Err(too_many_texts(field, count, limit)),
        _ => Ok(()),
    }
}

fn no_texts(field: &str) -> ApiError {
    let message = format!("{field}: at least one text is expected");
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "articles_empty", message).param(field)
}

fn too_many_texts(field: &str, found: usize, limit: usize) -> ApiError {
    let message = format!("{field}: {found} texts, at most {limit} are read in one request");
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "articles_too_many", message).param(field)
}

fn resolve(service: &Service, name: Option<&str>) -> Result<Arc<Pipeline>, ApiError> {
    Ok(service.registry()?.resolve(name)?)
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |time| time.as_secs())
}

/// An id of an answer, unique in this process and, by its time, hardly less so among several.
fn answer_id(prefix: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{prefix}-{:x}-{:x}", now(), COUNT.fetch_add(1, Ordering::Relaxed))
}
