//! Examples of good requests and answers, of the types themselves.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::answers::{Answer, ModelDescription, Models, Served, TopicDescription, Topics};
use crate::article::{
    Article, Evidence, Field, InputError, Language, ModelRef, Stance, StanceScores, Topic, Usage, Verdict,
};
use crate::model::Training;

fn value(example: impl Serialize) -> Value {
    serde_json::to_value(example).unwrap_or_default()
}

fn names() -> BTreeMap<String, String> {
    [("ar", "الدبلوماسية"), ("en", "Diplomacy")]
        .map(|(language, name)| (language.to_owned(), name.to_owned()))
        .into()
}

pub(super) fn model() -> ModelRef {
    ModelRef {
        name: "default".to_owned(),
        version: "1.0.0".to_owned(),
    }
}

pub(super) fn article() -> Value {
    value(Article {
        id: Some("a1".to_owned()),
        text: "عقد دبلوماسيون أمريكيون وروس جولة من المحادثات في جنيف حول مكافحة القرصنة الإلكترونية.".to_owned(),
        targets: vec!["المحادثات الأمريكية الروسية".to_owned()],
        top_k: Some(1),
        evidence: true,
        ..Article::default()
    })
}

pub(super) fn articles() -> Value {
    json!({ "articles": [article(), { "id": "a2", "text": "Oil prices rose.", "tasks": ["topics"] }] })
}

pub(super) fn lines() -> Value {
    Value::String(format!(
        "{}\n{}\n",
        article(),
        json!({ "id": "a2", "text": "Oil prices rose." })
    ))
}

pub(super) fn verdict() -> Value {
    value(Verdict {
        id: Some("a1".to_owned()),
        model: model(),
        language: Some(Language {
            code: "ar".to_owned(),
            confidence: 1.0,
        }),
        topics: Some(vec![Topic {
            label: "diplomacy".to_owned(),
            score: 0.75,
            logit: 0.0,
            assigned: true,
            threshold: 0.3125,
            name: names(),
            iptc: vec!["medtop:20000639".to_owned()],
            evidence: Some(vec![Evidence {
                field: Field::Text,
                start: 0,
                end: 86,
                score: 1.5,
            }]),
        }]),
        stance: Some(vec![Stance {
            target: Some("المحادثات الأمريكية الروسية".to_owned()),
            label: "neutral".to_owned(),
            score: 0.75,
            scores: StanceScores {
                favor: 0.125,
                against: 0.0625,
                neutral: 0.75,
                unrelated: 0.0625,
            },
        }]),
        usage: Usage {
            tokens: 33,
            windows: 1,
            truncated: false,
        },
    })
}

pub(super) fn article_error(line: Option<u64>) -> Value {
    let error = InputError::Empty {
        param: "text".to_owned(),
    };
    value(Answer::error(Some("a2".to_owned()), line, error.into()))
}

pub(super) fn models() -> Value {
    let model = ModelDescription {
        name: "default".to_owned(),
        version: "1.0.0".to_owned(),
        aliases: vec!["news".to_owned()],
        description: "Topics and stance of news articles".to_owned(),
        license: "MIT".to_owned(),
        base: "intfloat/multilingual-e5-small".to_owned(),
        tasks: vec![Served::Topics, Served::Stance, Served::Labels],
        languages: vec!["ar".to_owned(), "en".to_owned()],
        window_tokens: 384,
        training: vec![Training {
            source: "https://example.org/news".to_owned(),
            license: "CC-BY-4.0".to_owned(),
            examples: 12_345,
        }],
    };
    value(Models::new(vec![model], 1_732_628_721))
}

pub(super) fn topics() -> Value {
    value(Topics {
        model: model(),
        topics: vec![TopicDescription {
            label: "diplomacy".to_owned(),
            name: names(),
            iptc: vec!["medtop:20000639".to_owned()],
            threshold: 0.3125,
        }],
    })
}
