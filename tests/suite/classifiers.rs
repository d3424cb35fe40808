//! Ordinary Hugging Face classifiers, as `save_pretrained` writes them, against transformers' own answers (golden files by
//! scripts/make_classifiers.py): every architecture, storage dtype and problem type, from the text to the scores.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use tasnif::article::{Article, Topic};
use tasnif::encoder::Precision;
use tasnif::pipeline::Pipeline;

use super::common::{alone, repository, text};

#[derive(Debug, Deserialize)]
struct Golden {
    text: String,
    ids: Vec<u32>,
    logits: Vec<f32>,
    scores: Vec<f32>,
}

const CLASSIFIERS: [&str; 7] = [
    "bert",
    "roberta",
    "xlm_roberta",
    "camembert",
    "distilbert",
    "deberta_v2",
    "modernbert",
];

/// A classifier in a folder of its own, with the tokenizer that they all share.
pub fn classifier(name: &str) -> tempfile::TempDir {
    folder(&repository("tests/data/classifiers").join(name))
}

pub fn folder(source: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for entry in fs::read_dir(source).expect("a classifier") {
        let path = entry.expect("an entry").path();
        fs::copy(&path, dir.path().join(path.file_name().expect("a name"))).expect("copied");
    }
    // The goldens are not a bundle's self-test: they have logits and ids.
    fs::remove_file(dir.path().join("golden.jsonl")).expect("removed");
    fs::copy(
        repository("models/tiny/tokenizer.json"),
        dir.path().join("tokenizer.json"),
    )
    .expect("copied");
    dir
}

fn golden(name: &str) -> Vec<Golden> {
    goldens(&repository("tests/data/classifiers").join(name))
}

fn goldens(source: &Path) -> Vec<Golden> {
    let lines = fs::read_to_string(source.join("golden.jsonl")).expect("golden.jsonl");
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a golden answer"))
        .collect()
}

fn labels(dir: &Path) -> Vec<String> {
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(dir.join("config.json")).expect("read")).expect("JSON");
    let names = config["id2label"].as_object().expect("labels");
    (0..names.len())
        .map(|index| names[&index.to_string()].as_str().expect("a name").to_owned())
        .collect()
}

/// Where the model of `source`, in f32, is more than 1e-4 from transformers' logits and scores.
pub fn disagreements(source: &Path) -> Vec<String> {
    let name = source.display();
    let dir = folder(source);
    let pipeline = Pipeline::load(dir.path(), Precision::F32).unwrap_or_else(|error| panic!("{name}: {error}"));
    let labels = labels(dir.path());
    let mut failures = Vec::new();
    for golden in goldens(source) {
        let prepared = pipeline.prepare(&text(&golden.text)).expect("a good article");
        assert_eq!(prepared.sequences.len(), 1, "{name}");
        assert_eq!(prepared.sequences[0].ids, golden.ids, "{name}: {}", golden.text);
        let reading = pipeline.read(&[&prepared.sequences[0]]).expect("a reading").remove(0);
        let logits = reading.topics.clone().expect("logits").logits;
        let verdict = pipeline.conclude(&prepared, &[reading]);
        let topics: Vec<Topic> = verdict.topics.expect("topics");
        for (index, label) in labels.iter().enumerate() {
            let topic = topics.iter().find(|topic| topic.label == *label).expect("the label");
            for (kind, found, expected) in [
                ("logit", logits[index], golden.logits[index]),
                ("logit of the verdict", topic.logit, golden.logits[index]),
                ("score", topic.score, golden.scores[index]),
            ] {
                if (found - expected).abs() > 1e-4 {
                    failures.push(format!("{name}, {label}: {kind} {found}, transformers say {expected}"));
                }
            }
        }
    }
    failures
}

#[test]
fn every_architecture_agrees_with_transformers() {
    let classifiers = CLASSIFIERS.map(|name| repository("tests/data/classifiers").join(name));
    let failures: Vec<String> = classifiers.iter().flat_map(|source| disagreements(source)).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// int8 moves the scores of these random models (weights far wider than trained ones) by a few hundredths at most.
#[test]
fn int8_stays_near_transformers() {
    for name in ["bert", "roberta", "xlm_roberta", "camembert", "distilbert"] {
        let dir = classifier(name);
        let pipeline = Pipeline::load(dir.path(), Precision::Int8).expect("it loads");
        let labels = labels(dir.path());
        for golden in golden(name) {
            let topics = alone(&pipeline, &text(&golden.text)).topics.expect("topics");
            for (label, expected) in labels.iter().zip(&golden.scores) {
                let found = topics
                    .iter()
                    .find(|topic| topic.label == *label)
                    .expect("the label")
                    .score;
                assert!(
                    (found - expected).abs() <= 0.05,
                    "{name}, {label}: {found}, transformers say {expected}"
                );
            }
        }
    }
}

/// `problem_type` decides: many labels at once by threshold, or the best one of all.
#[test]
fn single_label_assigns_the_best_and_only_it() {
    for (name, single) in [
        ("bert", false),
        ("roberta", true),
        ("camembert", true),
        ("modernbert", true),
    ] {
        let dir = classifier(name);
        let pipeline = Pipeline::load(dir.path(), Precision::F32).expect("it loads");
        let article = Article {
            evidence: true,
            ..text(&golden(name)[1].text)
        };
        let topics = alone(&pipeline, &article).topics.expect("topics");
        let sum: f32 = topics.iter().map(|topic| topic.score).sum();
        assert_eq!((sum - 1.0).abs() < 1e-5, single, "{name}: the scores' sum is {sum}");
        let assigned = topics.iter().filter(|topic| topic.assigned).count();
        if single {
            assert_eq!(assigned, 1, "{name}");
            assert!(topics[0].assigned, "{name}");
        }
        assert!(
            topics.iter().all(|topic| topic.evidence.is_none()),
            "{name}: its head keeps no shares"
        );
        let mine = dir.path().canonicalize().expect("a path");
        assert_eq!(
            pipeline.manifest().name,
            mine.file_name().expect("a name").to_string_lossy()
        );
    }
}

#[test]
fn a_long_text_of_a_hugging_face_model_is_windowed_too() {
    let dir = classifier("distilbert");
    let pipeline = Pipeline::load(dir.path(), Precision::F32).expect("it loads");
    let verdict = alone(&pipeline, &text(&golden("distilbert")[1].text.repeat(30)));
    assert!(verdict.usage.windows > 10, "{:?}", verdict.usage);
    assert!(verdict.stance.is_none(), "it has no such task");
}

#[test]
fn what_is_no_classifier_is_refused() {
    for (from, to, says) in [
        ("BertForSequenceClassification", "BertForMaskedLM", "BertForMaskedLM"),
        ("multi_label_classification", "regression", "regression"),
        ("\"0\": \"politics\"", "\"7\": \"politics\"", "id2label"),
        ("\"model_type\": \"bert\"", "\"model_type\": \"gpt2\"", "gpt2"),
    ] {
        let dir = classifier("bert");
        let path = dir.path().join("config.json");
        let config = fs::read_to_string(&path).expect("read");
        assert!(config.contains(from), "{from}");
        fs::write(&path, config.replace(from, to)).expect("written");
        let message = Pipeline::load(dir.path(), Precision::F32)
            .expect_err("refused")
            .to_string();
        assert!(message.contains(says) && message.contains("config.json"), "{message}");
    }
}

/// candle's encoders read no branches: a manifest that wants them is refused when the model is loaded.
#[test]
fn the_shared_template_is_refused_where_there_are_no_branches() {
    const MANIFEST: &str = r#"
format = 1
name = "x"
version = "1"
input = { template = "shared" }
windows = { tokens = 40, overlap = 0, target_tokens = 4 }
topics = { head = "classifier", windows = "max", labels = [{ id = "a", threshold = 0.5 }] }
"#;
    for name in ["deberta_v2", "modernbert"] {
        let dir = classifier(name);
        fs::write(dir.path().join("tasnif.toml"), MANIFEST).expect("written");
        let message = Pipeline::load(dir.path(), Precision::F32)
            .expect_err("refused")
            .to_string();
        assert!(
            message.contains("tasnif.toml") && message.contains("no branches"),
            "{message}"
        );
    }
}
