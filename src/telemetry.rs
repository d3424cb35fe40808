//! The log: standard error, so that standard output is the answer's alone. Traces, where built with `otlp`.

#[cfg(feature = "otlp")]
mod otlp;

use std::io::IsTerminal;

use axum::http::HeaderMap;
use tracing::Span;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::LogFormat;

/// The target of requests' spans. They are for traces: the log has a line a request anyway.
const SPANS: &str = "tasnif::span";

/// Keeps the telemetry until it is dropped: what is left to send is sent then.
#[derive(Debug, Default)]
#[must_use]
pub struct Telemetry {
    #[cfg(feature = "otlp")]
    traces: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

#[cfg(feature = "otlp")]
impl Drop for Telemetry {
    fn drop(&mut self) {
        // A collector that is gone is no reason to fail at the very end; its errors were logged.
        let _ = self.traces.take().map(|traces| traces.shutdown());
    }
}

/// Starts logging, and traces to the collector at `endpoint`, where built with `otlp`. `filter` is tracing's syntax; without
/// one, warnings, and for a service its requests too.
pub fn start(
    format: LogFormat,
    filter: Option<&str>,
    default: &str,
    endpoint: Option<&str>,
) -> anyhow::Result<Telemetry> {
    let filter = EnvFilter::try_new(filter.unwrap_or(default))?;
    let log = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    let log = match format {
        LogFormat::Pretty => log.with_filter(filter).boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(log);
    #[cfg(feature = "otlp")]
    if let Some(endpoint) = endpoint {
        let (layer, provider) = otlp::layer(endpoint)?;
        subscriber.with(layer).init();
        return Ok(Telemetry { traces: Some(provider) });
    }
    #[cfg(not(feature = "otlp"))]
    anyhow::ensure!(
        endpoint.is_none(),
        "this program was built without traces; build it with --features otlp"
    );
    subscriber.init();
    Ok(Telemetry::default())
}

/// A request's span, within the trace of its caller. Nobody looks at it without `otlp`.
#[must_use]
pub fn request_span(method: &str, route: &str, id: &str, headers: &HeaderMap) -> Span {
    let span = tracing::trace_span!(
        target: SPANS,
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
        tasnif.request_id = id,
        tasnif.articles = tracing::field::Empty,
        tasnif.tokens = tracing::field::Empty,
        tasnif.model = tracing::field::Empty,
    );
    #[cfg(feature = "otlp")]
    otlp::join(&span, headers);
    #[cfg(not(feature = "otlp"))]
    let _ = headers;
    span
}
