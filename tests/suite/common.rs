//! What several tests need.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tasnif::article::{Article, Verdict};
use tasnif::batcher::{Batcher, Settings};
use tasnif::encoder::Precision;
use tasnif::pipeline::{Pipeline, Sequence};
use tasnif::registry::{Registry, Served};

pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn load(path: &str) -> Arc<Pipeline> {
    Arc::new(Pipeline::load(&repository(path), Precision::Int8).expect("the bundle loads"))
}

/// models/tiny, loaded once.
pub fn tiny() -> Arc<Pipeline> {
    static TINY: OnceLock<Arc<Pipeline>> = OnceLock::new();
    Arc::clone(TINY.get_or_init(|| load("models/tiny")))
}

/// models/default, loaded once.
pub fn shipped() -> Arc<Pipeline> {
    static SHIPPED: OnceLock<Arc<Pipeline>> = OnceLock::new();
    Arc::clone(SHIPPED.get_or_init(|| load("models/default")))
}

pub const SETTINGS: Settings = Settings {
    threads: 2,
    batch_tokens: 512,
    queue_tokens: 65_536,
    cache_bytes: 0,
};

/// A registry that serves models/tiny.
pub fn registry(settings: Settings) -> Arc<Registry> {
    let registry = Registry::new(
        repository("models"),
        Precision::Int8,
        Batcher::start(settings).expect("threads start"),
    );
    let served = Served {
        dir: repository("models/tiny"),
        pipeline: tiny(),
    };
    registry.serve(Arc::new(served), false);
    Arc::new(registry)
}

pub fn text(text: &str) -> Article {
    Article {
        text: text.to_owned(),
        ..Article::default()
    }
}

/// The verdict on an article that nothing else is encoded beside: one sequence a batch.
pub fn alone(pipeline: &Pipeline, article: &Article) -> Verdict {
    let prepared = pipeline.prepare(article).expect("a good article");
    let readings: Vec<_> = prepared
        .sequences
        .iter()
        .flat_map(|sequence: &Sequence| pipeline.read(&[sequence]).expect("the encoder runs"))
        .collect();
    pipeline.conclude(&prepared, &readings)
}

/// All numbers of two JSON values within `tolerance`, all else equal.
pub fn assert_close(left: &Value, right: &Value, tolerance: f64) {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().expect("a float"), b.as_f64().expect("a float"));
            assert!(
                (a - b).abs() <= tolerance,
                "{a} and {b} differ by more than {tolerance}"
            );
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).for_each(|(a, b)| assert_close(a, b, tolerance));
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.values()
                .zip(b.values())
                .for_each(|(a, b)| assert_close(a, b, tolerance));
        }
        _ => assert_eq!(left, right),
    }
}

/// Texts of several scripts and kinds; the last is many windows long.
pub fn texts() -> Vec<String> {
    let arabic = "أعلنت وزارة الخارجية أن المحادثات حول الأمن السيبراني مستمرة بين البلدين. ";
    vec![
        "Oil prices rose on world markets.".to_owned(),
        arabic.to_owned(),
        "外交部表示，两国关于网络安全的会谈仍在继续。运动员赢了比赛。".to_owned(),
        "Президент прибыл с визитом 🚀 в столицу!\r\nПереговоры пройдут завтра.".to_owned(),
        arabic.repeat(40),
    ]
}
