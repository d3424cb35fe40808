//! KServe: its v1 protocol (`{"instances": …}`) and v2, the Open Inference Protocol, which is Triton's as well.

mod tensor;
mod v1;
mod v2;

use std::sync::Arc;

use axum::Router;
use serde_json::{Value, json};

use super::protocol;
use crate::http::{ApiError, Service};

pub(super) fn routes() -> Router<Arc<Service>> {
    protocol(v1::routes().merge(v2::routes()), failure)
}

/// What a probe asks, which has no key.
pub(super) fn health() -> Router<Arc<Service>> {
    protocol(v2::health(), failure)
}

fn failure(error: &ApiError) -> Value {
    json!({ "error": error.message() })
}
