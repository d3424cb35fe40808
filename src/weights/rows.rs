//! Tables that are read row by row, in place.

use std::ops::Range;
use std::sync::Arc;

use half::f16;
use safetensors::tensor::Dtype;

use super::{decode, mapped::Mapped};

/// GGML's Q4_0 block: an f16 scale and 32 weights of 4 bits in 16 bytes.
const BLOCK_WEIGHTS: usize = 32;
const BLOCK_BYTES: usize = 2 + BLOCK_WEIGHTS / 2;

pub(super) fn fits_q4_0(columns: usize) -> bool {
    columns > 0 && columns.is_multiple_of(BLOCK_WEIGHTS)
}

/// Bytes of a row of `columns` weights in Q4_0.
pub(super) fn q4_0_bytes(columns: usize) -> usize {
    columns / BLOCK_WEIGHTS * BLOCK_BYTES
}

/// A table of f32 rows, expanded on reading. 250,037 rows of 384 would be 384 MB as f32; an article touches a few hundred.
#[derive(Debug, Clone)]
pub struct Rows {
    file: Arc<Mapped>,
    range: Range<usize>,
    columns: usize,
    form: Form,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Q4_0,
    Plain(Dtype),
}

impl Rows {
    pub(super) fn q4_0(file: Arc<Mapped>, range: Range<usize>, columns: usize) -> Self {
        Self {
            file,
            range,
            columns,
            form: Form::Q4_0,
        }
    }

    pub(super) fn plain(file: Arc<Mapped>, range: Range<usize>, columns: usize, dtype: Dtype) -> Option<Self> {
        matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16).then_some(Self {
            file,
            range,
            columns,
            form: Form::Plain(dtype),
        })
    }

    fn row_bytes(&self) -> usize {
        match self.form {
            Form::Q4_0 => q4_0_bytes(self.columns),
            Form::Plain(dtype) => self.columns * dtype.bitsize() / 8,
        }
    }

    /// How many rows the table has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len().checked_div(self.row_bytes()).unwrap_or(0)
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
        let bytes = self.row_bytes();
        let begin = self.range.start + index * bytes;
        let row = self.file.slice(&(begin..begin + bytes));
        match self.form {
            Form::Q4_0 => row.chunks_exact(BLOCK_BYTES).for_each(|block| extend_block(block, out)),
            Form::Plain(dtype) => out.extend(decode(row, dtype).unwrap_or_default()),
        }
        true
    }
}

/// Byte j holds weight j in its low nibble and weight j + 16 in its high one; weight = (nibble - 8) * scale.
fn extend_block(block: &[u8], out: &mut Vec<f32>) {
    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
    let weight = |nibble: u8| (f32::from(nibble) - 8.0) * scale;
    out.extend(block[2..].iter().map(|byte| weight(byte & 0x0f)));
    out.extend(block[2..].iter().map(|byte| weight(byte >> 4)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_q4_0_block_expands_low_nibbles_first() {
        let mut block = f16::from_f32(0.5).to_le_bytes().to_vec();
        block.extend((0u8..16).map(|j| j | ((15 - j) << 4)));
        let mut row = Vec::new();
        extend_block(&block, &mut row);
        let expected: Vec<f32> = (0u8..16)
            .chain((0..16).rev())
            .map(|nibble| (f32::from(nibble) - 8.0) * 0.5)
            .collect();
        assert_eq!(row, expected);
    }
}
