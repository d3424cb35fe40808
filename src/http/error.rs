//! Every failure as one shape: `{"error": {"code", "message", "param"}}` with the fitting status. The only place where
//! errors of the layers below become statuses.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::article::InputError;
use crate::batcher::ClassifyError;
use crate::registry::RegistryError;

/// An answer that is an error.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    retry_after: Option<Duration>,
    body: Body,
}

/// The object under `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Body {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<String>,
}

#[derive(Debug, Serialize)]
struct Envelope<'a> {
    error: &'a Body,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            retry_after: None,
            body: Body {
                code,
                message: message.into(),
                param: None,
            },
        }
    }

    pub(super) fn param(mut self, param: impl Into<String>) -> Self {
        self.body.param = Some(param.into());
        self
    }

    pub(super) fn not_ready() -> Self {
        let mut error = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            "the model is still being loaded; GET /health/ready tells when it is there",
        );
        error.retry_after = Some(Duration::from_secs(1));
        error
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "something failed here that is no fault of the request; the service's log tells more",
        )
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn code(&self) -> &'static str {
        self.body.code
    }

    pub(super) fn message(&self) -> &str {
        &self.body.message
    }

    pub(super) fn parameter(&self) -> Option<&str> {
        self.body.param.as_deref()
    }

    /// The same error where another protocol calls the field at fault otherwise, and has many of them.
    pub(super) fn at(mut self, place: String) -> Self {
        if self.body.param.is_some() {
            self.body.message = format!("{place}: {}", self.body.message);
            self.body.param = Some(place);
        }
        self
    }

    /// The error object alone, for its place among the verdicts of a request with many articles.
    pub(super) fn into_body(self) -> Body {
        self.body
    }
}

impl From<InputError> for ApiError {
    fn from(error: InputError) -> Self {
        let status = match error {
            InputError::UnknownModel { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        Self::new(status, error.code(), error.to_string()).param(error.param())
    }
}

impl From<ClassifyError> for ApiError {
    fn from(error: ClassifyError) -> Self {
        match error {
            ClassifyError::Input(error) => error.into(),
            ClassifyError::Overloaded { retry_after } => Self {
                retry_after: Some(retry_after),
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", error.to_string())
            },
            ClassifyError::Closed => Self {
                retry_after: Some(Duration::from_secs(1)),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", error.to_string())
            },
            ClassifyError::Pipeline(_) | ClassifyError::Failed(_) => {
                // The log has the reason; the caller could do nothing with it.
                tracing::error!(%error, "an article failed");
                Self::internal()
            }
        }
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        let (status, code) = match &error {
            RegistryError::Model(_) => (StatusCode::UNPROCESSABLE_ENTITY, "model_refused"),
            RegistryError::Name(_) => (StatusCode::UNPROCESSABLE_ENTITY, "model_name_invalid"),
            RegistryError::NotServed(_) | RegistryError::NotThere(_) => (StatusCode::NOT_FOUND, "model_unknown"),
            RegistryError::AliasIsModel(_) => (StatusCode::CONFLICT, "alias_is_model"),
            RegistryError::Interrupted(_) => {
                tracing::error!(%error, "a model could not be loaded");
                return Self::internal();
            }
        };
        Self::new(status, code, error.to_string())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(Envelope { error: &self.body })).into_response();
        if let Some(retry_after) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(retry_after.as_secs().max(1)));
        }
        // For protocols that tell it in another shape.
        response.extensions_mut().insert(self);
        response
    }
}
