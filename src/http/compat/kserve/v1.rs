//! `POST /v1/models/{name}:predict` and `GET /v1/models/{name}`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, Uri};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::article::Article;
use crate::http::call::Call;
use crate::http::compat::{Scored, article, ask, read, resolve};
use crate::http::{ApiError, App, Service, routes};

/// The path of a prediction is no segment of its own, so both come here.
pub(super) fn routes() -> Router<Arc<Service>> {
    Router::new().route("/v1/models/{call}", get(ready).post(predict))
}

#[derive(Debug, Deserialize)]
struct Request {
    instances: Vec<Instance>,
}

#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a string, or an object with a text and perhaps a target, is expected"
)]
enum Instance {
    Text(String),
    Object { text: String, target: Option<String> },
}

impl From<Instance> for Article {
    fn from(instance: Instance) -> Self {
        match instance {
            Instance::Text(text) => article(text, None),
            Instance::Object { text, target } => article(text, target),
        }
    }
}

#[derive(Debug, Serialize)]
struct Answer {
    predictions: Vec<Vec<Scored>>,
}

async fn predict(
    State(service): App,
    call: Call,
    Path(verb): Path<String>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Answer>, ApiError> {
    let Some(name) = verb.strip_suffix(":predict") else {
        return Err(routes::unknown_route(method, uri).await);
    };
    let pipeline = resolve(&service, Some(name))?;
    let request: Request = read(&service, &headers, body).await?;
    let articles = request.instances.into_iter().map(Article::from).collect();
    let rows = ask(&service, &call, &pipeline, "instances", articles).await?;
    let predictions = rows.into_iter().map(|row| row.labels).collect();
    Ok(Json(Answer { predictions }))
}

async fn ready(state: App, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    resolve(&state, Some(&name))?;
    // Not while the service is shutting down.
    routes::ready(state).await.map(drop)?;
    Ok(Json(json!({ "name": name, "ready": true })))
}
