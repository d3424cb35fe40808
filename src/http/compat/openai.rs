//! OpenAI's moderations: `POST /v1/moderations`, with the model's topics as the categories.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Row, answer_id, article, ask, protocol, read, resolve};
use crate::http::call::Call;
use crate::http::{ApiError, App, Service};

pub(super) fn routes() -> Router<Arc<Service>> {
    protocol(Router::new().route("/v1/moderations", post(moderate)), failure)
}

fn failure(error: &ApiError) -> Value {
    let kind = match error.status() {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_exceeded",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    let (message, param, code) = (error.message(), error.parameter(), error.code());
    json!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
}

#[derive(Debug, Deserialize)]
struct Request {
    input: Input,
    model: Option<String>,
}

#[derive(Debug, Deserialize)]
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

#[derive(Debug, Deserialize)]
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

#[derive(Debug, Serialize)]
struct Answer {
    id: String,
    model: String,
    results: Vec<Moderation>,
}

#[derive(Debug, Serialize)]
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
