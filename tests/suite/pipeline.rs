//! Verdicts of models/tiny: their shape, evidence, and that company doesn't change them.

use serde_json::json;
use tasnif::article::{Article, Field, InputError, Task};
use tasnif::batcher::{Admission, Settings};
use tasnif::pipeline::PrepareError;

use super::common::{SETTINGS, alone, assert_close, registry, text, texts, tiny};

#[test]
fn an_articles_verdict_is_the_same_in_any_company() {
    let pipeline = tiny();
    let articles: Vec<Article> = texts()
        .iter()
        .cycle()
        .take(30)
        .enumerate()
        .map(|(index, body)| Article {
            id: Some(index.to_string()),
            targets: if index % 3 == 0 {
                vec!["أمن".to_owned(), "Oil".to_owned()]
            } else {
                Vec::new()
            },
            evidence: index % 2 == 0,
            ..text(body)
        })
        .collect();
    for settings in [
        SETTINGS,
        Settings {
            threads: 1,
            batch_tokens: 100_000,
            ..SETTINGS
        },
        Settings {
            threads: 3,
            batch_tokens: 1,
            ..SETTINGS
        },
    ] {
        let registry = registry(settings);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .build()
            .expect("a runtime");
        let verdicts = runtime.block_on(async {
            let tasks: Vec<_> = articles
                .iter()
                .map(|article| {
                    let (registry, article) = (registry.clone(), article.clone());
                    tokio::spawn(async move { registry.classify(article, Admission::Wait).await })
                })
                .collect();
            let mut verdicts = Vec::new();
            for task in tasks {
                verdicts.push(task.await.expect("no panic").expect("a verdict"));
            }
            verdicts
        });
        for (article, verdict) in articles.iter().zip(verdicts) {
            assert_close(&json!(verdict), &json!(alone(&pipeline, article)), 1e-4);
        }
    }
}

#[test]
fn topics_are_sorted_cut_filtered_and_assigned() {
    let pipeline = tiny();
    let article = text(&texts()[1]);
    let all = alone(&pipeline, &article).topics.expect("topics");
    assert_eq!(all.len(), 3);
    assert!(all.is_sorted_by(|a, b| a.score >= b.score));
    assert!(
        all.iter()
            .all(|topic| topic.assigned == (topic.score >= topic.threshold))
    );

    let best = alone(
        &pipeline,
        &Article {
            top_k: Some(1),
            ..article.clone()
        },
    )
    .topics
    .expect("topics");
    assert_eq!(best[..], all[..1]);

    let strict = alone(
        &pipeline,
        &Article {
            threshold: Some(1.0),
            ..article.clone()
        },
    )
    .topics
    .expect("topics");
    assert!(strict.iter().all(|topic| !topic.assigned && topic.threshold == 1.0));

    let only = Article {
        topics: Some(vec!["sport".to_owned()]),
        ..article
    };
    let only = alone(&pipeline, &only).topics.expect("topics");
    assert_eq!(
        only.iter().map(|topic| topic.label.as_str()).collect::<Vec<_>>(),
        ["sport"]
    );
}

#[test]
fn stance_comes_in_the_order_of_the_targets_and_sums_to_one() {
    let pipeline = tiny();
    let targets = vec!["ثالث".to_owned(), "first".to_owned(), "second".to_owned()];
    let article = Article {
        targets: targets.clone(),
        tasks: Some(vec![Task::Stance]),
        ..text(&texts()[4])
    };
    let verdict = alone(&pipeline, &article);
    assert!(verdict.topics.is_none());
    let stance = verdict.stance.expect("stance");
    assert_eq!(
        stance
            .iter()
            .filter_map(|stance| stance.target.clone())
            .collect::<Vec<_>>(),
        targets
    );
    for stance in stance {
        let scores = [
            stance.scores.favor,
            stance.scores.against,
            stance.scores.neutral,
            stance.scores.unrelated,
        ];
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{scores:?}");
        assert!(scores.iter().all(|&score| score <= stance.score));
    }
    let subject = alone(&pipeline, &text(&texts()[0])).stance.expect("stance");
    assert_eq!(subject.len(), 1);
    assert_eq!(subject[0].target, None);
}

/// The topics of an article don't depend on which targets it is asked about.
#[test]
fn targets_do_not_move_topics() {
    let pipeline = tiny();
    let article = text(&texts()[4]);
    let with_targets = Article {
        targets: vec!["x".repeat(20)],
        ..article.clone()
    };
    assert_eq!(
        alone(&pipeline, &article).topics,
        alone(&pipeline, &with_targets).topics
    );
}

#[test]
fn evidence_is_sentences_of_title_and_text_in_characters() {
    let pipeline = tiny();
    let title = "  خبر عاجل 🚀 ";
    let body = "أعلنت الوزارة الخبر.\r\n👩‍👩‍👧 Second sentence!\u{0} 他来了。最后一句";
    let sentences = [
        "خبر عاجل 🚀",
        "أعلنت الوزارة الخبر.",
        "👩‍👩‍👧 Second sentence!",
        "他来了。",
        "最后一句",
    ];
    let article = Article {
        title: Some(title.to_owned()),
        threshold: Some(0.0),
        evidence: true,
        ..text(body)
    };
    let topics = alone(&pipeline, &article).topics.expect("topics");
    let mut seen = 0;
    for topic in topics {
        let evidence = topic.evidence.expect("evidence");
        assert!(evidence.len() <= 3);
        assert!(evidence.is_sorted_by(|a, b| a.score >= b.score));
        for passage in evidence {
            let source = if passage.field == Field::Title { title } else { body };
            let slice: String = source
                .chars()
                .skip(passage.start)
                .take(passage.end - passage.start)
                .collect();
            let slice = slice.trim_matches('\u{0}').trim();
            assert!(sentences.contains(&slice), "{slice:?} is none of the sentences");
            seen += 1;
        }
    }
    assert!(seen > 0, "no evidence at all");
    let without = alone(
        &pipeline,
        &Article {
            evidence: false,
            ..article
        },
    );
    assert!(
        without
            .topics
            .expect("topics")
            .iter()
            .all(|topic| topic.evidence.is_none())
    );
}

#[test]
fn usage_counts_the_articles_own_tokens_and_windows() {
    let pipeline = tiny();
    let short = alone(&pipeline, &text(&texts()[0])).usage;
    assert_eq!(short.windows, 1);
    let long = alone(&pipeline, &text(&texts()[4])).usage;
    let tokens = |copies: usize| alone(&pipeline, &text(&texts()[1].repeat(copies))).usage.tokens;
    assert_eq!(
        long.tokens - tokens(20),
        20 * (tokens(3) - tokens(2)),
        "nothing is truncated"
    );
    assert!(long.windows > 10 && !long.truncated);
}

#[test]
fn what_the_model_can_not_answer_is_refused_by_name() {
    struct Case {
        article: Article,
        code: &'static str,
        param: &'static str,
    }
    let good = || text("Oil prices rose.");
    let cases = [
        Case {
            article: text(" \n\t\u{3000}"),
            code: "text_empty",
            param: "text",
        },
        Case {
            article: text("\u{0}\u{1}\u{200b}"),
            code: "text_unreadable",
            param: "text",
        },
        Case {
            article: Article {
                targets: vec![String::from("a"), String::from(" ")],
                ..good()
            },
            code: "target_empty",
            param: "targets[1]",
        },
        Case {
            article: Article {
                targets: vec!["s".repeat(301)],
                ..good()
            },
            code: "target_too_long",
            param: "targets[0]",
        },
        Case {
            article: Article {
                targets: vec!["q z x j ".repeat(30)],
                ..good()
            },
            code: "target_too_long",
            param: "targets[0]",
        },
        Case {
            article: Article {
                targets: vec![String::from("t"); 17],
                ..good()
            },
            code: "targets_too_many",
            param: "targets",
        },
        Case {
            article: Article {
                tasks: Some(Vec::new()),
                ..good()
            },
            code: "field_invalid",
            param: "tasks",
        },
        Case {
            article: Article {
                topics: Some(vec![String::from("gossip")]),
                ..good()
            },
            code: "topic_unknown",
            param: "topics[0]",
        },
        Case {
            article: Article {
                threshold: Some(f32::NAN),
                ..good()
            },
            code: "field_invalid",
            param: "threshold",
        },
        Case {
            article: Article {
                threshold: Some(1.5),
                ..good()
            },
            code: "field_invalid",
            param: "threshold",
        },
        Case {
            article: Article {
                top_k: Some(0),
                ..good()
            },
            code: "field_invalid",
            param: "top_k",
        },
        Case {
            article: Article {
                language: Some(String::from("العربية")),
                ..good()
            },
            code: "field_invalid",
            param: "language",
        },
        Case {
            article: Article {
                id: Some("i".repeat(513)),
                ..good()
            },
            code: "field_too_long",
            param: "id",
        },
    ];
    for case in cases {
        let found = tiny().prepare(&case.article);
        let error = match found {
            Err(PrepareError::Input(error)) => error,
            other => panic!("{}: {other:?}", case.code),
        };
        assert_eq!((error.code(), error.param()), (case.code, case.param), "{error}");
    }
    let unknown = InputError::UnknownModel { model: "x".to_owned() };
    let error = tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        let article = Article {
            model: Some("x".to_owned()),
            ..good()
        };
        registry(SETTINGS).classify(article, Admission::Wait).await
    });
    assert!(matches!(error, Err(tasnif::batcher::ClassifyError::Input(error)) if error == unknown));
}
