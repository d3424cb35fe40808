//! How the rows of a batch make sequences.

use std::ops::Range;

/// The tokens of a sequence, whose rows lie one behind the other: a trunk, then its branches. The trunk's tokens attend to
/// the trunk; a branch's attend to the trunk and to their own branch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lengths {
    pub trunk: usize,
    pub branches: Vec<usize>,
}

impl Lengths {
    /// Rows of the whole sequence.
    #[must_use]
    pub fn total(&self) -> usize {
        self.trunk + self.branches.iter().sum::<usize>()
    }

    /// The trunk and each branch: how many tokens of the trunk it sees beside its own, and its own rows in the sequence.
    pub fn parts(&self) -> impl Iterator<Item = (usize, Range<usize>)> {
        let mut end = self.trunk;
        let branches = self.branches.iter().map(move |length| {
            let first = end;
            end += length;
            (self.trunk, first..end)
        });
        std::iter::once((0, 0..self.trunk)).chain(branches)
    }
}

/// A sequence without branches.
impl From<usize> for Lengths {
    fn from(trunk: usize) -> Self {
        Self {
            trunk,
            branches: Vec::new(),
        }
    }
}
