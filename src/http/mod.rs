//! The service over HTTP.

mod admin;
mod answers;
mod body;
mod call;
mod compat;
mod error;
mod examples;
mod keys;
mod lines;
mod metrics;
mod observe;
mod openapi;
mod page;
mod path;
mod routes;
mod server;
mod stream;
mod tls;

use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderValue, Method, header};
use axum::middleware;
use axum::response::IntoResponse;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::registry::Registry;

pub use error::ApiError;
pub use keys::{Key, KeyError, Scope};
pub use server::serve;
pub use tls::{Tls, TlsError};

/// What one request may ask for.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Of a body; of a stream: of a line, and of all lines under way.
    pub body_bytes: usize,
    /// In one request; of a stream: under way.
    pub articles: usize,
    /// How long an answer may take; a caller may ask for less.
    pub deadline: Duration,
    /// How long a client is waited for: for its request's head, its body, a stream's next piece, and until it takes a
    /// piece of the answer.
    pub patience: Duration,
}

/// Who may do what, and from where.
#[derive(Debug, Clone, Default)]
pub struct Access {
    /// A scope that no key has is open to everybody; administration is closed then.
    pub keys: Vec<Key>,
    /// Origins of pages that may call; `*` for all, nothing for none.
    pub origins: Vec<HeaderValue>,
}

/// What the handlers share. It exists before the model does: the port answers at once, and says that it isn't ready.
#[derive(Debug)]
pub struct Service {
    limits: Limits,
    access: Access,
    metrics: metrics::Metrics,
    registry: OnceLock<Arc<Registry>>,
    draining: CancellationToken,
    /// When it began, in seconds since 1970.
    since: u64,
}

impl Service {
    #[must_use]
    pub fn new(limits: Limits, access: Access) -> Self {
        Self {
            limits,
            access,
            metrics: metrics::Metrics::default(),
            registry: OnceLock::new(),
            draining: CancellationToken::new(),
            since: compat::now(),
        }
    }

    /// From now on articles are answered. A second call changes nothing.
    pub fn ready(&self, registry: Arc<Registry>) {
        let _ = self.registry.set(registry);
    }

    /// From now on the service says that it isn't ready, so that a load balancer looks elsewhere; requests still pass.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    fn registry(&self) -> Result<&Arc<Registry>, ApiError> {
        self.registry.get().ok_or_else(ApiError::not_ready)
    }

    fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }
}

/// All routes, and the document that describes them. Whatever is asked of the API, the answer is JSON; the page is at `/`.
pub fn router(service: Arc<Service>) -> Router {
    let guarded = |scope| middleware::from_fn_with_state((Arc::clone(&service), scope), keys::guard);
    let admin = OpenApiRouter::new()
        .routes(routes!(admin::load, admin::unload))
        .routes(routes!(admin::set_alias, admin::remove_alias))
        .route_layer(guarded(Scope::Admin));
    let figures = OpenApiRouter::new()
        .routes(routes!(metrics::metrics))
        .route_layer(guarded(Scope::Metrics));
    let (router, document) = OpenApiRouter::with_openapi(openapi::document())
        .routes(routes!(routes::classify))
        .routes(routes!(routes::models))
        .routes(routes!(routes::topics))
        .route_layer(guarded(Scope::Classify))
        .routes(routes!(routes::live))
        .routes(routes!(routes::ready))
        .merge(figures)
        .merge(admin)
        .merge(compat::routes().route_layer(guarded(Scope::Classify)))
        .merge(compat::health())
        .split_for_parts();
    let router = router
        .merge(openapi::routes(&document))
        .merge(page::routes())
        .fallback(routes::unknown_route)
        .method_not_allowed_fallback(routes::method_not_allowed)
        .layer(CatchPanicLayer::custom(|_| ApiError::internal().into_response()))
        .layer(middleware::from_fn(compat::refusals));
    let router = match cors(&service.access.origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router
        .layer(middleware::from_fn_with_state(Arc::clone(&service), observe::observe))
        .with_state(service)
}

/// Lets pages of these origins call, with their key, and see what helps them when they are refused.
fn cors(origins: &[HeaderValue]) -> Option<CorsLayer> {
    let origin = match origins {
        [] => return None,
        all if all.iter().any(|origin| origin == "*") => AllowOrigin::any(),
        some => AllowOrigin::list(some.to_vec()),
    };
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            call::TIMEOUT,
            observe::REQUEST_ID,
        ])
        .expose_headers([header::RETRY_AFTER, observe::REQUEST_ID])
        .max_age(Duration::from_secs(3600));
    Some(layer)
}

type App = State<Arc<Service>>;
