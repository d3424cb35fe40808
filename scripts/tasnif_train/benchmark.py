"""The pure parts of bench_peers.py: which texts, how figures are summed up, and the table in the documentation."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tasnif_train.markdown import table
from tasnif_train.sequence import Layout, even_windows

LANGUAGES = ("ar", "ru", "en")
CLASSES = {"short": (1, 399), "medium": (400, 1_199), "long": (1_200, 6_000)}
"""In characters: a post; title and beginning, or a wire item; an article of several windows."""

BEGIN = "<!-- bench_peers: begin -->"
END = "<!-- bench_peers: end -->"


@dataclass(frozen=True)
class Text:
    """One article of the benchmark."""

    language: str
    length: str
    text: str
    target: str
    joined: bool = False


def choose(rows: Iterable[Mapping[str, Any]], per_class: int) -> list[Text]:
    """`per_class` texts of each language and length, by hash: the same texts whatever their order in the files.

    Where a file has no text of a length, the ones that it has are joined until they are long enough.
    """
    pools: dict[str, list[Mapping[str, Any]]] = {language: [] for language in LANGUAGES}
    for row in rows:
        pools.get(str(row.get("lang")), []).append(row)
    chosen: list[Text] = []
    for language, pool in pools.items():
        pool.sort(key=lambda row: hashlib.sha256(str(row["text"]).encode()).digest())
        if not pool:
            raise ValueError(f"no text of language {language}")
        for length, (least, most) in CLASSES.items():
            fitting = [row for row in pool if least <= len(row["text"]) <= most][:per_class]
            found = [Text(language, length, row["text"], _target(row)) for row in fitting]
            while len(found) < per_class:
                found.append(_joined(language, length, pool, len(found)))
            chosen += found
    return chosen


def _target(row: Mapping[str, Any]) -> str:
    """The row's own first target; else the first words of its text, which are as long as targets are."""
    pairs = row.get("stance")
    if isinstance(pairs, list) and pairs:
        return str(pairs[0]["target"])
    return str(row.get("target") or " ".join(str(row["text"]).split()[:4]))[:300]


def _joined(language: str, length: str, pool: Sequence[Mapping[str, Any]], first: int) -> Text:
    least, most = CLASSES[length]
    text, index = "", first
    while len(text) < (least + min(most, 4 * least)) // 2:
        text = f"{text}\n{pool[index % len(pool)]['text']}".strip()
        index += 1
    return Text(language, length, text[:most], _target(pool[first % len(pool)]), joined=True)


def matching_overlap(texts: Sequence[Sequence[int]], layout: Layout, encoded: int) -> int:
    """The overlap of even windows at which all texts together come nearest to `encoded` positions.

    The service cuts at ends of sentences and shares only whole sentences between windows; peers cut evenly. So that
    both read as much, the peers' overlap is chosen, not copied.
    """

    def positions(overlap: int) -> int:
        room = layout.room([])
        frame = layout.tokens - room
        return sum(len(w) + frame for ids in texts for w in even_windows(ids, room, overlap))

    return min(range(layout.overlap + 1), key=lambda overlap: abs(positions(overlap) - encoded))


@dataclass
class Figures:
    """What was measured of one engine, a number a round."""

    topics: list[float] = field(default_factory=list)
    """Articles a second, saturated, topics alone."""
    target: list[float] = field(default_factory=list)
    """The same with the stance toward one target beside the topics."""
    encoder: list[float] = field(default_factory=list)
    """Positions a second through encoder and heads."""
    alone: dict[str, list[float]] = field(default_factory=lambda: {length: [] for length in CLASSES})
    """Milliseconds of one article with nothing beside it, topics alone: the median over the articles of each length."""
    difference: float = 0.0
    """Of topic scores to the reference engine's, mean absolute."""

    def medians(self) -> dict[str, float]:
        lists = {"topics": self.topics, "target": self.target, "encoder": self.encoder, **self.alone}
        return {name: statistics.median(values) for name, values in lists.items()}


def ratios(ours: Figures, theirs: Figures) -> dict[str, float]:
    """How many times as fast ours is: of rates ours / theirs, of times theirs / ours."""
    mine, other = ours.medians(), theirs.medians()
    return {name: (other[name] / mine[name] if name in CLASSES else mine[name] / other[name]) for name in mine}


def markdown(engines: Mapping[str, Figures], names: Mapping[str, str], ours: str) -> str:
    """Medians, and behind each the ratio to `ours`."""
    header = [
        "engine",
        "articles/s, topics",
        "with 1 target",
        "encoder, tokens/s",
        *(f"{c} alone, ms" for c in CLASSES),
    ]
    rows: list[list[str]] = []
    for key, figures in engines.items():
        medians, factor = figures.medians(), ratios(engines[ours], figures)
        digits = {"topics": 2, "target": 2}
        cells = [
            f"{medians[name]:,.{digits.get(name, 0)}f}" + ("" if key == ours else f" ({factor[name]:.1f}×)")
            for name in medians
        ]
        rows.append([names[key], *cells, f"{figures.difference:.4f}"])
    return "\n".join(table([*header, "Δ score"], rows)).rstrip()


def between_markers(document: str, content: str) -> str:
    """`document` with what stands between the markers replaced."""
    before, begin, rest = document.partition(BEGIN)
    _, end, behind = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the document lacks {BEGIN} or {END}")
    return f"{before}{BEGIN}\n{content}\n{END}{behind}"
