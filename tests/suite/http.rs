//! The routes, called in process: what is answered, and how each bad request is refused.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tasnif::article::Article;
use tasnif::batcher::Settings;
use tasnif::http::{Access, Key, Limits, Scope, Service, router};
use tasnif::registry::Registry;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use super::access::figures;
use super::common::{SETTINGS, alone, assert_close, registry, texts, tiny};
use super::contract::assert_documented;

pub const LIMITS: Limits = Limits {
    body_bytes: 64 << 10,
    articles: 8,
    deadline: Duration::from_secs(60),
    patience: Duration::from_secs(60),
};

fn access() -> Access {
    Access {
        keys: vec![Key::new("operator", &[Scope::Admin], "secret")],
        origins: Vec::new(),
    }
}

pub fn service(settings: Settings) -> Arc<Service> {
    let service = Arc::new(Service::new(LIMITS, access()));
    service.ready(registry(settings));
    service
}

pub async fn send(service: &Arc<Service>, request: Request<Body>) -> (StatusCode, header::HeaderMap, Value) {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = router(Arc::clone(service)).oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    let value = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("not JSON: {error}: {bytes:?}"));
    assert_documented(&method, &path, parts.status, &value);
    (parts.status, parts.headers, value)
}

pub fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/v1/classify")
        .header(header::CONTENT_TYPE, "application/json")
        .body(body.into())
        .expect("a request")
}

pub fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a request")
}

#[tokio::test]
async fn one_article_and_many_get_the_same_verdicts_in_order() {
    let service = service(SETTINGS);
    let articles: Vec<Value> = texts()
        .iter()
        .enumerate()
        .map(|(index, text)| json!({"id": format!("a{index}"), "text": text, "targets": ["أمن", "oil"], "evidence": true}))
        .collect();
    let (status, _, many) = send(&service, post(json!({"articles": articles}).to_string())).await;
    assert_eq!(status, StatusCode::OK);
    let verdicts = many["verdicts"].as_array().expect("verdicts");
    assert_eq!(verdicts.len(), articles.len());
    for (article, verdict) in articles.into_iter().zip(verdicts) {
        let (status, _, one) = send(&service, post(article.to_string())).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(one["id"], article["id"]);
        assert_close(&one, verdict, 1e-4);
        let article = Article::from_json(article).expect("an article");
        assert_close(&one, &json!(alone(&tiny(), &article)), 1e-4);
    }
}

#[tokio::test]
async fn a_bad_article_among_good_ones_is_an_error_in_its_place() {
    let service = service(SETTINGS);
    let articles = json!([{"id": "good", "text": "Oil."}, {"id": "bad", "text": " "}, 7, {"text": "x", "txt": 1}, {"text": "Gas."}]);
    let (status, _, value) = send(&service, post(json!({"articles": articles}).to_string())).await;
    assert_eq!(status, StatusCode::OK);
    let verdicts = value["verdicts"].as_array().expect("verdicts");
    assert_eq!(verdicts[0]["id"], "good");
    assert_eq!(
        (&verdicts[1]["id"], &verdicts[1]["error"]["code"]),
        (&json!("bad"), &json!("text_empty"))
    );
    assert_eq!(verdicts[2]["error"]["code"], "field_invalid");
    assert_eq!(verdicts[3]["error"]["param"], "txt");
    assert!(verdicts[4]["topics"].is_array());
}

#[tokio::test]
async fn every_bad_request_is_refused_with_code_and_parameter() {
    struct Case {
        body: Vec<u8>,
        status: u16,
        code: &'static str,
        param: Option<&'static str>,
    }
    let case = |body: &str, status, code, param| Case {
        body: body.as_bytes().to_vec(),
        status,
        code,
        param,
    };
    let many = |count: usize| json!({"articles": vec![json!({"text": "x"}); count]}).to_string();
    let targets = |targets: Vec<String>| json!({"text": "x", "targets": targets}).to_string();
    let labels = |labels: Value| json!({"text": "x", "labels": labels}).to_string();
    let cases = [
        case(r#"{"text": ""}"#, 422, "text_empty", Some("text")),
        case(r#"{"text": " \n\t "}"#, 422, "text_empty", Some("text")),
        case(r#"{"text": "\u0000\u0001"}"#, 422, "text_unreadable", Some("text")),
        case(r#"{}"#, 422, "field_missing", Some("text")),
        case(r#"{"text": null}"#, 422, "field_missing", Some("text")),
        case(r#"{"text": 5}"#, 422, "field_invalid", Some("text")),
        case(r#"{"text": ["x"]}"#, 422, "field_invalid", Some("text")),
        case(r#"{"text": "x", "title": {}}"#, 422, "field_invalid", Some("title")),
        case(
            r#"{"text": "x", "targets": "y"}"#,
            422,
            "field_invalid",
            Some("targets"),
        ),
        case(
            r#"{"text": "x", "targets": ["y", 1]}"#,
            422,
            "field_invalid",
            Some("targets[1]"),
        ),
        case(r#"{"text": "x", "top_k": -1}"#, 422, "field_invalid", Some("top_k")),
        case(
            r#"{"text": "x", "threshold": "high"}"#,
            422,
            "field_invalid",
            Some("threshold"),
        ),
        case(
            r#"{"text": "x", "threshold": 2}"#,
            422,
            "field_invalid",
            Some("threshold"),
        ),
        case(
            r#"{"text": "x", "evidence": "yes"}"#,
            422,
            "field_invalid",
            Some("evidence"),
        ),
        case(r#"{"text": "x", "body": "y"}"#, 422, "field_invalid", Some("body")),
        case(
            r#"{"text": "x", "tasks": ["sentiment"]}"#,
            422,
            "task_unknown",
            Some("tasks[0]"),
        ),
        case(r#"{"text": "x", "tasks": []}"#, 422, "field_invalid", Some("tasks")),
        case(
            r#"{"text": "x", "topics": ["gossip"]}"#,
            422,
            "topic_unknown",
            Some("topics[0]"),
        ),
        case(r#"{"text": "x", "model": "gpt"}"#, 404, "model_unknown", Some("model")),
        case(&targets(vec!["t".into(); 17]), 422, "targets_too_many", Some("targets")),
        case(
            &targets(vec!["t".repeat(301)]),
            422,
            "target_too_long",
            Some("targets[0]"),
        ),
        case(&targets(vec!["  ".into()]), 422, "target_empty", Some("targets[0]")),
        case(&labels(json!([])), 422, "field_invalid", Some("labels")),
        case(&labels(json!("oil")), 422, "field_invalid", Some("labels")),
        case(&labels(json!(["oil", 7])), 422, "field_invalid", Some("labels[1]")),
        case(
            &labels(json!([{"label": "oil", "hypotheses": "?"}])),
            422,
            "field_invalid",
            Some("labels[0]"),
        ),
        case(&labels(json!(["oil", "oil "])), 422, "field_invalid", Some("labels[1]")),
        case(&labels(json!(["oil", " "])), 422, "label_empty", Some("labels[1]")),
        case(
            &labels(json!(["o".repeat(301)])),
            422,
            "label_too_long",
            Some("labels[0]"),
        ),
        case(
            &labels((0..65).map(|index| json!(index.to_string())).collect()),
            422,
            "labels_too_many",
            Some("labels"),
        ),
        case(
            r#"{"text": "x", "labels": ["oil"], "topics": ["sport"]}"#,
            422,
            "field_invalid",
            Some("topics"),
        ),
        case(
            r#"{"text": "x", "labels": ["oil"], "hypothesis_template": "About oil."}"#,
            422,
            "field_invalid",
            Some("hypothesis_template"),
        ),
        case(
            r#"{"text": "x", "labels": ["oil"], "hypothesis_template": "About {}."}"#,
            422,
            "labels_not_served",
            Some("hypothesis_template"),
        ),
        case(
            r#"{"text": "x", "multi_label": false}"#,
            422,
            "field_invalid",
            Some("multi_label"),
        ),
        case("[]", 422, "field_invalid", Some("article")),
        case("7", 422, "field_invalid", Some("article")),
        case(r#"{"articles": []}"#, 422, "articles_empty", Some("articles")),
        case(r#"{"articles": {}}"#, 422, "field_invalid", Some("articles")),
        case(
            r#"{"articles": [], "model": "tiny"}"#,
            422,
            "field_invalid",
            Some("model"),
        ),
        case(&many(9), 422, "articles_too_many", Some("articles")),
        case("", 400, "json_malformed", None),
        case(r#"{"text": "x""#, 400, "json_malformed", None),
        case(r#"{"text": "\ud800"}"#, 400, "json_malformed", None),
        case(&"[".repeat(10_000), 400, "json_malformed", None),
        case(
            &json!({"text": "x".repeat(70_000)}).to_string(),
            413,
            "body_too_large",
            None,
        ),
        Case {
            body: b"{\"text\": \"\xff\xfe\"}".to_vec(),
            status: 400,
            code: "utf8_invalid",
            param: None,
        },
    ];
    let service = service(SETTINGS);
    for case in cases {
        let shown = String::from_utf8_lossy(&case.body[..case.body.len().min(60)]).into_owned();
        let (status, _, value) = send(&service, post(case.body)).await;
        let error = &value["error"];
        assert_eq!(
            (status.as_u16(), error["code"].as_str(), error["param"].as_str()),
            (case.status, Some(case.code), case.param),
            "{shown}: {value}"
        );
        assert!(
            error["message"].as_str().is_some_and(|message| message.len() > 10),
            "{shown}: {value}"
        );
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_limited_too() {
    let chunks = (0..100).map(|_| Ok::<_, std::io::Error>(axum::body::Bytes::from(vec![b' '; 1024])));
    let body = Body::from_stream(futures_util::stream::iter(chunks));
    let (status, _, value) = send(&service(SETTINGS), post(body)).await;
    assert_eq!(
        (status.as_u16(), value["error"]["code"].as_str()),
        (413, Some("body_too_large"))
    );
}

#[tokio::test]
async fn media_types_routes_and_methods() {
    let service = service(SETTINGS);
    for (media_type, expected) in [
        (Some("application/json; charset=utf-8"), 200),
        (Some("APPLICATION/JSON"), 200),
        (None, 200),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
    ] {
        let mut request = post(r#"{"text": "Oil."}"#);
        request.headers_mut().remove(header::CONTENT_TYPE);
        if let Some(media_type) = media_type {
            request
                .headers_mut()
                .insert(header::CONTENT_TYPE, media_type.parse().expect("a header"));
        }
        let (status, _, value) = send(&service, request).await;
        assert_eq!(status.as_u16(), expected, "{media_type:?}: {value}");
    }
    let (status, _, value) = send(&service, get("/v3/nothing")).await;
    assert_eq!(
        (status.as_u16(), value["error"]["code"].as_str()),
        (404, Some("route_unknown"))
    );
    let (status, headers, value) = send(&service, get("/v1/classify")).await;
    assert_eq!(
        (status.as_u16(), value["error"]["code"].as_str()),
        (405, Some("method_not_allowed"))
    );
    assert_eq!(headers[header::ALLOW], "POST");
}

#[tokio::test]
async fn models_and_topics_are_listed() {
    let service = service(SETTINGS);
    let (_, _, models) = send(&service, get("/v1/models")).await;
    assert_eq!(models["models"][0]["name"], "tiny");
    assert_eq!(models["models"][0]["tasks"], json!(["topics", "stance", "labels"]));
    // As OpenAI's and vLLM's clients look for them.
    assert_eq!(
        (&models["object"], &models["data"][0]["id"]),
        (&json!("list"), &json!("tiny"))
    );
    let (_, _, named) = send(&service, get("/v1/topics?model=tiny@1.0.0")).await;
    let (_, _, topics) = send(&service, get("/v1/topics")).await;
    assert_eq!(named, topics);
    for (query, status, code) in [
        ("model=none", 404, "model_unknown"),
        ("models=tiny", 400, "query_invalid"),
        ("model=tiny&model=tiny", 400, "query_invalid"),
    ] {
        let (found, _, value) = send(&service, get(&format!("/v1/topics?{query}"))).await;
        assert_eq!((found.as_u16(), value["error"]["code"].as_str()), (status, Some(code)));
    }
    let topics = topics["topics"].as_array().expect("topics").clone();
    assert_eq!(topics.len(), 3);
    assert_eq!(topics[0]["name"]["ar"], "السياسة والحكومة");
    assert_eq!(topics[0]["iptc"], json!(["medtop:11000000"]));
}

#[tokio::test]
async fn a_request_has_its_own_threshold_and_number_of_topics() {
    let service = service(SETTINGS);
    let ask = async |options: Value| {
        let mut article = json!({"text": "Oil prices rose on world markets.", "tasks": ["topics"]});
        let options = options.as_object().expect("an object").clone();
        article.as_object_mut().expect("an object").extend(options);
        let (status, _, verdict) = send(&service, post(article.to_string())).await;
        assert_eq!(status, StatusCode::OK, "{verdict}");
        verdict["topics"].as_array().expect("topics").clone()
    };
    let all = ask(json!({})).await;
    assert_eq!(all.len(), 3);
    for top_k in [1, 2, 3, 9] {
        assert_eq!(ask(json!({"top_k": top_k})).await, all[..all.len().min(top_k)]);
    }
    let between = (all[0]["score"].as_f64().expect("a score") + all[1]["score"].as_f64().expect("a score")) / 2.0;
    for (threshold, assigned) in [(0.0, 3), (between, 1), (1.0, 0)] {
        let topics = ask(json!({"threshold": threshold})).await;
        for (index, topic) in topics.iter().enumerate() {
            assert_close(&topic["threshold"], &json!(threshold), 1e-6);
            assert_eq!(topic["assigned"], index < assigned, "{threshold}: {topic}");
            assert_eq!(topic["score"], all[index]["score"]);
        }
    }
}

#[tokio::test]
async fn live_is_not_ready() {
    let service = Arc::new(Service::new(LIMITS, access()));
    assert_eq!(send(&service, get("/health/live")).await.0, StatusCode::OK);
    for request in [get("/health/ready"), get("/v1/models"), post(r#"{"text": "Oil."}"#)] {
        let (status, headers, value) = send(&service, request).await;
        assert_eq!(
            (status.as_u16(), value["error"]["code"].as_str()),
            (503, Some("not_ready"))
        );
        assert!(headers.contains_key(header::RETRY_AFTER));
    }
    service.ready(registry(SETTINGS));
    assert_eq!(send(&service, get("/health/ready")).await.0, StatusCode::OK);
    service.drain();
    let (status, _, value) = send(&service, get("/health/ready")).await;
    assert_eq!(
        (status.as_u16(), value["error"]["code"].as_str()),
        (503, Some("shutting_down"))
    );
}

/// A service with a long article under way, of which some waits in the queue.
async fn busy(registry: &Arc<Registry>) -> (Arc<Service>, JoinHandle<StatusCode>) {
    let service = Arc::new(Service::new(LIMITS, access()));
    service.ready(Arc::clone(registry));
    let busy = tokio::spawn({
        let service = Arc::clone(&service);
        async move { send(&service, post(long(0).to_string())).await.0 }
    });
    while registry.batcher().waiting() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (service, busy)
}

/// An article of 60 KB, its words in an order of its own: it has no window in common with those of other numbers. (Numbers in
/// the text would not do: the tiny vocabulary has no digits.)
fn long(number: u64) -> Value {
    let sentence = &texts()[1];
    let words: Vec<&str> = sentence.split_whitespace().collect();
    let mut state = number;
    let mut text = String::new();
    while text.len() < 60 << 10 {
        // Knuth's MMIX generator; its high bits.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(words[(state >> 33) as usize % words.len()]);
        text.push(' ');
    }
    json!({"text": text})
}

/// Room for one long article: while it is encoded, others are refused; afterwards they are answered.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_says_when_to_come_back() {
    let registry = registry(Settings {
        threads: 1,
        batch_tokens: 64,
        queue_tokens: 1,
        cache_bytes: 0,
    });
    let (service, busy) = busy(&registry).await;
    let (status, headers, value) = send(&service, post(r#"{"text": "Oil."}"#)).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(value["error"]["code"], "overloaded");
    let seconds: u64 = headers[header::RETRY_AFTER]
        .to_str()
        .expect("text")
        .parse()
        .expect("seconds");
    assert!((1..600).contains(&seconds), "{seconds}");
    assert_eq!(busy.await.expect("no panic"), StatusCode::OK);
    assert_eq!(send(&service, post(r#"{"text": "Oil."}"#)).await.0, StatusCode::OK);
    // Who was refused cost nothing.
    let figures = figures(&service).await;
    assert_eq!(figures["tasnif_tokenization_seconds_count"], 2.0);
}

/// After the grace period nobody waits for what is in the queue: the end must not.
#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_given_up_is_not_encoded() {
    let registry = registry(Settings {
        threads: 1,
        batch_tokens: 64,
        ..SETTINGS
    });
    let (service, busy) = busy(&registry).await;
    registry.batcher().give_up();
    assert_eq!(registry.batcher().waiting(), 0);
    assert_eq!(busy.await.expect("no panic"), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(send(&service, post(r#"{"text": "Oil."}"#)).await.0, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_article_that_is_late_leaves_the_queue() {
    let limits = Limits {
        body_bytes: 1 << 20,
        articles: 16,
        ..LIMITS
    };
    let service = Arc::new(Service::new(limits, access()));
    service.ready(registry(Settings {
        threads: 1,
        batch_tokens: 64,
        queue_tokens: 1 << 20,
        cache_bytes: 16 << 20,
    }));
    let with_timeout = |body: String, timeout: &str| {
        let mut request = post(body);
        let timeout = timeout.parse().expect("a header");
        request.headers_mut().insert("x-request-timeout-ms", timeout);
        request
    };
    let milliseconds = |time: Duration| time.as_millis().max(1).to_string();
    let encoded = async || {
        let figures = figures(&service).await;
        figures["tasnif_batch_tokens_sum"]
    };
    let begun = Instant::now();
    assert_eq!(send(&service, post(long(0).to_string())).await.0, StatusCode::OK);
    let whole = begun.elapsed();
    let tokens = encoded().await;

    let late = with_timeout(long(1).to_string(), &milliseconds(whole / 8));
    let (status, _, value) = send(&service, late).await;
    assert_eq!(
        (status.as_u16(), value["error"]["code"].as_str()),
        (504, Some("deadline_exceeded")),
        "{value}"
    );
    // The answer to the next one means that the queue before it is done; less than half of the late one was encoded.
    assert_eq!(send(&service, post(r#"{"text": "Oil."}"#)).await.0, StatusCode::OK);
    let spent = encoded().await - tokens;
    assert!(spent < tokens / 2.0, "{spent} of {tokens} tokens");

    // Among many, only what is late is an error. In which order they come to the queue is not said, but the short one needs
    // no place in it: it was read before. Time for about two of the fifteen others.
    let mut articles = vec![json!({"text": "Oil."})];
    articles.extend((2..17).map(long));
    let many = with_timeout(json!({"articles": articles}).to_string(), &milliseconds(2 * whole));
    let (status, _, value) = send(&service, many).await;
    assert_eq!(status, StatusCode::OK);
    assert!(value["verdicts"][0]["topics"].is_array(), "{value}");
    let verdicts = value["verdicts"].as_array().expect("verdicts");
    let errors: Vec<&Value> = verdicts.iter().filter_map(|verdict| verdict.get("error")).collect();
    assert!(!errors.is_empty(), "{value}");
    for error in errors {
        assert_eq!(error["code"], "deadline_exceeded");
    }

    for timeout in ["0", "-1", "soon", "1.5"] {
        let (status, _, value) = send(&service, with_timeout(r#"{"text": "Oil."}"#.to_owned(), timeout)).await;
        assert_eq!(
            (status.as_u16(), value["error"]["code"].as_str()),
            (400, Some("header_invalid"))
        );
    }
}

#[tokio::test]
async fn what_cannot_be_answered_in_time_is_refused_at_once() {
    let service = service(Settings {
        threads: 1,
        batch_tokens: 64,
        ..SETTINGS
    });
    let long = json!({"text": texts()[4].repeat(12)}).to_string();
    let busy = tokio::spawn({
        let service = Arc::clone(&service);
        async move { send(&service, post(long)).await.0 }
    });
    let mut statuses = Vec::new();
    while statuses.last() != Some(&429) && !busy.is_finished() {
        let mut request = post(r#"{"text": "Oil."}"#);
        request
            .headers_mut()
            .insert("x-request-timeout-ms", "1".parse().expect("a header"));
        statuses.push(send(&service, request).await.0.as_u16());
    }
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
    busy.abort();
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let limits = Limits {
        patience: Duration::from_millis(50),
        ..LIMITS
    };
    let service = Arc::new(Service::new(limits, Access::default()));
    service.ready(registry(SETTINGS));
    let body = || Body::from_stream(futures_util::stream::pending::<Result<axum::body::Bytes, std::io::Error>>());
    let (status, _, value) = send(&service, post(body())).await;
    assert_eq!(
        (status.as_u16(), value["error"]["code"].as_str()),
        (408, Some("body_timeout"))
    );
}

#[tokio::test]
async fn an_id_is_given_back_or_made() {
    let service = service(SETTINGS);
    let id = async |given: Option<&str>| {
        let mut request = get("/health/live");
        if let Some(given) = given {
            request
                .headers_mut()
                .insert("x-request-id", given.parse().expect("a header"));
        }
        let headers = send(&service, request).await.1;
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        headers["x-request-id"].to_str().expect("text").to_owned()
    };
    assert_eq!(id(Some("abc-123")).await, "abc-123");
    let (one, other) = (id(None).await, id(None).await);
    assert_eq!((one.len(), other.len()), (32, 32));
    assert_ne!(one, other);
    assert_eq!(id(Some("two words")).await.len(), 32);
    assert_eq!(id(Some(&"x".repeat(129))).await.len(), 32);
}
