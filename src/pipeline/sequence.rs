//! The sequences that answer an article's questions, by the model's template.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::Pipeline;
use super::document::Document;
use super::window::windows;
use crate::encoder::Ids;
use crate::model::Template;

/// Rows of a sequence beyond which further branches get a trunk of their own. Rows of one sequence pass each layer together, on
/// one thread; 1,024 are four windows' worth, so that a trunk of 256 that is read twice costs a quarter more at most.
const MOST_ROWS: usize = 1_024;

/// One pass through the encoder: a window, and all that is read from it.
#[derive(Debug, Clone)]
pub struct Sequence {
    /// The trunk. Beside the window it has, by the template, a target, or a hypothesis behind it.
    pub ids: Vec<u32>,
    /// The position in it from which tokens have type 1; beyond the end if none has.
    pub second: usize,
    pub branches: Vec<Vec<u32>>,
    /// Rows of the text proper.
    pub text: Range<usize>,
    /// The document's tokens that these are.
    pub tokens: Range<usize>,
    pub targets: Vec<Target>,
    pub topics: bool,
    pub evidence: bool,
    /// Whether the mean state of the text is read.
    pub state: bool,
    /// The label of the request whose words these are, instead of a window.
    pub label: Option<usize>,
    /// What an NLI model tests the window for.
    pub hypothesis: Option<usize>,
}

/// A target whose stance is read from a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its number in [`super::Prepared::targets`].
    pub index: usize,
    /// Rows of the target's segment or branch, its special tokens included.
    pub rows: Range<usize>,
}

impl Sequence {
    /// What the encoder reads.
    #[must_use]
    pub fn encoder_ids(&self) -> Ids<'_> {
        Ids {
            trunk: &self.ids,
            second: self.second,
            branches: &self.branches,
        }
    }

    /// Tokens of trunk and branches: the rows that they get, and what encoding costs.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.ids.len() + self.branches.iter().map(Vec::len).sum::<usize>()
    }

    fn add(&mut self, index: usize, branch: Vec<u32>) {
        let first = self.rows();
        self.targets.push(Target {
            index,
            rows: first..first + branch.len(),
        });
        self.branches.push(branch);
    }
}

/// What is to be read from a document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Questions<'a> {
    pub(super) topics: bool,
    /// The mean state of the text.
    pub(super) state: bool,
    pub(super) evidence: bool,
    /// The ids of each target; the empty one is the main subject.
    pub(super) targets: &'a [Vec<u32>],
}

impl Pipeline {
    /// What a sequence's reading is known by: the SHA-256 of this load of the model and of all that the reading depends on.
    #[must_use]
    pub fn key(&self, sequence: &Sequence) -> [u8; 32] {
        // Named one by one, so that a new field must be thought of here.
        let Sequence {
            ids,
            second,
            branches,
            text,
            targets,
            topics,
            evidence,
            state,
            tokens: _,
            label: _,
            hypothesis: _,
        } = sequence;
        let mut hash = Sha256::new();
        hash.update(self.id.to_le_bytes());
        let flags = [*topics, *evidence, *state].map(usize::from);
        let rows = targets.iter().flat_map(|target| [target.rows.start, target.rows.end]);
        let counts = [*second, text.start, text.end, targets.len(), branches.len()];
        for number in counts.into_iter().chain(flags).chain(rows) {
            hash.update((number as u64).to_le_bytes());
        }
        // Each behind its length: two lists can't pass for others that are cut elsewhere.
        for part in std::iter::once(ids).chain(branches) {
            hash.update((part.len() as u64).to_le_bytes());
            for id in part {
                hash.update(id.to_le_bytes());
            }
        }
        hash.finalize().into()
    }

    pub(super) fn sequences(&self, document: &Document, questions: Questions<'_>) -> Vec<Sequence> {
        match self.manifest().input.template {
            Template::Shared => self.shared(document, questions),
            Template::Pair | Template::Single => self.pairs(document, questions),
        }
    }

    /// A trunk for each window, and a branch for each target.
    fn shared(&self, document: &Document, questions: Questions<'_>) -> Vec<Sequence> {
        let mut sequences = Vec::new();
        for window in self.windows(document, 0) {
            let trunk = self.sequence(document, &[], &window);
            let mut sequence = Sequence {
                topics: questions.topics,
                state: questions.state,
                evidence: questions.evidence,
                ..trunk.clone()
            };
            for (index, target) in questions.targets.iter().enumerate() {
                let branch = self.template.branch(target);
                if !sequence.branches.is_empty() && sequence.rows() + branch.len() > MOST_ROWS {
                    sequences.push(std::mem::replace(&mut sequence, trunk.clone()));
                }
                sequence.add(index, branch);
            }
            sequences.push(sequence);
        }
        sequences
    }

    /// A sequence for each window and target. Topics are read beside the empty target alone, so that they don't depend on
    /// what else is asked.
    fn pairs(&self, document: &Document, questions: Questions<'_>) -> Vec<Sequence> {
        let Questions {
            topics,
            state,
            evidence,
            targets,
        } = questions;
        let has_empty = targets.iter().any(Vec::is_empty);
        let empty = ((topics || state) && !has_empty).then_some((None, &[][..]));
        let targets = targets
            .iter()
            .enumerate()
            .map(|(index, ids)| (Some(index), ids.as_slice()));
        let mut sequences = Vec::new();
        for (index, target) in empty.into_iter().chain(targets) {
            let asked = index.map(|index| Target {
                index,
                // The first of the tokens between closes the target.
                rows: 0..self.template.before.len() + target.len() + 1,
            });
            for window in self.windows(document, target.len()) {
                sequences.push(Sequence {
                    targets: asked.iter().cloned().collect(),
                    topics: topics && target.is_empty(),
                    state: state && target.is_empty(),
                    evidence,
                    ..self.sequence(document, target, &window)
                });
            }
        }
        sequences
    }

    /// The windows of a document beside so many tokens of a target.
    pub(super) fn windows(&self, document: &Document, target_tokens: usize) -> Vec<Range<usize>> {
        let sizes = self.manifest().windows;
        let room = sizes.tokens - self.overhead() - target_tokens;
        windows(document.tokens.len(), &document.starts, room, sizes.overlap)
    }

    /// A window beside a target, of which nothing is asked yet.
    fn sequence(&self, document: &Document, target: &[u32], window: &Range<usize>) -> Sequence {
        let text = document.tokens.ids.get(window.clone()).unwrap_or_default();
        Sequence {
            tokens: window.clone(),
            ..self.assemble(target, text)
        }
    }

    /// A few words by themselves, read for their mean state.
    pub(super) fn phrase(&self, ids: &[u32]) -> Sequence {
        Sequence {
            state: true,
            ..self.assemble(&[], ids)
        }
    }

    fn assemble(&self, target: &[u32], text: &[u32]) -> Sequence {
        let template = &self.template;
        let ids = [
            template.before.as_slice(),
            target,
            &template.between,
            &self.prefix,
            text,
            &template.behind,
        ]
        .concat();
        let start = template.before.len() + target.len() + template.between.len() + self.prefix.len();
        Sequence {
            ids,
            second: usize::MAX,
            branches: Vec::new(),
            text: start..start + text.len(),
            tokens: 0..0,
            targets: Vec::new(),
            topics: false,
            evidence: false,
            state: false,
            label: None,
            hypothesis: None,
        }
    }
}
