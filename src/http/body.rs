//! The request's body as JSON, with our own errors for all that can be wrong with one.

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::LengthLimitError;
use serde_json::Value;

use super::ApiError;

/// Reads at most `limit` bytes of JSON.
pub(super) async fn json(headers: &HeaderMap, body: Body, limit: usize) -> Result<Value, ApiError> {
    // Before the body is read: what isn't JSON need not be waited for.
    check_media_type(headers)?;
    parse(headers, &bytes(headers, body, limit).await?)
}

/// Reads at most `limit` bytes.
pub(super) async fn bytes(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = || {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body has more than {limit} bytes; send fewer articles at a time"),
        )
    };
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|announced| announced > limit as u64) {
        return Err(too_large());
    }
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        if std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<LengthLimitError>) {
            too_large()
        } else {
            ApiError::new(
                StatusCode::BAD_REQUEST,
                "body_incomplete",
                "the body ended before its end",
            )
        }
    })
}

/// JSON from the bytes of a body.
pub(super) fn parse(headers: &HeaderMap, bytes: &[u8]) -> Result<Value, ApiError> {
    check_media_type(headers)?;
    let text = std::str::from_utf8(bytes).map_err(|error| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "utf8_invalid",
            format!("the body is not UTF-8 from byte {} on", error.valid_up_to()),
        )
    })?;
    serde_json::from_str(text).map_err(|error| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "json_malformed",
            format!("the body is not JSON: {error}"),
        )
    })
}

/// JSON of whatever charset name (it is UTF-8 by RFC 8259), or no type at all.
fn check_media_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return Ok(());
    };
    let value = String::from_utf8_lossy(value.as_bytes());
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "media_type_unsupported",
        format!("the body is {essence:?}; send \"Content-Type: application/json\""),
    ))
}
