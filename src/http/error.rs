//! Every failure as one shape: `{"error": {"code", "message", "param"}}` with the fitting status. The only place where
//! errors of the layers below become statuses.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::article::InputError;
use crate::batcher::ClassifyError;
use crate::registry::RegistryError;

/// An answer that is an error.
#[derive(Debug, Clone)]
pub struct ApiError {
    status: StatusCode,
    hint: Option<Hint>,
    body: Body,
}

/// What a header tells beside the body.
#[derive(Debug, Clone, Copy)]
enum Hint {
    RetryAfter(Duration),
    SendKey,
}

impl Hint {
    fn header(self) -> (HeaderName, HeaderValue) {
        match self {
            // In whole seconds, and never "at once".
            Self::RetryAfter(time) => (header::RETRY_AFTER, HeaderValue::from(time.as_secs().max(1))),
            Self::SendKey => (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
        }
    }
}

/// The object under `error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ErrorBody)]
pub struct Body {
    /// A stable name for programs.
    code: &'static str,
    /// A sentence for people.
    message: String,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<String>,
}

/// The body of an error as a protocol's clients read it.
pub(super) trait Failure: Serialize + ToSchema {
    fn new(error: &ApiError) -> Self;
}

/// Our own.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Error)]
pub(super) struct Envelope {
    error: Body,
}

impl Failure for Envelope {
    fn new(error: &ApiError) -> Self {
        let error = error.body.clone();
        Self { error }
    }
}

impl ApiError {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            hint: None,
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

    fn retry_after(mut self, time: Duration) -> Self {
        self.hint = Some(Hint::RetryAfter(time));
        self
    }

    pub(super) fn send_key(mut self) -> Self {
        self.hint = Some(Hint::SendKey);
        self
    }

    pub(super) fn not_ready() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            "the model is still being loaded; GET /health/ready tells when it is there",
        )
        .retry_after(Duration::from_secs(1))
    }

    pub(super) fn shutting_down() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "shutting_down",
            "the service is shutting down",
        )
        .retry_after(Duration::from_secs(1))
    }

    pub(super) fn deadline_exceeded(time: Duration) -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline_exceeded",
            format!("there was no answer within {} ms", time.as_millis()),
        )
    }

    pub(super) fn header_invalid(header: &str, message: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "header_invalid",
            format!("{header}: {message}"),
        )
        .param(header)
    }

    pub(super) fn query_invalid(message: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "query_invalid",
            format!("the query of the URL: {message}"),
        )
    }

    pub(super) fn path_invalid(message: &str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "path_invalid",
            format!("the path of the URL: {message}"),
        )
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

    /// The name of the header that it comes with.
    pub(super) fn header_name(&self) -> Option<HeaderName> {
        self.hint.map(|hint| hint.header().0)
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
            ClassifyError::Overloaded { retry_after } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", error.to_string()).retry_after(retry_after)
            }
            ClassifyError::Closed => Self::shutting_down(),
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
        let mut response = (self.status, Json(Envelope::new(&self))).into_response();
        response.headers_mut().extend(self.hint.map(Hint::header));
        // For protocols that tell it in another shape.
        response.extensions_mut().insert(self);
        response
    }
}
