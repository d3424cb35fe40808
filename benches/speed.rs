//! `cargo bench`: the int8 linear layers in multiplications a second (Gelem/s is GMAC/s) with their share of what this machine's
//! instructions reach at most, and the pipeline in tokens a second. One thread, as in the service.

use std::cell::Cell;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tasnif::article::Article;
use tasnif::encoder::Precision;
use tasnif::kernels::{Epilogue, Isa, PackedLinear, QuantizedRows, linear};
use tasnif::pipeline::Pipeline;

/// Inputs and outputs of the linear layers of the shipped encoder: query, key and value; attention's output; the feed-forward's two.
const LAYERS: [(usize, usize); 4] = [(384, 1152), (384, 384), (384, 1536), (1536, 384)];
/// A window, and a whole batch.
const ROWS: [usize; 2] = [256, 1024];

/// Times `n` runs, and keeps the best mean of a run.
fn time(n: u64, best: &Cell<f64>, mut run: impl FnMut()) -> Duration {
    let begun = Instant::now();
    for _ in 0..n {
        run();
    }
    let taken = begun.elapsed();
    best.set(best.get().min(taken.as_secs_f64() / n as f64));
    taken
}

/// Bytes that follow no pattern: a congruential generator's upper ones.
fn noise(count: usize) -> impl Iterator<Item = i8> {
    let mut state = 1_u32;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as i8
    })
    .take(count)
}

fn linears(criterion: &mut Criterion) {
    for isa in Isa::supported() {
        let roof = Cell::new(f64::INFINITY);
        #[cfg(target_arch = "x86_64")]
        if let Some((run, macs)) = roof::of(isa) {
            let mut group = criterion.benchmark_group("roof");
            group.throughput(Throughput::Elements(macs));
            group.bench_function(isa.name(), |b| b.iter_custom(|n| time(n, &roof, run)));
            group.finish();
            roof.set(roof.get() / macs as f64);
        }
        let mut group = criterion.benchmark_group(format!("linear/{}", isa.name()));
        for (inputs, outputs) in LAYERS {
            let weights: Vec<i8> = noise(inputs * outputs).map(|value| value.max(-127)).collect();
            let ones = vec![0.01; outputs];
            let packed = PackedLinear::pack(isa, &weights, &ones, &ones, inputs, &[]);
            for rows in ROWS {
                let values: Vec<f32> = noise(rows * inputs).map(f32::from).collect();
                let mut quantized = QuantizedRows::new(isa);
                quantized.quantize(&values, inputs, &[]);
                let mut out = vec![0.0; rows * outputs];
                let macs = (rows * inputs * outputs) as u64;
                let best = Cell::new(f64::INFINITY);
                let id = BenchmarkId::from_parameter(format!("{rows}x{inputs}x{outputs}"));
                group.throughput(Throughput::Elements(macs));
                group.bench_function(id, |b| {
                    b.iter_custom(|n| time(n, &best, || linear(&packed, &quantized, &mut out, Epilogue::Store)));
                });
                let share = 100.0 * roof.get() * macs as f64 / best.get();
                if share.is_finite() {
                    #[expect(clippy::print_stdout, reason = "this is where the figures are read")]
                    {
                        println!("{:24}{share:.0} % of the roof", "");
                    }
                }
            }
        }
        group.finish();
    }
}

/// The most that each instruction set can do: nothing but the instructions of an exact int8 product, all operands in registers.
#[cfg(target_arch = "x86_64")]
mod roof {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_add_epi8, _mm256_add_epi32, _mm256_dpbusd_avx_epi32, _mm256_madd_epi16,
        _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_setzero_si256, _mm512_add_epi8,
        _mm512_dpbusd_epi32, _mm512_set1_epi8, _mm512_setzero_si512,
    };

    use super::{Isa, black_box};

    const ROUNDS: u64 = 100_000;
    /// 5 sums, 5 weights, the rows, two ones and two intermediate products are 15 of AVX2's 16 registers; 10 sums cover VNNI's
    /// latency of 5 cycles at 2 a cycle.
    const CHAINS: usize = 5;
    const VNNI_CHAINS: usize = 10;

    /// A loop, and the multiplications of one run of it.
    pub fn of(isa: Isa) -> Option<(fn(), u64)> {
        match isa.name() {
            "avx2" => Some((avx2, ROUNDS * CHAINS as u64 * 32)),
            "avx-vnni" => Some((avx_vnni, ROUNDS * VNNI_CHAINS as u64 * 32)),
            "avx512-vnni" => Some((avx512_vnni, ROUNDS * VNNI_CHAINS as u64 * 64)),
            "amx" => Some((amx, ROUNDS * 4 * 16 * 16 * 64)),
            _ => None,
        }
    }

    fn avx2() {
        #[target_feature(enable = "avx2")]
        fn products() -> [__m256i; CHAINS] {
            let ones = (_mm256_set1_epi8(1), _mm256_set1_epi16(1));
            let weights = black_box([1_i8, 2, 3, 4, 5]).map(|weight| _mm256_set1_epi8(weight));
            let mut sums = [_mm256_setzero_si256(); CHAINS];
            let mut rows = black_box(ones.0);
            for _ in 0..ROUNDS {
                // Other rows every round, or the products would be taken out of the loop.
                rows = _mm256_add_epi8(rows, ones.0);
                for (sum, weights) in sums.iter_mut().zip(weights) {
                    let pairs = _mm256_maddubs_epi16(rows, weights);
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones.1));
                }
            }
            sums
        }
        #[expect(unsafe_code, reason = "`of` has been given an instruction set that this CPU has")]
        // SAFETY: as the reason says.
        black_box(unsafe { products() });
    }

    fn avx_vnni() {
        #[target_feature(enable = "avx2,avxvnni")]
        fn products() -> [__m256i; VNNI_CHAINS] {
            let (rows, weights) = black_box((_mm256_set1_epi8(1), _mm256_set1_epi8(2)));
            let mut sums = [_mm256_setzero_si256(); VNNI_CHAINS];
            let mut rows = rows;
            for _ in 0..ROUNDS {
                rows = _mm256_add_epi8(rows, weights);
                for sum in &mut sums {
                    *sum = _mm256_dpbusd_avx_epi32(*sum, rows, weights);
                }
            }
            sums
        }
        #[expect(unsafe_code, reason = "`of` has been given an instruction set that this CPU has")]
        // SAFETY: as the reason says.
        black_box(unsafe { products() });
    }

    fn avx512_vnni() {
        #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
        fn products() -> [__m512i; VNNI_CHAINS] {
            let (rows, weights) = black_box((_mm512_set1_epi8(1), _mm512_set1_epi8(2)));
            let mut sums = [_mm512_setzero_si512(); VNNI_CHAINS];
            let mut rows = rows;
            for _ in 0..ROUNDS {
                rows = _mm512_add_epi8(rows, weights);
                for sum in &mut sums {
                    *sum = _mm512_dpbusd_epi32(*sum, rows, weights);
                }
            }
            sums
        }
        #[expect(unsafe_code, reason = "`of` has been given an instruction set that this CPU has")]
        // SAFETY: as the reason says.
        black_box(unsafe { products() });
    }

    /// Eight tile registers of 16 rows of 64 bytes, palette 1.
    #[repr(align(64))]
    struct Shapes([u8; 64]);

    static SHAPES: Shapes = {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        let mut register = 0;
        while register < 8 {
            bytes[16 + 2 * register] = 64;
            bytes[48 + register] = 16;
            register += 1;
        }
        Shapes(bytes)
    };

    fn amx() {
        #[expect(unsafe_code, reason = "`of` has been given an instruction set that this CPU has")]
        // SAFETY: as the reason says, and Linux was asked for the unit when the instruction set was found; the block releases
        // what it sets.
        unsafe {
            asm!(
                "ldtilecfg [{shapes}]",
                "2:",
                "tdpbusd tmm0, tmm4, tmm6",
                "tdpbusd tmm1, tmm5, tmm6",
                "tdpbusd tmm2, tmm4, tmm7",
                "tdpbusd tmm3, tmm5, tmm7",
                "dec {rounds}",
                "jnz 2b",
                "tilerelease",
                shapes = in(reg) SHAPES.0.as_ptr(),
                rounds = inout(reg) ROUNDS => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
    }
}

fn pipeline(criterion: &mut Criterion) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/default");
    let pipeline = match Pipeline::load(&dir, Precision::Int8) {
        Ok(pipeline) => pipeline,
        Err(error) => panic!("{error}"),
    };
    let mut group = criterion.benchmark_group("pipeline");
    group.sample_size(10);
    // A sentence is 28 tokens: a post, a window, and about 512, 2,048 and 8,192 tokens.
    for sentences in [2, 8, 18, 71, 284] {
        let text =
            "Ministers met in Geneva on Monday to discuss a ceasefire, oil exports and the return of prisoners. ";
        let article = Article {
            text: text.repeat(sentences),
            tasks: Some(vec![tasnif::article::Task::Topics]),
            ..Article::default()
        };
        let prepare = || match pipeline.prepare(&article) {
            Ok(prepared) => prepared,
            Err(error) => panic!("{error}"),
        };
        let prepared = prepare();
        let tokens = prepared.encoder_tokens();
        group.throughput(Throughput::Elements(tokens as u64));
        group.bench_function(BenchmarkId::new("prepare", tokens), |b| b.iter(prepare));
        let read = || {
            // A batch a window, as two threads of the service would share them out.
            for sequence in &prepared.sequences {
                black_box(pipeline.read(&[sequence]).is_ok());
            }
        };
        group.bench_function(BenchmarkId::new("read", tokens), |b| b.iter(read));
    }
    group.finish();
}

criterion_group!(benches, linears, pipeline);
criterion_main!(benches);
