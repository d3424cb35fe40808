//! Articles as a stream, one JSON object a line, answered by verdicts in the same order, one a line.
//!
//! Back-pressure goes from the caller's socket to the caller's socket: answers are made only as fast as they are taken, a
//! line is read only when there is room under way for it, and the body is read only for the next line. What is under way
//! is bounded as a request with many articles is: in articles and in bytes.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;

use super::answers::Answer;
use super::call::Call;
use super::lines::{Line, Lines};
use super::{ApiError, Service, body, routes};

pub(super) const MEDIA_TYPE: &str = "application/x-ndjson";

pub(super) fn classify(service: &Service, call: Call, body: Body) -> Response {
    let limits = service.limits;
    let lines = Lines::new(body, limits.body_bytes, limits.patience, service.draining.clone());
    let room = Arc::new(Semaphore::new(limits.body_bytes.min(Semaphore::MAX_PERMITS)));
    let answers = stream::unfold((lines, call, room), |(mut lines, call, room)| async {
        let line = lines.next().await?;
        let bytes = line.content.as_ref().map_or(0, Vec::len);
        // A line is no longer than all of the room, so this waits only for earlier ones. The semaphore is never closed.
        let permit = Arc::clone(&room)
            .acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX))
            .await
            .ok()?;
        let call_of_line = call.renewed();
        // A task of its own: it goes on when nobody takes answers, and so gives back what others wait for.
        let task = tokio::spawn(async move {
            let answer = answer(&call_of_line, line).await;
            drop(permit);
            answer
        });
        Some((AbortOnDropHandle::new(task), (lines, call, room)))
    });
    let answers = answers.buffered(limits.articles.max(1)).map(|joined| {
        let answer = joined.unwrap_or_else(|_| Answer::error(None, None, ApiError::internal()));
        Ok::<_, Infallible>(written(&answer))
    });
    ([(header::CONTENT_TYPE, MEDIA_TYPE)], Body::from_stream(answers)).into_response()
}

async fn answer(call: &Call, line: Line) -> Answer {
    let article = match line.content.and_then(|content| body::parse(&content)) {
        Ok(article) => article,
        Err(error) => return Answer::error(None, Some(line.number), error),
    };
    routes::answer(call, article, Some(line.number)).await
}

fn written(answer: &Answer) -> Bytes {
    let mut line = serde_json::to_vec(answer).unwrap_or_else(|error| {
        tracing::error!(%error, "an answer could not be written");
        br#"{"error":{"code":"internal","message":"the answer could not be written"}}"#.to_vec()
    });
    line.push(b'\n');
    line.into()
}
