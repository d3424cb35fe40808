//! Other systems' protocols, called in process: the shapes that their clients read, and their errors. The clients
//! themselves are in tests/clients.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tasnif::article::Article;
use tasnif::batcher::Settings;
use tasnif::http::{Access, Key, Limits, Scope, Service, router};
use tower::ServiceExt;

use super::access::figures;
use super::common::{SETTINGS, alone, assert_close, registry, text, texts, tiny};
use super::contract::assert_documented;
use super::http::LIMITS;

const OIL: &str = "Oil prices rose on world markets.";
const VOTE: &str = "The government lost the vote in parliament.";
const TOPICS: [&str; 3] = ["politics", "sport", "cybersecurity"];
const STANCES: [&str; 4] = ["favor", "against", "neutral", "unrelated"];

fn limits() -> Limits {
    Limits { articles: 4, ..LIMITS }
}

fn service(settings: Settings) -> Arc<Service> {
    let service = Arc::new(Service::new(limits(), Access::default()));
    service.ready(registry(settings));
    service
}

async fn send(service: &Arc<Service>, request: Request<Body>) -> (StatusCode, header::HeaderMap, Vec<u8>) {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = router(Arc::clone(service)).oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    assert_documented(
        &method,
        &path,
        parts.status,
        &serde_json::from_slice(&bytes).unwrap_or_default(),
    );
    (parts.status, parts.headers, bytes.to_vec())
}

async fn post(service: &Arc<Service>, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::post(path)
        .body(Body::from(body.to_string()))
        .expect("a request");
    let (status, headers, bytes) = send(service, request).await;
    if let Some(length) = headers.get(header::CONTENT_LENGTH) {
        assert_eq!(length.to_str().expect("text"), bytes.len().to_string());
    }
    (status.as_u16(), serde_json::from_slice(&bytes).expect("JSON"))
}

async fn get(service: &Arc<Service>, path: &str) -> (u16, Value) {
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let (status, _, bytes) = send(service, request).await;
    (status.as_u16(), serde_json::from_slice(&bytes).expect("JSON"))
}

/// `[{label, score}]` of a text's topics, by falling score.
fn scored(of: &str) -> Value {
    let topics = alone(&tiny(), &text(of)).topics.expect("topics");
    topics
        .iter()
        .map(|topic| json!({"label": topic.label, "score": topic.score}))
        .collect()
}

/// The same of the stance toward a target.
fn stance(of: &str, toward: &str) -> Value {
    let article = Article {
        targets: vec![toward.to_owned()],
        ..text(of)
    };
    let scores = json!(alone(&tiny(), &article).stance.expect("stance")[0].scores);
    let mut scored: Vec<Value> = STANCES
        .iter()
        .map(|label| json!({"label": label, "score": scores[label]}))
        .collect();
    scored.sort_by(|a, b| {
        b["score"]
            .as_f64()
            .expect("a score")
            .total_cmp(&a["score"].as_f64().expect("a score"))
    });
    json!(scored)
}

/// The scores in the model's own order.
fn in_order(scored: &Value, labels: &[&str]) -> Vec<f64> {
    let score = |label: &&str| {
        let found = scored
            .as_array()
            .expect("a list")
            .iter()
            .find(|entry| entry["label"] == **label);
        found.expect("the label")["score"].as_f64().expect("a score")
    };
    labels.iter().map(score).collect()
}

#[tokio::test]
async fn hugging_face_text_classification_is_nested() {
    let service = service(SETTINGS);
    let ask = async |body: Value| post(&service, "/models/tiny", &body).await;
    let (status, one) = ask(json!({"inputs": OIL})).await;
    assert_eq!(status, 200, "{one}");
    assert_close(&one, &json!([scored(OIL)]), 1e-4);
    let (_, many) = ask(json!({"inputs": [OIL, VOTE], "parameters": null, "options": {"use_cache": false}})).await;
    assert_close(&many, &json!([scored(OIL), scored(VOTE)]), 1e-4);
    let (_, pair) = ask(json!({"inputs": {"text": VOTE, "text_pair": "the government"}})).await;
    assert_close(&pair, &json!([stance(VOTE, "the government")]), 1e-4);
    let (_, top) = ask(json!({"inputs": OIL, "parameters": {"top_k": 1}})).await;
    assert_close(&top, &json!([[scored(OIL)[0]]]), 1e-4);
}

/// tiny's scores are sigmoids of calibrated logits, so each function is known from the scores.
#[tokio::test]
async fn hugging_face_functions_are_of_the_logits() {
    let service = service(SETTINGS);
    let scores = in_order(&scored(OIL), &TOPICS);
    let logits: Vec<f64> = scores.iter().map(|score| (score / (1.0 - score)).ln()).collect();
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    let softmax: Vec<f64> = logits.iter().map(|logit| logit.exp() / sum).collect();
    for (function, expected) in [("sigmoid", &scores), ("softmax", &softmax), ("none", &logits)] {
        let body = json!({"inputs": OIL, "parameters": {"function_to_apply": function}});
        let (status, answer) = post(&service, "/models/tiny", &body).await;
        assert_eq!(status, 200, "{answer}");
        assert_close(&json!(in_order(&answer[0], &TOPICS)), &json!(expected), 1e-3);
    }
    // A stance is a distribution: its softmax is itself.
    let body = json!({"inputs": {"text": VOTE, "text_pair": "oil"}, "parameters": {"function_to_apply": "softmax"}});
    let (_, answer) = post(&service, "/models/tiny", &body).await;
    assert_close(&answer, &json!([stance(VOTE, "oil")]), 1e-4);
}

#[tokio::test]
async fn hugging_face_zero_shot_is_flat() {
    let service = service(SETTINGS);
    let ask = async |inputs: Value, parameters: Value| {
        post(
            &service,
            "/models/tiny",
            &json!({"inputs": inputs, "parameters": parameters}),
        )
        .await
    };
    let labels = json!(["sport", "politics"]);
    let (status, many_true) = ask(json!(OIL), json!({"candidate_labels": labels, "multi_label": true})).await;
    assert_eq!(status, 200, "{many_true}");
    let expected = in_order(&scored(OIL), &["sport", "politics"]);
    assert_close(
        &json!(in_order(&many_true, &["sport", "politics"])),
        &json!(expected),
        1e-4,
    );
    let (_, one_true) = ask(json!(OIL), json!({"candidate_labels": "sport, politics"})).await;
    let sum: f64 = in_order(&one_true, &["sport", "politics"]).iter().sum();
    assert!((sum - 1.0).abs() < 1e-5, "{one_true}");
    let (_, batch) = ask(json!([OIL, VOTE]), json!({"candidate_labels": labels})).await;
    assert_close(&batch[0], &one_true, 1e-4);
    assert_eq!(batch.as_array().map(Vec::len), Some(2));
    // Labels that the model has no topic for are scored as labels of the request.
    for multi_label in [true, false] {
        let parameters = json!({"candidate_labels": ["gossip", "oil"], "multi_label": multi_label});
        let (status, answer) = ask(json!(OIL), parameters).await;
        assert_eq!((status, answer.as_array().map(Vec::len)), (200, Some(2)), "{answer}");
        let sum: f64 = in_order(&answer, &["gossip", "oil"]).iter().sum();
        assert!(multi_label || (sum - 1.0).abs() < 1e-5, "{answer}");
    }
    for (parameters, expected) in [
        (json!({"candidate_labels": []}), 422),
        (json!({"candidate_labels": "  "}), 422),
        (
            json!({"candidate_labels": labels, "hypothesis_template": "about it"}),
            422,
        ),
    ] {
        let (status, answer) = ask(json!(OIL), parameters).await;
        assert_eq!(status, expected, "{answer}");
        assert!(answer["error"].is_string(), "{answer}");
    }
    // Counted before each text gets all labels: multiplied, these are gigabytes.
    let (texts, many) = (json!(vec!["a"; 3000]), vec!["gossip"; 3000]);
    let (own, long) = (vec!["sport"; 3000], "x".repeat(40_000));
    for (inputs, labels, message) in [
        (&texts, json!(many), "3000 texts"),
        (&texts, json!(own), "3000 texts"),
        (&json!([OIL, VOTE]), json!(many), "3000"),
        (&json!([OIL, VOTE]), json!([long]), "characters"),
    ] {
        let (status, answer) = ask(inputs.clone(), json!({"candidate_labels": labels})).await;
        let told = answer["error"].as_str().unwrap_or_default();
        assert!(status == 422 && told.contains(message), "{status} {answer}");
    }
    let (status, answer) = ask(json!(OIL), json!({"candidate_labels": own})).await;
    assert_eq!((status, answer.as_array().map(Vec::len)), (200, Some(1)), "{answer}");
}

#[tokio::test]
async fn tei_reads_texts_pairs_and_batches() {
    let service = service(SETTINGS);
    let ask = async |inputs: Value| {
        post(&service, "/predict", &json!({"inputs": inputs, "truncate": true}))
            .await
            .1
    };
    assert_close(&ask(json!(OIL)).await, &scored(OIL), 1e-4);
    assert_close(&ask(json!([OIL])).await, &scored(OIL), 1e-4);
    assert_close(&ask(json!([VOTE, "oil"])).await, &stance(VOTE, "oil"), 1e-4);
    let batch = ask(json!([[OIL], [VOTE, "oil"]])).await;
    assert_close(&batch, &json!([scored(OIL), stance(VOTE, "oil")]), 1e-4);
    assert_close(&ask(json!([[OIL]])).await, &json!([scored(OIL)]), 1e-4);
    let (_, raw) = post(&service, "/predict", &json!({"inputs": OIL, "raw_scores": true})).await;
    let logit = raw[0]["score"].as_f64().expect("a logit");
    let score = scored(OIL)[0]["score"].as_f64().expect("a score");
    assert!((1.0 / (1.0 + (-logit).exp()) - score).abs() < 1e-4, "{raw}");

    let request = Request::post("/predict").body(Body::from(json!({"inputs": "نفط"}).to_string()));
    let (_, headers, _) = send(&service, request.expect("a request")).await;
    assert_eq!(headers["x-compute-type"], "cpu");
    assert_eq!(headers["x-compute-characters"], "3");
    let number = |name: &str| headers[name].to_str().expect("text").parse::<u64>().expect("a number");
    assert!(number("x-compute-tokens") > 0);
    let stages = ["x-tokenization-time", "x-queue-time", "x-inference-time"].map(number);
    assert!(stages.iter().sum::<u64>() <= number("x-total-time"), "{headers:?}");
    assert_eq!(number("x-compute-time"), number("x-total-time"));

    // A long text takes its time in the encoder, and the headers say so.
    let long = json!({"inputs": texts()[4].repeat(10)}).to_string();
    let (_, headers, _) = send(
        &service,
        Request::post("/predict").body(Body::from(long)).expect("a request"),
    )
    .await;
    let number = |name: &str| headers[name].to_str().expect("text").parse::<u64>().expect("a number");
    assert!(number("x-inference-time") * 2 > number("x-total-time"), "{headers:?}");
}

#[tokio::test]
async fn tei_tells_what_is_served() {
    let (status, info) = get(&service(SETTINGS), "/info").await;
    assert_eq!(status, 200);
    assert_eq!(
        (&info["model_id"], &info["model_dtype"]),
        (&json!("tiny"), &json!("int8"))
    );
    assert_eq!(info["max_client_batch_size"], 4);
    assert_eq!(info["max_batch_tokens"], SETTINGS.batch_tokens);
    let classifier = &info["model_type"]["classifier"];
    assert_eq!(
        classifier["id2label"],
        json!({"0": "politics", "1": "sport", "2": "cybersecurity"})
    );
    assert_eq!(classifier["label2id"]["sport"], 1);
}

#[tokio::test]
async fn vllm_gives_probabilities_in_the_models_order() {
    let service = service(SETTINGS);
    let (status, answer) = post(&service, "/classify", &json!({"model": "tiny", "input": [OIL, VOTE]})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["object"], &answer["model"]), (&json!("list"), &json!("tiny")));
    for (index, of) in [OIL, VOTE].into_iter().enumerate() {
        let data = &answer["data"][index];
        assert_eq!((&data["index"], &data["num_classes"]), (&json!(index), &json!(3)));
        assert_eq!(data["label"], scored(of)[0]["label"]);
        assert_close(&data["probs"], &json!(in_order(&scored(of), &TOPICS)), 1e-4);
    }
    let tokens = alone(&tiny(), &text(OIL)).usage.tokens + alone(&tiny(), &text(VOTE)).usage.tokens;
    assert_eq!(answer["usage"]["total_tokens"], tokens);
    let (_, logits) = post(&service, "/classify", &json!({"input": OIL, "use_activation": false})).await;
    let (_, raw) = post(&service, "/predict", &json!({"inputs": OIL, "raw_scores": true})).await;
    assert_close(&logits["data"][0]["probs"], &json!(in_order(&raw, &TOPICS)), 1e-4);
}

#[tokio::test]
async fn moderations_have_the_topics_as_categories() {
    let service = service(SETTINGS);
    let ask = async |input: Value| post(&service, "/v1/moderations", &json!({"input": input})).await;
    let (status, answer) = ask(json!([OIL, VOTE])).await;
    assert_eq!(status, 200, "{answer}");
    assert!(
        answer["id"].as_str().is_some_and(|id| id.starts_with("modr-")),
        "{answer}"
    );
    for (of, result) in [OIL, VOTE]
        .into_iter()
        .zip(answer["results"].as_array().expect("results"))
    {
        let topics = alone(&tiny(), &text(of)).topics.expect("topics");
        assert_eq!(result["flagged"], topics.iter().any(|topic| topic.assigned));
        for topic in topics {
            assert_eq!(result["categories"][&topic.label], topic.assigned);
            assert_close(&result["category_scores"][&topic.label], &json!(topic.score), 1e-4);
            assert_eq!(result["category_applied_input_types"][&topic.label], json!(["text"]));
        }
    }
    let (_, parts) = ask(json!([{"type": "text", "text": OIL}, {"type": "text", "text": VOTE}])).await;
    let (_, joined) = ask(json!(format!("{OIL}\n{VOTE}"))).await;
    assert_close(&parts["results"], &joined["results"], 1e-4);
    let image = json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]);
    let (status, refused) = ask(image).await;
    assert_eq!(
        (status, &refused["error"]["type"]),
        (422, &json!("invalid_request_error"))
    );
}

#[tokio::test]
async fn kserve_v1_predicts_instances() {
    let service = service(SETTINGS);
    let instances = json!({"instances": [OIL, {"text": VOTE}, {"text": VOTE, "target": "oil"}]});
    let (status, answer) = post(&service, "/v1/models/tiny:predict", &instances).await;
    assert_eq!(status, 200, "{answer}");
    let expected = json!({"predictions": [scored(OIL), scored(VOTE), stance(VOTE, "oil")]});
    assert_close(&answer, &expected, 1e-4);
    assert_eq!(
        get(&service, "/v1/models/tiny").await,
        (200, json!({"name": "tiny", "ready": true}))
    );
    assert_eq!(get(&service, "/v1/models").await.0, 200);
    for (path, expected) in [("/v1/models/none:predict", 404), ("/v1/models/tiny:explain", 404)] {
        let (status, answer) = post(&service, path, &instances).await;
        assert_eq!(status, expected);
        assert!(answer["error"].is_string(), "{answer}");
    }
}

#[tokio::test]
async fn oip_tells_of_itself_and_its_models() {
    let service = service(SETTINGS);
    assert_eq!(get(&service, "/v2").await.1["name"], "tasnif");
    assert_eq!(get(&service, "/v2/health/live").await, (200, json!({"live": true})));
    assert_eq!(get(&service, "/v2/health/ready").await.1["ready"], true);
    for path in ["/v2/models/tiny", "/v2/models/tiny/versions/1.0.0"] {
        let (status, metadata) = get(&service, path).await;
        assert_eq!((status, &metadata["versions"]), (200, &json!(["1.0.0"])));
        assert_eq!(metadata["outputs"][0]["shape"], json!([-1, 3]));
        assert_eq!(get(&service, &format!("{path}/ready")).await.1["ready"], true);
    }
    for path in ["/v2/models/none", "/v2/models/tiny/versions/9", "/v2/models/none/ready"] {
        let (status, answer) = get(&service, path).await;
        assert_eq!(status, 404, "{path}");
        assert!(answer["error"].is_string(), "{answer}");
    }
}

#[tokio::test]
async fn oip_infers_from_json() {
    let service = service(SETTINGS);
    let infer = async |body: Value| post(&service, "/v2/models/tiny/infer", &body).await;
    let tensor = json!({"name": "input-0", "datatype": "BYTES", "shape": [2, 1], "data": [[OIL], [VOTE]]});
    let (status, answer) = infer(json!({"id": "7", "inputs": [tensor]})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["id"], &answer["model_name"], &answer["model_version"]),
        (&json!("7"), &json!("tiny"), &json!("1.0.0"))
    );
    let [scores, labels] = [&answer["outputs"][0], &answer["outputs"][1]];
    let expected: Vec<f64> = [OIL, VOTE]
        .iter()
        .flat_map(|of| in_order(&scored(of), &TOPICS))
        .collect();
    assert_eq!(
        (&scores["datatype"], &scores["shape"]),
        (&json!("FP32"), &json!([2, 3]))
    );
    assert_close(&scores["data"], &json!(expected), 1e-4);
    assert_eq!(labels["data"], json!([TOPICS, TOPICS].concat()));

    let target = json!({"name": "target", "datatype": "BYTES", "shape": [1], "data": ["oil"]});
    let one = json!({"name": "text", "datatype": "BYTES", "shape": [1], "data": [VOTE]});
    let many = json!({"inputs": [one], "outputs": vec![json!({"name": "labels"}); 9]});
    let (status, answer) = infer(many).await;
    assert_eq!((status, answer["error"].is_string()), (422, true), "{answer}");
    let body = json!({"inputs": [one, target], "outputs": [{"name": "scores", "parameters": {"classification": 2}}]});
    let (_, answer) = infer(body).await;
    let best = stance(VOTE, "oil")[0].clone();
    let class = answer["outputs"][0]["data"][0]
        .as_str()
        .expect("a class")
        .split(':')
        .collect::<Vec<_>>();
    assert_eq!(answer["outputs"][0]["shape"], json!([1, 2]));
    assert_eq!(json!(class[2]), best["label"]);
    assert_eq!(STANCES[class[1].parse::<usize>().expect("an index")], class[2]);
    assert_close(&json!(class[0].parse::<f64>().expect("a score")), &best["score"], 1e-4);
}

#[tokio::test]
async fn oip_infers_from_bytes_and_answers_with_them() {
    let service = service(SETTINGS);
    let mut data = Vec::new();
    for text in [OIL, VOTE] {
        data.extend(u32::try_from(text.len()).expect("short").to_le_bytes());
        data.extend(text.as_bytes());
    }
    let head = json!({
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": data.len()}}],
        "outputs": [{"name": "scores", "parameters": {"binary_data": true}}, {"name": "labels"}],
    })
    .to_string();
    let request = Request::post("/v2/models/tiny/infer")
        .header("Inference-Header-Content-Length", head.len())
        .body(Body::from([head.as_bytes(), &data].concat()))
        .expect("a request");
    let (status, headers, bytes) = send(&service, request).await;
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&bytes));
    let length = headers["inference-header-content-length"]
        .to_str()
        .expect("text")
        .parse()
        .expect("a length");
    let (head, data) = bytes.split_at(length);
    let head: Value = serde_json::from_slice(head).expect("JSON");
    assert_eq!(head["outputs"][0]["parameters"]["binary_data_size"], 24);
    assert_eq!(head["outputs"][1]["data"][4], "sport");
    let scores: Vec<f32> = data.as_chunks().0.iter().copied().map(f32::from_le_bytes).collect();
    let expected: Vec<f64> = [OIL, VOTE]
        .iter()
        .flat_map(|of| in_order(&scored(of), &TOPICS))
        .collect();
    assert_close(&json!(scores), &json!(expected), 1e-4);
}

#[tokio::test]
async fn oip_refuses_tensors_that_are_none() {
    let service = service(SETTINGS);
    let tensor = |change: Value| {
        let mut tensor = json!({"name": "text", "datatype": "BYTES", "shape": [1], "data": [OIL]});
        tensor
            .as_object_mut()
            .expect("an object")
            .extend(change.as_object().expect("an object").clone());
        json!({"inputs": [tensor]})
    };
    for (body, expected, says) in [
        (json!({}), 422, "inputs"),
        (json!({"inputs": []}), 422, "text"),
        (tensor(json!({"datatype": "FP32"})), 422, "BYTES"),
        (tensor(json!({"shape": [2]})), 422, "shape"),
        (tensor(json!({"shape": [usize::MAX, usize::MAX]})), 422, "shape"),
        (tensor(json!({"shape": [-1]})), 422, "shape"),
        (tensor(json!({"data": [1]})), 422, "strings"),
        (tensor(json!({"data": vec![OIL; 5], "shape": [5]})), 422, "4 elements"),
        (tensor(json!({"data": [], "shape": [0]})), 422, "at least one"),
        (tensor(json!({"parameters": {"binary_data_size": 9}})), 400, "left"),
    ] {
        let (status, answer) = post(&service, "/v2/models/tiny/infer", &body).await;
        let message = answer["error"].as_str().expect("a sentence");
        assert!(
            status == expected && message.contains(says),
            "{body}: {status} {message}"
        );
    }
    for (length, body) in [("x", "{}"), ("3", "{}"), ("2", "{}rest")] {
        let request = Request::post("/v2/models/tiny/infer").header("Inference-Header-Content-Length", length);
        let (status, _, bytes) = send(&service, request.body(Body::from(body)).expect("a request")).await;
        assert!(status.is_client_error(), "{length}: {status}");
        assert!(serde_json::from_slice::<Value>(&bytes).expect("JSON")["error"].is_string());
    }
}

/// The paths that answer articles, each with a body for these texts.
fn calls(texts: &[&str]) -> Vec<(&'static str, Value)> {
    let batch: Vec<[&str; 1]> = texts.iter().map(|text| [*text]).collect();
    let tensor = json!({"name": "text", "datatype": "BYTES", "shape": [texts.len()], "data": texts});
    vec![
        ("/models/tiny", json!({"inputs": texts})),
        ("/predict", json!({"inputs": batch})),
        ("/v1/models/tiny:predict", json!({"instances": texts})),
        ("/v2/models/tiny/infer", json!({"inputs": [tensor]})),
        ("/classify", json!({"input": texts})),
        ("/v1/moderations", json!({"input": texts})),
    ]
}

/// The error's sentence, and that its shape is the one of the path's protocol.
fn sentence(path: &str, answer: &Value, status: u16) -> String {
    let error = &answer["error"];
    let message = match path {
        "/classify" => {
            assert_eq!(error["code"], status, "{answer}");
            &error["message"]
        }
        _ if path.starts_with("/v1/moderations") => {
            assert!(error["type"].is_string() && error["code"].is_string(), "{answer}");
            &error["message"]
        }
        "/predict" => {
            assert!(answer["error_type"].is_string(), "{answer}");
            error
        }
        _ => error,
    };
    message
        .as_str()
        .unwrap_or_else(|| panic!("{path}: {answer}"))
        .to_owned()
}

#[tokio::test]
async fn each_protocol_refuses_in_its_own_shape() {
    let service = service(SETTINGS);
    let unready = Arc::new(Service::new(limits(), Access::default()));
    for (path, body) in calls(&[OIL, " "]) {
        let (status, answer) = post(&service, path, &body).await;
        assert_eq!(status, 422, "{answer}");
        assert!(sentence(path, &answer, 422).contains("[1]"), "{path}: {answer}");
        let (status, answer) = post(&unready, path, &body).await;
        assert_eq!(status, 503, "{path}");
        sentence(path, &answer, 503);
        for (body, expected) in [("{", 400), ("[]", 422), ("{}", 422)] {
            let request = Request::post(path).body(Body::from(body)).expect("a request");
            let (status, _, bytes) = send(&service, request).await;
            assert_eq!(status, expected, "{path} {body}");
            sentence(path, &serde_json::from_slice(&bytes).expect("JSON"), expected);
        }
        let request = Request::delete(path).body(Body::empty()).expect("a request");
        let (status, headers, bytes) = send(&service, request).await;
        assert_eq!(status, 405, "{path}");
        assert!(headers[header::ALLOW].to_str().expect("text").contains("POST"));
        sentence(path, &serde_json::from_slice(&bytes).expect("JSON"), 405);
    }
    for path in ["/models/a/b", "/v1/models/a/b", "/v2/nothing", "/v1/moderations/1"] {
        let (status, answer) = get(&service, path).await;
        assert_eq!(status, 404, "{path}");
        sentence(path, &answer, 404);
    }
    for path in ["/models/%ff", "/v1/models/%ff:predict", "/v2/models/%ff/infer"] {
        let (status, answer) = post(&service, path, &json!({})).await;
        assert_eq!(status, 400, "{path}");
        sentence(path, &answer, 400);
    }
    for (path, body) in calls(&[OIL; 5]) {
        let (status, answer) = post(&service, path, &body).await;
        assert_eq!(status, 422, "{path}");
        assert!(sentence(path, &answer, 422).contains('4'), "{path}: {answer}");
    }
    for (path, body) in calls(&[]) {
        assert_eq!(post(&service, path, &body).await.0, 422, "{path}");
    }
    for (path, body) in [
        ("/models/none", json!({"inputs": OIL})),
        ("/classify", json!({"input": OIL, "model": "none"})),
        ("/v1/moderations", json!({"input": OIL, "model": "none"})),
    ] {
        let (status, answer) = post(&service, path, &body).await;
        assert_eq!(status, 404, "{path}");
        assert!(sentence(path, &answer, 404).contains("none"));
    }
}

/// Also where it is not the handler that refuses.
#[tokio::test]
async fn each_protocol_has_its_own_shape_for_keys_sizes_types_and_deadlines() {
    let keys = vec![
        Key::new("desk", &[Scope::Classify], "desk's"),
        Key::new("monitor", &[Scope::Admin], "monitor's"),
    ];
    let origins = Vec::new();
    let service = Arc::new(Service::new(limits(), Access { keys, origins }));
    service.ready(registry(SETTINGS));
    let large = "x".repeat(70_000);
    let long = texts()[4].repeat((50 << 10) / texts()[4].len());
    let ask = async |path: &str, body: &Value, headers: &[(&str, &str)]| {
        let mut request = Request::post(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_string())).expect("a request");
        let (status, _, bytes) = send(&service, request).await;
        let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
        sentence(path, &answer, status.as_u16());
        status.as_u16()
    };
    let key = ("authorization", "Bearer desk's");
    for (path, body) in calls(&[OIL]) {
        assert_eq!(ask(path, &body, &[]).await, 401, "{path}");
        assert_eq!(ask(path, &body, &[("authorization", "Bearer x")]).await, 401, "{path}");
        assert_eq!(
            ask(path, &body, &[("authorization", "Bearer monitor's")]).await,
            403,
            "{path}"
        );
        assert_eq!(
            ask(path, &body, &[key, ("x-request-timeout-ms", "soon")]).await,
            400,
            "{path}"
        );
        if path != "/v2/models/tiny/infer" {
            assert_eq!(
                ask(path, &body, &[key, ("content-type", "text/plain")]).await,
                415,
                "{path}"
            );
            assert_eq!(
                ask(path, &body, &[key, ("content-type", "application/x-ndjson")]).await,
                415,
                "{path}"
            );
        }
    }
    for (path, body) in calls(&[&large]) {
        assert_eq!(ask(path, &body, &[key]).await, 413, "{path}");
    }
    for (path, body) in calls(&[&long]) {
        assert_eq!(
            ask(path, &body, &[key, ("x-request-timeout-ms", "1")]).await,
            504,
            "{path}"
        );
    }
}

/// Answered, refused for what they say, and refused by a layer: each is counted once, on its route.
#[tokio::test]
async fn n_requests_are_counted_n_times_on_each_route() {
    const N: usize = 3;
    let keys = vec![Key::new("desk", &[Scope::Classify], "desk's")];
    let origins = Vec::new();
    let service = Arc::new(Service::new(limits(), Access { keys, origins }));
    let registry = registry(SETTINGS);
    let ask = async |path: &str, body: &Value, key: &str| {
        let request = Request::post(path).header(header::AUTHORIZATION, key);
        send(&service, request.body(Body::from(body.to_string())).expect("a request")).await
    };
    let key = "Bearer desk's";
    let native = |text: &str| ("/v1/classify", json!({"text": text, "tasks": ["topics"]}));
    let all = |text: &str| calls(&[text]).into_iter().chain([native(text)]).collect::<Vec<_>>();
    for (path, body) in all(OIL) {
        for _ in 0..N {
            ask(path, &body, key).await;
        }
    }
    service.ready(Arc::clone(&registry));
    for (text, key) in [(OIL, key), (" ", key), (OIL, "Bearer x")] {
        for (path, body) in all(text) {
            for _ in 0..N {
                ask(path, &body, key).await;
            }
        }
    }
    // Its queue is closed: refused with nothing done.
    registry.batcher().shut_down();
    for (path, body) in all(OIL) {
        for _ in 0..N {
            ask(path, &body, key).await;
        }
    }
    let probes = [
        "/info",
        "/v1/models/{name}",
        "/v2",
        "/v2/health/live",
        "/v2/models/{name}",
        "/v2/models/{name}/ready",
    ];
    for path in probes {
        for _ in 0..N {
            get(&service, &path.replace("{name}", "tiny")).await;
        }
    }
    let figures = figures(&service).await;
    let count = |name: String| figures.get(&name).copied().unwrap_or_default() as usize;
    let requests = |route: &str, status: u16| {
        count(format!(
            r#"tasnif_http_requests_total{{route="{route}",status="{status}"}}"#
        ))
    };
    let route = |path: &str| path.replace("tiny:predict", "tiny").replace("tiny", "{name}");
    for (path, _) in all(OIL) {
        let route = route(path);
        // Not loaded yet, and closed.
        let expected = [(200, N), (401, N), (422, N), (503, 2 * N)];
        for (status, n) in expected {
            let more = if route == "/v1/models/{name}" && status == 401 {
                N
            } else {
                0
            };
            assert_eq!(requests(&route, status), n + more, "{route} {status}");
        }
    }
    for path in probes {
        let status = if path == "/v2/health/live" { 200 } else { 401 };
        let more = if path == "/v1/models/{name}" { N } else { 0 };
        assert_eq!(requests(path, status), N + more, "{path}");
    }
    let articles = |outcome: &str| count(format!(r#"tasnif_articles_total{{model="tiny",outcome="{outcome}"}}"#));
    // Refused before their articles are read, as ours is.
    assert_eq!((articles("answered"), articles("refused")), (7 * N, 0));
    assert_eq!(count("tasnif_tokenization_seconds_count".to_owned()), 7 * N);
    let sum: f64 = figures
        .iter()
        .filter(|(name, _)| name.starts_with("tasnif_http_requests_total"))
        .map(|(_, n)| n)
        .sum();
    assert_eq!(sum as usize, (7 * 5 + probes.len()) * N);
}

/// While long articles take all of the queue, every protocol says so and when to come back.
#[tokio::test(flavor = "multi_thread")]
async fn each_protocol_tells_a_full_queue() {
    let service = service(Settings {
        threads: 1,
        queue_tokens: 1,
        ..SETTINGS
    });
    for (path, body) in calls(&[OIL]) {
        let busy = tokio::spawn({
            let service = Arc::clone(&service);
            let long = json!({"text": texts()[4].repeat((60 << 10) / texts()[4].len())});
            async move {
                loop {
                    post(&service, "/v1/classify", &long).await;
                }
            }
        });
        let mut refused = None;
        for _ in 0..10_000 {
            if refused.is_some() {
                break;
            }
            let request = Request::post(path)
                .body(Body::from(body.to_string()))
                .expect("a request");
            let (status, headers, bytes) = send(&service, request).await;
            refused = (status == StatusCode::TOO_MANY_REQUESTS).then_some((headers, bytes));
        }
        let (headers, bytes) = refused.unwrap_or_else(|| panic!("{path}: the queue was never full"));
        headers[header::RETRY_AFTER]
            .to_str()
            .expect("text")
            .parse::<u64>()
            .expect("seconds");
        sentence(path, &serde_json::from_slice(&bytes).expect("JSON"), 429);
        busy.abort();
    }
}
