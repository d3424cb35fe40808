//! The matrix unit of Intel servers since Sapphire Rapids (2023), for the int8 tiles and (`amx_attention.rs`) for attention;
//! the rest is AVX-512.
//!
//! `tdpbusd` multiplies 16 rows of 64 bytes with 64 x 16 weights in 16 cycles, eight times what `vpdpbusd` does. The packed
//! weights are already what it reads: sixteen quads of a panel are one tile, each 4 inputs of 16 channels. Two panels and twice
//! 16 rows make four products of four tiles loaded: 64 cycles in the unit, 32 of loading (two 64-byte lines a cycle).
//! The sums of a block pass through L1 and become floats while the unit works on the next block.
//!
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18; Linux: Documentation/arch/x86/xstate.rst.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use super::amx_attention;
use super::attention::{AttentionScratch, Part};
use super::avx512::{Avx512, Multiplier, load};
use super::pack::{LINE, Panel};
use super::quantise::RowTile;
use super::simd::{Cut, PANEL, TILE_PANELS};

/// `tdpbusd`, two panels and 32 rows at a time.
#[derive(Debug, PartialEq, Eq)]
pub struct Amx;

impl Avx512<Amx> {
    pub(super) fn detect() -> Option<Self> {
        Self::detect_with(is_permitted)
    }
}

/// Rows of a tile register.
pub(super) const ROWS: usize = 16;
/// Quads of a tile register, if they are weights.
const QUADS: usize = 16;
/// Bytes of a tile register.
pub(super) const TILE_BYTES: usize = ROWS * LINE;

/// The sums of four products: `[panel * 2 + half of the rows][row][channel]`.
#[repr(align(64))]
struct Sums {
    _places: [[[i32; PANEL]; ROWS]; 4],
}

/// The shapes of the tile registers, as `ldtilecfg` reads them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

static FULL: Shapes = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut register = 0;
    while register < 8 {
        row_bytes[register] = 64;
        rows[register] = ROWS as u8;
        register += 1;
    }
    Shapes {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        row_bytes,
        rows,
    }
};

/// Whether the CPU has the unit and the system lets this process use it. Linux makes room for the unit's 8 KiB of state in a
/// thread's context only for those who ask; elsewhere the unit is left alone.
fn is_permitted() -> bool {
    static PERMITTED: OnceLock<bool> = OnceLock::new();
    *PERMITTED.get_or_init(|| {
        // CPUID 7.0, EDX: bit 22 is bf16, 24 the tiles, 25 int8.
        const WANTED: u32 = 1 << 22 | 1 << 24 | 1 << 25;
        let found = __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & WANTED == WANTED;
        found && is_x86_feature_detected!("avx512bf16") && ask_linux()
    })
}

#[cfg(target_os = "linux")]
fn ask_linux() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: this call reads and writes no memory of ours; a kernel that does not know it refuses.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn ask_linux() -> bool {
    false
}

/// Two row tiles times two column tiles, summed over `steps`: four registers of sums, 32 bits each.
///
/// A row tile is 16 rows of 64 bytes, `row_stride` apart; the next step's lies 64 bytes further on. A column tile is 1 KiB in one
/// piece: 16 lines, each holding for 16 columns the 4 bytes (or 2 bf16) that meet bytes 4 i to 4 i + 3 of the rows; the
/// next step's lies `column_step` further on.
pub(super) struct Products {
    pub(super) rows: [*const u8; 2],
    pub(super) row_stride: usize,
    pub(super) columns: [*const u8; 2],
    pub(super) column_step: usize,
    pub(super) steps: usize,
    pub(super) sums: SumPlaces,
}

/// Where sums go, as the assembly reads it: `[column tile * 2 + row tile]`, 16 rows of 64 bytes, `stride` apart.
#[repr(C)]
pub(super) struct SumPlaces {
    pub(super) tiles: [*mut u8; 4],
    pub(super) stride: usize,
}

/// One block of assembly, so that no tile register holds anything across blocks, of which the compiler knows nothing.
/// The last row tile is left out where one half is asked for.
macro_rules! products {
    ($self:ident, $halves:ident, $instruction:literal) => {
        if $self.steps == 0 {
            for (index, sums) in $self.sums.tiles.into_iter().enumerate() {
                for row in (0..ROWS).filter(|_| index % 2 < $halves) {
                    sums.wrapping_add(row * $self.sums.stride).write_bytes(0, LINE);
                }
            }
        } else if $halves == 1 {
            asm!(
                "tilezero tmm0",
                "tilezero tmm2",
                "2:",
                "tileloadd tmm4, [{upper} + {row_stride}*1]",
                "tileloadd tmm6, [{first} + {line}*1]",
                concat!($instruction, " tmm0, tmm4, tmm6"),
                "tileloadd tmm7, [{second} + {line}*1]",
                concat!($instruction, " tmm2, tmm4, tmm7"),
                "add {upper}, {line}",
                "add {first}, {column_step}",
                "add {second}, {column_step}",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums0} + {sum_stride}*1], tmm0",
                "tilestored [{sums2} + {sum_stride}*1], tmm2",
                upper = inout(reg) $self.rows[0] => _,
                first = inout(reg) $self.columns[0] => _,
                second = inout(reg) $self.columns[1] => _,
                steps = inout(reg) $self.steps => _,
                row_stride = in(reg) $self.row_stride,
                column_step = in(reg) $self.column_step,
                line = in(reg) LINE,
                sums0 = in(reg) $self.sums.tiles[0],
                sums2 = in(reg) $self.sums.tiles[2],
                sum_stride = in(reg) $self.sums.stride,
                out("tmm0") _, out("tmm2") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            )
        } else {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{upper} + {row_stride}*1]",
                "tileloadd tmm6, [{first} + {line}*1]",
                concat!($instruction, " tmm0, tmm4, tmm6"),
                "tileloadd tmm5, [{lower} + {row_stride}*1]",
                concat!($instruction, " tmm1, tmm5, tmm6"),
                "tileloadd tmm7, [{second} + {line}*1]",
                concat!($instruction, " tmm2, tmm4, tmm7"),
                concat!($instruction, " tmm3, tmm5, tmm7"),
                "add {upper}, {line}",
                "add {lower}, {line}",
                "add {first}, {column_step}",
                "add {second}, {column_step}",
                "dec {steps}",
                "jnz 2b",
                // The pointers have served; there are no registers left for the four of the sums.
                "mov {row_stride}, [{sums} + 32]",
                "mov {upper}, [{sums}]",
                "mov {lower}, [{sums} + 8]",
                "mov {first}, [{sums} + 16]",
                "mov {second}, [{sums} + 24]",
                "tilestored [{upper} + {row_stride}*1], tmm0",
                "tilestored [{lower} + {row_stride}*1], tmm1",
                "tilestored [{first} + {row_stride}*1], tmm2",
                "tilestored [{second} + {row_stride}*1], tmm3",
                upper = inout(reg) $self.rows[0] => _,
                lower = inout(reg) $self.rows[1] => _,
                first = inout(reg) $self.columns[0] => _,
                second = inout(reg) $self.columns[1] => _,
                steps = inout(reg) $self.steps => _,
                row_stride = inout(reg) $self.row_stride => _,
                column_step = in(reg) $self.column_step,
                line = in(reg) LINE,
                sums = in(reg) &raw const $self.sums,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            )
        }
    };
}

impl Products {
    /// Unsigned bytes in the rows times signed bytes in the columns, in i32.
    ///
    /// # Safety
    /// The unit must be there and shaped; the tiles of `halves` (1 or 2) row tiles and of both columns must be readable for
    /// all steps, and their sums writable.
    #[inline]
    pub(super) unsafe fn bytes(self, halves: usize) {
        // SAFETY: the caller vouches for all that is read and written.
        unsafe { products!(self, halves, "tdpbusd") }
    }

    /// bf16 times bf16, in f32.
    ///
    /// # Safety
    /// As [`Self::bytes`].
    #[inline]
    pub(super) unsafe fn bf16(self, halves: usize) {
        // SAFETY: the caller vouches for all that is read and written.
        unsafe { products!(self, halves, "tdpbf16ps") }
    }
}

impl Multiplier for Amx {
    /// Whole tiles; and few blocks, since the end of one costs more than the products of 128 inputs, and 8 bits can afford it.
    const CUT: Cut = Cut {
        block: 384,
        quads: QUADS,
        spread: true,
    };
    const ROWS: usize = 2 * ROWS;

    #[inline]
    unsafe fn tile(panels: &[Panel<'_>], rows: RowTile<'_>, count: usize, out: &mut [[f32; PANEL]]) {
        // SAFETY: the caller vouches for the instructions and for `begin`.
        unsafe {
            match panels {
                [first, second] => tile([*first, *second], rows, count, out),
                _ => {
                    for (panel, out) in panels.iter().zip(out.chunks_exact_mut(count.max(1))) {
                        // The second half is written beside the first one and left there.
                        let mut both = [[0.0; PANEL]; 4 * ROWS];
                        tile([*panel, *panel], rows, count, &mut both[..2 * count]);
                        out.copy_from_slice(&both[..count]);
                    }
                }
            }
        }
    }

    /// Sets the shapes of the tile registers. It costs about as much as a tile, so it is done once for each kernel.
    fn begin() {
        // SAFETY: this is called only where the unit was detected and permitted; `FULL` is a valid palette of 64 bytes.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const FULL, options(nostack, preserves_flags, readonly));
        }
    }

    #[inline(always)]
    fn attend(part: &Part<'_>, out: &mut [f32], scratch: &mut AttentionScratch) -> bool {
        // SAFETY: this is called only where the unit and bf16 were detected, between `begin` and `end`.
        unsafe { amx_attention::attend(part, out, scratch) }
    }

    /// Leaves no state behind that a context switch would have to save.
    fn end() {
        // SAFETY: as above; the tile registers hold nothing between tiles.
        unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) }
    }
}

/// Up to 32 rows times two panels; `out` is `[panel][row]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn tile(panels: [Panel<'_>; TILE_PANELS], rows: RowTile<'_>, count: usize, out: &mut [[f32; PANEL]]) {
    rows.check_bytes(count.next_multiple_of(ROWS), &panels[0]);
    panels.iter().for_each(|panel| rows.check(count, panel));
    assert!(
        count <= 2 * ROWS && out.len() == 2 * count,
        "{count} rows of two panels"
    );
    let halves = count.div_ceil(ROWS);
    let blocks = panels[0].block_ends;
    let quads = blocks.last().copied().unwrap_or(0);
    assert!(panels.iter().all(|panel| quads <= panel.quads.len()));
    // Left as they are: zeroing these 8 KiB would take a tenth of the time, and the products fill all that `finish` reads.
    let mut sums = [const { MaybeUninit::<Sums>::uninit() }; 2];
    let mut start = 0;
    for (block, &end) in blocks.iter().enumerate() {
        let steps = (end - start) / QUADS;
        // SAFETY: the panel has the quads of the block, the rows their bytes: for whole registers of rows, by the
        // checks above; the caller vouches for the unit and its shapes.
        unsafe { multiply(panels, rows, start, steps, halves, sums[block % 2].as_mut_ptr()) };
        if block > 0 {
            // SAFETY: the products of the block before have filled `halves` * 16 rows, which are `count` at least.
            unsafe { finish::<false>(panels, rows, block - 1, count, sums[(block - 1) % 2].as_ptr(), out) };
        }
        start = end;
    }
    let Some(last) = blocks.len().checked_sub(1) else {
        out.fill([0.0; PANEL]);
        return;
    };
    let sums = sums[last % 2].as_ptr();
    // SAFETY: as above.
    unsafe {
        // Outliers have an offset of their own, but no sums.
        if rows.blocks > blocks.len() {
            finish::<true>(panels, rows, last, count, sums, out);
        } else {
            finish::<false>(panels, rows, last, count, sums, out);
        }
    }
}

/// `steps` times 64 inputs from the quad `start` on.
///
/// # Safety
/// The unit must be there and shaped, the panels must have these quads, `rows` `halves` * 16 rows of their bytes, and `sums` must
/// be writable.
#[inline]
unsafe fn multiply(
    panels: [Panel<'_>; TILE_PANELS],
    rows: RowTile<'_>,
    start: usize,
    steps: usize,
    halves: usize,
    sums: *mut Sums,
) {
    let upper = rows.values.as_ptr().wrapping_add(start * 4);
    let products = Products {
        rows: [upper, upper.wrapping_add(ROWS * rows.stride)],
        row_stride: rows.stride,
        columns: panels.map(|panel| panel.quads.as_ptr().wrapping_add(start).cast()),
        column_step: TILE_BYTES,
        steps,
        sums: SumPlaces {
            tiles: [0, 1, 2, 3].map(|tile| sums.cast::<u8>().wrapping_add(tile * TILE_BYTES)),
            stride: LINE,
        },
    };
    // SAFETY: the caller vouches for the unit and for what is read; each of the sums takes a register of 1 KiB.
    unsafe { products.bytes(halves) }
}

/// Adds a block's share: row scale * sum + row offset * (sum of the weights); with the `OUTLIERS`, also their offset * (sum of
/// their weights), which are those of the next block.
///
/// # Safety
/// The first `count` rows of the sums of both panels must have been written.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn finish<const OUTLIERS: bool>(
    panels: [Panel<'_>; TILE_PANELS],
    rows: RowTile<'_>,
    block: usize,
    count: usize,
    sums: *const Sums,
    out: &mut [[f32; PANEL]],
) {
    assert!(count <= 2 * ROWS);
    let (upper, lower) = out.split_at_mut(count);
    let ranges = &rows.ranges[block..];
    for ((index, panel), out) in panels.iter().enumerate().zip([upper, lower]) {
        let weight_sums = load(&panel.sums[block]);
        let outlier_sums = load(&panel.sums[block + usize::from(OUTLIERS)]);
        let ranges = ranges.chunks(rows.blocks);
        for ((row, out), ranges) in out.iter_mut().enumerate().zip(ranges) {
            let range = ranges[0];
            // SAFETY: row < `count`, written as the caller vouches, and within the 32 rows of the panel; a row is 64 bytes,
            // aligned to 64.
            let sum = unsafe {
                let row = sums.cast::<u8>().add((index * 2 * ROWS + row) * LINE);
                _mm512_cvtepi32_ps(_mm512_load_si512(row.cast()))
            };
            let share = _mm512_mul_ps(_mm512_set1_ps(range.scale), sum);
            let share = _mm512_fmadd_ps(_mm512_set1_ps(range.offset), weight_sums, share);
            let share = if OUTLIERS {
                _mm512_fmadd_ps(_mm512_set1_ps(ranges[1].offset), outlier_sums, share)
            } else {
                share
            };
            let total = if block == 0 {
                share
            } else {
                _mm512_add_ps(load(out), share)
            };
            // SAFETY: a row of `out` is 16 floats.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), total) };
        }
    }
}
