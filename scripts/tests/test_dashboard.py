"""The picture of the dashboard: Grafana's variables, legends and units."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dashboard import DASHBOARD, legend, picture, queries, scaled


def test_every_panel_has_queries_without_variables() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    asked = [query.expression for panel in panels for query in queries(panel)]
    assert len(asked) > 20
    assert not [expression for expression in asked if "$" in expression]
    assert all(queries(panel) for panel in panels if panel["type"] != "row")


def test_a_legend_is_made_of_labels() -> None:
    assert legend("{{route}} {{ status }}", {"route": "/v1/classify", "status": "200"}) == "/v1/classify 200"
    assert legend("p99", {"le": "1"}) == "p99"
    assert legend("__auto", {"model": "default", "version": "1"}) == "default, 1"


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.5, "percentunit", "50%"),
        (0.012, "percentunit", "1.20%"),
        (0.0123, "s", "12.3 ms"),
        (2.5, "s", "2.50 s"),
        (3 * 2**20, "bytes", "3 MiB"),
        (float("nan"), "s", "–"),
        (5900.0, "short", "5.9 k"),
    ],
)
def test_values_have_units(value: float, unit: str, expected: str) -> None:
    assert scaled(value, unit) == expected


def test_panels_of_all_kinds_are_drawn(tmp_path: Path) -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    points = [(10.0, 1.0), (20.0, 2.0)]
    answers = {panel["id"]: [("a", points), ("b", points)] for panel in dashboard["panels"]}
    picture(tmp_path / "a.png", dashboard, answers, 10.0, 20.0)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
