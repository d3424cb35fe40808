#!/usr/bin/env python3
"""Draw scored articles: topics over time, by source and by language, stance by target; as pictures and one HTML page.

    scripts/report.py verdicts.jsonl report.html
    scripts/report.py --date-field date --source-field source --pictures pictures/ verdicts/ report.html

IN is what `tasnif score`, score.py or score_ray.py wrote: .jsonl, .csv, .parquet, or a folder of them. Dates and
sources are columns that were kept there (--keep date,source). Rows are counted as they are read, so that memory depends
on the number of labels, sources and days, not of articles. The page holds its pictures and needs nothing else.
"""

from __future__ import annotations

import argparse
import base64
import csv
import html
import io
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STANCES = ("favor", "neutral", "against")
# Colours that the colour-blind tell apart (Okabe and Ito), with grey for what takes no side.
STANCE_COLOURS = {"favor": "#009E73", "neutral": "#C9CDD2", "against": "#D55E00"}
INK, FAINT = "#22303C", "#8896A3"
# More rows or lines than these can't be read in one picture; what is left out is said.
MOST_SOURCES, MOST_TARGETS, MOST_LINES = 12, 15, 6


@dataclass
class Counts:
    """All that the pictures need, whatever the number of rows."""

    rows: int = 0
    bad: int = 0
    topics: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    days: Counter[date] = field(default_factory=Counter)
    by_language: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_source: Counter[tuple[str, str]] = field(default_factory=Counter)
    by_day: Counter[tuple[date, str]] = field(default_factory=Counter)
    stance: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    undated: int = 0

    def add(self, row: dict[str, Any], date_field: str, source_field: str) -> None:
        self.rows += 1
        if row["error"]:
            self.bad += 1
            return
        topics, language, kept = row["topics"], row["language"] or "?", row["kept"]
        self.topics.update(topics)
        self.languages[language] += 1
        self.by_language.update((language, topic) for topic in topics)
        if source := kept.get(source_field):
            self.sources[str(source)] += 1
            self.by_source.update((str(source), topic) for topic in topics)
        if written := kept.get(date_field):
            if day := parse_day(written):
                self.days[day] += 1
                self.by_day.update((day, topic) for topic in topics)
            else:
                self.undated += 1
        for target, stance in row["stance"]:
            self.stance[target or "main subject"][stance] += 1


def parse_day(value: Any) -> date | None:
    """The day of an ISO 8601 date or time."""
    try:
        return date.fromisoformat(str(value)[:10])
    except ValueError:
        return None


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of the three formats in one shape: error, topics (the assigned ones), language, stance, kept."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file() and file.suffix in (".jsonl", ".csv", ".parquet"):
                yield from read(file)
    elif path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                yield _verdict(json.loads(line))
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as lines:
            yield from map(_cells, csv.DictReader(lines))
    elif path.suffix == ".parquet":
        import pyarrow.parquet as pq

        file = pq.ParquetFile(path)
        # The scores, a column a topic, are not counted.
        names = [name for name in file.schema_arrow.names if not name.startswith("topic_")]
        for batch in file.iter_batches(columns=names, batch_size=4096):
            yield from map(_cells, batch.to_pylist())
    else:
        raise SystemExit(f"{path}: a .jsonl, .csv or .parquet file is expected, or a folder of them")


def _verdict(line: dict[str, Any]) -> dict[str, Any]:
    return {
        "error": "error" in line,
        "topics": [topic["label"] for topic in line.get("topics") or () if topic["assigned"]],
        "language": (line.get("language") or {}).get("code"),
        "stance": [(stance["target"], stance["label"]) for stance in line.get("stance") or ()],
        "kept": line.get("kept") or {},
    }


def _cells(row: dict[str, Any]) -> dict[str, Any]:
    if row.get("stances"):
        stance = [(one["target"], one["label"]) for one in json.loads(row["stances"])]
    else:
        names = [name for name in row if name == "stance" or name.removeprefix("stance_").isdigit()]
        stance = [(row[name.replace("stance", "target")], row[name]) for name in names if row[name]]
    return {
        "error": bool(row.get("error")),
        "topics": (row.get("topics") or "").split("|") if row.get("topics") else [],
        "language": row.get("language"),
        "stance": stance,
        "kept": row,
    }


def draw(counts: Counts) -> list[tuple[str, str, Figure]]:
    """Name, caption and figure of each picture that the data has something for."""
    plt.rcParams.update(
        {
            "font.size": 10,
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.edgecolor": FAINT,
            "text.color": INK,
            "axes.labelcolor": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "figure.dpi": 110,
        }
    )
    pictures = []
    if counts.topics:
        pictures.append(("topics", "An article may have several topics, or none.", topics(counts)))
    if len(counts.days) > 1 and counts.topics:
        caption = "Share of the articles of each period that have the topic."
        pictures.append(("time", caption, over_time(counts)))
    for name, title, groups, pairs in (
        ("sources", "source", counts.sources, counts.by_source),
        ("languages", "language", counts.languages, counts.by_language),
    ):
        if len(groups) > 1 and counts.topics:
            caption = f"Percent of each {title}'s articles that have the topic; a blank is less than 1."
            pictures.append((name, caption, heat(counts, title, groups, pairs)))
    if counts.stance:
        caption = "Of the articles that touch the target; those that are unrelated to it are counted beside it."
        pictures.append(("stance", caption, stance(counts)))
    return pictures


def _label(topic: str) -> str:
    return topic.replace("_", " ").replace("-", " ")


def topics(counts: Counts) -> Figure:
    found = counts.topics.most_common()[::-1]
    figure, axes = plt.subplots(figsize=(8, 1 + 0.27 * len(found)), layout="constrained")
    bars = axes.barh([_label(topic) for topic, _ in found], [count for _, count in found], color="#3B6EA8", height=0.72)
    good = counts.rows - counts.bad
    axes.bar_label(bars, [f" {count:,}  ({count / good:.0%})" for _, count in found], color=FAINT, fontsize=9)
    axes.set_title(f"Topics of {good:,} articles")
    axes.margins(x=0.14, y=0.01)
    axes.tick_params(length=0)
    axes.xaxis.set_visible(False)
    axes.spines["bottom"].set_visible(False)
    return figure


def over_time(counts: Counts) -> Figure:
    first, last = min(counts.days), max(counts.days)
    start, unit = period((last - first).days, counts.days.total())
    totals: Counter[date] = Counter()
    shares: Counter[tuple[date, str]] = Counter()
    for day, count in counts.days.items():
        totals[start(day)] += count
    for (day, topic), count in counts.by_day.items():
        shares[start(day), topic] += count
    periods = sorted({start(first + timedelta(n)) for n in range((last - first).days + 1)})
    lines = [topic for topic, _ in counts.topics.most_common(MOST_LINES)]
    figure, (axes, volume) = plt.subplots(
        2, 1, figsize=(9, 5.2), height_ratios=(4, 1), sharex=True, layout="constrained"
    )
    for topic, colour in zip(lines, plt.get_cmap("tab10").colors, strict=False):  # type: ignore[attr-defined]
        ys = [100 * shares[at, topic] / totals[at] if totals[at] else float("nan") for at in periods]
        axes.plot(periods, ys, color=colour, marker="o", markersize=3.5, linewidth=1.8, label=_label(topic))
    axes.set_title(f"The most frequent topics by {unit}")
    axes.set_ylabel("% of articles")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#E6E9EC")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    width = (periods[1] - periods[0]).days * 0.8 if len(periods) > 1 else 1
    volume.bar(periods, [totals[at] for at in periods], width=width, color="#C9CDD2")
    volume.set_ylabel("articles")
    figure.align_ylabels()
    return figure


def period(days: int, articles: int) -> tuple[Callable[[date], date], str]:
    """How a span of time is parted: as finely as leaves some tens of points, and twenty articles for each."""
    most = min(60, max(2, articles // 20))
    if days <= most:
        return lambda day: day, "day"
    if days <= 7 * most:
        return lambda day: day - timedelta(day.weekday()), "week"
    if days <= 30 * most:
        return lambda day: day.replace(day=1), "month"
    return lambda day: day.replace(month=1, day=1), "year"


def heat(counts: Counts, title: str, groups: Counter[str], pairs: Counter[tuple[str, str]]) -> Figure:
    shown = groups.most_common(MOST_SOURCES)
    labels = [topic for topic, _ in counts.topics.most_common()]
    grid = [[100 * pairs[group, topic] / total for topic in labels] for group, total in shown]
    figure, axes = plt.subplots(figsize=(11, 2.2 + 0.36 * len(shown)), layout="constrained")
    axes.imshow(grid, cmap="Blues", aspect="auto", vmin=0)
    top = max(map(max, grid))
    for y, row in enumerate(grid):
        for x, value in enumerate(row):
            if value >= 1:
                colour = "white" if value > 0.6 * top else INK
                axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(labels)), [_label(topic) for topic in labels], rotation=45, ha="right")
    axes.set_yticks(range(len(shown)), [f"{group}  ({total:,})" for group, total in shown])
    left = len(groups) - len(shown)
    axes.set_title(f"Topics by {title}" + (f" (the largest {len(shown)}; {left} more)" if left else ""))
    _bare(axes)
    return figure


def stance(counts: Counts) -> Figure:
    related = {target: sum(found[name] for name in STANCES) for target, found in counts.stance.items()}
    order = sorted(related, key=lambda target: -related[target])
    shown = [target for target in order if related[target]][:MOST_TARGETS][::-1] or order[:1]
    figure, axes = plt.subplots(figsize=(9, 1.5 + 0.42 * len(shown)), layout="constrained")
    left = [0.0] * len(shown)
    for name in STANCES:
        parts = [100 * counts.stance[target][name] / max(1, related[target]) for target in shown]
        axes.barh(range(len(shown)), parts, left=left, color=STANCE_COLOURS[name], height=0.66, label=name)
        for y, (start, part) in enumerate(zip(left, parts, strict=True)):
            if part >= 6:
                colour = INK if name == "neutral" else "white"
                axes.text(start + part / 2, y, f"{part:.0f} %", ha="center", va="center", fontsize=9, color=colour)
        left = [start + part for start, part in zip(left, parts, strict=True)]
    for y, target in enumerate(shown):
        axes.text(
            101,
            y,
            f"{related[target]:,}  (+{counts.stance[target]['unrelated']:,} unrelated)",
            va="center",
            fontsize=9,
            color=FAINT,
        )
    axes.set_yticks(range(len(shown)), [target if len(target) < 46 else target[:45] + "…" for target in shown])
    axes.set_xlim(0, 100)
    hidden = len(order) - len(shown)
    axes.set_title("Stance by target" + (f" (the most frequent {len(shown)} of {len(order):,})" if hidden else ""))
    axes.legend(frameon=False, ncols=3, loc="upper left", bbox_to_anchor=(-0.01, -0.02))
    axes.xaxis.set_visible(False)
    _bare(axes)
    return figure


def _bare(axes: Axes) -> None:
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #22303C; max-width: 62rem; margin: 2rem auto; padding: 0 1rem }}
figure {{ margin: 2.5rem 0 }}
img {{ max-width: 100%; height: auto }}
figcaption, p {{ color: #5A6875 }}
</style>
<h1>{title}</h1>
<p>{summary}</p>
{figures}
</html>
"""


def page(title: str, counts: Counts, pictures: list[tuple[str, str, bytes]]) -> str:
    summary = f"{counts.rows:,} articles in {len(counts.languages)} languages"
    if counts.days:
        summary += f", {min(counts.days)} to {max(counts.days)}"
    if counts.bad:
        summary += f"; {counts.bad:,} of them could not be read and are not counted below"
    if counts.undated:
        summary += f"; {counts.undated:,} dates could not be read"
    figures = "\n".join(
        f'<figure><img alt="{name}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for name, caption, png in pictures
    )
    return PAGE.format(title=html.escape(title), summary=summary + ".", figures=figures)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("input", metavar="IN", type=Path, help="scored articles")
    parser.add_argument("output", metavar="OUT", type=Path, help="the page, .html")
    parser.add_argument("--date-field", default="date", metavar="COLUMN", help="a kept column (default: date)")
    parser.add_argument("--source-field", default="source", metavar="COLUMN", help="a kept column (default: source)")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write the pictures as files too")
    parser.add_argument("--title", help="of the page (default: the input's name)")
    args = parser.parse_args(argv)
    counts = Counts()
    for row in read(args.input):
        counts.add(row, args.date_field, args.source_field)
    if counts.rows == counts.bad:
        raise SystemExit(f"{args.input}: there is no verdict in it")
    pictures = []
    for name, caption, figure in draw(counts):
        png = io.BytesIO()
        figure.savefig(png, format="png")
        plt.close(figure)
        pictures.append((name, caption, png.getvalue()))
        if args.pictures:
            args.pictures.mkdir(parents=True, exist_ok=True)
            (args.pictures / f"{name}.png").write_bytes(png.getvalue())
    args.output.write_text(page(args.title or args.input.name, counts, pictures), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
