//! `GET /metrics`.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::openapi::MetricsResponses;
use super::{ApiError, App, Service};

/// Connections, and requests as the middleware around all routes sees them.
#[derive(Debug)]
pub(super) struct Metrics {
    /// Those that are open.
    pub(super) connections: Gauge,
    requests: Family<[(&'static str, String); 2], Counter>,
    seconds: SecondsByRoute,
}

type SecondsByRoute = Family<[(&'static str, String); 1], Histogram, fn() -> Histogram>;

impl Default for Metrics {
    fn default() -> Self {
        Self {
            connections: Gauge::default(),
            requests: Family::default(),
            // From a millisecond by steps of 2.5 to 150 s: a health check to a large batch.
            seconds: Family::new_with_constructor(|| Histogram::new((0..14).map(|step| 0.001 * 2.5_f64.powi(step)))),
        }
    }
}

impl Metrics {
    /// A request got its answer's head, or was given up by its caller.
    pub(super) fn answered(&self, route: &str, status: u16) {
        let labels = [("route", route.to_owned()), ("status", status.to_string())];
        self.requests.get_or_create(&labels).inc();
    }

    /// A request's answer was handed over whole.
    pub(super) fn ended(&self, route: &str, seconds: f64) {
        self.seconds
            .get_or_create(&[("route", route.to_owned())])
            .observe(seconds);
    }
}

/// Figures for Prometheus
// The registry is made for the answer: what it shows is owned where it happens.
#[utoipa::path(get, path = "/metrics", tag = "service", security((), ("key" = [])), responses(MetricsResponses))]
pub(super) async fn metrics(State(service): App) -> Result<Response, ApiError> {
    let mut registry = Registry::default();
    let own = registry.sub_registry_with_prefix("tasnif");
    collect(&service, own);
    if let Some(bytes) = resident_bytes() {
        gauge(&mut registry, "process_resident_memory_bytes", "Resident memory", bytes);
    }
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).map_err(|error| {
        tracing::error!(%error, "the metrics could not be written");
        ApiError::internal()
    })?;
    Ok(([(header::CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response())
}

fn collect(service: &Service, own: &mut Registry) {
    let metrics = &service.metrics;
    own.register("http_connections", "Open connections", metrics.connections.clone());
    own.register(
        "http_requests",
        "Requests by route and status; 499: the client left",
        metrics.requests.clone(),
    );
    own.register(
        "http_request_seconds",
        "From a request's head to its answer's last byte, by route",
        metrics.seconds.clone(),
    );
    let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    own.register("build", "The program", version);
    let Ok(models) = service.registry() else { return };
    let batcher = models.batcher();
    batcher.register_metrics(own);
    gauge(
        own,
        "cache_bytes",
        "What the readings of earlier sequences take",
        batcher.cache_bytes(),
    );
    gauge(
        own,
        "queue_tokens",
        "Tokens admitted and not yet answered",
        batcher.load(),
    );
    gauge(
        own,
        "queue_limit_tokens",
        "The most tokens that are admitted",
        batcher.settings().queue_tokens,
    );
    gauge(
        own,
        "queue_sequences",
        "Sequences that wait for a batch",
        batcher.waiting(),
    );
    let served = Family::<[(&'static str, String); 2], Gauge>::default();
    for listed in models.list() {
        let model = listed.served.pipeline.model_ref();
        served
            .get_or_create(&[("model", model.name), ("version", model.version)])
            .set(1);
    }
    own.register("model_info", "The models that are served", served);
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: usize) {
    let gauge = Gauge::<i64>::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    registry.register(name, help, gauge);
}

/// Of the kernel's own account; none where it keeps none.
fn resident_bytes() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: usize = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes << 10)
}
