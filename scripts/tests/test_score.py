"""Files in, verdicts out, and on after any end."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from faults import faulty

import score

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

ROOT = Path(__file__).parents[2]
TASNIF = os.environ.get("TASNIF")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8-sig") as file:
            made = csv.DictWriter(file, list(rows[0]))
            made.writeheader()
            made.writerows(rows)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]


def rows(count: int) -> list[dict[str, Any]]:
    return [{"id": n, "body": "x" * (n + 1), "source": f'a "{n}"\nb'} for n in range(count)]


def run(url: str, *arguments: object) -> int:
    return score.main(["--url", url, "--batch", "8", *map(str, arguments)])


@pytest.mark.parametrize("source", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_formats(tmp_path: Path, source: str, kind: str) -> None:
    made = write(tmp_path / f"in.{source}", rows(20))
    out = tmp_path / f"out.{kind}"
    with faulty() as service:
        assert run(service.url, "--text-field", "body", "--keep", "source", "--target", "it", made, out) == 0
    found = read(out)
    assert [row["id"] for row in found] == [str(n) for n in range(20)]
    if kind == "jsonl":
        assert found[3]["kept"] == {"source": 'a "3"\nb'}
        assert found[3]["usage"]["tokens"] == 4
    else:
        assert (found[3]["source"], int(found[3]["tokens"]), found[3]["target"]) == ('a "3"\nb', 4, "it")
        assert float(found[3]["topic_sport"]) == pytest.approx(0.6)
    assert {path.name for path in tmp_path.iterdir()} == {made.name, out.name}


def test_bad_rows_are_records(tmp_path: Path) -> None:
    lines = [
        b'\xef\xbb\xbf{"text": "good"}',
        b"",
        b"{broken",
        b'{"text": "\xff"}',
        b"[1]",
        b'{"id": "six", "title": "t"}',
        b'{"text": "\\ud800"}',
        b'{"id": "eight", "text": ""}\r',
        b'{"text": "last", "language": null}',
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    with faulty() as service:
        assert run(service.url, tmp_path / "in.jsonl", tmp_path / "out.jsonl") == 3
    found = read(tmp_path / "out.jsonl")
    codes = [
        "row_empty",
        "json_malformed",
        "utf8_invalid",
        "field_invalid",
        "field_missing",
        "utf8_invalid",
        "text_empty",
    ]
    assert [row.get("error", {}).get("code") for row in found] == [None, *codes, None]
    assert [row["row"] for row in found if "error" in row] == [2, 3, 4, 5, 6, 7, 8]
    assert found[5]["id"] == "six"
    assert found[7]["id"] == "eight"


def test_bad_rows_of_csv(tmp_path: Path) -> None:
    made = b'id,text\n1,good\n2\n3,a,b\n\n4,"\xff"\n5,"two\nlines"\n6,nul\0\n7,"open'
    (tmp_path / "in.csv").write_bytes(made)
    with faulty() as service:
        assert run(service.url, tmp_path / "in.csv", tmp_path / "out.csv") == 3
    found = read(tmp_path / "out.csv")
    codes = ["", "csv_malformed", "csv_malformed", "utf8_invalid", "", "nul_byte", "csv_malformed"]
    assert [row["error"] for row in found] == codes
    assert [row["row"] for row in found] == [str(n) for n in range(1, 8)]


def test_targets_of_rows(tmp_path: Path) -> None:
    made = write(tmp_path / "in.csv", [{"text": "a", "targets": "x|y"}, {"text": "b", "targets": ""}])
    with faulty() as service:
        assert run(service.url, made, tmp_path / "out.csv") == 0
        assert [[a.get("targets") for a in asked] for asked in service.asked] == [[["x", "y"], None]]
    assert [one["target"] for one in json.loads(read(tmp_path / "out.csv")[0]["stances"])] == ["x", "y"]


def test_refusals(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = write(tmp_path / "in.csv", rows(3))
    out = tmp_path / "out.jsonl"
    with faulty() as service:
        assert run(service.url, made, out) == 2
        assert "there is no column 'text'; there are 'id', 'body', 'source'" in caplog.text
        out.unlink(missing_ok=True)
        assert run(service.url, tmp_path / "in.xml", out) == 2
        assert run(service.url, "--force", "--text-field", "body", made, out) == 0
        assert run(service.url, "--text-field", "body", made, out) == 2
        assert "--force replaces it" in caplog.text
        assert run(service.url, "--text-field", "body", "--resume", made, out) == 2
        assert run(service.url, "--text-field", "body", "--force", made, out) == 0


def test_pipes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"text": "a"}\n{"text": "bc"}')))
    with faulty() as service:
        assert run(service.url, "-", "-") == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["usage"]["tokens"] for line in lines] == [1, 2]


def test_compressed_input(tmp_path: Path) -> None:
    plain = "".join(json.dumps({"text": "x" * n}) + "\n" for n in range(1, 5)).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(plain))
    (tmp_path / "b.jsonl.zst").write_bytes(pa.compress(plain, codec="zstd", asbytes=True))
    with faulty() as service:
        for name in ("a.jsonl.gz", "b.jsonl.zst"):
            assert run(service.url, tmp_path / name, tmp_path / f"{name}.jsonl", "--output-format", "jsonl") == 0
            assert [row["usage"]["tokens"] for row in read(tmp_path / f"{name}.jsonl")] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_killed_and_resumed(tmp_path: Path, kind: str) -> None:
    """Killed three times, with garbage behind what was counted: the same rows as of a run that wasn't."""
    made = write(tmp_path / "in.jsonl", rows(1500))
    whole, cut = tmp_path / f"whole.{kind}", tmp_path / f"cut.{kind}"
    options = ["--text-field", "body", "--keep", "source"]
    with faulty() as service:
        assert run(service.url, *options, made, whole) == 0
    with faulty(lambda n, _: "slow") as service:
        command = [
            sys.executable,
            ROOT / "scripts/score.py",
            "--url",
            service.url,
            *options,
            "--batch",
            "32",
            "--resume",
        ]
        partial, journal = (tmp_path / f"{cut.name}.{end}" for end in ("partial", "journal"))
        done = 0
        for _ in range(2):
            process = subprocess.Popen([*map(str, command), str(made), str(cut)], stderr=subprocess.DEVNULL)
            until = time.monotonic() + 120
            while not (journal.exists() and json.loads(journal.read_text())["done"]["rows"] > done):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
            done = json.loads(journal.read_text())["done"]["rows"]
            assert 0 < done < 1500
            with partial.open("ab") as file:
                file.write(b'{"half a li')
        assert run(service.url, *options, "--target", "another", "--resume", made, cut) == 2
        service.plan = lambda n, _: ""
        assert run(service.url, *options, "--resume", made, cut) == 0
    assert read(cut) == read(whole)
    if kind != "parquet":
        assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.skipif(not TASNIF, reason="TASNIF names no tasnif program (target/debug/tasnif)")
def test_a_real_service_is_killed_and_restarted_behind_bad_connections(tmp_path: Path) -> None:
    made = write(tmp_path / "in.jsonl", [{"id": n, "text": f"The bank raised its rate {n} times."} for n in range(600)])
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [TASNIF, "serve", "--port", str(port), "--models", str(ROOT / "models"), "--model", "tiny"]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL)

    faults = ["", "", "cut", "busy", "drop", "not ready", "", "slow", "refuse"]
    process = start()
    try:
        with faulty(lambda n, _: faults[n % len(faults)], port) as proxy:

            def plan(n: int, _: Any) -> str:
                nonlocal process
                if n == 12:
                    process.kill()
                    process.wait()
                    process = start()
                return faults[n % len(faults)]

            proxy.plan = plan
            assert run(proxy.url, "--batch", "16", made, tmp_path / "out.jsonl") == 0
            assert len(proxy.asked) > 40
    finally:
        process.kill()
        process.wait()
    found = read(tmp_path / "out.jsonl")
    assert [row["id"] for row in found] == [str(n) for n in range(600)]
    assert len({re.sub(r"\d", "", json.dumps(row["model"])) for row in found}) == 1
