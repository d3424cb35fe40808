//! vLLM's `POST /classify`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use utoipa::{IntoResponses, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::document::{self, OIL, VOTE};
use super::{Function, OneOrMany, Row, answer_id, article, ask, now, read, resolve};
use crate::http::call::{Call, Headers};
use crate::http::openapi::Responses;
use crate::http::{ApiError, App, Service, error};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(classify))
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = vllm::Error)]
pub(super) struct Failure {
    error: FailureBody,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = vllm::ErrorBody)]
struct FailureBody {
    message: String,
    #[serde(rename = "type")]
    kind: &'static str,
    param: Option<String>,
    /// The status.
    code: u16,
}

impl error::Failure for Failure {
    fn new(error: &ApiError) -> Self {
        let code = error.status().as_u16();
        let kind = match code {
            404 => "NotFoundError",
            429 => "RateLimitError",
            503 => "ServiceUnavailableError",
            500.. => "InternalServerError",
            _ => "BadRequestError",
        };
        Self {
            error: FailureBody {
                message: error.message().to_owned(),
                kind,
                param: error.parameter().map(str::to_owned),
                code,
            },
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = vllm::Request)]
struct Request {
    input: OneOrMany,
    model: Option<String>,
    /// `false` asks for logits.
    use_activation: Option<bool>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = vllm::Answer)]
pub(super) struct Answer {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    data: Vec<Classified>,
    usage: Usage,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = vllm::Usage)]
struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
    completion_tokens: usize,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = vllm::Classified)]
struct Classified {
    index: usize,
    /// The best one.
    label: String,
    /// In the model's order of labels.
    probs: Vec<f32>,
    num_classes: usize,
}

impl Answer {
    fn new(model: &str, rows: Vec<Row>) -> Self {
        let tokens: usize = rows.iter().map(|row| row.tokens).sum();
        let data = rows.into_iter().enumerate().map(|(index, row)| {
            let label = row.labels.first().map(|best| best.label.clone()).unwrap_or_default();
            let probs: Vec<f32> = row.in_order().iter().map(|scored| scored.score).collect();
            Classified {
                index,
                label,
                num_classes: probs.len(),
                probs,
            }
        });
        Self {
            id: answer_id("classify"),
            object: "list",
            created: now(),
            model: model.to_owned(),
            data: data.collect(),
            usage: Usage {
                prompt_tokens: tokens,
                total_tokens: tokens,
                completion_tokens: 0,
            },
        }
    }
}

impl IntoResponses for Answer {
    fn responses() -> Responses {
        let example = Self {
            id: "classify-6745d0f1-0".to_owned(),
            created: 1_732_628_721,
            ..Self::new("default", vec![document::row()])
        };
        let success = document::success("Scores in the model's order of labels", &example);
        document::texts::<Failure, Request>(success, "input", [])
    }
}

/// Classify as vLLM does
#[utoipa::path(
    post,
    path = "/classify",
    operation_id = "vllm_classify",
    tag = "vLLM",
    params(Headers),
    request_body(content = Request, examples(
        ("a text" = (value = json!({"input": OIL}))),
        ("many texts" = (value = json!({"input": [OIL, VOTE], "use_activation": false}))),
    )),
    security((), ("key" = [])),
    responses(Answer)
)]
async fn classify(State(service): App, call: Call, headers: HeaderMap, body: Body) -> Result<Json<Answer>, ApiError> {
    let request: Request = read(&service, &headers, body).await?;
    let pipeline = resolve(&service, request.model.as_deref())?;
    let articles = request.input.into_vec().into_iter().map(|text| article(text, None));
    let mut rows = ask(&service, &call, &pipeline, "input", articles.collect()).await?;
    if request.use_activation == Some(false) {
        rows.iter_mut().for_each(|row| Function::None.apply(&mut row.labels));
    }
    Ok(Json(Answer::new(&pipeline.manifest().name, rows)))
}
