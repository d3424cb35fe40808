//! The Open Inference Protocol: `/v2/...`. Here is what it tells of the server and of its models; `infer` asks them.

pub(in crate::http::compat) mod infer;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::openapi::path::{ParameterBuilder, ParameterIn, Paths};
use utoipa::openapi::{Object, Required, Type};
use utoipa::{IntoResponses, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Message, ModelReady, native};
use crate::http::compat::{document, resolve};
use crate::http::keys::Scope;
use crate::http::openapi::{Responses, key_errors, responses};
use crate::http::path::Path;
use crate::http::{ApiError, App, Service};
use crate::model::STANCES;
use crate::pipeline::Pipeline;

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    let mut router = OpenApiRouter::new().routes(routes!(server));
    for (schemas, paths, methods) in [routes!(metadata), routes!(model_ready), routes!(infer::infer)] {
        router = router
            .routes((Vec::new(), of_a_version(&paths), methods.clone()))
            .routes((schemas, paths, methods));
    }
    router
}

/// What a probe asks, which has no key.
pub(in crate::http::compat) fn health() -> OpenApiRouter<Arc<Service>> {
    OpenApiRouter::new().routes(routes!(live)).routes(routes!(ready))
}

/// The same operations on one version of a model.
fn of_a_version(paths: &Paths) -> Paths {
    let mut versioned = Paths::new();
    for (path, item) in &paths.paths {
        let mut item = item.clone();
        for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
            let version = ParameterBuilder::new()
                .name("version")
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(Object::with_type(Type::String)))
                .example(Some("1.0.0".into()))
                .build();
            operation.parameters.get_or_insert_default().push(version.into());
            operation.operation_id = operation.operation_id.take().map(|id| id + "_of_version");
        }
        versioned
            .paths
            .insert(path.replace("{name}", "{name}/versions/{version}"), item);
    }
    versioned
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = kserve::v2::Server)]
pub(in crate::http::compat) struct Server {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 2],
}

const SERVER: Server = Server {
    name: "tasnif",
    version: env!("CARGO_PKG_VERSION"),
    extensions: ["classification", "binary_tensor_data"],
};

impl IntoResponses for Server {
    fn responses() -> Responses {
        let [key, scope] = key_errors(Scope::Classify);
        responses::<Message>(document::success("The program", &SERVER), [key, scope])
    }
}

/// What answers, as the Open Inference Protocol tells it
#[utoipa::path(get, path = "/v2", operation_id = "kserve_server", tag = "KServe", security((), ("key" = [])), responses(Server))]
async fn server() -> Json<Server> {
    Json(SERVER)
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = kserve::v2::Live)]
pub(in crate::http::compat) struct Live {
    live: bool,
}

impl IntoResponses for Live {
    fn responses() -> Responses {
        responses::<Message>(document::success("The process answers", &Self { live: true }), [])
    }
}

/// Whether the process answers, as the Open Inference Protocol tells it
#[utoipa::path(
    get,
    path = "/v2/health/live",
    operation_id = "kserve_live",
    tag = "KServe",
    responses(Live)
)]
async fn live() -> Json<Live> {
    Json(Live { live: true })
}

/// The specification's field is `live`, kserve's client reads `ready`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = kserve::v2::Ready)]
pub(in crate::http::compat) struct Ready {
    live: bool,
    ready: bool,
}

impl IntoResponses for Ready {
    fn responses() -> Responses {
        let example = Self {
            live: true,
            ready: true,
        };
        let errors = [ApiError::not_ready(), ApiError::shutting_down()];
        responses::<Message>(document::success("Texts are answered", &example), errors)
    }
}

/// Whether texts are answered, as the Open Inference Protocol tells it
#[utoipa::path(
    get,
    path = "/v2/health/ready",
    operation_id = "kserve_ready",
    tag = "KServe",
    responses(Ready)
)]
async fn ready(state: App) -> Result<Json<Ready>, ApiError> {
    native::ready(state).await.map(drop)?;
    Ok(Json(Ready {
        live: true,
        ready: true,
    }))
}

#[derive(Debug, Deserialize)]
struct Model {
    name: String,
    version: Option<String>,
}

impl Model {
    /// An alias has versions too: those of the model that it leads to.
    fn resolve(&self, service: &Service) -> Result<Arc<Pipeline>, ApiError> {
        let current = resolve(service, Some(&self.name))?;
        match &self.version {
            Some(version) if *version != current.manifest().version => {
                resolve(service, Some(&format!("{}@{version}", current.manifest().name)))
            }
            _ => Ok(current),
        }
    }
}

/// Whether a model is ready, as the Open Inference Protocol tells it
#[utoipa::path(
    get,
    path = "/v2/models/{name}/ready",
    operation_id = "kserve_model_ready",
    tag = "KServe",
    params(("name" = String, Path, description = "A name, `name@version` or alias", example = "default")),
    security((), ("key" = [])),
    responses(ModelReady)
)]
async fn model_ready(state: App, Path(model): Path<Model>) -> Result<Json<ModelReady>, ApiError> {
    model.resolve(&state)?;
    super::model_ready(state, model.name).await
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = kserve::v2::Metadata)]
pub(in crate::http::compat) struct Metadata {
    name: String,
    versions: [String; 1],
    platform: &'static str,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = kserve::v2::TensorMetadata)]
struct TensorMetadata {
    name: &'static str,
    datatype: &'static str,
    /// -1 where any size will do.
    shape: Vec<i64>,
}

impl Metadata {
    fn new(name: &str, version: &str, inputs: &[&'static str], labels: usize) -> Self {
        let tensor = |name, datatype, shape| TensorMetadata { name, datatype, shape };
        let labels = i64::try_from(labels).unwrap_or(-1);
        Self {
            name: name.to_owned(),
            versions: [version.to_owned()],
            platform: "tasnif",
            inputs: inputs.iter().map(|input| tensor(input, "BYTES", vec![-1])).collect(),
            outputs: vec![
                tensor("scores", "FP32", vec![-1, labels]),
                tensor("labels", "BYTES", vec![-1, labels]),
            ],
        }
    }
}

impl IntoResponses for Metadata {
    fn responses() -> Responses {
        let success = document::success("Its tensors", &Self::new("default", "1.0.0", &["text"], 24));
        document::question::<Message>(success, document::name_errors())
    }
}

/// What a model reads and answers, as the Open Inference Protocol tells it
#[utoipa::path(
    get,
    path = "/v2/models/{name}",
    operation_id = "kserve_metadata",
    tag = "KServe",
    params(("name" = String, Path, description = "A name, `name@version` or alias", example = "default")),
    security((), ("key" = [])),
    responses(Metadata)
)]
async fn metadata(State(service): App, Path(model): Path<Model>) -> Result<Json<Metadata>, ApiError> {
    let pipeline = model.resolve(&service)?;
    let manifest = pipeline.manifest();
    let (inputs, labels) = match &manifest.topics {
        Some(topics) => (&["text"][..], topics.labels.len()),
        None => (&["text", "target"][..], STANCES.len()),
    };
    Ok(Json(Metadata::new(&manifest.name, &manifest.version, inputs, labels)))
}
