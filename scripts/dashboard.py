#!/usr/bin/env python3
"""Draw the Grafana dashboard of deploy/ from a running service, without Grafana.

    tasnif serve --model default &
    scripts/soak.py --minutes 5 &                    # or any other load
    scripts/dashboard.py --minutes 6 docs/images/dashboard.png

It runs a Prometheus of its own (Debian's package `prometheus`, or --prometheus) that scrapes the service, and at the
end asks it for each panel of deploy/grafana/dashboards/tasnif.json, by the panel's own PromQL, with Grafana's variables
set to all jobs and instances. matplotlib draws what comes back where the panel stands. A query that gives nothing is an
error.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine

ROOT = Path(__file__).resolve().parents[1]
DASHBOARD = ROOT / "deploy/grafana/dashboards/tasnif.json"
# As deploy/prometheus.yml scrapes; Grafana's $__rate_interval is four scrapes at least.
SCRAPE = 5
VARIABLES = {"$__rate_interval": f"{4 * SCRAPE}s", "$job": ".*", "$instance": ".*"}


@dataclass(frozen=True)
class Query:
    """One query of a panel."""

    expression: str
    legend: str


def queries(panel: dict[str, Any]) -> list[Query]:
    """A panel's queries with Grafana's variables filled in."""
    found = []
    for target in panel.get("targets", []):
        expression = target["expr"]
        for variable, value in VARIABLES.items():
            expression = expression.replace(variable, value)
        found.append(Query(expression, target.get("legendFormat", "__auto")))
    return found


def legend(pattern: str, labels: dict[str, str]) -> str:
    """As Grafana writes it: `{{label}}` is the label's value."""
    if pattern == "__auto":
        return ", ".join(labels.values())
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), pattern)


def scaled(value: float, unit: str) -> str:
    """A value with its unit, as short as Grafana has it."""
    if math.isnan(value):
        return "–"
    match unit:
        case "percentunit":
            return f"{value:.2%}" if 0 < value < 0.1 else f"{value:.0%}"
        case "s":
            return f"{value:.2f} s" if value >= 1 else f"{1000 * value:.3g} ms"
        case "bytes":
            return f"{value / 2**20:.0f} MiB"
        case "reqps":
            return f"{value:.3g}/s"
    return f"{value / 1000:.3g} k" if value >= 1000 else f"{value:.3g}"


class Prometheus:
    """Its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(parameters)}", timeout=30) as answer:
            return json.load(answer)["data"]

    def range(self, query: Query, begin: float, end: float) -> list[dict[str, Any]]:
        """Series: their labels under `metric`, their [time, value] under `values`."""
        step = max((end - begin) / 300, SCRAPE)
        data = self.get(
            "/api/v1/query_range", query=query.expression, start=f"{begin:.3f}", end=f"{end:.3f}", step=f"{step:.3f}"
        )
        series: list[dict[str, Any]] = data["result"]
        return series


@contextmanager
def prometheus(program: str, scraped: str) -> Iterator[Prometheus]:
    """A Prometheus with a store of its own, gone at the end."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        config = Path(folder) / "prometheus.yml"
        config.write_text(
            f"global: {{scrape_interval: {SCRAPE}s}}\n"
            f"scrape_configs: [{{job_name: tasnif, static_configs: [{{targets: ['{scraped}']}}]}}]\n",
            encoding="utf-8",
        )
        log = Path(folder) / "log"
        command = [
            program, f"--config.file={config}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"
        ]  # fmt: skip
        with log.open("w") as output:
            try:
                process = subprocess.Popen(command, stdout=output, stderr=output)
            except FileNotFoundError:
                raise SystemExit(f"error: there is no {program}: apt-get install prometheus, or --prometheus") from None
        try:
            wait_for(f"http://{address}/-/ready", process, log)
            yield Prometheus(f"http://{address}")
        finally:
            process.terminate()
            process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(100):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
        else:
            return
    raise SystemExit(f"error: Prometheus doesn't start:\n{log.read_text()[-2000:]}")


Series = tuple[str, list[tuple[float, float]]]


def peak(series: Series) -> float:
    return max((value for _, value in series[1] if not math.isnan(value)), default=0.0)


def draw(axis: Axes, panel: dict[str, Any], series: list[Series], begin: float) -> None:
    """One panel: a figure, a table or lines over minutes."""
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    unit = defaults.get("unit", "short")
    axis.set_title(panel["title"], loc="left", fontsize=9)
    if panel["type"] == "timeseries":
        # The legend of many lines would be as large as the panel: the largest are named.
        named = {name for name, _ in sorted(series, key=peak, reverse=True)[:8]}
        for name, points in series:
            minutes, values = [(time - begin) / 60 for time, _ in points], [value for _, value in points]
            axis.plot(minutes, values, lw=1.2, label=name if name in named else None)
        axis.set_ylim(bottom=defaults.get("min"))
        axis.yaxis.set_major_formatter(lambda value, _: scaled(value, unit))
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(fontsize=6, frameon=False, loc="upper left", ncols=2)
        return
    axis.set_axis_off()
    if panel["type"] == "stat":
        # What a stat shows is the last value; the text under it is not Grafana's.
        last = series[0][1][-1][1]
        axis.text(0.5, 0.5, scaled(last, unit), ha="center", va="center", fontsize=18, transform=axis.transAxes)
    else:
        rows = [[name, scaled(points[-1][1], unit)] for name, points in series]
        axis.table(cellText=rows, colLabels=["series", "value"], loc="upper center").auto_set_font_size(False)


def picture(path: Path, dashboard: dict[str, Any], answers: dict[int, list[Series]], begin: float, end: float) -> None:
    panels = dashboard["panels"]
    width = max(panel["gridPos"]["x"] + panel["gridPos"]["w"] for panel in panels)
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = plt.figure(figsize=(14, 14 * height / width * 0.8), layout=ConstrainedLayoutEngine(h_pad=0.02, hspace=0))
    grid = figure.add_gridspec(height, width)
    for panel in panels:
        at = panel["gridPos"]
        axis = figure.add_subplot(grid[at["y"] : at["y"] + at["h"], at["x"] : at["x"] + at["w"]])
        if panel["type"] == "row":
            axis.set_axis_off()
            axis.text(0, 0.5, panel["title"], fontsize=11, fontweight="bold", va="center", transform=axis.transAxes)
        else:
            draw(axis, panel, answers[panel["id"]], begin)
    figure.suptitle(
        f"{dashboard['title']}: {(end - begin) / 60:.3g} minutes of load; minutes on the horizontal axes",
        fontsize=10,
    )
    # No software version or date: the same figures give the same bytes.
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)


def ask(
    source: Prometheus, dashboard: dict[str, Any], begin: float, end: float
) -> tuple[dict[int, list[Series]], list[str]]:
    """The series of each panel, and the queries that gave none."""
    answers: dict[int, list[Series]] = {}
    empty = []
    for panel in dashboard["panels"]:
        found = answers.setdefault(panel["id"], [])
        for query in queries(panel):
            series = source.range(query, begin, end)
            if not any(value != "NaN" for one in series for _, value in one["values"]):
                empty.append(f"{panel['title']}: {query.expression}")
            for one in series:
                points = [(float(time), float(value)) for time, value in one["values"]]
                found.append((legend(query.legend, one["metric"]), points))
    return answers, empty


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, help="a PNG file")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the service [%(default)s]")
    parser.add_argument("--minutes", type=float, default=5, help="[%(default)s]")
    parser.add_argument("--prometheus", default="prometheus", metavar="PROGRAM", help="[%(default)s]")
    args = parser.parse_args()

    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    with prometheus(args.prometheus, urlsplit(args.url).netloc) as source:
        begin = time.time()
        print(f"watching {args.url} for {args.minutes:g} minutes", file=sys.stderr)
        time.sleep(args.minutes * 60)
        end = time.time()
        answers, empty = ask(source, dashboard, begin, end)
    if empty:
        raise SystemExit("error: queries of the dashboard that give nothing:\n" + "\n".join(empty))
    picture(args.picture, dashboard, answers, begin, end)
    print(f"{args.picture}: {sum(map(len, answers.values()))} series of {len(answers)} panels", file=sys.stderr)


if __name__ == "__main__":
    main()
