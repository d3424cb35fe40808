//! Which passages speak for a topic.
//!
//! With a linear head on mean-pooled states the logit is a sum over tokens, so the shares below are exact, not an
//! approximation by gradients or by leaving words out. A token's state does see its whole window, so a share says where
//! the encoder holds the evidence, not that the words would mean the same elsewhere.

use std::ops::Range;

use super::document::Document;
use crate::article::Evidence;

/// How many passages an answer shows for a topic.
const PASSAGES: usize = 3;

/// The sentences of `window` with the largest positive shares, best first. `share` gives each token's, in the order of
/// the window.
#[must_use]
pub fn passages(document: &Document, window: &Range<usize>, share: impl Fn(usize) -> f32) -> Vec<Evidence> {
    let mut passages: Vec<Evidence> = document
        .sentences_in(window)
        .filter_map(|sentence| {
            let score = sentence.clone().map(|token| share(token - window.start)).sum();
            let (field, span) = document.characters(&sentence)?;
            (score > 0.0).then_some(Evidence {
                field,
                start: span.start,
                end: span.end,
                score,
            })
        })
        .collect();
    passages.sort_by(|a, b| b.score.total_cmp(&a.score));
    passages.truncate(PASSAGES);
    passages
}
