//! The OpenAPI document, held against what the service does.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tasnif::article::{Article, Verdict};
use tasnif::http::{Access, Service, router};
use tower::ServiceExt;

use super::common::SETTINGS;
use super::http::{LIMITS, get, send, service};

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let answer = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let service = Arc::new(Service::new(LIMITS, Access::default()));
                let response = router(service).oneshot(get("/openapi.json")).await.expect("an answer");
                response.into_body().collect().await.expect("a body").to_bytes()
            })
        });
        serde_json::from_slice(&answer.join().expect("no panic")).expect("JSON")
    })
}

/// The document's path for a path of a request.
fn template(path: &str) -> Option<&'static str> {
    let parts: Vec<&str> = path.split('/').collect();
    let paths = document()["paths"].as_object().expect("paths");
    let fits = |own: &str, part: &str| match own.split_once('}') {
        Some((_, behind)) => part.ends_with(behind),
        None => own == part,
    };
    let found = paths.keys().map(String::as_str).filter(|template| {
        let own: Vec<&str> = template.split('/').collect();
        own.len() == parts.len() && own.iter().zip(&parts).all(|(own, part)| fits(own, part))
    });
    // A name alone, or with something behind it.
    found.max_by_key(|template| template.len())
}

/// Whatever a documented route answers is in the document: its status, and of an error its code.
pub fn assert_documented(method: &Method, path: &str, status: StatusCode, answer: &Value) {
    let Some(template) = template(path) else { return };
    let Some(operation) = document()["paths"][template].get(method.as_str().to_lowercase()) else {
        return;
    };
    let response = &operation["responses"][status.as_str()];
    assert!(
        response.is_object(),
        "{method} {template}: {status} is not in the document"
    );
    if let Some(code) = answer["error"]["code"].as_str() {
        let example = &response["content"]["application/json"]["examples"][code]["value"]["error"];
        assert_eq!(
            example["code"], code,
            "{method} {template} {status}: {code} has no example"
        );
        assert!(example["message"].as_str().is_some_and(|message| message.len() > 10));
    }
}

#[tokio::test]
async fn the_document_names_all_routes_and_each_is_served() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            operations.push(format!("{} {path}", method.to_uppercase()));
            let responses = operation["responses"].as_object().expect("responses");
            for (status, response) in responses.iter().filter(|(status, _)| *status != "431") {
                for (_, content) in response["content"].as_object().expect("content") {
                    let shown = content.get("example").or(content.get("examples"));
                    assert!(shown.is_some(), "{method} {path} {status} has no example");
                }
            }
            let request = Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(path.replace(['{', '}'], ""))
                .body(Body::empty())
                .expect("a request");
            let response = router(service(SETTINGS)).oneshot(request).await.expect("an answer");
            assert!(
                responses.contains_key(response.status().as_str()),
                "{method} {path}: {}",
                response.status()
            );
            assert_ne!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
    }
    operations.sort();
    assert_eq!(
        operations,
        [
            "DELETE /v1/admin/aliases/{alias}",
            "DELETE /v1/admin/models/{name}",
            "GET /health/live",
            "GET /health/ready",
            "GET /info",
            "GET /metrics",
            "GET /v1/models",
            "GET /v1/models/{name}",
            "GET /v1/topics",
            "GET /v2",
            "GET /v2/health/live",
            "GET /v2/health/ready",
            "GET /v2/models/{name}",
            "GET /v2/models/{name}/ready",
            "GET /v2/models/{name}/versions/{version}",
            "GET /v2/models/{name}/versions/{version}/ready",
            "POST /classify",
            "POST /models/{name}",
            "POST /predict",
            "POST /v1/admin/models/{name}",
            "POST /v1/classify",
            "POST /v1/models/{name}:predict",
            "POST /v1/moderations",
            "POST /v2/models/{name}/infer",
            "POST /v2/models/{name}/versions/{version}/infer",
            "PUT /v1/admin/aliases/{alias}",
        ]
    );
}

/// What the router knows, it tells in its Debug form alone.
#[tokio::test]
async fn what_is_not_in_the_document_is_for_people() {
    let router = router(service(SETTINGS));
    let known = format!("{router:?}");
    let mut paths: Vec<&str> = known.split('"').filter(|part| part.starts_with('/')).collect();
    // axum's own form of the fallback.
    paths.retain(|path| !path.contains("__private__"));
    paths.sort_unstable();
    paths.dedup();
    assert!(paths.len() > 25, "{known}");
    let mut rest = Vec::new();
    for path in paths {
        let request = Request::builder()
            .method("PATCH")
            .uri(path.replace(['{', '}'], ""))
            .header(header::AUTHORIZATION, "Bearer secret")
            .body(Body::empty())
            .expect("a request");
        let response = router.clone().oneshot(request).await.expect("an answer");
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = response.headers()[header::ALLOW].to_str().expect("text");
        for method in allowed.split(',').filter(|method| *method != "HEAD") {
            if document()["paths"][path].get(method.to_lowercase()).is_none() {
                rest.push(format!("{method} {path}"));
            }
        }
    }
    // The page, the document itself, and the router's form of /v1/models/{name}:predict.
    rest.retain(|route| !route.starts_with("GET /page/"));
    assert_eq!(
        rest,
        [
            "GET /",
            "GET /docs",
            "GET /docs/docs.css",
            "GET /docs/docs.js",
            "GET /openapi.json",
            "POST /v1/models/{name}",
        ]
    );
}

#[tokio::test]
async fn the_examples_of_other_systems_requests_are_answered() {
    let service = service(SETTINGS);
    let mut sent = 0;
    for (path, item) in document()["paths"].as_object().expect("paths") {
        let operation = &item["post"];
        if operation.is_null() || path == "/v1/classify" || path.starts_with("/v1/admin/") {
            continue;
        }
        let examples = &operation["requestBody"]["content"]["application/json"]["examples"];
        for (name, example) in examples.as_object().expect("examples") {
            let request = Request::post(path.replace("{name}", "tiny").replace("{version}", "1.0.0"))
                .header(header::CONTENT_TYPE, "application/json")
                .body(Body::from(example["value"].to_string()))
                .expect("a request");
            let (status, _, answer) = send(&service, request).await;
            assert_eq!(status, StatusCode::OK, "{path}, {name}: {answer}");
            sent += 1;
        }
    }
    assert_eq!(sent, 16);
}

#[tokio::test]
async fn its_examples_are_articles_and_verdicts() {
    let service = service(SETTINGS);
    let operation = &document()["paths"]["/v1/classify"]["post"];
    let content = operation["requestBody"]["content"].as_object().expect("content");
    let mut sent = 0;
    for (media_type, content) in content {
        for (name, example) in content["examples"].as_object().expect("examples") {
            let body = match &example["value"] {
                Value::String(lines) => lines.clone(),
                value => value.to_string(),
            };
            let request = Request::post("/v1/classify")
                .header(header::CONTENT_TYPE, media_type)
                .body(Body::from(body))
                .expect("a request");
            let response = router(Arc::clone(&service)).oneshot(request).await.expect("an answer");
            assert_eq!(response.status(), StatusCode::OK, "{name}");
            let answer = response.into_body().collect().await.expect("a body").to_bytes();
            assert!(
                !String::from_utf8_lossy(&answer).contains("\"error\""),
                "{name}: {answer:?}"
            );
            sent += 1;
        }
    }
    assert_eq!(sent, 3);
    let verdict = &operation["responses"]["200"]["content"]["application/json"]["examples"]["one article"]["value"];
    assert!(serde_json::from_value::<Verdict>(verdict.clone()).is_ok());
}

/// The limits that the schema tells are those that are kept.
#[test]
fn its_schema_has_the_limits_of_an_article() {
    let fields = &document()["components"]["schemas"]["Article"]["properties"];
    let good = |field: &str, value: Value| {
        let article = serde_json::json!({"text": "x", field: value});
        Article::from_json(article).is_ok()
    };
    let limit = |field: &str, key: &str| fields[field][key].as_u64().expect("a limit") as usize;
    let (id, targets) = (limit("id", "maxLength"), limit("targets", "maxItems"));
    assert!(good("id", "i".repeat(id).into()) && !good("id", "i".repeat(id + 1).into()));
    assert!(good("targets", vec!["t"; targets].into()) && !good("targets", vec!["t"; targets + 1].into()));
    let least = limit("top_k", "minimum");
    assert!(good("top_k", least.into()) && !good("top_k", (least - 1).into()));
}

#[tokio::test]
async fn its_page_needs_nothing_from_elsewhere() {
    let service = service(SETTINGS);
    for (path, media_type) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs/docs.css", "text/css; charset=utf-8"),
        ("/docs/docs.js", "text/javascript; charset=utf-8"),
    ] {
        let response = router(Arc::clone(&service))
            .oneshot(get(path))
            .await
            .expect("an answer");
        assert_eq!(response.headers()[header::CONTENT_TYPE], media_type);
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY]
            .to_str()
            .expect("text")
            .to_owned();
        assert!(
            policy.starts_with("default-src 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        let content = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(!String::from_utf8_lossy(&content).contains("://"), "{path}");
    }
    assert_eq!(send(&service, get("/openapi.json")).await.0, StatusCode::OK);
}
