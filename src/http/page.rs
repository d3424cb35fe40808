//! The page at `/`: static files in the program, nothing that a browser would have to fetch from elsewhere.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use super::routes;

/// Only what the program itself serves, no inline script or style, no HTML made from strings, and no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

struct File {
    name: &'static str,
    kind: &'static str,
    content: &'static [u8],
    /// Of the content: a new version of the program shows at the next visit, and an old one costs no transfer.
    tag: String,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        vec![$(File::new($name, include_bytes!(concat!("page/", $name)))),*]
    };
}

static INDEX: LazyLock<File> = LazyLock::new(|| File::new("index.html", include_bytes!("page/index.html")));

/// What the page refers to.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    files! {
        "icon.svg",
        "style.css",
        "answer.js",
        "api.js",
        "app.js",
        "batch.js",
        "boot.js",
        "dom.js",
        "drop.js",
        "evidence.js",
        "examples.js",
        "files.js",
        "i18n.js",
        "many.js",
        "models.js",
        "one.js",
        "problems.js",
        "results.js",
        "snippets.js",
        "stance.js",
        "tabs.js",
        "targets.js",
        "texts.js",
        "topics.js",
    }
});

impl File {
    fn new(name: &'static str, content: &'static [u8]) -> Self {
        let kind = match name.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        };
        Self {
            name,
            kind,
            content,
            tag: format!("\"{:.16x}\"", Sha256::digest(content)),
        }
    }

    fn answer(&self, request: &HeaderMap) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.kind),
            (header::ETAG, &self.tag),
            (header::CACHE_CONTROL, "no-cache"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
        ];
        let known = request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.contains(&self.tag));
        if known {
            (StatusCode::NOT_MODIFIED, headers).into_response()
        } else {
            (headers, self.content).into_response()
        }
    }
}

/// `/`, and the files that it refers to below `/page/`.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(|headers: HeaderMap| async move { INDEX.answer(&headers) }))
        .route(
            "/page/{file}",
            get(
                |Path(file): Path<String>, method: Method, uri: Uri, headers: HeaderMap| async move {
                    match FILES.iter().find(|candidate| candidate.name == file) {
                        Some(file) => file.answer(&headers),
                        None => routes::unknown_route(method, uri).await.into_response(),
                    }
                },
            ),
        )
}
