//! vLLM's `POST /classify`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Function, OneOrMany, answer_id, article, ask, now, protocol, read, resolve};
use crate::http::call::Call;
use crate::http::{ApiError, App, Service};

pub(super) fn routes() -> Router<Arc<Service>> {
    protocol(Router::new().route("/classify", post(classify)), failure)
}

fn failure(error: &ApiError) -> Value {
    let status = error.status();
    let kind = match status.as_u16() {
        404 => "NotFoundError",
        429 => "RateLimitError",
        503 => "ServiceUnavailableError",
        500.. => "InternalServerError",
        _ => "BadRequestError",
    };
    let (message, param) = (error.message(), error.parameter());
    json!({ "error": { "message": message, "type": kind, "param": param, "code": status.as_u16() } })
}

#[derive(Debug, Deserialize)]
struct Request {
    input: OneOrMany,
    model: Option<String>,
    /// `false` asks for logits.
    use_activation: Option<bool>,
}

#[derive(Debug, Serialize)]
struct Answer {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    data: Vec<Classified>,
    usage: Value,
}

#[derive(Debug, Serialize)]
struct Classified {
    index: usize,
    /// The best one.
    label: String,
    /// In the model's order of labels.
    probs: Vec<f32>,
    num_classes: usize,
}

async fn classify(State(service): App, call: Call, headers: HeaderMap, body: Body) -> Result<Json<Answer>, ApiError> {
    let request: Request = read(&service, &headers, body).await?;
    let pipeline = resolve(&service, request.model.as_deref())?;
    let articles = request.input.into_vec().into_iter().map(|text| article(text, None));
    let rows = ask(&service, &call, &pipeline, "input", articles.collect()).await?;
    let tokens: usize = rows.iter().map(|row| row.tokens).sum();
    let data = rows
        .into_iter()
        .enumerate()
        .map(|(index, mut row)| {
            if request.use_activation == Some(false) {
                Function::None.apply(&mut row.labels);
            }
            let label = row.labels.first().map(|best| best.label.clone()).unwrap_or_default();
            let probs: Vec<f32> = row.in_order().iter().map(|scored| scored.score).collect();
            Classified {
                index,
                label,
                num_classes: probs.len(),
                probs,
            }
        })
        .collect();
    Ok(Json(Answer {
        id: answer_id("classify"),
        object: "list",
        created: now(),
        model: pipeline.manifest().name.clone(),
        data,
        usage: json!({ "prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0 }),
    }))
}
