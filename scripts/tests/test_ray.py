"""A Ray cluster of two nodes on this machine, one of which is killed in the middle."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from ray.cluster_utils import Cluster

import score_ray

ROOT = Path(__file__).parents[2]
TASNIF = os.environ.get("TASNIF")
ROWS = int(os.environ.get("TASNIF_RAY_ROWS", "1000"))
# Real short posts, where there are some; else made ones.
POSTS = os.environ.get("TASNIF_RAY_POSTS")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    # Ray gives its workers what others leave of the processors (nice 15), which on a busy machine is nothing.
    monkeypatch.setenv("RAY_worker_niceness", "0")
    # The workers import this very source.
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "scripts"))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def texts() -> list[str]:
    if not POSTS:
        return [f"The central bank left its rate at {n} percent." for n in range(ROWS)]
    posts = [json.loads(line)["text"] for line in Path(POSTS).read_text(encoding="utf-8").splitlines()]
    return [f"{posts[n % len(posts)]} {n}" for n in range(ROWS)]


def test_lines_belong_to_one_shard(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    made = [b'{"n": %d}' % n + b" " * (n % 7) + b"\n" for n in range(100)]
    path.write_bytes(b"".join(made)[:-1])
    made[-1] = made[-1][:-1]
    size = path.stat().st_size
    for step in (1, 2, 9, 10, 100, size, 2 * size):
        found: list[bytes] = []
        for shard in score_ray.cut(str(tmp_path), "a.jsonl", size, 1, step):
            with pa.OSFile(str(path)) as file:
                found += score_ray.lines(file, shard.start, shard.end)
        assert found == made, step


@pytest.mark.skipif(not TASNIF, reason="TASNIF names no tasnif program (target/debug/tasnif)")
def test_each_article_once_though_a_node_dies(cluster: Cluster, tmp_path: Path) -> None:
    made = texts()
    half = len(made) // 2
    (tmp_path / "in/deep").mkdir(parents=True)
    table = pa.table({"id": [str(n) for n in range(half)], "text": made[:half]})
    pq.write_table(table, tmp_path / "in/deep/a.parquet", row_group_size=max(1, half // 20))
    with (tmp_path / "in/b.jsonl").open("w", encoding="utf-8") as file:
        for n in range(half, len(made)):
            file.write(json.dumps({"id": str(n), "text": made[n]}, ensure_ascii=False) + "\n")
    shard_bytes = (tmp_path / "in/b.jsonl").stat().st_size // 20 + 1
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False)
    out = tmp_path / "out"
    begun = time.monotonic()
    first = 0.0

    def parts() -> list[Path]:
        # A file's shards lie in a folder of its name.
        return [path for path in out.glob("**/*.parquet") if path.is_file()]

    def shards() -> int:
        return len(parts())

    def kill() -> None:
        nonlocal first
        while shards() < 1:
            time.sleep(0.05)
        first = time.monotonic()
        while shards() < 13:
            time.sleep(0.05)
        cluster.remove_node(nodes[0], allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    command: list[Any] = [tmp_path / "in", out, "--tasnif", TASNIF, "--models", ROOT / "models", "--model"]
    command += [os.environ.get("TASNIF_RAY_MODEL", "tiny"), "--shard-rows", max(1, half // 20)]
    command += ["--shard-bytes", shard_bytes]
    arguments = [str(argument) for argument in command]
    assert score_ray.main(arguments) == 0
    ended = time.monotonic()
    killer.join(1)
    assert not killer.is_alive(), "the node was killed"
    print(f"{len(made)} articles in {ended - begun:.1f} s, {ended - first:.1f} s after the first of {shards()} shards")

    ids: list[str] = []
    for part in parts():
        ids += pq.read_table(part)["id"].to_pylist()
    assert sorted(ids, key=int) == [str(n) for n in range(len(made))]

    # The same command again finds all done, and another input is refused.
    before = {path: path.stat().st_mtime_ns for path in parts()}
    assert score_ray.main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in parts()} == before
    (tmp_path / "in/c.jsonl").write_text('{"text": "more"}\n')
    assert score_ray.main(arguments) == 2
