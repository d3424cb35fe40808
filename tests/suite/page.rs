//! The page's files as the service gives them out; what they do in a browser is tested in scripts/tests/browser.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use tasnif::http::{Limits, Service, router};
use tower::ServiceExt;

async fn get(path: &str, known: Option<&str>) -> (Response<()>, String) {
    let limits = Limits {
        body_bytes: 1 << 10,
        articles: 1,
    };
    let mut request = Request::get(path);
    if let Some(tag) = known {
        request = request.header(header::IF_NONE_MATCH, tag);
    }
    // Without a model: the page is there before the service is ready.
    let service = Arc::new(Service::new(limits, None));
    let response = router(service)
        .oneshot(request.body(Body::empty()).expect("a request"))
        .await
        .expect("an answer");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    (
        Response::from_parts(parts, ()),
        String::from_utf8(bytes.to_vec()).expect("text"),
    )
}

fn header(response: &Response<()>, name: header::HeaderName) -> &str {
    response.headers()[name].to_str().expect("text")
}

/// Follows every reference from `/` on, as a browser would.
#[tokio::test]
async fn every_file_that_the_page_refers_to_is_served_with_its_type_and_policy() {
    let (mut todo, mut seen) = (vec!["/".to_owned()], Vec::new());
    while let Some(path) = todo.pop() {
        if seen.contains(&path) {
            continue;
        }
        let (response, text) = get(&path, None).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        let kind = match path.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(header(&response, header::CONTENT_TYPE), kind, "{path}");
        let policy = header(&response, header::CONTENT_SECURITY_POLICY);
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{path}: {policy}"
        );
        for (mark, folder) in [("\"page/", "/page/"), ("from \"./", "/page/")] {
            let names = text.split(mark).skip(1).filter_map(|rest| rest.split('"').next());
            todo.extend(names.map(|name| format!("{folder}{name}")));
        }
        seen.push(path);
    }
    let on_disk = std::fs::read_dir(super::common::repository("src/http/page")).expect("the folder");
    assert_eq!(seen.len(), on_disk.count(), "a file that nothing refers to");
}

#[tokio::test]
async fn a_browser_that_has_a_file_gets_it_only_when_it_changed() {
    let (first, _) = get("/page/style.css", None).await;
    let tag = header(&first, header::ETAG);
    let (again, text) = get("/page/style.css", Some(tag)).await;
    assert_eq!((again.status(), text.as_str()), (StatusCode::NOT_MODIFIED, ""));
    let (other, text) = get("/page/style.css", Some("\"0123456789abcdef\"")).await;
    assert_eq!(other.status(), StatusCode::OK);
    assert!(text.contains(":root"));
}

#[tokio::test]
async fn no_other_file_can_be_had() {
    for path in ["/page/nothing.js", "/page/..%2fpage.rs", "/page/index.html", "/page/"] {
        let (response, text) = get(path, None).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(text.contains("route_unknown"), "{path}: {text}");
    }
}
