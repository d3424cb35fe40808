//! Keys, pages of other origins, and the figures: who may see what, and that they are exact.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use serde_json::json;
use tasnif::batcher::Settings;
use tasnif::http::{Access, Key, Scope, Service, router};
use tower::ServiceExt;

use super::common::{SETTINGS, registry, texts};
use super::http::{LIMITS, get, post, send, service};

fn guarded(keys: Vec<Key>) -> Arc<Service> {
    let origins = vec!["https://desk.example.org".parse().expect("a header")];
    let service = Arc::new(Service::new(LIMITS, Access { keys, origins }));
    service.ready(registry(SETTINGS));
    service
}

#[tokio::test]
async fn a_key_opens_what_its_scopes_say() {
    let service = guarded(vec![
        Key::new("desk", &[Scope::Classify], "desk's"),
        Key::new("monitor", &[Scope::Metrics, Scope::Classify], "monitor's"),
        Key::new("operator", &[Scope::Admin], "operator's"),
    ]);
    for (path, key, status, code) in [
        ("/v1/topics", None, 401, "key_invalid"),
        ("/v1/topics", Some("Bearer desk"), 401, "key_invalid"),
        ("/v1/topics", Some("Bearer "), 401, "key_invalid"),
        ("/v1/topics", Some("Basic desk's"), 401, "key_invalid"),
        ("/v1/topics", Some("desk's"), 401, "key_invalid"),
        ("/v1/topics", Some("Bearer desk's"), 200, ""),
        ("/v1/topics", Some("bearer monitor's"), 200, ""),
        ("/v1/topics", Some("Bearer operator's"), 403, "scope_missing"),
        ("/metrics", None, 401, "key_invalid"),
        ("/metrics", Some("Bearer desk's"), 403, "scope_missing"),
        ("/health/live", None, 200, ""),
        ("/health/ready", None, 200, ""),
        ("/openapi.json", None, 200, ""),
        ("/v1/nothing", None, 404, "route_unknown"),
    ] {
        let mut request = get(path);
        if let Some(key) = key {
            request
                .headers_mut()
                .insert(header::AUTHORIZATION, key.parse().expect("a header"));
        }
        let (found, headers, value) = send(&service, request).await;
        let found_code = value["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((found.as_u16(), found_code), (status, code), "{path} {key:?}");
        assert_eq!(headers.contains_key(header::WWW_AUTHENTICATE), status == 401);
    }
    // Refused before its body is read, let alone understood.
    let (status, _, _) = send(&service, post("{")).await;
    assert_eq!(status.as_u16(), 401);
}

#[tokio::test]
async fn pages_of_named_origins_may_call_with_a_key() {
    let service = guarded(vec![Key::new("desk", &[Scope::Classify], "desk's")]);
    let preflight = |origin: &str| {
        Request::options("/v1/classify")
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "POST")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type")
            .body(Body::empty())
            .expect("a request")
    };
    let headers = async |request: Request<Body>| -> HeaderMap {
        let response = router(Arc::clone(&service)).oneshot(request).await.expect("an answer");
        response.headers().clone()
    };
    let allowed = headers(preflight("https://desk.example.org")).await;
    assert_eq!(allowed[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://desk.example.org");
    let names = allowed[header::ACCESS_CONTROL_ALLOW_HEADERS]
        .to_str()
        .expect("text")
        .to_owned();
    assert!(
        names.contains("authorization") && names.contains("content-type"),
        "{names}"
    );
    let refused = headers(preflight("https://elsewhere.example.org")).await;
    assert!(!refused.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    // A refusal can be read by the page too.
    let mut request = post("{}");
    let origin = "https://desk.example.org".parse().expect("a header");
    request.headers_mut().insert(header::ORIGIN, origin);
    let refusal = headers(request).await;
    assert_eq!(refusal[header::ACCESS_CONTROL_ALLOW_ORIGIN], "https://desk.example.org");
}

/// The figures by their names with labels.
pub async fn figures(service: &Arc<Service>) -> BTreeMap<String, f64> {
    let response = router(Arc::clone(service))
        .oneshot(get("/metrics"))
        .await
        .expect("an answer");
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = response.into_body().collect().await.expect("a body").to_bytes();
    let text = String::from_utf8(text.to_vec()).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

#[tokio::test]
async fn n_requests_are_counted_n_times() {
    let settings = Settings {
        queue_tokens: 1024,
        ..SETTINGS
    };
    let service = service(settings);
    let ndjson = |body: &str| {
        let mut request = post(body.to_owned());
        let media_type = "application/x-ndjson".parse().expect("a header");
        request.headers_mut().insert(header::CONTENT_TYPE, media_type);
        request
    };
    let text = r#"{"text": "Oil prices rose."}"#;
    // One long article takes all of the queue when its request is polled for the first time, and keeps it until the next.
    let long = json!({"text": texts()[4]}).to_string();
    let mut long = Box::pin(send(&service, post(long)));
    assert!(long.as_mut().now_or_never().is_none());
    for _ in 0..2 {
        let many = format!(r#"{{"articles": [{text}, {text}]}}"#);
        for request in [post(text), post(many), ndjson(text)] {
            let (status, headers, answer) = send(&service, request).await;
            assert_eq!((status.as_u16(), &answer["error"]["code"]), (429, &json!("overloaded")));
            assert!(headers.contains_key(header::RETRY_AFTER));
        }
    }
    let (status, _, long) = long.await;
    assert_eq!(status.as_u16(), 200);
    let [long_tokens, long_windows] =
        ["tokens", "windows"].map(|field| long["usage"][field].as_u64().expect("a number"));
    let mut tokens = 0;
    for _ in 0..7 {
        let (_, _, verdict) = send(&service, post(text)).await;
        tokens += verdict["usage"]["tokens"].as_u64().expect("tokens");
    }
    send(
        &service,
        post(format!(r#"{{"articles": [{text}, {text}, {{"text": ""}}]}}"#)),
    )
    .await;
    let stream = ndjson(&format!("{text}\n{text}\nx\n{text}"));
    let response = router(Arc::clone(&service)).oneshot(stream).await.expect("an answer");
    response.into_body().collect().await.expect("a body");
    for _ in 0..3 {
        send(&service, post(r#"{"text": " "}"#)).await;
    }
    send(&service, post(r#"{"text": "\u0001"}"#)).await;
    for _ in 0..5 {
        send(&service, get("/v1/topics")).await;
    }
    for path in ["/a", "/b", "/c"] {
        send(&service, get(path)).await;
    }
    send(&service, get("/health/live")).await;
    send(&service, get("/v1/models")).await;
    figures(&service).await;

    let figures = figures(&service).await;
    let expected = [
        (r#"tasnif_http_requests_total{route="/v1/classify",status="200"}"#, 10),
        (r#"tasnif_http_requests_total{route="/v1/classify",status="422"}"#, 4),
        (r#"tasnif_http_requests_total{route="/v1/classify",status="429"}"#, 6),
        (r#"tasnif_http_requests_total{route="/v1/topics",status="200"}"#, 5),
        (r#"tasnif_http_requests_total{route="/v1/models",status="200"}"#, 1),
        (r#"tasnif_http_requests_total{route="/health/live",status="200"}"#, 1),
        (r#"tasnif_http_requests_total{route="/metrics",status="200"}"#, 1),
        (r#"tasnif_http_requests_total{route="none",status="404"}"#, 3),
        (r#"tasnif_http_request_seconds_count{route="/v1/classify"}"#, 20),
        (r#"tasnif_articles_total{model="tiny",outcome="answered"}"#, 13),
        (r#"tasnif_articles_total{model="tiny",outcome="invalid"}"#, 1),
        (r#"tasnif_tokens_total{model="tiny"}"#, long_tokens + tokens / 7 * 12),
        ("tasnif_queue_wait_seconds_count", 13),
        ("tasnif_batch_sequences_sum", long_windows + 12),
        ("tasnif_tokenization_seconds_count", 14),
        ("tasnif_queue_tokens", 0),
        ("tasnif_queue_sequences", 0),
        ("tasnif_queue_limit_tokens", settings.queue_tokens as u64),
        (r#"tasnif_model_info{model="tiny",version="1.0.0"}"#, 1),
    ];
    for (name, value) in expected {
        assert_eq!(figures.get(name), Some(&(value as f64)), "{name} of {figures:#?}");
    }
    assert_eq!(
        figures["tasnif_batch_tokens_count"], figures["tasnif_inference_seconds_count"],
        "each batch is encoded once"
    );
    assert!(figures["process_resident_memory_bytes"] > 1e6);
    // Nothing is there twice.
    let requests: f64 = figures
        .iter()
        .filter(|(name, _)| name.starts_with("tasnif_http_requests_total"))
        .map(|(_, n)| n)
        .sum();
    assert_eq!(requests, 31.0);
}
