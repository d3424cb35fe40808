//! Labels that a request brings: before NLI models, against transformers' zero-shot pipeline (golden files by
//! scripts/make_nli.py), and before the model that ships.

use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};
use tasnif::article::{Article, InputError, Topic};
use tasnif::encoder::Precision;
use tasnif::pipeline::{Pipeline, PrepareError};

use super::bundles::edit;
use super::common::{alone, assert_close, repository, shipped, text, texts, tiny};

#[derive(Debug, Deserialize)]
struct Golden {
    text: String,
    template: String,
    labels: Vec<String>,
    /// Scores where many labels may be true.
    many: Vec<f32>,
    /// Where only one is.
    one: Vec<f32>,
}

const MODELS: [&str; 4] = ["bert", "xlm_roberta", "deberta_v2", "modernbert"];

/// An NLI model as `save_pretrained` writes it, in a folder of its own.
fn folder(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    let source = repository("tests/data/nli");
    for file in ["config.json", "model.safetensors"] {
        fs::copy(source.join(name).join(file), dir.path().join(file)).expect("copied");
    }
    let tokenizer = match name {
        "bert" | "deberta_v2" => source.join("word_pieces.json"),
        _ => repository("models/tiny/tokenizer.json"),
    };
    fs::copy(tokenizer, dir.path().join("tokenizer.json")).expect("copied");
    dir
}

fn load(dir: &Path, precision: Precision) -> Pipeline {
    Pipeline::load(dir, precision).unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
}

fn goldens(name: &str) -> Vec<Golden> {
    let path = repository("tests/data/nli").join(name).join("golden.jsonl");
    let lines = fs::read_to_string(path).expect("golden.jsonl");
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("a golden answer"))
        .collect()
}

fn article(value: Value) -> Article {
    Article::from_json(value).expect("an article")
}

fn refusal(pipeline: &Pipeline, value: Value) -> InputError {
    match pipeline.prepare(&article(value)).expect_err("refused") {
        PrepareError::Input(error) => error,
        PrepareError::Pipeline(error) => panic!("{error}"),
    }
}

fn score(topics: &[Topic], label: &str) -> f32 {
    topics
        .iter()
        .find(|topic| topic.label == label)
        .expect("the label")
        .score
}

#[test]
fn zero_shot_agrees_with_transformers() {
    for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Int8, 0.05)] {
        for name in MODELS {
            let dir = folder(name);
            let pipeline = load(dir.path(), precision);
            for golden in goldens(name) {
                for (multi, expected) in [(true, &golden.many), (false, &golden.one)] {
                    let asked = article(json!({
                        "text": golden.text, "labels": golden.labels, "hypothesis_template": golden.template, "multi_label": multi,
                    }));
                    let verdict = alone(&pipeline, &asked);
                    assert_eq!(verdict.usage.windows, 1, "{name}: {}", golden.text);
                    assert!(verdict.stance.is_none(), "no target, no stance");
                    let topics = verdict.topics.expect("topics");
                    for (label, expected) in golden.labels.iter().zip(expected) {
                        let found = score(&topics, label);
                        assert!(
                            (found - expected).abs() <= tolerance,
                            "{name}, {precision:?}, multi {multi}, {label}: {found}, transformers say {expected}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn one_label_among_all_or_many_at_once() {
    let dir = folder("xlm_roberta");
    let pipeline = load(dir.path(), Precision::F32);
    let ask = |extra: Value| {
        let mut asked = json!({"text": "Oil prices rose.", "labels": ["oil", "sport", "health"]});
        asked
            .as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        alone(&pipeline, &article(asked)).topics.expect("topics")
    };
    let many = ask(json!({}));
    assert!(
        many.iter()
            .all(|topic| topic.threshold == 0.5 && topic.assigned == (topic.score >= 0.5))
    );
    assert!(many.iter().all(|topic| topic.iptc.is_empty() && topic.name.is_empty()));
    assert!(many.windows(2).all(|pair| pair[0].score >= pair[1].score), "sorted");

    let one = ask(json!({"multi_label": false}));
    assert!((one.iter().map(|topic| topic.score).sum::<f32>() - 1.0).abs() < 1e-5);
    assert_eq!(
        one.iter().map(|topic| topic.assigned).collect::<Vec<_>>(),
        [true, false, false]
    );

    let all = ask(json!({"threshold": 0.0, "top_k": 2}));
    assert_eq!(all.len(), 2);
    assert!(all.iter().all(|topic| topic.assigned));

    // Alone, a label is judged by itself whatever was said.
    let alone_label = ask(json!({"labels": ["oil"], "multi_label": false}));
    assert!((alone_label[0].score - score(&many, "oil")).abs() < 1e-6);
}

/// The language of the article chooses the sentence, the bundle may bring its own, and the request has the last word.
#[test]
fn the_hypothesis_is_the_languages_the_bundles_or_the_requests() {
    let dir = folder("xlm_roberta");
    let plain = load(dir.path(), Precision::F32);
    let oil = |pipeline: &Pipeline, extra: Value| {
        let mut asked = json!({"text": "Oil prices rose.", "labels": ["oil", "sport"]});
        asked
            .as_object_mut()
            .expect("an object")
            .extend(extra.as_object().expect("an object").clone());
        score(&alone(pipeline, &article(asked)).topics.expect("topics"), "oil")
    };
    let english = json!({"language": "en", "hypothesis_template": "This text is about {}."});
    let persian = json!({"hypothesis_template": "این متن درباره {} است."});
    for (hinted, spelt_out) in [
        (json!({"language": "en"}), &english),
        (json!({"language": "fa-AF"}), &persian),
        // None in Welsh.
        (json!({"language": "cy"}), &english),
        (
            json!({"labels": [{"label": "oil", "hypothesis": "This text is about oil."}]}),
            &english,
        ),
    ] {
        assert_eq!(oil(&plain, hinted.clone()), oil(&plain, spelt_out.clone()), "{hinted}");
    }
    assert_ne!(oil(&plain, english), oil(&plain, persian.clone()), "they differ at all");

    let manifest = "format = 1\nname = \"own\"\nversion = \"1\"\n[input]\ntemplate = \"pair\"\n\
        [windows]\ntokens = 96\noverlap = 12\ntarget_tokens = 24\n\
        [nli]\nlabels = [\"entailment\", \"neutral\", \"contradiction\"]\n\
        [nli.hypotheses.en]\ntopic = \"این متن درباره {} است.\"\n";
    fs::write(dir.path().join("tasnif.toml"), manifest).expect("written");
    let own = load(dir.path(), Precision::F32);
    assert_eq!(oil(&own, json!({"language": "en"})), oil(&plain, persian));
    for (from, to, says) in [
        ("درباره {}", "درباره", "[nli.hypotheses.en]"),
        ("\"neutral\", ", "", "[nli] labels"),
        ("[nli]", "[topics]\nwindows = \"max\"\nlabels = []\n[nli]", "alone"),
        ("\"pair\"", "\"single\"", "pair"),
    ] {
        fs::write(dir.path().join("tasnif.toml"), manifest.replace(from, to)).expect("written");
        let message = Pipeline::load(dir.path(), Precision::F32).expect_err(says).to_string();
        assert!(message.contains("tasnif.toml") && message.contains(says), "{message}");
    }
}

#[test]
fn a_long_text_keeps_the_label_of_its_strongest_window() {
    let dir = folder("bert");
    let pipeline = load(dir.path(), Precision::F32);
    let long = texts().pop().expect("a text");
    let asked = article(json!({"text": long, "labels": ["oil", "sport"], "targets": ["oil"]}));
    let prepared = pipeline.prepare(&asked).expect("a good article");
    let verdict = alone(&pipeline, &asked);
    assert!(verdict.usage.windows > 5, "{:?}", verdict.usage);
    // Two labels, and four hypotheses for the stance, in each window.
    assert_eq!(prepared.sequences.len(), verdict.usage.windows * 6);
    assert!(prepared.sequences.iter().all(|sequence| sequence.ids.len() <= 192));
}

#[test]
fn stance_by_inference() {
    let dir = folder("bert");
    let pipeline = load(dir.path(), Precision::F32);
    let both = alone(
        &pipeline,
        &article(json!({"text": "Oil prices rose.", "labels": ["sport"], "targets": ["oil", "sport"]})),
    );
    let stance = both.stance.expect("a stance");
    assert_eq!(
        stance.iter().map(|stance| stance.target.as_deref()).collect::<Vec<_>>(),
        [Some("oil"), Some("sport")]
    );
    // Related is what the topic's hypothesis says, and favor, against and neutral share it by their entailment.
    let ask = |labels: Value, multi: bool| {
        let asked = json!({"text": "Oil prices rose.", "language": "en", "labels": labels, "multi_label": multi});
        alone(&pipeline, &article(asked)).topics.expect("topics")
    };
    let related = score(
        &ask(json!([{"label": "oil", "hypothesis": "This text is about oil."}]), true),
        "oil",
    );
    let shares = ask(
        json!([
            {"label": "favor", "hypothesis": "The author of this text is in favor of oil."},
            {"label": "against", "hypothesis": "The author of this text is against oil."},
            {"label": "neutral", "hypothesis": "The author of this text is neutral about oil."},
        ]),
        false,
    );
    let asked = article(json!({"text": "Oil prices rose.", "language": "en", "targets": ["oil"]}));
    let verdict = alone(&pipeline, &asked);
    assert!(verdict.topics.is_none(), "no labels, no topics");
    let scores = verdict.stance.expect("a stance")[0].scores;
    for (found, expected) in [
        (scores.favor, related * score(&shares, "favor")),
        (scores.against, related * score(&shares, "against")),
        (scores.neutral, related * score(&shares, "neutral")),
        (scores.unrelated, 1.0 - related),
    ] {
        assert!((found - expected).abs() < 1e-5, "{found}, {expected} was expected");
    }
}

#[test]
fn what_a_model_cannot_do_is_said() {
    let dir = folder("xlm_roberta");
    let nli = load(dir.path(), Precision::F32);
    let classifier = super::classifiers::classifier("bert");
    let classifier = load(classifier.path(), Precision::F32);
    let long = "oil ".repeat(70);
    let cases = [
        (&nli, json!({"text": "Oil."}), "labels_missing", "labels"),
        (
            &nli,
            json!({"text": "Oil.", "tasks": ["topics"], "targets": ["oil"]}),
            "labels_missing",
            "labels",
        ),
        (
            &nli,
            json!({"text": "Oil.", "tasks": ["stance"], "labels": ["oil"]}),
            "targets_missing",
            "targets",
        ),
        (
            &nli,
            json!({"text": "Oil.", "labels": ["oil", "🚀"]}),
            "label_unreadable",
            "labels[1]",
        ),
        (
            &nli,
            json!({"text": "Oil.", "labels": [long]}),
            "label_too_long",
            "labels[0]",
        ),
        (
            &nli,
            json!({"text": "🚀", "labels": ["oil"]}),
            "text_unreadable",
            "text",
        ),
        (
            &classifier,
            json!({"text": "Oil.", "labels": ["oil"]}),
            "labels_not_served",
            "labels",
        ),
        (
            &*tiny(),
            json!({"text": "Oil.", "labels": ["oil"], "hypothesis_template": "On {}."}),
            "labels_not_served",
            "hypothesis_template",
        ),
        (
            &*tiny(),
            json!({"text": "Oil.", "labels": ["oil", {"label": "gas", "hypothesis": "It is gas."}]}),
            "labels_not_served",
            "labels[1].hypothesis",
        ),
    ];
    for (pipeline, asked, code, param) in cases {
        let error = refusal(pipeline, asked.clone());
        assert_eq!((error.code(), error.param()), (code, param), "{asked}");
    }
}

/// The model that ships has no inference: it compares the label's own words with the text.
#[test]
fn the_shipped_model_scores_labels_by_nearness() {
    let pipeline = shipped();
    for (text, right) in [
        ("فاز المنتخب بركلات الترجيح وتأهل إلى نهائي البطولة.", "sport"),
        ("The central bank raised interest rates to curb inflation.", "economy"),
        ("Врачи предупреждают о нехватке инсулина в больницах.", "health"),
    ] {
        for multi in [true, false] {
            let asked = json!({"text": text, "labels": ["sport", "economy", "health"], "multi_label": multi, "tasks": ["topics"]});
            let verdict = alone(&pipeline, &article(asked));
            assert_eq!(verdict.usage.windows, 1);
            let topics = verdict.topics.expect("topics");
            assert_eq!(
                (topics[0].label.as_str(), topics[0].assigned),
                (right, true),
                "{topics:?}"
            );
        }
    }
    // A label's score doesn't depend on the others, and stance is answered beside.
    let ask = |labels: Value| {
        let asked = json!({"text": texts()[1], "labels": labels, "targets": ["المحادثات"]});
        alone(&pipeline, &article(asked))
    };
    let (few, more) = (ask(json!(["sport"])), ask(json!(["العلوم", "sport", "cybersecurity"])));
    let found = |verdict: &tasnif::article::Verdict| score(verdict.topics.as_ref().expect("topics"), "sport");
    assert!((found(&few) - found(&more)).abs() < 1e-3);
    assert_close(&json!(few.stance), &json!(more.stance), 1e-3);
    let own = alone(&pipeline, &text(&texts()[1]));
    assert_eq!(
        own.topics.expect("topics").len(),
        pipeline.manifest().topics.as_ref().expect("topics").labels.len()
    );
}

/// Without an inference model's manifest, its config.json says enough; renamed labels say nothing.
#[test]
fn inference_is_recognised_by_its_labels() {
    let dir = folder("bert");
    let path = dir.path().join("config.json");
    assert!(load(dir.path(), Precision::F32).manifest().nli.is_some());
    edit(&path, |config| config.replace("NEUTRAL", "MAYBE"));
    let pipeline = load(dir.path(), Precision::F32);
    assert!(pipeline.manifest().nli.is_none() && pipeline.manifest().topics.is_some());
}
