//! OpenAI's moderations: `POST /v1/moderations`, with the model's topics as the categories.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::document::{self, OIL, VOTE};
use super::{Row, answer_id, article, ask, read, resolve};
use crate::http::call::{Call, Headers};
use crate::http::openapi::Responses;
use crate::http::{ApiError, App, Service, error};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(moderate))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::Error)]
pub(super) struct Failure {
    error: FailureBody,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::ErrorBody)]
struct FailureBody {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    code: &'static str,
}

impl error::Failure for Failure {
    fn new(error: &ApiError) -> Self {
        let kind = match error.status() {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_exceeded",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        };
        Self {
            error: FailureBody {
                message: error.message().to_owned(),
                kind,
                param: error.parameter().map(str::to_owned),
                code: error.code(),
            },
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = openai::Request)]
struct Request {
    input: Input,
    model: Option<String>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = openai::Input)]
#[serde(
    untagged,
    expecting = "a string, a list of strings, or a list of {\"type\": \"text\", \"text\": …} is expected; images are not read"
)]
enum Input {
    Text(String),
    Texts(Vec<String>),
    /// The parts of one input.
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = openai::Part)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Part {
    Text { text: String },
}

impl Input {
    fn into_texts(self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text],
            Self::Texts(texts) => texts,
            Self::Parts(parts) => {
                let texts: Vec<String> = parts.into_iter().map(|Part::Text { text }| text).collect();
                vec![texts.join("\n")]
            }
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::Answer)]
pub(super) struct Answer {
    id: String,
    model: String,
    results: Vec<Moderation>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = openai::Moderation)]
struct Moderation {
    /// Whether any category applies.
    flagged: bool,
    categories: BTreeMap<String, bool>,
    category_scores: BTreeMap<String, f32>,
    category_applied_input_types: BTreeMap<String, [&'static str; 1]>,
}

impl From<Row> for Moderation {
    fn from(row: Row) -> Self {
        let labels = || row.labels.iter().cloned();
        Self {
            flagged: labels().any(|scored| scored.assigned),
            categories: labels().map(|scored| (scored.label, scored.assigned)).collect(),
            category_scores: labels().map(|scored| (scored.label, scored.score)).collect(),
            category_applied_input_types: labels().map(|scored| (scored.label, ["text"])).collect(),
        }
    }
}

impl IntoResponses for Answer {
    fn responses() -> Responses {
        let example = Self {
            id: "modr-6745d0f1-0".to_owned(),
            model: "default".to_owned(),
            results: vec![document::row().into()],
        };
        let success = document::success("A text is flagged if any topic is assigned", &example);
        document::texts::<Failure, Request>(success, "input", [])
    }
}

/// Moderate as OpenAI does
///
/// The categories are the model's topics.
#[utoipa::path(
    post,
    path = "/v1/moderations",
    operation_id = "openai_moderate",
    tag = "OpenAI",
    params(Headers),
    request_body(content = Request, examples(
        ("a text" = (value = json!({"input": OIL}))),
        ("many texts" = (value = json!({"input": [OIL, VOTE]}))),
        ("parts of one text" = (value = json!({"input": [{"type": "text", "text": OIL}, {"type": "text", "text": VOTE}]}))),
    )),
    security((), ("key" = [])),
    responses(Answer)
)]
async fn moderate(State(service): App, call: Call, headers: HeaderMap, body: Body) -> Result<Json<Answer>, ApiError> {
    let request: Request = read(&service, &headers, body).await?;
    let pipeline = resolve(&service, request.model.as_deref())?;
    let texts = request.input.into_texts().into_iter();
    let articles = texts.map(|text| article(text, None)).collect();
    let rows = ask(&service, &call, &pipeline, "input", articles).await?;
    Ok(Json(Answer {
        id: answer_id("modr"),
        model: pipeline.manifest().name.clone(),
        results: rows.into_iter().map(Moderation::from).collect(),
    }))
}
