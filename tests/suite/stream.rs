//! Streams of articles: order, errors in their places, back-pressure both ways.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tasnif::article::Article;
use tasnif::batcher::{Admission, Batcher, Settings};
use tasnif::http::{Access, Limits, Service, router};
use tower::ServiceExt;

use super::common::{SETTINGS, alone, assert_close, registry, text, texts, tiny};
use super::http::{LIMITS, service};

async fn open(service: &Arc<Service>, body: Body) -> Body {
    let request = Request::post("/v1/classify")
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(body)
        .expect("a request");
    let response = router(Arc::clone(service)).oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/x-ndjson");
    response.into_body()
}

async fn all(service: &Arc<Service>, body: Body) -> Vec<Value> {
    let answer = open(service, body).await.collect().await.expect("a body").to_bytes();
    let answer = std::str::from_utf8(&answer).expect("text");
    assert!(answer.is_empty() || answer.ends_with('\n'));
    answer
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[tokio::test]
async fn verdicts_come_in_the_order_of_the_lines() {
    let service = service(SETTINGS);
    let articles: Vec<Value> = texts()
        .iter()
        .cycle()
        .take(40)
        .enumerate()
        .map(|(index, text)| json!({"id": index.to_string(), "text": text, "targets": ["oil"]}))
        .collect();
    let lines: String = articles.iter().map(|article| format!("{article}\n")).collect();
    // In pieces that know nothing of lines.
    let pieces: Vec<_> = lines.as_bytes().chunks(1000).map(Bytes::copy_from_slice).collect();
    let body = Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)));
    let verdicts = all(&service, body).await;
    assert_eq!(verdicts.len(), articles.len());
    for (article, verdict) in articles.into_iter().zip(verdicts) {
        assert_eq!(verdict["id"], article["id"]);
        let article = Article::from_json(article).expect("an article");
        assert_close(&verdict, &json!(alone(&tiny(), &article)), 1e-4);
    }
}

#[tokio::test]
async fn a_bad_line_is_an_error_in_its_place() {
    let service = service(SETTINGS);
    let long = json!({"text": "x".repeat(70_000)}).to_string();
    let mut lines = b"{\"text\": \"Oil.\"}\n\n  \r\n{\"text\"\n{\"id\": \"e\", \"text\": \" \"}\n".to_vec();
    lines.extend(b"{\"text\": \"\xff\"}\n");
    lines.extend(long.as_bytes());
    lines.extend(b"\n{\"text\": \"x\", \"model\": \"gpt\"}\r\n[]\n{\"articles\": []}\n{\"text\": \"Gas.\"}");
    let answers = all(&service, Body::from(lines)).await;
    let found: Vec<_> = answers
        .iter()
        .map(|answer| (answer["line"].as_u64(), answer["error"]["code"].as_str()))
        .collect();
    assert_eq!(
        found,
        [
            (None, None),
            (Some(4), Some("json_malformed")),
            (Some(5), Some("text_empty")),
            (Some(6), Some("utf8_invalid")),
            (Some(7), Some("line_too_long")),
            (Some(8), Some("model_unknown")),
            (Some(9), Some("field_invalid")),
            (Some(10), Some("field_missing")),
            (None, None),
        ]
    );
    assert_eq!(answers[2]["id"], "e");
    assert!(answers[8]["topics"].is_array());
    assert!(all(&service, Body::empty()).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_read_only_as_answers_are_taken() {
    let service = service(SETTINGS);
    let read = Arc::new(AtomicUsize::new(0));
    let endless = stream::repeat_with({
        let read = Arc::clone(&read);
        move || {
            let index = read.fetch_add(1, Ordering::Relaxed);
            let line = format!("{}\n", json!({"id": index.to_string(), "text": "Oil prices rose."}));
            Ok::<_, std::io::Error>(Bytes::from(line))
        }
    });
    let mut answers = open(&service, Body::from_stream(endless)).await.into_data_stream();
    let mut taken = 0;
    for pause in [0, 200, 0, 200] {
        for _ in 0..20 {
            let line = answers.next().await.expect("an answer").expect("no error");
            let answer: Value = serde_json::from_slice(&line).expect("JSON");
            assert_eq!(answer["id"], taken.to_string());
            taken += 1;
        }
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let ahead = read.load(Ordering::Relaxed) - taken;
        assert!(ahead <= LIMITS.articles + 1, "{ahead} lines ahead of the reader");
    }
}

/// Long lines: no more of them are under way than a request's body may hold.
#[tokio::test]
async fn lines_under_way_are_bounded_in_bytes() {
    let service = service(SETTINGS);
    let read = Arc::new(AtomicUsize::new(0));
    let line = format!(
        "{}\n",
        json!({"text": "Oil prices rose. ".repeat(2000), "tasks": ["topics"]})
    );
    let lines = stream::repeat_with({
        let read = Arc::clone(&read);
        move || {
            read.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from(line.clone()))
        }
    });
    let mut answers = open(&service, Body::from_stream(lines)).await.into_data_stream();
    answers.next().await.expect("an answer").expect("no error");
    // Of 34 kB each, where 64 KiB are the limit: one under way, one waiting for room, one answered.
    assert!(read.load(Ordering::Relaxed) <= 4, "{}", read.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_quiet_stream_and_one_that_is_drained_say_where_they_ended() {
    let begun = || {
        let first = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(
            b"{\"text\": \"Oil.\"}\n{\"te",
        ))]);
        Body::from_stream(first.chain(stream::pending()))
    };
    let quick = Limits {
        patience: Duration::from_millis(100),
        ..LIMITS
    };
    let quiet = Arc::new(Service::new(quick, Access::default()));
    quiet.ready(registry(SETTINGS));
    let answers = all(&quiet, begun()).await;
    assert!(answers[0]["topics"].is_array());
    assert_eq!(
        (&answers[1]["line"], &answers[1]["error"]["code"]),
        (&json!(2), &json!("body_timeout"))
    );
    assert_eq!(answers.len(), 2);

    let drained = service(SETTINGS);
    let mut body = open(&drained, begun()).await.into_data_stream();
    body.next().await.expect("an answer").expect("no error");
    drained.drain();
    let last = body.next().await.expect("an answer").expect("no error");
    let last: Value = serde_json::from_slice(&last).expect("JSON");
    assert_eq!(
        (&last["line"], &last["error"]["code"]),
        (&json!(2), &json!("shutting_down"))
    );
    assert!(body.next().await.is_none());
}

/// The place of an article in the queue is free as soon as its caller leaves, not when its turn would have come.
#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_leaves_frees_its_place() {
    let batcher = Arc::new(
        Batcher::start(Settings {
            threads: 1,
            batch_tokens: 64,
            ..SETTINGS
        })
        .expect("threads start"),
    );
    let long = text(&texts()[4].repeat(12));
    let start = || {
        let (batcher, long) = (Arc::clone(&batcher), long.clone());
        tokio::spawn(async move { batcher.classify(tiny(), long, Admission::Refuse).await })
    };
    let first = start();
    while batcher.load() == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // What an article takes can only shrink from here on: an estimate until it is tokenized, then less with each batch.
    let alone = batcher.load();
    let second = start();
    while batcher.load() <= alone {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    second.abort();
    let _ = second.await;
    assert!(!first.is_finished());
    assert!(batcher.load() <= alone, "{} tokens, {alone} before", batcher.load());
    first.abort();
    let _ = first.await;
    assert_eq!(batcher.load(), 0);
}
