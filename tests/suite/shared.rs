//! The template "shared": a trunk a window and a branch a target, on the weights of models/tiny.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde::Deserialize;
use tasnif::article::{Article, Task};
use tasnif::encoder::Precision;
use tasnif::pipeline::{Pipeline, Reading, Sequence};

use super::bundles::variant;
use super::common::{alone, repository, text, texts, tiny};

const GOLDEN: &str = "tests/data/shared/golden.jsonl";

/// models/tiny under the other template and with its golden.jsonl, changed further by `change`.
fn bundle(dir: &Path, change: impl FnOnce(String) -> String) {
    variant(dir, "1.0.0", |manifest| {
        let shared = manifest.replace("template = \"pair\"", "template = \"shared\"");
        assert_ne!(shared, manifest);
        change(shared)
    });
    std::fs::copy(repository(GOLDEN), dir.join("golden.jsonl")).expect("copied");
}

fn load(precision: Precision, change: impl FnOnce(String) -> String) -> Arc<Pipeline> {
    let dir = tempfile::tempdir().expect("a folder");
    bundle(dir.path(), change);
    Arc::new(Pipeline::load(dir.path(), precision).expect("the bundle loads"))
}

fn shared() -> Arc<Pipeline> {
    static SHARED: OnceLock<Arc<Pipeline>> = OnceLock::new();
    Arc::clone(SHARED.get_or_init(|| load(Precision::Int8, |manifest| manifest)))
}

/// So many targets of several lengths and scripts.
fn targets(count: usize) -> Vec<String> {
    let kinds = [
        "الأمن السيبراني",
        "oil",
        "外交部",
        "the decision to cut production",
        "Сборная",
    ];
    (0..count)
        .map(|index| format!("{} {index}", kinds[index % kinds.len()]))
        .collect()
}

fn asking(body: &str, targets: Vec<String>) -> Article {
    Article {
        targets,
        evidence: true,
        ..text(body)
    }
}

#[test]
fn logits_agree_with_transformers_under_an_explicit_mask() {
    #[derive(Deserialize)]
    struct Golden {
        article: Article,
        logits: Logits,
    }
    #[derive(Deserialize)]
    struct Logits {
        topics: Vec<f32>,
        stance: Vec<[f32; 4]>,
    }
    let pipeline = load(Precision::F32, |manifest| manifest);
    let golden = std::fs::read_to_string(repository(GOLDEN)).expect("golden answers");
    for line in golden.lines() {
        let Golden { article, logits } = serde_json::from_str(line).expect("a golden answer");
        let prepared = pipeline.prepare(&article).expect("a good article");
        let [sequence] = &prepared.sequences[..] else {
            panic!("{} sequences", prepared.sequences.len());
        };
        let reading = pipeline.read(&[sequence]).expect("a reading").remove(0);
        let found = reading.topics.expect("topics").logits;
        let stance = (reading.stance.as_flattened(), logits.stance.as_flattened());
        for (found, expected) in [(&found[..], &logits.topics[..]), stance] {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-4, "{found}, {expected} in {line}");
            }
        }
    }
}

/// Bit for bit: a batch is one sequence here, so all that differs is the branches.
#[test]
fn an_answer_does_not_depend_on_what_else_is_asked() {
    let pipeline = shared();
    for body in texts() {
        let topics = |article: &Article| alone(&pipeline, article).topics.expect("topics");
        let only_topics = Article {
            tasks: Some(vec![Task::Topics]),
            ..asking(&body, Vec::new())
        };
        let expected = topics(&only_topics);
        for count in [0, 1, 5, 16] {
            assert_eq!(topics(&asking(&body, targets(count))), expected, "{count} targets");
        }

        let all = alone(&pipeline, &asking(&body, targets(7))).stance.expect("stance");
        for (target, expected) in targets(7).into_iter().zip(all) {
            for tasks in [None, Some(vec![Task::Stance])] {
                let article = Article {
                    tasks,
                    ..asking(&body, vec![target.clone()])
                };
                let found = alone(&pipeline, &article).stance.expect("stance");
                assert_eq!(found, std::slice::from_ref(&expected));
            }
        }
    }
}

#[test]
fn a_reading_does_not_depend_on_its_batch() {
    let pipeline = shared();
    let prepared: Vec<_> = texts()
        .iter()
        .enumerate()
        .map(|(index, body)| pipeline.prepare(&asking(body, targets(index))).expect("a good article"))
        .collect();
    let sequences: Vec<&Sequence> = prepared.iter().flat_map(|prepared| &prepared.sequences).collect();
    let together = pipeline.read(&sequences).expect("readings");
    let read = |sequence: &&Sequence| pipeline.read(&[sequence]).expect("a reading").remove(0);
    let each: Vec<Reading> = sequences.iter().map(read).collect();
    assert!(together == each);
}

#[test]
fn a_window_is_read_once_for_all_its_targets() {
    let pipeline = shared();
    for body in texts() {
        let subject = pipeline.prepare(&text(&body)).expect("a good article");
        let prepared = pipeline.prepare(&asking(&body, targets(5))).expect("a good article");
        assert_eq!(prepared.sequences.len(), prepared.windows);
        assert_eq!(prepared.windows, subject.windows);
        for (sequence, subject) in prepared.sequences.iter().zip(&subject.sequences) {
            // `<s> query: WINDOW </s>`, with the ids that models/tiny's tokenizer gives these.
            assert_eq!(sequence.ids, subject.ids);
            assert!(sequence.ids.len() <= pipeline.manifest().windows.tokens);
            assert_eq!(
                (sequence.ids[0], sequence.ids[sequence.text.end..].to_vec()),
                (0, vec![2])
            );
            assert_eq!(subject.branches, [[2, 2]], "the main subject has no name");
            assert_eq!(sequence.branches.len(), 5);
            let mut row = sequence.ids.len();
            for (index, (target, branch)) in sequence.targets.iter().zip(&sequence.branches).enumerate() {
                assert_eq!((branch[0], branch[branch.len() - 1]), (2, 2));
                assert_eq!((target.index, target.rows.clone()), (index, row..row + branch.len()));
                row += branch.len();
            }
            assert_eq!(sequence.rows(), row);
        }
        assert_eq!(
            prepared.encoder_tokens(),
            prepared.sequences.iter().map(Sequence::rows).sum::<usize>()
        );
        // What the article counts is the article, whatever is asked of it.
        let usage = |article| alone(&pipeline, &article).usage;
        assert_eq!(usage(asking(&body, targets(5))).tokens, usage(text(&body)).tokens);
        // The other template reads it once a target, and two more special tokens between target and text.
        let pairs = tiny().prepare(&asking(&body, targets(5))).expect("a good article");
        assert!(pairs.sequences.len() >= 6 * prepared.windows);
    }
}

#[test]
fn what_is_not_asked_is_not_read() {
    let pipeline = shared();
    let tasks = |task| Article {
        tasks: Some(vec![task]),
        ..asking(&texts()[1], targets(2))
    };
    let topics = pipeline.prepare(&tasks(Task::Topics)).expect("a good article");
    assert!(topics.sequences[0].topics && topics.sequences[0].branches.is_empty());
    let stance = pipeline.prepare(&tasks(Task::Stance)).expect("a good article");
    assert!(!stance.sequences[0].topics && stance.sequences[0].branches.len() == 2);
}

/// Long targets in number make a second sequence, and nothing else.
#[test]
fn more_branches_than_one_sequence_takes_are_split() {
    let pipeline = load(Precision::Int8, |manifest| {
        manifest.replace("target_tokens = 32", "target_tokens = 150")
    });
    let long: Vec<String> = targets(16)
        .iter()
        .map(|target| format!("{target} {}", "q z x j ".repeat(15)))
        .collect();
    let article = asking(&texts()[1], long.clone());
    let prepared = pipeline.prepare(&article).expect("a good article");
    assert_eq!((prepared.windows, prepared.sequences.len() > 1), (1, true));
    assert!(prepared.sequences.iter().all(|sequence| sequence.rows() <= 1024));
    let indices = prepared.sequences.iter().flat_map(|sequence| &sequence.targets);
    assert!(indices.map(|target| target.index).eq(0..16));
    let topics = prepared.sequences.iter().map(|sequence| sequence.topics);
    assert!(topics.eq((0..prepared.sequences.len()).map(|index| index == 0)));

    let verdict = alone(&pipeline, &article);
    let last = alone(&pipeline, &asking(&texts()[1], long[15..].to_vec()));
    assert_eq!(verdict.topics, last.topics);
    assert_eq!(
        verdict.stance.expect("stance").last(),
        last.stance.expect("stance").first()
    );
}

#[test]
fn a_branch_must_find_its_positions() {
    let dir = tempfile::tempdir().expect("a folder");
    // 512 positions: a window of 479 and a branch of 34 are one too many.
    bundle(dir.path(), |manifest| manifest.replace("tokens = 128", "tokens = 479"));
    let message = Pipeline::load(dir.path(), Precision::Int8)
        .expect_err("refused")
        .to_string();
    for part in ["tasnif.toml", "479", "32", "513", "512"] {
        assert!(message.contains(part), "no {part} in {message}");
    }
    let dir = tempfile::tempdir().expect("a folder");
    bundle(dir.path(), |manifest| manifest.replace("tokens = 128", "tokens = 478"));
    Pipeline::load(dir.path(), Precision::Int8).expect("one less fits");
}
