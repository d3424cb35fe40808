//! `POST /v1/models/{name}:predict` and `GET /v1/models/{name}`.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use serde::{Deserialize, Serialize};
use utoipa::openapi::{ComponentsBuilder, OpenApiBuilder};
use utoipa::{IntoResponses, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Message, ModelReady, model_ready};
use crate::article::Article;
use crate::http::call::{Call, Headers};
use crate::http::compat::document::{self, OIL, VOTE};
use crate::http::compat::{Scored, article, ask, read, resolve};
use crate::http::openapi::Responses;
use crate::http::path::Path;
use crate::http::routes::unknown_route;
use crate::http::{ApiError, App, Service};

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    let (schemas, paths, predict) = routes!(predict);
    let components = ComponentsBuilder::new().schemas_from_iter(schemas).build();
    let document = OpenApiBuilder::new().paths(paths).components(Some(components)).build();
    OpenApiRouter::with_openapi(document)
        .routes(routes!(ready))
        // The router can't tell a name with something behind it from a name.
        .route("/v1/models/{name}", predict)
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = kserve::v1::Request)]
struct Request {
    instances: Vec<Instance>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = kserve::v1::Instance)]
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

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = kserve::v1::Answer)]
pub(in crate::http::compat) struct Answer {
    predictions: Vec<Vec<Scored>>,
}

impl IntoResponses for Answer {
    fn responses() -> Responses {
        let predictions = vec![document::row().labels];
        let success = document::success("Labels by falling score, for each instance", &Self { predictions });
        document::texts::<Message, Request>(success, "instances", document::name_errors())
    }
}

/// Predict as KServe's v1 does
#[utoipa::path(
    post,
    path = "/v1/models/{name}:predict",
    operation_id = "kserve_v1_predict",
    tag = "KServe",
    params(("name" = String, Path, description = "A name, `name@version` or alias", example = "default"), Headers),
    request_body(content = Request, examples(
        ("texts" = (value = json!({"instances": [OIL, {"text": VOTE, "target": "the government"}]}))),
    )),
    security((), ("key" = [])),
    responses(Answer)
)]
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
        return Err(unknown_route(method, uri).await);
    };
    let pipeline = resolve(&service, Some(name))?;
    let request: Request = read(&service, &headers, body).await?;
    let articles = request.instances.into_iter().map(Article::from).collect();
    let rows = ask(&service, &call, &pipeline, "instances", articles).await?;
    let predictions = rows.into_iter().map(|row| row.labels).collect();
    Ok(Json(Answer { predictions }))
}

/// Whether a model is ready, as KServe's v1 tells it
#[utoipa::path(
    get,
    path = "/v1/models/{name}",
    operation_id = "kserve_v1_ready",
    tag = "KServe",
    params(("name" = String, Path, description = "A name, `name@version` or alias", example = "default")),
    security((), ("key" = [])),
    responses(ModelReady)
)]
async fn ready(state: App, Path(name): Path<String>) -> Result<Json<ModelReady>, ApiError> {
    resolve(&state, Some(&name))?;
    model_ready(state, name).await
}
