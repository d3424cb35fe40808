//! golden.jsonl: known answers that a bundle must give before it serves.
//!
//! The numbers come from another implementation (PyTorch, in scripts/export.py), so that a wrong tokenizer, a wrong layer or
//! a wrong calibration is found at the start rather than in the answers.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Pipeline;
use crate::article::{Article, StanceScores};
use crate::encoder::Precision;
use crate::model::ModelError;

/// How far a calibrated score may be from the golden one. f32 sums in another order move it by less than 1e-5, int8
/// activations by a few hundredths at most; a wrong activation or a missing bias by far more than either.
fn tolerance(precision: Precision) -> f32 {
    match precision {
        Precision::F32 => 2e-3,
        Precision::Int8 => 0.1,
    }
}

#[derive(Debug, Deserialize)]
struct Golden {
    article: Article,
    #[serde(default)]
    topics: BTreeMap<String, f32>,
    #[serde(default)]
    stance: Vec<StanceScores>,
}

/// Runs the self-test of the bundle; one that brings none passes.
pub fn run(pipeline: &Pipeline, precision: Precision) -> Result<(), ModelError> {
    let path = pipeline.model.dir.join("golden.jsonl");
    let failed = |message: String| ModelError::SelfTest {
        path: path.clone(),
        message,
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            return Err(ModelError::Unreadable {
                path: path.clone(),
                source,
                remedy: "make it readable, or remove it to go without a self-test",
            });
        }
    };
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let golden: Golden = serde_json::from_str(line).map_err(|error| failed(format!("line {number}: {error}")))?;
        compare(pipeline, &golden, tolerance(precision)).map_err(|message| {
            failed(format!(
                "line {number}: the self-test fails: {message}; weights, tokenizer and tasnif.toml don't belong together, \
                 fetch or export the bundle again"
            ))
        })?;
    }
    Ok(())
}

fn compare(pipeline: &Pipeline, golden: &Golden, tolerance: f32) -> Result<(), String> {
    let prepared = pipeline.prepare(&golden.article).map_err(|error| error.to_string())?;
    let sequences: Vec<_> = prepared.sequences.iter().collect();
    let readings = pipeline.read(&sequences).map_err(|error| error.to_string())?;
    let verdict = pipeline.conclude(&prepared, &readings);

    let mut scores = BTreeMap::new();
    for topic in verdict.topics.iter().flatten() {
        scores.insert(topic.label.clone(), topic.score);
    }
    let mut expected = golden.topics.clone();
    for (index, stance) in golden.stance.iter().enumerate() {
        name_stance(index, stance, &mut expected);
    }
    for (index, stance) in verdict.stance.iter().flatten().enumerate().take(golden.stance.len()) {
        name_stance(index, &stance.scores, &mut scores);
    }
    for (name, expected) in expected {
        match scores.get(&name) {
            Some(found) if (found - expected).abs() <= tolerance => {}
            Some(found) => return Err(format!("{name} is {found:.4}, {expected:.4} was expected")),
            None => return Err(format!("there is no {name}")),
        }
    }
    Ok(())
}

fn name_stance(index: usize, scores: &StanceScores, into: &mut BTreeMap<String, f32>) {
    let StanceScores {
        favor,
        against,
        neutral,
        unrelated,
    } = *scores;
    for (label, score) in [
        ("favor", favor),
        ("against", against),
        ("neutral", neutral),
        ("unrelated", unrelated),
    ] {
        into.insert(format!("stance {index} {label}"), score);
    }
}
