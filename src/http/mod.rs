//! The service over HTTP.

mod admin;
mod body;
mod compat;
mod error;
mod page;
mod routes;

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;

use crate::registry::Registry;

pub use admin::Key;
pub use error::ApiError;

/// What one request may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub body_bytes: usize,
    pub articles: usize,
}

/// What the handlers share. It exists before the model does: the port answers at once, and says that it isn't ready.
#[derive(Debug)]
pub struct Service {
    limits: Limits,
    /// Who may manage models; nobody without one.
    admin: Option<Key>,
    registry: OnceLock<Arc<Registry>>,
    draining: AtomicBool,
}

impl Service {
    #[must_use]
    pub fn new(limits: Limits, admin: Option<Key>) -> Self {
        Self {
            limits,
            admin,
            registry: OnceLock::new(),
            draining: AtomicBool::new(false),
        }
    }

    /// From now on articles are answered. A second call changes nothing.
    pub fn ready(&self, registry: Arc<Registry>) {
        let _ = self.registry.set(registry);
    }

    /// From now on the service says that it isn't ready, so that a load balancer looks elsewhere; requests still pass.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn registry(&self) -> Result<&Arc<Registry>, ApiError> {
        self.registry.get().ok_or_else(ApiError::not_ready)
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// All routes. Whatever is asked but the page at `/`, the answer is JSON.
pub fn router(service: Arc<Service>) -> Router {
    let admin = Router::new()
        .route("/models/{name}", post(admin::load).merge(delete(admin::unload)))
        .route(
            "/aliases/{alias}",
            put(admin::set_alias).merge(delete(admin::remove_alias)),
        )
        .method_not_allowed_fallback(routes::method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(&service), admin::guard));
    Router::new()
        .nest("/v1/admin", admin)
        .route("/v1/classify", post(routes::classify))
        .route("/v1/models", get(routes::models))
        .route("/v1/topics", get(routes::topics))
        .route("/health/live", get(routes::live))
        .route("/health/ready", get(routes::ready))
        .merge(compat::routes())
        .merge(page::routes())
        .fallback(routes::unknown_route)
        .method_not_allowed_fallback(routes::method_not_allowed)
        .layer(CatchPanicLayer::custom(|_| ApiError::internal().into_response()))
        .layer(middleware::from_fn(log))
        .with_state(service)
}

/// One line a request, without its text.
async fn log(request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    tracing::info!(
        %method,
        path,
        status = response.status().as_u16(),
        ms = begun.elapsed().as_secs_f64() * 1e3,
        "request"
    );
    response
}

/// Serves until `stop` resolves, then answers what was accepted, for at most `grace`.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    stop: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> std::io::Result<()> {
    let stopped = Arc::new(tokio::sync::Notify::new());
    let server = axum::serve(listener, router(Arc::clone(&service))).with_graceful_shutdown({
        let stopped = Arc::clone(&stopped);
        async move {
            stop.await;
            service.drain();
            stopped.notify_one();
        }
    });
    let out_of_patience = async {
        stopped.notified().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        result = server.into_future() => result,
        () = out_of_patience => {
            tracing::warn!(seconds = grace.as_secs(), "requests were still open after the grace period");
            Ok(())
        }
    }
}

type App = State<Arc<Service>>;
