//! How the numbers of a tensor are stored, row by row.

use half::{bf16, f16};
use safetensors::tensor::Dtype;

/// A storage format. The last two are GGML's: blocks of 32 weights with one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Plain(Dtype),
    Q4_0,
    Q8_0,
}

/// Weights of a block, in both of GGML's formats.
pub(super) const BLOCK: usize = 32;

impl std::fmt::Display for Form {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(dtype) => write!(f, "{dtype:?}"),
            other => write!(f, "{other:?}"),
        }
    }
}

impl Form {
    /// Bytes of a row; `None` where rows of so many columns can't be stored so, or would be longer than memory.
    pub(super) fn row_bytes(self, columns: usize) -> Option<usize> {
        let block = match self {
            Self::Plain(dtype) => return columns.checked_mul(dtype.bitsize()).map(|bits| bits / 8),
            // An f16 scale, and 32 weights of 4 or of 8 bits.
            Self::Q4_0 => 2 + BLOCK / 2,
            Self::Q8_0 => 2 + BLOCK,
        };
        let whole = columns > 0 && columns.is_multiple_of(BLOCK);
        (columns / BLOCK).checked_mul(block).filter(|_| whole)
    }

    /// Whether its numbers are read by themselves: int8 needs its scales.
    pub(super) fn is_read(self) -> bool {
        matches!(
            self,
            Self::Plain(Dtype::F32 | Dtype::F16 | Dtype::BF16) | Self::Q4_0 | Self::Q8_0
        )
    }

    /// Little-endian numbers of whole rows as f32, appended to `out`; `false` for a dtype that isn't read.
    pub(super) fn extend(self, bytes: &[u8], out: &mut Vec<f32>) -> bool {
        match self {
            Self::Plain(Dtype::F32) => {
                out.extend(
                    bytes
                        .chunks_exact(4)
                        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
                );
            }
            Self::Plain(Dtype::F16) => out.extend(bytes.chunks_exact(2).map(half)),
            Self::Plain(Dtype::BF16) => {
                out.extend(
                    bytes
                        .chunks_exact(2)
                        .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()),
                );
            }
            Self::Plain(_) => return false,
            // Byte j holds weight j in its low nibble and weight j + 16 in its high one; weight = (nibble - 8) * scale.
            Self::Q4_0 => {
                for block in bytes.chunks_exact(2 + BLOCK / 2) {
                    let scale = half(block);
                    let weight = |nibble: u8| (f32::from(nibble) - 8.0) * scale;
                    out.extend(block[2..].iter().map(|byte| weight(byte & 0x0f)));
                    out.extend(block[2..].iter().map(|byte| weight(byte >> 4)));
                }
            }
            Self::Q8_0 => {
                for block in bytes.chunks_exact(2 + BLOCK) {
                    let scale = half(block);
                    out.extend(block[2..].iter().map(|byte| f32::from(byte.cast_signed()) * scale));
                }
            }
        }
        true
    }
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_q4_0_block_expands_low_nibbles_first() {
        let mut block = f16::from_f32(0.5).to_le_bytes().to_vec();
        block.extend((0u8..16).map(|j| j | ((15 - j) << 4)));
        let mut row = Vec::new();
        assert!(Form::Q4_0.extend(&block, &mut row));
        let expected: Vec<f32> = (0u8..16)
            .chain((0..16).rev())
            .map(|nibble| (f32::from(nibble) - 8.0) * 0.5)
            .collect();
        assert_eq!(row, expected);
    }

    #[test]
    fn a_q8_0_block_is_signed() {
        let mut block = f16::from_f32(0.25).to_le_bytes().to_vec();
        block.extend((-16i8..16).map(i8::cast_unsigned));
        let mut row = Vec::new();
        assert!(Form::Q8_0.extend(&block, &mut row));
        assert_eq!(
            row,
            (-16i8..16).map(|value| f32::from(value) * 0.25).collect::<Vec<_>>()
        );
    }

    #[test]
    fn rows_that_fit_no_blocks_have_no_size() {
        assert_eq!(Form::Q4_0.row_bytes(64), Some(36));
        assert_eq!(Form::Q8_0.row_bytes(64), Some(68));
        assert_eq!(Form::Q8_0.row_bytes(40), None);
        assert_eq!(Form::Q4_0.row_bytes(0), None);
        assert_eq!(Form::Plain(Dtype::F32).row_bytes(usize::MAX), None);
    }
}
