//! One request as the handlers of articles see it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use tokio::time::Instant;
use utoipa::IntoParams;

use super::observe::Tally;
use super::{ApiError, Service};
use crate::article::{Article, Verdict};
use crate::batcher::{Admission, Answered, ClassifyError};
use crate::pipeline::Pipeline;
use crate::registry::Registry;

/// How long the caller will wait, in milliseconds.
pub(super) const TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout-ms");

pub(super) const TIMEOUT_EXPECTED: &str = "a whole number of milliseconds above 0 is expected";

/// What a request with articles may say in its head.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "a schema; read by hand, for better errors than serde's")]
pub(super) struct Headers {
    /// The longest that an article may take, if less than the service allows; what is late is answered `deadline_exceeded`,
    /// and not computed any more
    #[param(rename = "x-request-timeout-ms", minimum = 1)]
    timeout: Option<u64>,
    /// Given back in the answer and in the service's log
    #[param(rename = "x-request-id")]
    request_id: Option<String>,
}

/// The models, how long there is to answer, and what the request's line in the log adds up. An extractor, so that a request
/// is refused before its body is read if no model is there yet.
#[derive(Debug, Clone)]
pub(super) struct Call {
    registry: Arc<Registry>,
    time: Duration,
    deadline: Instant,
    tally: Arc<Tally>,
}

impl FromRequestParts<Arc<Service>> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, service: &Arc<Service>) -> Result<Self, ApiError> {
        let time = timeout(&parts.headers)?.map_or(service.limits.deadline, |asked| asked.min(service.limits.deadline));
        Ok(Self {
            registry: Arc::clone(service.registry()?),
            time,
            deadline: Instant::now() + time,
            tally: parts.extensions.get().map(Arc::clone).unwrap_or_default(),
        })
    }
}

fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(TIMEOUT) else {
        return Ok(None);
    };
    let milliseconds = value.to_str().ok().and_then(|value| value.parse().ok());
    match milliseconds {
        Some(milliseconds) if milliseconds > 0 => Ok(Some(Duration::from_millis(milliseconds))),
        _ => Err(ApiError::header_invalid(TIMEOUT.as_str(), TIMEOUT_EXPECTED)),
    }
}

impl Call {
    /// Refuses what can't be answered in time: nothing is computed for it.
    pub(super) fn admit(&self) -> Result<(), ApiError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        Ok(self.registry.batcher().admits(left)?)
    }

    /// The verdict on one article, if it is there by the deadline. What has not begun then leaves the queue.
    pub(super) async fn classify(&self, article: Article, admission: Admission) -> Result<Verdict, ApiError> {
        let verdict = self.by_the_deadline(self.registry.classify(article, admission)).await?;
        self.tally.add(&verdict);
        Ok(verdict)
    }

    /// The same by a model that is known already, with the times of its stages.
    pub(super) async fn classify_by(
        &self,
        pipeline: Arc<Pipeline>,
        article: Article,
        admission: Admission,
    ) -> Result<Answered, ApiError> {
        let answer = self.registry.batcher().classify_timed(pipeline, article, admission);
        let answered = self.by_the_deadline(answer).await?;
        self.tally.add(&answered.verdict);
        Ok(answered)
    }

    async fn by_the_deadline<T>(&self, answer: impl Future<Output = Result<T, ClassifyError>>) -> Result<T, ApiError> {
        let answer = tokio::time::timeout_at(self.deadline, answer).await;
        Ok(answer.map_err(|_| ApiError::deadline_exceeded(self.time))??)
    }

    /// The same call with all of its time before it: a stream's deadline is that of each line.
    pub(super) fn renewed(&self) -> Self {
        Self {
            deadline: Instant::now() + self.time,
            ..self.clone()
        }
    }
}
