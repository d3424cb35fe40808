//! KServe: its v1 protocol (`{"instances": …}`) and v2, the Open Inference Protocol, which is Triton's as well.

mod tensor;
pub(super) mod v1;
pub(super) mod v2;

use std::sync::Arc;

use axum::Json;
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::{Message, document};
use crate::http::openapi::Responses;
use crate::http::{ApiError, App, Service, routes as native};

pub(super) use v2::health;

pub(super) fn routes() -> OpenApiRouter<Arc<Service>> {
    v1::routes().merge(v2::routes())
}

/// What both protocols answer to whether a model is ready.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = kserve::ModelReady)]
pub(super) struct ModelReady {
    name: String,
    ready: bool,
}

impl IntoResponses for ModelReady {
    fn responses() -> Responses {
        let example = Self {
            name: "default".to_owned(),
            ready: true,
        };
        let success = document::success("The model is served", &example);
        let more = document::name_errors().into_iter().chain([ApiError::shutting_down()]);
        document::question::<Message>(success, more)
    }
}

/// Of a model that is served: not while the service is shutting down.
async fn model_ready(state: App, name: String) -> Result<Json<ModelReady>, ApiError> {
    native::ready(state).await.map(drop)?;
    Ok(Json(ModelReady { name, ready: true }))
}
