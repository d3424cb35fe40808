//! int8 linear layers: quantised rows times packed weights, with what follows done while the tile is in cache.

use std::ops::Range;

use super::activation::gelu_vector;
use super::pack::PackedLinear;
use super::quantise::QuantizedRows;
use super::simd::{Kernel, PANEL, Simd, TILE_PANELS, TILE_ROWS_MOST};

/// What becomes of x * weights + bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Epilogue {
    Store,
    /// The exact GELU of it is stored.
    Gelu,
    /// It is added to what `out` holds: the residual connection, in place.
    Accumulate,
}

/// Rows that go through all panels before the next rows do: 128 rows of 384 bytes (48 KiB) stay in L2 beside the panel,
/// and every panel read from L3 serves 128 rows.
const ROW_BLOCK: usize = 128;

/// `out`, `[rows, outputs]`, becomes rows * weights + bias by way of `epilogue`.
///
/// # Panics
/// When the shapes do not fit, or the rows were quantised for another instruction set than the weights.
pub fn linear(weights: &PackedLinear, rows: &QuantizedRows, out: &mut [f32], epilogue: Epilogue) {
    panels(weights, 0..weights.panels(), rows, out, epilogue);
}

/// The channels of `panels` alone; `out` is `[rows, channels of these panels]`.
pub(super) fn panels(
    weights: &PackedLinear,
    panels: Range<usize>,
    rows: &QuantizedRows,
    out: &mut [f32],
    epilogue: Epilogue,
) {
    assert_eq!(
        weights.isa(),
        rows.isa(),
        "rows and weights are packed for different instruction sets"
    );
    let columns = (panels.end * PANEL)
        .min(weights.outputs())
        .saturating_sub(panels.start * PANEL);
    assert_eq!(
        out.len(),
        rows.rows() * columns,
        "{} rows of {columns} outputs",
        rows.rows()
    );
    if out.is_empty() {
        return;
    }
    assert_eq!(
        weights.inputs(),
        rows.columns(),
        "inputs of the layer and columns of the rows"
    );
    weights.isa().run(Linear {
        weights,
        panels,
        rows,
        out,
        columns,
        epilogue,
    });
}

struct Linear<'a> {
    weights: &'a PackedLinear,
    panels: Range<usize>,
    rows: &'a QuantizedRows,
    out: &'a mut [f32],
    columns: usize,
    epilogue: Epilogue,
}

impl Kernel for Linear<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows_of_block = ROW_BLOCK.next_multiple_of(S::TILE_ROWS);
        let mut sums = [[0.0; PANEL]; TILE_ROWS_MOST * TILE_PANELS];
        for (block, out) in self.out.chunks_mut(rows_of_block * self.columns).enumerate() {
            for first in self.panels.clone().step_by(TILE_PANELS) {
                let both = [first, (first + 1).min(self.panels.end - 1)].map(|panel| self.weights.panel(panel));
                let panels = &both[..TILE_PANELS.min(self.panels.end - first)];
                for (tile, out) in out.chunks_mut(S::TILE_ROWS * self.columns).enumerate() {
                    let rows = self.rows.tile(block * rows_of_block + tile * S::TILE_ROWS);
                    let count = out.len() / self.columns;
                    let sums = &mut sums[..count * panels.len()];
                    simd.tile(panels, rows, count, sums);
                    for ((index, panel), sums) in panels.iter().enumerate().zip(sums.chunks_exact(count)) {
                        let column = (first - self.panels.start + index) * PANEL;
                        let (scales, biases) = (simd.load(panel.scales), simd.load(panel.biases));
                        for (out, sums) in out.chunks_exact_mut(self.columns).zip(sums) {
                            let value = simd.mul_add(simd.load(sums), scales, biases);
                            finish(simd, value, &mut out[column..], self.epilogue);
                        }
                    }
                }
            }
        }
    }
}

/// `out` begins with the channels of the panel; there are fewer than 16 in the last one.
#[inline(always)]
fn finish<S: Simd>(simd: S, value: S::F32, out: &mut [f32], epilogue: Epilogue) {
    let value = match epilogue {
        Epilogue::Gelu => gelu_vector(simd, value),
        Epilogue::Store | Epilogue::Accumulate => value,
    };
    if let Some(out) = out.first_chunk_mut() {
        let value = match epilogue {
            Epilogue::Accumulate => simd.add(value, simd.load(out)),
            Epilogue::Store | Epilogue::Gelu => value,
        };
        simd.store(value, out);
    } else {
        let value = match epilogue {
            Epilogue::Accumulate => simd.add(value, simd.load_partial(out, 0.0)),
            Epilogue::Store | Epilogue::Gelu => value,
        };
        simd.store_partial(value, out);
    }
}
