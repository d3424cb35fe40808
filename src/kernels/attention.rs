//! Self-attention of one head over whole sequences, without padding and without a mask.
//!
//! The keys of a trunk are transposed into panels of 16; then both products, queries with keys and weights with values,
//! are the same loop: a few rows times 16 columns. The scores of [`QUERY_BLOCK`] queries against all keys stay in cache
//! (24 rows x 256 keys are 24 KiB), become weights there and meet the values; memory grows with the length of the
//! sequence, not with its square.
//!
//! A branch finds the trunk's panels where they are and puts its own keys behind them, over those of the branch before it;
//! only the panel in which the trunk ends is made anew. Values are read where they lie.

use std::ops::Range;

use super::Isa;
use super::activation::exponentials;
use super::lengths::Lengths;
use super::simd::{Kernel, LANES, Simd};

/// Queries whose scores are held at a time.
const QUERY_BLOCK: usize = 24;

/// Rows of the outer product: 6 rows x 16 columns are 12 AVX2 accumulators, enough to cover the latency of FMA (4 cycles,
/// 2 a cycle) and to leave registers for the operands.
const ROWS: usize = 6;

/// Room for one sequence.
#[derive(Debug, Default)]
pub struct AttentionScratch {
    /// `[key / 16][dimension][16 keys]`
    keys: Vec<f32>,
    /// `[query of the block][keys rounded up to 16]`
    scores: Vec<f32>,
    /// What a matrix unit reads and writes.
    #[cfg(target_arch = "x86_64")]
    pub(super) tiles: Vec<Tile>,
}

/// A tile of a matrix unit: 16 lines of 64 bytes.
#[cfg(target_arch = "x86_64")]
#[derive(Debug, Clone, Copy)]
#[repr(align(64))]
pub(super) struct Tile(pub(super) [u8; 1024]);

/// The attention of one head: sums of values, weighted by 2^(q k) over the sum of these. Base 2 saves three operations
/// per score; for the usual base e, the queries are to be scaled by log2(e) / sqrt(head size).
///
/// `projected` is `[tokens, 3 * width]`: query, key and value side by side, each filled up with zeros to a `width` that is
/// a multiple of 16. `sequences` says how its rows make sequences. The results go to `columns` of `out`, which is
/// `[tokens, any width]`.
///
/// # Panics
/// When these shapes do not fit each other.
pub fn attention(
    isa: Isa,
    projected: &[f32],
    sequences: &[Lengths],
    out: &mut [f32],
    columns: Range<usize>,
    scratch: &mut AttentionScratch,
) {
    let tokens: usize = sequences.iter().map(Lengths::total).sum();
    if tokens == 0 {
        assert!(projected.is_empty() && out.is_empty(), "tokens beyond the sequences");
        return;
    }
    let (width, out_stride) = (projected.len() / tokens / 3, out.len() / tokens);
    assert!(
        projected.len() == 3 * width * tokens && width.is_multiple_of(LANES),
        "queries, keys and values"
    );
    assert!(
        out.len() == out_stride * tokens && columns.end <= out_stride,
        "columns of {tokens} tokens"
    );
    assert!(columns.len() <= width, "as many columns as a value has");
    isa.run(Attention {
        projected,
        width,
        sequences,
        out,
        out_stride,
        columns,
        scratch,
    });
}

struct Attention<'a> {
    projected: &'a [f32],
    width: usize,
    sequences: &'a [Lengths],
    out: &'a mut [f32],
    out_stride: usize,
    columns: Range<usize>,
    scratch: &'a mut AttentionScratch,
}

impl Kernel for Attention<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (mut projected, mut out) = (self.projected, self.out);
        for sequence in self.sequences {
            let tokens = sequence.total();
            let (own, later) = projected.split_at(tokens * 3 * self.width);
            let (own_out, later_out) = out.split_at_mut(tokens * self.out_stride);
            (projected, out) = (later, later_out);
            for (trunk, rows) in sequence.parts() {
                let part = Part {
                    projected: own,
                    width: self.width,
                    trunk,
                    first: rows.start,
                    length: rows.len(),
                    out_stride: self.out_stride,
                    columns: (self.columns.start, self.columns.end),
                };
                if !simd.attend(&part, own_out, self.scratch) {
                    part.attend(simd, own_out, self.scratch);
                }
            }
        }
    }
}

/// The queries of a trunk or of a branch.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    /// Of the whole sequence.
    pub(super) projected: &'a [f32],
    pub(super) width: usize,
    /// Tokens of the trunk that it sees beside its own: none if it is the trunk.
    pub(super) trunk: usize,
    pub(super) first: usize,
    pub(super) length: usize,
    pub(super) out_stride: usize,
    pub(super) columns: (usize, usize),
}

impl Part<'_> {
    #[inline(always)]
    fn attend<S: Simd>(&self, simd: S, out: &mut [f32], scratch: &mut AttentionScratch) {
        let keys = self.trunk + self.length;
        let stride = keys.next_multiple_of(LANES);
        grow(&mut scratch.keys, stride * self.width);
        grow(&mut scratch.scores, QUERY_BLOCK * stride);
        self.transpose_keys(simd, &mut scratch.keys);

        for block in (0..self.length).step_by(QUERY_BLOCK) {
            let (first, rows) = (self.first + block, QUERY_BLOCK.min(self.length - block));
            let scores = &mut scratch.scores[..rows * stride];
            for (panel, keys) in (0..stride)
                .step_by(LANES)
                .zip(scratch.keys.chunks_exact(LANES * self.width))
            {
                let mut row = 0;
                while row < rows {
                    let (query, scores) = (first + row, &mut scores[row * stride + panel..]);
                    row += match rows - row {
                        ROWS.. => self.score::<S, ROWS>(simd, query, keys, scores, stride),
                        3.. => self.score::<S, 3>(simd, query, keys, scores, stride),
                        _ => self.score::<S, 1>(simd, query, keys, scores, stride),
                    };
                }
            }
            let mut factors = [0.0; QUERY_BLOCK];
            for (row, factor) in scores.chunks_exact_mut(stride).zip(&mut factors) {
                *factor = 1.0 / exponentials(simd, &mut row[..keys]);
            }
            for panel in (0..self.columns.1 - self.columns.0).step_by(LANES) {
                let mut row = 0;
                while row < rows {
                    let (weights, factors) = (&scores[row * stride..], &factors[row..]);
                    let out = &mut out[(first + row) * self.out_stride..];
                    row += match rows - row {
                        ROWS.. => self.mix::<S, ROWS>(simd, weights, stride, factors, panel, out),
                        3.. => self.mix::<S, 3>(simd, weights, stride, factors, panel, out),
                        _ => self.mix::<S, 1>(simd, weights, stride, factors, panel, out),
                    };
                }
            }
        }
    }

    /// The row of a key: the trunk's come first, then the part's own.
    #[inline(always)]
    pub(super) fn token(&self, key: usize) -> usize {
        if key < self.trunk {
            key
        } else {
            self.first + key - self.trunk
        }
    }

    /// The panels from the one in which the trunk ends; those before are there since the trunk's own turn.
    #[inline(always)]
    fn transpose_keys<S: Simd>(&self, simd: S, keys: &mut [f32]) {
        let (rows, _) = self.projected.as_chunks::<LANES>();
        let per_part = self.width / LANES;
        let (keys, _) = keys.as_chunks_mut::<LANES>();
        let ends = self.trunk + self.length;
        let panels = (0..ends).step_by(LANES).zip(keys.chunks_exact_mut(self.width));
        for (first, keys) in panels.skip(self.trunk / LANES) {
            for (chunk, keys) in keys.chunks_exact_mut(LANES).enumerate() {
                let mut square = [simd.splat(0.0); LANES];
                for (row, key) in square.iter_mut().zip(first..ends) {
                    *row = simd.load(&rows[(self.token(key) * 3 + 1) * per_part + chunk]);
                }
                for (row, target) in simd.transpose(square).into_iter().zip(keys) {
                    simd.store(row, target);
                }
            }
        }
    }

    /// `N` queries from `first` on against 16 keys; the rows of scores lie `stride` apart.
    #[inline(always)]
    fn score<S: Simd, const N: usize>(
        &self,
        simd: S,
        first: usize,
        keys: &[f32],
        scores: &mut [f32],
        stride: usize,
    ) -> usize {
        let queries = &self.projected[first * 3 * self.width..];
        let mut sums = [simd.splat(0.0); N];
        outer(simd, &mut sums, (queries, 3 * self.width), (keys, LANES), self.width);
        for (sum, scores) in sums.into_iter().zip(scores.chunks_mut(stride)) {
            if let Some(scores) = scores.first_chunk_mut() {
                simd.store(sum, scores);
            }
        }
        N
    }

    /// `N` rows of weights, `stride` apart, times 16 columns of the values from `panel` on; `factors` normalise them.
    #[inline(always)]
    fn mix<S: Simd, const N: usize>(
        &self,
        simd: S,
        weights: &[f32],
        stride: usize,
        factors: &[f32],
        panel: usize,
        out: &mut [f32],
    ) -> usize {
        let mut sums = [simd.splat(0.0); N];
        for (key, token, count) in [(0, 0, self.trunk), (self.trunk, self.first, self.length)] {
            let values = &self.projected[(token * 3 + 2) * self.width + panel..];
            let weights = (&weights[key..], stride);
            outer(simd, &mut sums, weights, (values, 3 * self.width), count);
        }
        let (start, end) = (self.columns.0 + panel, self.columns.1);
        for ((sum, factor), out) in sums.into_iter().zip(factors).zip(out.chunks_mut(self.out_stride)) {
            let mixed = simd.mul(sum, simd.splat(*factor));
            let out = &mut out[start..end.min(start + LANES)];
            match out.first_chunk_mut() {
                Some(out) => simd.store(mixed, out),
                None => simd.store_partial(mixed, out),
            }
        }
        N
    }
}

fn grow(buffer: &mut Vec<f32>, length: usize) {
    if buffer.len() < length {
        buffer.resize(length, 0.0);
    }
}

/// Adds the first `depth` columns of `N` rows times as many rows of 16 columns; both matrices come with the distance between
/// their rows. What handles vectors is inlined by force and uses no closures: in a function that is compiled apart,
/// without the instruction set, every operation becomes a call.
#[inline(always)]
fn outer<S: Simd, const N: usize>(
    simd: S,
    sums: &mut [S::F32; N],
    (rows, row_stride): (&[f32], usize),
    (panel, panel_stride): (&[f32], usize),
    depth: usize,
) {
    if depth == 0 {
        return;
    }
    assert!(rows.len() >= (N - 1) * row_stride + depth, "{N} rows of {depth}");
    assert!(
        panel.len() >= (depth - 1) * panel_stride + LANES,
        "{depth} rows of a panel"
    );
    let mut step = 0;
    // Unrolled, a head of 32 takes 8 passes, whose end the branch predictor foresees; it does not at 32.
    while step + 4 <= depth {
        for offset in 0..4 {
            // SAFETY: step + offset < depth, and the assertions say that both matrices reach that far.
            unsafe { accumulate(simd, sums, (rows, row_stride), (panel, panel_stride), step + offset) };
        }
        step += 4;
    }
    while step < depth {
        // SAFETY: as above.
        unsafe { accumulate(simd, sums, (rows, row_stride), (panel, panel_stride), step) };
        step += 1;
    }
}

/// # Safety
/// `rows` must have (`N` - 1) * `row_stride` + `step` + 1 values, `panel` must have `step` * `panel_stride` + 16.
#[inline(always)]
unsafe fn accumulate<S: Simd, const N: usize>(
    simd: S,
    sums: &mut [S::F32; N],
    (rows, row_stride): (&[f32], usize),
    (panel, panel_stride): (&[f32], usize),
    step: usize,
) {
    // SAFETY: the caller has made sure of 16 values from here on; an array is aligned as its elements are.
    let columns = simd.load(unsafe { &*panel.as_ptr().add(step * panel_stride).cast() });
    for (row, sum) in sums.iter_mut().enumerate() {
        // SAFETY: row < N, and the caller has made sure of the rest.
        let value = unsafe { *rows.get_unchecked(row * row_stride + step) };
        *sum = simd.mul_add(simd.splat(value), columns, *sum);
    }
}
