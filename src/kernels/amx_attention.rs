//! Attention on the matrix unit, in bf16: a head of 32 dimensions makes tiles that are full.
//!
//! Queries, keys and values become bf16 (8 bits of mantissa, rounded to nearest); products are summed in f32, and so is the
//! softmax, whose weights become bf16 for the product with the values. Keys and values lie in tiles for the whole part;
//! 32 queries meet them at a time: scores, weights in their place, mixture.
//!
//! As in `attention.rs`, a branch finds the trunk's tiles where they are and makes anew those from the one on in which the
//! trunk ends.

use std::arch::x86_64::*;

use super::amx::{Products, ROWS, SumPlaces, TILE_BYTES};
use super::attention::{AttentionScratch, Part, Tile};
use super::avx512::transpose;
use super::pack::LINE;
use super::simd::LANES;

/// Keys of a tile of values, and dimensions of a tile of queries or keys: 64 bytes of bf16.
const DEPTH: usize = 32;
const QUERIES: usize = 2 * ROWS;

/// 2^r on |r| <= 1/2, highest power first. Relative error 7.5e-5 (Lawson's iteration), where bf16 rounds by 3.9e-3.
const EXP2: [f32; 4] = [0.055_171_67, 0.242_611_13, 0.693_260_97, 0.999_928_06];

/// Where the tiles of a part lie in the scratch. Groups of 32 keys come first, each with its keys, `[key / 16][dimension / 32]`, and its
/// values, `[dimension / 16]`: so they stay where they are from the trunk to its branches, however many keys a part has.
struct Places {
    /// Tiles of a group's keys, and as many of its values.
    half: usize,
    groups: usize,
    /// `[query]`, rows of `width` bf16
    queries: usize,
    /// `[query]`, rows of `stride` bytes: f32 scores, then bf16 weights.
    scores: usize,
    /// `[query]`, rows of `width` f32
    mixed: usize,
    end: usize,
    stride: usize,
}

impl Places {
    fn new(width: usize, keys: usize) -> Self {
        let tiles = |bytes: usize| (QUERIES * bytes).div_ceil(TILE_BYTES);
        let (half, groups) = (2 * (width / DEPTH), keys.div_ceil(DEPTH));
        // A line more, or the rows of a tile would meet in a few sets of the cache.
        let stride = groups * DEPTH * 4 + LINE;
        let queries = groups * 2 * half;
        let scores = queries + tiles(width * 2);
        let mixed = scores + tiles(stride);
        Self {
            half,
            groups,
            queries,
            scores,
            mixed,
            end: mixed + tiles(width * 4),
            stride,
        }
    }

    fn keys(&self, group: usize) -> usize {
        group * 2 * self.half
    }

    fn values(&self, group: usize) -> usize {
        self.keys(group) + self.half
    }
}

/// [`super::simd::Simd::attend`]: false for heads whose size is not a multiple of 32.
///
/// # Safety
/// The unit must be there and shaped, and the CPU must have AVX-512 with bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
pub(super) unsafe fn attend(part: &Part<'_>, out: &mut [f32], scratch: &mut AttentionScratch) -> bool {
    let width = part.width;
    if !width.is_multiple_of(DEPTH) || part.length == 0 {
        return part.length == 0;
    }
    let keys = part.trunk + part.length;
    let places = Places::new(width, keys);
    if scratch.tiles.len() < places.end {
        scratch.tiles.resize(places.end, Tile([0; TILE_BYTES]));
    }
    let tiles = &mut scratch.tiles;
    for group in part.trunk / DEPTH..places.groups {
        load_keys(part, group, &mut tiles[places.keys(group)..places.values(group)]);
        load_values(part, group, &mut tiles[places.values(group)..][..places.half]);
    }
    for block in (0..part.length).step_by(QUERIES) {
        let count = QUERIES.min(part.length - block);
        let halves = count.div_ceil(ROWS);
        load_queries(
            part,
            part.first + block,
            count,
            &mut tiles[places.queries..places.scores],
        );
        // Pointers of one borrow: the unit reads some of the tiles and writes others.
        let base = tiles.as_mut_ptr().cast::<u8>();
        let at = |tile: usize| base.wrapping_add(tile * TILE_BYTES);
        for group in 0..places.groups {
            let first = at(places.keys(group));
            let sums = at(places.scores).wrapping_add(group * DEPTH * 4);
            let lower = ROWS * places.stride;
            let products = Products {
                rows: [0, ROWS * width * 2].map(|offset| at(places.queries).wrapping_add(offset).cast_const()),
                row_stride: width * 2,
                columns: [first, first.wrapping_add(places.half / 2 * TILE_BYTES)].map(<*mut u8>::cast_const),
                column_step: TILE_BYTES,
                steps: width / DEPTH,
                sums: SumPlaces {
                    tiles: [0, lower, LINE, lower + LINE].map(|offset| sums.wrapping_add(offset)),
                    stride: places.stride,
                },
            };
            // SAFETY: the caller vouches for the unit; 32 rows of queries and of scores, and the keys of the group, are
            // where `places` says.
            unsafe { products.bf16(halves) };
        }
        let mut factors = [0.0; QUERIES];
        for (row, factor) in factors.iter_mut().enumerate().take(count) {
            let row = at(places.scores).wrapping_add(row * places.stride);
            // SAFETY: a row of scores has `stride` bytes, room for the keys of all groups in f32.
            *factor = 1.0 / unsafe { weights(row, keys) };
        }
        for panel in (0..width / LANES).step_by(2) {
            let first = at(places.values(0) + panel);
            let sums = at(places.mixed).wrapping_add(panel * LINE);
            let lower = ROWS * width * 4;
            let products = Products {
                rows: [0, ROWS * places.stride].map(|offset| at(places.scores).wrapping_add(offset).cast_const()),
                row_stride: places.stride,
                columns: [first, first.wrapping_add(TILE_BYTES)].map(<*mut u8>::cast_const),
                column_step: 2 * places.half * TILE_BYTES,
                steps: places.groups,
                sums: SumPlaces {
                    tiles: [0, lower, LINE, lower + LINE].map(|offset| sums.wrapping_add(offset)),
                    stride: width * 4,
                },
            };
            // SAFETY: the caller vouches for the unit; rows of weights have 64 bytes for each group, and each group has its
            // tiles of values.
            unsafe { products.bf16(halves) };
        }
        // SAFETY: the place holds `QUERIES` rows of `width` floats, of which the products have written `count` at least.
        let mixed = unsafe { std::slice::from_raw_parts(at(places.mixed).cast::<f32>(), count * width) };
        let rows = out[(part.first + block) * part.out_stride..].chunks_mut(part.out_stride);
        for ((mixed, factor), out) in mixed.chunks_exact(width).zip(factors).zip(rows) {
            for (out, mixed) in out[part.columns.0..part.columns.1].iter_mut().zip(mixed) {
                *out = mixed * factor;
            }
        }
    }
    true
}

/// Two vectors as 32 bf16, `low` first.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both types are 64 bytes without rules.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(high, low)) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(vector: __m512i, tile: &mut Tile, line: usize) {
    let line = &mut tile.0[line * LINE..][..LINE];
    // SAFETY: a line is 64 bytes, aligned as the tile is.
    unsafe { _mm512_store_si512(line.as_mut_ptr().cast(), vector) }
}

/// 32 dimensions of a token's query, key or value.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dimensions(part: &Part<'_>, token: usize, which: usize, first: usize) -> __m512i {
    let values = &part.projected[(token * 3 + which) * part.width + first..][..DEPTH];
    // SAFETY: these are 32 floats; the loads need no alignment.
    let (low, high) = unsafe {
        let values = values.as_ptr();
        (_mm512_loadu_ps(values), _mm512_loadu_ps(values.add(LANES)))
    };
    bf16(low, high)
}

/// Rows of queries, 64 bytes for each 32 dimensions; those beyond `count` are left as they are.
#[target_feature(enable = "avx512f,avx512bf16")]
fn load_queries(part: &Part<'_>, first: usize, count: usize, tiles: &mut [Tile]) {
    let per_row = part.width / DEPTH;
    for row in 0..count {
        for chunk in 0..per_row {
            let line = row * per_row + chunk;
            store(
                dimensions(part, first + row, 0, chunk * DEPTH),
                &mut tiles[line / ROWS],
                line % ROWS,
            );
        }
    }
}

/// A group's keys: lines of pairs of dimensions, for 16 keys each. Keys beyond the last are 0.
#[target_feature(enable = "avx512f,avx512dq,avx512bf16")]
fn load_keys(part: &Part<'_>, group: usize, tiles: &mut [Tile]) {
    let per_key = part.width / DEPTH;
    for (index, tile) in tiles.iter_mut().enumerate() {
        let (panel, chunk) = (index / per_key, index % per_key);
        let mut square = [_mm512_setzero_ps(); LANES];
        let keys = group * DEPTH + panel * LANES..part.trunk + part.length;
        for (row, key) in square.iter_mut().zip(keys) {
            *row = _mm512_castsi512_ps(dimensions(part, part.token(key), 1, chunk * DEPTH));
        }
        for (line, pairs) in transpose(square).into_iter().enumerate() {
            store(_mm512_castps_si512(pairs), tile, line);
        }
    }
}

/// A group's values: lines of pairs of keys, for 16 dimensions each. Keys beyond the last are 0: their weights are too, and
/// 0 times what was there before might be NaN.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn load_values(part: &Part<'_>, group: usize, tiles: &mut [Tile]) {
    // 0, 16, 1, 17 ...: the two keys of a pair side by side.
    let pairs: [u16; 32] = std::array::from_fn(|index| (index / 2 + index % 2 * LANES) as u16);
    // SAFETY: these are 64 bytes.
    let pairs = unsafe { _mm512_loadu_si512(pairs.as_ptr().cast()) };
    let keys = part.trunk + part.length;
    for (panel, tile) in tiles.iter_mut().enumerate() {
        for line in 0..ROWS {
            let key = group * DEPTH + line * 2;
            let [even, odd] = [key, key + 1].map(|key| {
                if key >= keys {
                    return _mm512_setzero_ps();
                }
                let row = &part.projected[(part.token(key) * 3 + 2) * part.width + panel * LANES..][..LANES];
                // SAFETY: these are 16 floats; the load needs no alignment.
                unsafe { _mm512_loadu_ps(row.as_ptr()) }
            });
            store(_mm512_permutexvar_epi16(pairs, bf16(even, odd)), tile, line);
        }
    }
}

/// Replaces f32 scores by bf16 weights 2^(score - greatest), up to a multiple of 32 keys with 0, and returns the sum of
/// the weights. A weight takes the place of a score that was read before.
///
/// # Safety
/// `row` must be the place of `keys` scores, rounded up to a multiple of 32.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
unsafe fn weights(row: *mut u8, keys: usize) -> f32 {
    let scores = row.cast::<f32>();
    let (whole, rest) = (keys / DEPTH, keys % DEPTH);
    let least = _mm512_set1_ps(f32::NEG_INFINITY);
    // Bits of the keys of the last group, if it is not whole.
    let present = [rest.min(LANES), rest.saturating_sub(LANES)].map(|count| ((1_u32 << count) - 1) as __mmask16);
    let mut greatest = [least; 2];
    for group in 0..whole {
        for (half, greatest) in greatest.iter_mut().enumerate() {
            // SAFETY: within the row, as below.
            let scores = unsafe { _mm512_load_ps(scores.add(group * DEPTH + half * LANES)) };
            *greatest = _mm512_max_ps(*greatest, scores);
        }
    }
    for ((half, greatest), present) in greatest.iter_mut().enumerate().zip(present) {
        // SAFETY: lanes beyond the keys are not read.
        let scores = unsafe { _mm512_mask_loadu_ps(least, present, scores.add(whole * DEPTH + half * LANES)) };
        *greatest = _mm512_max_ps(*greatest, scores);
    }
    let greatest = _mm512_set1_ps(_mm512_reduce_max_ps(_mm512_max_ps(greatest[0], greatest[1])));
    let mut sums = [_mm512_setzero_ps(); 2];
    for group in 0..whole {
        let [low, high] = [0, LANES].map(|half| {
            // SAFETY: within the row.
            let scores = unsafe { _mm512_load_ps(scores.add(group * DEPTH + half)) };
            exp2(_mm512_sub_ps(scores, greatest))
        });
        sums = [_mm512_add_ps(sums[0], low), _mm512_add_ps(sums[1], high)];
        // SAFETY: byte 64 * group is at or before what was just read (128 * group).
        unsafe { _mm512_store_si512(row.add(group * LINE).cast(), bf16(low, high)) };
    }
    if rest > 0 {
        let mut halves = [_mm512_setzero_ps(); 2];
        for (half, value) in halves.iter_mut().enumerate() {
            // SAFETY: as above.
            let scores = unsafe { _mm512_maskz_loadu_ps(present[half], scores.add(whole * DEPTH + half * LANES)) };
            *value = _mm512_maskz_mov_ps(present[half], exp2(_mm512_sub_ps(scores, greatest)));
            sums[half] = _mm512_add_ps(sums[half], *value);
        }
        // SAFETY: as above.
        unsafe { _mm512_store_si512(row.add(whole * LINE).cast(), bf16(halves[0], halves[1])) };
    }
    _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]))
}

/// 2^x for x <= 0; what is too small becomes 0.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn exp2(x: __m512) -> __m512 {
    let whole = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    let r = _mm512_sub_ps(x, whole);
    let mut value = _mm512_set1_ps(EXP2[0]);
    for coefficient in &EXP2[1..] {
        value = _mm512_fmadd_ps(value, r, _mm512_set1_ps(*coefficient));
    }
    _mm512_scalef_ps(value, whole)
}
