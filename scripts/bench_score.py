"""Measure `tasnif score` against `tasnif bench` on the same articles, in turn, and its peak memory.

    python scripts/bench_score.py --rows 2000 articles.jsonl            # rate of both, their ratio
    python scripts/bench_score.py --rows 100000 --no-bench posts.jsonl  # memory of a long run

On a busy machine the seconds of CPU, loading included, are a fairer comparison than the rates.
Articles are repeated as often as it takes, each with its number, so that no two are alike.
"""

import argparse
import itertools
import json
import os
import re
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


def articles(files: list[Path]) -> Iterator[dict[str, object]]:
    """The texts of the files again and again, numbered from the second time on."""
    for again in itertools.count():
        for file in files:
            with file.open(encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    text = row["text"] if again == 0 else f"{again}. {row['text']}"
                    yield {"id": f"{row.get('id', '')}-{again}", "text": text, "source": row.get("source")}


def run(command: list[str]) -> tuple[str, float, float]:
    """What a command says on both its outputs, its peak memory in MB (10^6 bytes), and its processor seconds."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {process.returncode}\n{said}")
    return said, usage.ru_maxrss * 1024 / 1e6, usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--tasnif", default="target/release/tasnif", help="the program")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output-format", default="jsonl", help="jsonl, csv, parquet, jsonl.zst ...")
    parser.add_argument("--no-bench", action="store_true", help="only score, once: for memory")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "in.jsonl"
        with rows.open("w", encoding="utf-8") as file:
            for row in itertools.islice(articles(args.files), args.rows):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

        ratios = []
        for number in range(1 if args.no_bench else args.rounds):
            out = Path(folder) / f"out{number}.{args.output_format}"
            said, memory, cpu = run([args.tasnif, "score", str(rows), str(out)])
            found = re.search(r"rows at ([0-9.]+) a second", said)
            if found is None:
                raise SystemExit(said)
            rate = float(found[1])
            size = out.stat().st_size / 1e6
            print(f"score: {rate:.2f} rows/s, {cpu:.0f} s of CPU, peak {memory:.0f} MB, {size:.1f} MB out", flush=True)
            if args.no_bench:
                continue
            said, memory, cpu = run([args.tasnif, "bench", "--json", "--alone", "1", str(rows)])
            saturated = json.loads(said)["saturated"]["articles_per_s"]
            ratios.append(rate / saturated)
            print(
                f"bench: {saturated:.2f} articles/s, {cpu:.0f} s of CPU, peak {memory:.0f} MB; ratio {ratios[-1]:.3f}",
                flush=True,
            )
        if ratios:
            print(f"ratio, median of {len(ratios)}: {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
