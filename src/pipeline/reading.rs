//! What the heads say of one sequence, and how it is kept for when the sequence comes again.

use crate::model::{Inference, Logits};

/// What the heads say of one sequence: uncalibrated logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    pub topics: Option<Logits>,
    /// One for each of the sequence's targets.
    pub stance: Vec<[f32; 4]>,
    /// The mean of the text's states.
    pub state: Option<Vec<f32>>,
    /// What an NLI model says of the sequence's hypothesis.
    pub inference: Option<Inference>,
}

impl Reading {
    /// Appends the reading to `words`: each part behind its length plus one, 0 where it is missing. A hundred numbers in one
    /// piece instead of half a dozen allocations.
    pub fn pack(&self, words: &mut Vec<u32>) {
        let floats = |words: &mut Vec<u32>, values: Option<&[f32]>| {
            words.push(values.map_or(0, |values| values.len() as u32 + 1));
            words.extend(values.into_iter().flatten().map(|value| value.to_bits()));
        };
        floats(words, self.topics.as_ref().map(|topics| topics.logits.as_slice()));
        floats(words, Some(self.stance.as_flattened()));
        floats(words, self.state.as_deref());
        let inference = self.inference.map(|said| [said.entailment, said.contradiction]);
        floats(words, inference.as_ref().map(<[f32; 2]>::as_slice));
        let shares = self.topics.as_ref().and_then(|topics| topics.shares.as_ref());
        words.push(shares.map_or(0, |shares| shares.len() as u32 + 1));
        for share in shares.into_iter().flatten() {
            floats(words, Some(share));
        }
    }

    /// The reading at the beginning of `words`, which [`Self::pack`] wrote; `None` if it did not.
    #[must_use]
    pub fn unpack(mut words: &[u32]) -> Option<Self> {
        let words = &mut words;
        let logits = floats(words)?;
        let stance = floats(words)?.unwrap_or_default().as_chunks().0.to_vec();
        let state = floats(words)?;
        let inference = match floats(words)?.as_deref() {
            Some([entailment, contradiction]) => Some(Inference {
                entailment: *entailment,
                contradiction: *contradiction,
            }),
            _ => None,
        };
        let shares = match length(words)? {
            None => None,
            Some(count) => Some((0..count).map(|_| floats(words)?).collect::<Option<Vec<_>>>()?),
        };
        Some(Self {
            topics: logits.map(|logits| Logits { logits, shares }),
            stance,
            state,
            inference,
        })
    }
}

/// Takes a length; the outer `None` is the end of the words, the inner one a missing part.
fn length(words: &mut &[u32]) -> Option<Option<usize>> {
    let (first, rest) = words.split_first()?;
    *words = rest;
    Some((*first as usize).checked_sub(1))
}

fn floats(words: &mut &[u32]) -> Option<Option<Vec<f32>>> {
    let Some(length) = length(words)? else {
        return Some(None);
    };
    let (values, rest) = words.split_at_checked(length)?;
    *words = rest;
    Some(Some(values.iter().map(|bits| f32::from_bits(*bits)).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_is_what_was_packed() {
        let topics = |shares| {
            Some(Logits {
                logits: vec![0.5, f32::NEG_INFINITY],
                shares,
            })
        };
        let inference = Some(Inference {
            entailment: 1.5,
            contradiction: -0.0,
        });
        for reading in [
            (None, vec![], None, None),
            (topics(None), vec![[1.0, 2.0, 3.0, 4.0]; 3], None, None),
            (topics(Some(vec![])), vec![], Some(vec![]), inference),
            (
                topics(Some(vec![vec![1.0, 2.0], vec![]])),
                vec![],
                Some(vec![7.0]),
                None,
            ),
        ] {
            let (topics, stance, state, inference) = reading;
            let reading = Reading {
                topics,
                stance,
                state,
                inference,
            };
            let mut words = Vec::new();
            reading.pack(&mut words);
            for length in 0..words.len() {
                assert_eq!(Reading::unpack(&words[..length]), None, "{length} of {words:?}");
            }
            words.push(9);
            assert_eq!(Reading::unpack(&words), Some(reading));
        }
    }
}
