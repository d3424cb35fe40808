//! What reads foreign bytes, a function each: whatever the bytes, it ends, without a panic, and says so where they are wrong.
//!
//! fuzz/ runs these on bytes that nobody thought of, the test here on those that are kept in fuzz/corpus.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tasnif::article::Article;
use tasnif::batcher::{Batcher, Settings};
use tasnif::encoder::Precision;
use tasnif::http::{Access, Limits, Service, router};
use tasnif::model::{Manifest, is_plain_name, load_tokenizer};
use tasnif::pipeline::Pipeline;
use tasnif::registry::{Registry, Served};
use tasnif::score::{Compression, Fields, Format, Input, Leftovers, Rows, ScoreError, Settings as ScoreSettings};
use tasnif::weights::Weights;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tower::ServiceExt;

const SETTINGS: Settings = Settings {
    threads: 1,
    batch_tokens: 1024,
    queue_tokens: 1 << 20,
    cache_bytes: 0,
};

/// models/tiny, from the package itself or from one within it.
static TINY: LazyLock<PathBuf> = LazyLock::new(|| {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = package.ancestors().map(|dir| dir.join("models/tiny"));
    found.find(|dir| dir.is_dir()).expect("models/tiny")
});
static PIPELINE: LazyLock<Arc<Pipeline>> =
    LazyLock::new(|| Arc::new(Pipeline::load(&TINY, Precision::Int8).expect("models/tiny loads")));
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().expect("a runtime")
});
/// Where files are written that are read from a disk.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

static ROUTER: LazyLock<Router> = LazyLock::new(|| {
    let limits = Limits {
        body_bytes: 64 << 10,
        articles: 8,
        deadline: Duration::from_secs(60),
        patience: Duration::from_secs(60),
    };
    let batcher = Batcher::start(SETTINGS).expect("threads start");
    let registry = Registry::new(TINY.join(".."), Precision::Int8, batcher);
    let served = Served {
        dir: TINY.clone(),
        pipeline: Arc::clone(&PIPELINE),
    };
    registry.serve(Arc::new(served), false);
    let service = Arc::new(Service::new(limits, Access::default()));
    service.ready(Arc::new(registry));
    router(service)
});

fn ask(request: Request<Body>) -> (StatusCode, Bytes) {
    RUNTIME.block_on(async {
        let response = ROUTER.clone().oneshot(request).await.expect("an answer");
        let status = response.status();
        (status, response.into_body().collect().await.expect("a body").to_bytes())
    })
}

fn post(path: &str, media_type: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header(header::CONTENT_TYPE, media_type);
    request.body(body.into()).expect("a request")
}

/// A verdict, or an error that says what is wrong.
fn check_answer(answer: &Value) {
    let is_verdict = answer["usage"]["tokens"].as_u64().is_some_and(|tokens| tokens > 0);
    let is_error = answer["error"]["code"].is_string() && answer["error"]["message"].is_string();
    assert!(is_verdict != is_error, "{answer}");
    assert_ne!(answer["error"]["code"], "internal");
}

/// The body of `POST /v1/classify`.
pub fn request(data: &[u8]) {
    let (status, body) = ask(post("/v1/classify", "application/json", data.to_vec()));
    assert!(status == StatusCode::OK || status.is_client_error(), "{status}");
    let answer: Value = serde_json::from_slice(&body).expect("JSON");
    match answer["verdicts"].as_array() {
        Some(verdicts) => verdicts.iter().for_each(check_answer),
        None => check_answer(&answer),
    }
}

/// A stream of articles; the first byte says in pieces of how many bytes it comes.
pub fn stream(data: &[u8]) {
    let Some((&size, text)) = data.split_first() else {
        return;
    };
    let pieces: Vec<Result<Bytes, std::io::Error>> = text
        .chunks(usize::from(size).max(1))
        .map(|piece| Ok(Bytes::copy_from_slice(piece)))
        .collect();
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let (status, body) = ask(post("/v1/classify", "application/x-ndjson", body));
    assert_eq!(status, StatusCode::OK);
    let lines = text.split(|&byte| byte == b'\n');
    let expected = lines.filter(|line| !line.trim_ascii().is_empty()).count();
    let answers: Vec<Value> = body
        .split_inclusive(|&byte| byte == b'\n')
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    assert_eq!(answers.len(), expected);
    answers.iter().for_each(check_answer);
}

/// A body of the Open Inference Protocol with binary data: the first two bytes are the length of its JSON head.
pub fn tensors(data: &[u8]) {
    let Some((length, body)) = data.split_first_chunk() else {
        return;
    };
    let request = Request::post("/v2/models/tiny/infer")
        .header("inference-header-content-length", u16::from_le_bytes(*length))
        .body(Body::from(body.to_vec()));
    let (status, _) = ask(request.expect("a request"));
    assert!(status == StatusCode::OK || status.is_client_error(), "{status}");
}

/// A tasnif.toml.
pub fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Manifest::parse(text) {
        Ok(manifest) => assert!(manifest.files.keys().all(|name| is_plain_name(name))),
        Err(message) => assert!(!message.is_empty()),
    }
}

/// A tokenizer.json in a bundle whose weights are those of models/tiny. If it is served, it reads texts.
pub fn tokenizer(data: &[u8]) {
    static BUNDLE: LazyLock<PathBuf> = LazyLock::new(|| {
        let dir = FOLDER.path().join("bundle");
        fs::create_dir(&dir).expect("a folder");
        for name in [
            "config.json",
            "embeddings.safetensors",
            "encoder.safetensors",
            "heads.safetensors",
        ] {
            fs::copy(TINY.join(name), dir.join(name)).expect("a copy");
        }
        // Without the hashes, of which one is the tokenizer's.
        let manifest = fs::read_to_string(TINY.join("tasnif.toml")).expect("a manifest");
        let (manifest, _) = manifest.split_once("[files]").expect("hashes");
        fs::write(dir.join("tasnif.toml"), manifest).expect("written");
        dir
    });
    fs::write(BUNDLE.join("tokenizer.json"), data).expect("written");
    // Most inputs end here, and are spared the weights.
    let Ok(_held) = load_tokenizer(&BUNDLE) else { return };
    let Ok(pipeline) = Pipeline::load(&BUNDLE, Precision::Int8) else {
        return;
    };
    for text in ["Oil prices rose.", "النفط </s> \u{200f}ﷺ 🚀", "e\u{301}\0\r\n  \t石油"] {
        let article = Article {
            text: text.to_owned(),
            targets: vec!["النفط".to_owned()],
            evidence: true,
            ..Article::default()
        };
        let Ok(prepared) = pipeline.prepare(&article) else {
            continue;
        };
        for sequence in &prepared.sequences {
            // An id that the encoder doesn't have is an error.
            let _ = pipeline.read(&[sequence]);
        }
    }
}

/// The file of weights alone in a folder, and each of its tensors in all ways that tensors are read.
fn weights(name: &str, data: &[u8], tensors: &[&str]) {
    let dir = FOLDER.path().join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).expect("a folder");
    fs::write(dir.join(name), data).expect("written");
    let Ok(weights) = Weights::open(&dir) else { return };
    for tensor in tensors {
        let Some(shape) = weights.shape(tensor) else { continue };
        let _ = weights.tensor(tensor, &shape);
        if let [rows, columns] = shape[..] {
            let _ = weights.int8(tensor, rows, columns);
            let _ = weights.rows(tensor, rows, columns);
        }
    }
}

/// A file of safetensors.
pub fn safetensors(data: &[u8]) {
    // The names stand in its head, a JSON object behind eight bytes.
    let head = data.get(8..).unwrap_or_default();
    let head = serde_json::Deserializer::from_slice(head).into_iter::<Value>().next();
    let head = head.and_then(Result::ok).unwrap_or_default();
    let names: Vec<&str> = head
        .as_object()
        .map(|head| head.keys().map(String::as_str).collect())
        .unwrap_or_default();
    weights("model.safetensors", data, &names);
}

/// A file of GGUF.
pub fn gguf(data: &[u8]) {
    let names = [
        "embeddings.word_embeddings.weight",
        "encoder.layer.0.output.dense.weight",
        "embeddings.LayerNorm.bias",
    ];
    weights("model.gguf", data, &names);
}

/// An archive, from its bytes to the last verdict.
fn archive(rows: Rows, data: &[u8]) -> Result<u64, ScoreError> {
    let path = FOLDER.path().join("archive");
    fs::write(&path, data).expect("written");
    let field = str::to_owned;
    let settings = ScoreSettings {
        input: path,
        output: PathBuf::from("/dev/null"),
        input_format: Some(Format {
            rows,
            compression: Compression::None,
        }),
        output_format: Some(Format {
            rows: Rows::Jsonl,
            compression: Compression::None,
        }),
        fields: Fields {
            text: field("text"),
            title: field("title"),
            id: field("id"),
            language: field("language"),
            targets: Some(field("targets")),
            keep: Vec::new(),
        },
        named: Vec::new(),
        preset: Article::default(),
        precision: Precision::Int8,
        max_row_bytes: 4 << 10,
        strict: false,
        leftovers: Leftovers::Refuse,
    };
    let batcher = Batcher::start(SETTINGS).expect("threads start");
    let outcome = RUNTIME.block_on(async {
        let input = Input::open(settings)?;
        input
            .score(batcher, Arc::clone(&PIPELINE), &TINY, 1, std::future::pending())
            .await
    });
    assert!(!matches!(outcome, Err(ScoreError::Died)), "a thread died");
    outcome.map(|outcome| outcome.rows)
}

/// JSONL: every line is a row.
pub fn jsonl(data: &[u8]) {
    if let Ok(rows) = archive(Rows::Jsonl, data) {
        let data = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
        let lines = data.split_inclusive(|&byte| byte == b'\n').count();
        assert_eq!(rows, lines as u64);
    }
}

/// CSV: no more rows than lines.
pub fn csv(data: &[u8]) {
    if let Ok(rows) = archive(Rows::Csv, data) {
        assert!(rows <= data.split(|&byte| byte == b'\n').count() as u64);
    }
}

/// Parquet.
pub fn parquet(data: &[u8]) {
    let _ = archive(Rows::Parquet, data);
}

/// What was found once stays found.
#[test]
fn what_fuzzing_keeps_is_read_or_refused() {
    type Target = fn(&[u8]);
    let targets: [(&str, Target); 10] = [
        ("request", request),
        ("stream", stream),
        ("tensors", tensors),
        ("manifest", manifest),
        ("tokenizer", tokenizer),
        ("safetensors", safetensors),
        ("gguf", gguf),
        ("jsonl", jsonl),
        ("csv", csv),
        ("parquet", parquet),
    ];
    for (name, target) in targets {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let files = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
        let mut files: Vec<PathBuf> = files.map(|entry| entry.expect("an entry").path()).collect();
        assert!((1..100).contains(&files.len()), "{name}: {} files", files.len());
        files.sort();
        for file in files {
            let data = fs::read(&file).expect("readable");
            assert!(std::panic::catch_unwind(|| target(&data)).is_ok(), "{}", file.display());
        }
    }
}
