//! The request's body as JSON, with our own errors for all that can be wrong with one.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::LengthLimitError;
use serde_json::Value;

use super::{ApiError, Limits, stream};

/// What a body says that it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaType {
    Json,
    /// One JSON value a line.
    Ndjson,
}

/// JSON of whatever charset name (it is UTF-8 by RFC 8259), or no type at all; or lines of JSON.
pub(super) fn media_type(headers: &HeaderMap) -> Result<MediaType, ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(MediaType::Json);
    };
    let value = String::from_utf8_lossy(value.as_bytes());
    let essence = value.split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "application/json" => Ok(MediaType::Json),
        stream::MEDIA_TYPE => Ok(MediaType::Ndjson),
        _ => Err(unsupported(essence)),
    }
}

/// Reads a body within the limits of size and time.
pub(super) async fn bytes(body: Body, limits: &Limits) -> Result<Bytes, ApiError> {
    // What announces itself as too large need not be waited for.
    if http_body::Body::size_hint(&body).lower() > limits.body_bytes as u64 {
        return Err(too_large(limits.body_bytes));
    }
    let read = tokio::time::timeout(limits.patience, axum::body::to_bytes(body, limits.body_bytes)).await;
    read.map_err(|_| too_slow(limits.patience))?.map_err(|error| {
        if std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) {
            too_large(limits.body_bytes)
        } else {
            incomplete()
        }
    })
}

/// JSON from the bytes of a body, or of a line of one.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(error.valid_up_to()))?;
    serde_json::from_str(text).map_err(|error| malformed(&error))
}

pub(super) fn unsupported(essence: &str) -> ApiError {
    ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "media_type_unsupported",
        format!(
            "the body is {essence:?}; send \"Content-Type: application/json\"; POST /v1/classify takes \"{}\" too, one article a line",
            stream::MEDIA_TYPE
        ),
    )
}

pub(super) fn too_large(limit: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        format!(
            "the body has more than {limit} bytes; send fewer articles at a time, or a stream of {}",
            stream::MEDIA_TYPE
        ),
    )
}

pub(super) fn line_too_long(limit: usize) -> ApiError {
    ApiError::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "line_too_long",
        format!("the line has more than {limit} bytes"),
    )
}

pub(super) fn too_slow(patience: Duration) -> ApiError {
    ApiError::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_timeout",
        format!("the body was waited for longer than {} s", patience.as_secs()),
    )
}

pub(super) fn incomplete() -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "body_incomplete",
        "the body ended before its end",
    )
}

pub(super) fn not_utf8(valid_up_to: usize) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "utf8_invalid",
        format!("not UTF-8 from byte {valid_up_to} on"),
    )
}

pub(super) fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "json_malformed", format!("not JSON: {error}"))
}

pub(super) fn no_articles() -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "articles_empty", "articles is empty").param("articles")
}

pub(super) fn too_many_articles(found: usize, limit: usize) -> ApiError {
    let message = format!(
        "{found} articles, at most {limit} are read in one request; a stream of {} has no end",
        stream::MEDIA_TYPE
    );
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "articles_too_many", message).param("articles")
}
