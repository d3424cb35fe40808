//! models/default on texts written for this test: what a reader would say of them, the model says too.
//! How good it is on real data stands in its card; here is what must never break.

use tasnif::article::{Article, Verdict};
use tasnif::encoder::Precision;
use tasnif::pipeline::Pipeline;

use super::common::{alone, repository, shipped, text};

fn assigned(verdict: &Verdict) -> Vec<&str> {
    let topics = verdict.topics.iter().flatten();
    topics
        .filter(|topic| topic.assigned)
        .map(|topic| topic.label.as_str())
        .collect()
}

const TALKS: &str = "واشنطن وموسكو تبحثان أمن الفضاء السيبراني\n\
    عقد دبلوماسيون أمريكيون وروس جولة جديدة من المحادثات في جنيف حول مكافحة القرصنة الإلكترونية وهجمات برامج الفدية، \
    واتفق الوفدان على إنشاء خط اتصال مباشر لتبادل المعلومات عن الهجمات السيبرانية.";
const MATCH: &str = "Late goal sends the champions into the final\n\
    The home side won the semi-final 2-1 after the striker scored in stoppage time. The coach praised his players and \
    said the team was ready for Sunday's final at the national stadium.";
const ATTACK: &str = "Теракт на рынке: десятки погибших\n\
    Боевики террористической группировки взорвали бомбу на рынке. Ответственность взяла на себя «ИГИЛ». \
    Спецслужбы ведут поиск организаторов теракта.";

#[test]
fn short_texts_of_three_languages_get_their_topics() {
    struct Case {
        text: &'static str,
        language: &'static str,
        assigned: &'static [&'static str],
        absent: &'static [&'static str],
    }
    let cases = [
        Case {
            text: TALKS,
            language: "ar",
            assigned: &["cybersecurity", "diplomacy"],
            absent: &["sport", "weather", "health", "culture"],
        },
        Case {
            text: MATCH,
            language: "en",
            assigned: &["sport"],
            absent: &["cybersecurity", "terrorism", "economy"],
        },
        Case {
            text: ATTACK,
            language: "ru",
            assigned: &["terrorism"],
            absent: &["sport", "cybersecurity", "culture"],
        },
    ];
    for case in cases {
        let verdict = alone(&shipped(), &text(case.text));
        let topics = assigned(&verdict);
        for topic in case.assigned {
            assert!(topics.contains(topic), "{}: no {topic} in {topics:?}", case.language);
        }
        for topic in case.absent {
            assert!(!topics.contains(topic), "{}: {topic} in {topics:?}", case.language);
        }
        let language = verdict.language.map(|language| language.code);
        assert_eq!(language.as_deref(), Some(case.language));
    }
}

/// What int8 costs, on the real weights: no label of these texts flips, and scores move by less than a hundredth on average.
#[test]
fn int8_agrees_with_f32() {
    let reference = Pipeline::load(&repository("models/default"), Precision::F32).expect("it loads");
    let mut differences = Vec::new();
    for body in [TALKS, MATCH, ATTACK] {
        let article = Article {
            targets: vec!["واشنطن".to_owned(), "the team".to_owned()],
            ..text(body)
        };
        let (int8, f32) = (alone(&shipped(), &article), alone(&reference, &article));
        for topic in f32.topics.iter().flatten() {
            let found = int8
                .topics
                .iter()
                .flatten()
                .find(|found| found.label == topic.label)
                .expect("the label");
            assert_eq!(
                found.assigned, topic.assigned,
                "{}: {} and {}",
                topic.label, found.score, topic.score
            );
            differences.push((found.score - topic.score).abs());
        }
        for (found, expected) in int8.stance.iter().flatten().zip(f32.stance.iter().flatten()) {
            assert_eq!(found.label, expected.label, "{found:?} and {expected:?}");
            differences.push((found.score - expected.score).abs());
        }
    }
    let mean = differences.iter().sum::<f32>() / differences.len() as f32;
    assert!(mean <= 0.01, "{mean}");
}

/// Nothing is truncated: a topic of the last window is found, and the first stays.
#[test]
fn a_long_article_keeps_the_topics_of_its_end() {
    let verdict = alone(&shipped(), &text(&format!("{}\n{ATTACK}", MATCH.repeat(20))));
    let topics = assigned(&verdict);
    assert!(verdict.usage.windows >= 3, "{:?}", verdict.usage);
    assert!(topics.contains(&"sport") && topics.contains(&"terrorism"), "{topics:?}");
}

#[test]
fn a_foreign_target_is_unrelated_and_an_own_one_is_not() {
    let targets = vec!["النادي الأهلي".to_owned(), "المحادثات الأمريكية الروسية".to_owned()];
    let verdict = alone(&shipped(), &Article { targets, ..text(TALKS) });
    let stance = verdict.stance.expect("stance");
    assert_eq!(stance[0].label, "unrelated", "{stance:?}");
    assert_ne!(stance[1].label, "unrelated", "{stance:?}");
    assert_ne!(stance[1].label, "against", "{stance:?}");
}

#[test]
fn the_bundle_carries_the_taxonomy_and_fits_its_size() {
    let pipeline = shipped();
    let manifest = pipeline.manifest();
    let labels = &manifest.topics.as_ref().expect("topics").labels;
    assert_eq!(labels.len(), 24);
    for label in labels {
        assert!(
            label.name.contains_key("en") && label.name.contains_key("ar"),
            "{}",
            label.id
        );
        assert!(
            label.iptc.iter().all(|code| code.starts_with("medtop:")) && !label.iptc.is_empty(),
            "{}",
            label.id
        );
    }
    assert!(
        manifest
            .training
            .iter()
            .all(|source| !source.license.to_lowercase().contains("nc"))
    );

    let sizes: Vec<(String, u64)> = std::fs::read_dir(repository("models/default"))
        .expect("models/default")
        .map(|entry| {
            let entry = entry.expect("an entry");
            (
                entry.file_name().display().to_string(),
                entry.metadata().expect("metadata").len(),
            )
        })
        .collect();
    for (name, _) in sizes
        .iter()
        .filter(|(name, _)| !name.ends_with(".md") && name != "tasnif.toml")
    {
        assert!(manifest.files.contains_key(name), "{name} has no hash in tasnif.toml");
    }
    assert!(sizes.iter().all(|(_, size)| *size < 60_000_000), "{sizes:?}");
    assert!(
        sizes.iter().map(|(_, size)| size).sum::<u64>() <= 110_000_000,
        "{sizes:?}"
    );
}
