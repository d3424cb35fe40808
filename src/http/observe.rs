//! One line of the log for each request, without its text; the request's id; headers for safety.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tracing::{Instrument, Span};

use super::Service;
use crate::article::{ModelRef, Verdict};
use crate::telemetry;

/// Given back in the answer and in the log; one is made where the request has none.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a request's articles add up to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    articles: AtomicU64,
    tokens: AtomicU64,
    model: OnceLock<ModelRef>,
    key: OnceLock<String>,
}

impl Tally {
    pub(super) fn add(&self, verdict: &Verdict) {
        self.articles.fetch_add(1, Ordering::Relaxed);
        self.tokens.fetch_add(verdict.usage.tokens as u64, Ordering::Relaxed);
        self.model.get_or_init(|| verdict.model.clone());
    }

    /// The name of the key that the request came with.
    pub(super) fn is_from(&self, key: &str) {
        self.key.get_or_init(|| key.to_owned());
    }
}

/// The line, written when the answer's last byte is handed over, or when the caller has left.
#[derive(Debug)]
struct Line {
    begun: Instant,
    method: Method,
    path: String,
    /// As the router knows it, so that figures don't grow with every path that somebody tries.
    route: String,
    id: HeaderValue,
    tally: Arc<Tally>,
    /// None while there is no answer yet.
    status: Option<u16>,
    service: Arc<Service>,
    span: Span,
}

impl Line {
    fn answered(&mut self, status: u16) {
        self.status = Some(status);
        self.service.metrics.answered(&self.route, status);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.status.is_none() {
            // nginx's number for a client that left before it had an answer.
            self.answered(499);
        }
        let time = self.begun.elapsed();
        self.service.metrics.ended(&self.route, time.as_secs_f64());
        let (articles, tokens) = (&self.tally.articles, &self.tally.tokens);
        let (articles, tokens) = (articles.load(Ordering::Relaxed), tokens.load(Ordering::Relaxed));
        let model = self.tally.model.get();
        let model = model.map(|model| format!("{}@{}", model.name, model.version));
        self.span.record("http.response.status_code", self.status);
        self.span.record("tasnif.articles", articles);
        self.span.record("tasnif.tokens", tokens);
        self.span.record("tasnif.model", model.as_deref());
        tracing::info!(
            method = %self.method,
            path = self.path,
            status = self.status,
            articles,
            tokens,
            ms = (time.as_secs_f64() * 1e4).round() / 10.0,
            request_id = self.id.to_str().unwrap_or_default(),
            key = self.tally.key.get(),
            model,
            "request"
        );
    }
}

/// An answer's body with the line that is written at its end.
#[derive(Debug)]
struct Watched {
    body: Body,
    _line: Line,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The middleware around all routes.
pub(super) async fn observe(State(service): State<Arc<Service>>, mut request: Request, next: Next) -> Response {
    let id = request_id(request.headers());
    let tally = Arc::<Tally>::default();
    request.extensions_mut().insert(Arc::clone(&tally));
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str).to_owned();
    let written = id.to_str().unwrap_or_default();
    let span = telemetry::request_span(request.method().as_str(), &route, written, request.headers());
    let mut line = Line {
        begun: Instant::now(),
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        route,
        id: id.clone(),
        tally,
        status: None,
        service,
        span: span.clone(),
    };
    let mut response = next.run(request).instrument(span).await;
    line.answered(response.status().as_u16());
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // A page says what it needs itself; data needs nothing.
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response.map(|body| Body::new(Watched { body, _line: line }))
}

/// The caller's own id if it is fit for a line of a log, else 128 random bits.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| {
        let id = id.as_bytes();
        (1..=128).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| {
        let mut bits = [0; 16];
        // Without randomness there is still a line, only not one that can be told from others.
        let _ = getrandom::fill(&mut bits);
        HeaderValue::from_str(&format!("{:032x}", u128::from_be_bytes(bits)))
            .unwrap_or(HeaderValue::from_static("none"))
    })
}
