//! The segments of a URL that a route names, refused like everything else.

use axum::extract::{FromRequestParts, Path as Segments};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use super::ApiError;

/// axum's own extractor, but for the body of its refusals.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let segments = Segments::from_request_parts(parts, state).await;
        let Segments(segments) = segments.map_err(|error| ApiError::path_invalid(&error.body_text()))?;
        Ok(Self(segments))
    }
}
