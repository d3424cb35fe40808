#!/usr/bin/env bash
# Fuzzes all targets in turn, or those that are named, each for so many seconds:
#
#     fuzz/run.sh                        # a minute each
#     fuzz/run.sh 600                    # ten
#     fuzz/run.sh 600 request parquet    # these two
#
# What is found is left in target/fuzz/artifacts, and ends the run with status 1 after the other targets had their turn. New
# inputs that reach new code go to target/fuzz/corpus and are taken up by the next run; fuzz/corpus has the seeds.
#
# It needs a C++ compiler and no nightly toolchain: the flags below are what `cargo fuzz build --sanitizer none` sets. The
# address sanitizer is left out: what is fuzzed here is safe Rust, and zstd is not.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
targets=("${@:2}")
if [ ${#targets[@]} = 0 ]; then
    targets=(request stream tensors manifest tokenizer safetensors gguf jsonl csv parquet)
fi
out=$PWD/target/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')

flags=(-Cpasses=sancov-module --cfg fuzzing -Ccodegen-units=16)
for option in -sanitizer-coverage-level=4 -sanitizer-coverage-inline-8bit-counters -sanitizer-coverage-pc-table \
    -sanitizer-coverage-trace-compares; do
    flags+=("-Cllvm-args=$option")
done
# A target of its own, so that build scripts and procedural macros are not instrumented.
RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR=$out \
    cargo build --manifest-path fuzz/Cargo.toml --release --locked --target "$triple"

failed=()
for target in "${targets[@]}"; do
    printf '\n== %s, %s s\n' "$target" "$seconds"
    mkdir -p "$out/corpus/$target" "$out/artifacts/$target"
    # An input that takes 10 s, or 2 GB of memory, is a finding too.
    if ! "$out/$triple/release/$target" -max_total_time="$seconds" -max_len=8192 -timeout=10 -rss_limit_mb=2048 \
        -print_final_stats=1 -artifact_prefix="$out/artifacts/$target/" \
        "$out/corpus/$target" "fuzz/corpus/$target" >"$out/$target.log" 2>&1; then
        failed+=("$target")
    fi
    grep -E 'ERROR|panicked|SUMMARY|Test unit written|stat::(number_of_executed|average_exec|peak_rss)|DONE' "$out/$target.log" || true
done
if [ ${#failed[@]} != 0 ]; then
    printf '\nfound something: %s (logs and inputs are in %s)\n' "${failed[*]}" "$out" >&2
    exit 1
fi
