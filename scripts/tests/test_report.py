"""The report reads what the scorers write, and counts it."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("matplotlib")
from faults import verdict

import report
from tasnif_client.output import Csv, Jsonl, Parquet, Scored, encoder
from tasnif_client.rows import Row

KEEP = ["source", "date"]


def scored(count: int) -> list[Scored]:
    rows: list[Scored] = []
    for n in range(count):
        row = Row(n + 1, {}, {"source": f"s{n % 3}", "date": f"2026-0{1 + n % 9}-15T10:00:00Z"})
        article: dict[str, Any] = {"text": "x" * (n % 10) if n != 7 else "", "targets": ["tariffs", "the bank"]}
        rows.append((row, verdict(article)))  # type: ignore[arg-type]
    return rows


@pytest.fixture(params=["jsonl", "csv", "parquet"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made = encoder(
        request.param,
        ["politics", "economy", "sport"],
        {"targets": ["tariffs", "the bank"]},
        KEEP,
        own_targets=False,
        kept_types={},
    )
    path = tmp_path / f"in.{request.param}"
    assert isinstance(made, Jsonl | Csv | Parquet)
    path.write_bytes(made.head() + made.chunk(scored(100)))
    if isinstance(made, Parquet):
        made.finish(path)
    return path


def test_counts(file: Path) -> None:
    counts = report.Counts()
    for row in report.read(file):
        counts.add(row, "date", "source")
    # Of each ten texts one is empty, and one more is row 8.
    assert (counts.rows, counts.bad) == (100, 11)
    assert counts.sources.total() == 89
    assert counts.languages == {"en": 89}
    assert set(counts.stance) == {"tariffs", "the bank"}
    assert counts.stance["tariffs"] == {"favor": 89}
    assert counts.topics["politics"] == sum(n % 10 > 4 for n in range(100) if n != 7)
    assert date(2026, 1, 15) in counts.days


def test_page(file: Path, tmp_path: Path) -> None:
    out, pictures = tmp_path / "out.html", tmp_path / "p"
    assert report.main([str(file), str(out), "--pictures", str(pictures), "--title", "A <title>"]) == 0
    assert {path.name for path in pictures.iterdir()} == {"topics.png", "time.png", "sources.png", "stance.png"}
    text = out.read_text(encoding="utf-8")
    assert "A &lt;title&gt;" in text
    assert "100 articles in 1 languages, 2026-01-15 to 2026-09-15; 11 of them could not be read" in text
    assert text.count("data:image/png;base64,") == 4
    assert "http" not in text.replace("data:", "")


def test_nothing_to_draw(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"row": 1, "error": {"code": "row_empty", "message": "m"}}) + "\n")
    with pytest.raises(SystemExit, match="no verdict"):
        report.main([str(path), str(tmp_path / "out.html")])


@pytest.mark.parametrize(
    ("days", "articles", "unit"), [(20, 10_000, "day"), (20, 40, "month"), (200, 10_000, "week"), (9000, 10**6, "year")]
)
def test_period(days: int, articles: int, unit: str) -> None:
    assert report.period(days, articles)[1] == unit
