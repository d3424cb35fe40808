//! Articles that come again.

use std::sync::Arc;

use prometheus_client::encoding::prometheus_text;
use serde_json::json;
use tasnif::article::Article;
use tasnif::batcher::{Admission, Batcher, Settings};
use tasnif::encoder::Precision;
use tasnif::pipeline::Pipeline;
use tasnif::registry::Served;

use super::common::{SETTINGS, alone, assert_close, registry, repository, text, texts, tiny};

const CACHE: Settings = Settings {
    cache_bytes: 1_000_000,
    ..SETTINGS
};

/// Hits, misses, batches so far.
fn figures(batcher: &Batcher) -> [u64; 3] {
    let mut registry = prometheus_client::registry::Registry::default();
    batcher.register_metrics(&mut registry);
    let mut shown = String::new();
    prometheus_text::encode(&mut shown, &registry).expect("figures");
    ["cache_hits_total", "cache_misses_total", "batch_tokens_count"].map(|name| {
        let line = shown.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|value| value.trim().parse().ok()).expect(name)
    })
}

#[tokio::test]
async fn an_article_that_comes_again_is_not_encoded_again() {
    let batcher = Batcher::start(CACHE).expect("threads start");
    let article = Article {
        targets: vec!["oil".to_owned()],
        ..text(&texts()[4].repeat(3))
    };
    let classify = async |article: &Article| {
        let verdict = batcher.classify(tiny(), article.clone(), Admission::Wait).await;
        let verdict = json!(verdict.expect("a verdict"));
        assert_close(&verdict, &json!(alone(&tiny(), article)), 1e-4);
        (verdict, figures(&batcher))
    };
    let (first, [hits, misses, batches]) = classify(&article).await;
    assert!(hits == 0 && misses > 1 && batches > 0);

    // What each request may want otherwise needs no other logits.
    let (again, after) = classify(&article).await;
    assert_eq!((again, after), (first, [misses, misses, batches]));
    let otherwise = Article {
        id: Some("other".to_owned()),
        language: Some("fr".to_owned()),
        threshold: Some(0.01),
        top_k: Some(2),
        ..article.clone()
    };
    assert_eq!(classify(&otherwise).await.1, [2 * misses, misses, batches]);

    // Evidence needs shares, which are not kept for others; and then it is known too.
    let evidence = Article {
        evidence: true,
        threshold: Some(0.0),
        ..article.clone()
    };
    let (first, [hits, missed, batches]) = classify(&evidence).await;
    assert_eq!((hits, missed), (2 * misses, 2 * misses));
    assert!(first["topics"][0]["evidence"][0]["end"].as_u64() > Some(0));
    let (again, after) = classify(&evidence).await;
    assert_eq!((again, after), (first, [3 * misses, missed, batches]));

    // A second target is read beside what is known; another text is not.
    let targets = vec!["oil".to_owned(), "the talks".to_owned()];
    let another = Article {
        targets,
        ..article.clone()
    };
    let (_, [hits, missed, _]) = classify(&another).await;
    assert!(hits == 4 * misses && missed > 2 * misses);
    let titled = Article {
        title: Some("Talks".to_owned()),
        ..article
    };
    assert!(classify(&titled).await.1[1] > missed);
}

#[tokio::test]
async fn a_model_that_takes_another_s_place_finds_nothing_of_it() {
    let registry = registry(CACHE);
    let article = text(&texts()[4]);
    let classify = async || {
        registry
            .classify(article.clone(), Admission::Wait)
            .await
            .expect("a verdict")
    };
    classify().await;
    assert!(registry.batcher().cache_bytes() > 0);
    let [_, misses, _] = figures(registry.batcher());

    let dir = repository("models/tiny");
    let pipeline = Arc::new(Pipeline::load(&dir, Precision::Int8).expect("models/tiny"));
    registry.serve(Arc::new(Served { dir, pipeline }), false);
    assert_eq!(registry.batcher().cache_bytes(), 0);
    classify().await;
    assert_eq!(figures(registry.batcher())[..2], [0, 2 * misses]);
}

#[tokio::test]
async fn the_cache_stays_within_its_bound() {
    const BYTES: usize = 20_000;
    let batcher = Batcher::start(Settings {
        cache_bytes: BYTES,
        ..SETTINGS
    })
    .expect("threads start");
    for start in 0..200 {
        let article = text(&texts()[4].chars().skip(start).take(60).collect::<String>());
        let verdict = batcher.classify(tiny(), article, Admission::Wait).await;
        verdict.expect("a verdict");
        assert!(batcher.cache_bytes() <= BYTES);
    }
    assert!(batcher.cache_bytes() > BYTES / 2);
}
