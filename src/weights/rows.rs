//! Tables that are read row by row, in place.

use std::ops::Range;
use std::sync::Arc;

use super::{form::Form, mapped::Mapped};

/// A table of f32 rows, expanded on reading. 250,037 rows of 384 would be 384 MB as f32; an article touches a few hundred.
#[derive(Debug, Clone)]
pub struct Rows {
    file: Arc<Mapped>,
    range: Range<usize>,
    row_bytes: usize,
    form: Form,
}

impl Rows {
    /// `form` is one that is read, and the range was validated against the shape.
    pub(super) fn new(file: Arc<Mapped>, range: Range<usize>, columns: usize, form: Form) -> Self {
        Self {
            file,
            range,
            row_bytes: form.row_bytes(columns).unwrap_or(0),
            form,
        }
    }

    /// How many rows the table has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len().checked_div(self.row_bytes).unwrap_or(0)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends row `index` to `out`; `false` where the table has no such row.
    pub fn extend(&self, index: usize, out: &mut Vec<f32>) -> bool {
        if index >= self.len() {
            return false;
        }
        let begin = self.range.start + index * self.row_bytes;
        self.form.extend(self.file.slice(&(begin..begin + self.row_bytes)), out)
    }
}
