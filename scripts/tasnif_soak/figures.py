"""What a run amounts to: counts, percentiles, the slope of the memory, and whether that is what was asked for."""

from __future__ import annotations

import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

TOKENS = re.compile(rb'"usage":\{"tokens":(\d+)')
ERROR = re.compile(rb'"error":\{"code":"(\w+)"')
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ([0-9.eE+-]+|NaN)$", re.MULTILINE)

# What is asked of a run.
REFUSAL_MS = 10.0
GOODPUT = 0.9
GROWTH = 0.05
# Until the memory counts: pools of threads and allocators fill.
WARM_UP = 300.0
# Between the service's clock and ours.
SLACK = 0.25


@dataclass
class Tally:
    """What became of the requests of one phase."""

    begun: float
    # Requests answered in full, by the second in which the answer came; of them articles and tokens.
    requests: Counter[int] = field(default_factory=Counter)
    articles: Counter[int] = field(default_factory=Counter)
    tokens: Counter[int] = field(default_factory=Counter)
    # By kind and what came of it: a status, `left`, `lost`, `late`.
    outcomes: Counter[tuple[str, str]] = field(default_factory=Counter)
    # Codes of errors in the place of single articles.
    errors: Counter[str] = field(default_factory=Counter)
    # By kind: seconds from the request's first byte written to the refusal's head read.
    refusals: defaultdict[str, array[float]] = field(default_factory=lambda: defaultdict(lambda: array("d")))
    answers: array[float] = field(default_factory=lambda: array("d"))
    # How much later than planned the client sent.
    lateness: array[float] = field(default_factory=lambda: array("d"))
    # What was not as it should be, the first of it.
    odd: list[str] = field(default_factory=list)
    oddities: int = 0

    def body(self, body: bytes, at: float) -> Counter[str]:
        """Counts the articles of an answer; the answer is the errors among them."""
        second = int(at - self.begun)
        found = TOKENS.findall(body)
        self.requests[second] += 1
        self.articles[second] += len(found)
        self.tokens[second] += sum(map(int, found))
        errors = Counter(code.decode() for code in ERROR.findall(body))
        self.errors.update(errors)
        return errors

    def is_odd(self, what: str) -> None:
        self.oddities += 1
        if len(self.odd) < 50:
            self.odd.append(what)

    def rate(self, counter: Counter[int], begin: int, end: int) -> float:
        """A second, over whole seconds from the phase's begin on."""
        return sum(counter[second] for second in range(begin, end)) / max(end - begin, 1)

    def refused(self) -> list[float]:
        """The seconds of all kinds together."""
        return [seconds for kind in self.refusals.values() for seconds in kind]

    def count(self, outcome: str) -> int:
        return sum(count for (_, found), count in self.outcomes.items() if found == outcome)


def percentile(values: Sequence[float], share: float) -> float:
    """By the nearest rank; not a number where there is none."""
    if not values:
        return float("nan")
    ranked = sorted(values)
    return ranked[min(int(share * len(ranked)), len(ranked) - 1)]


def metrics(text: str) -> dict[str, float]:
    """Sums of Prometheus' samples over their labels, by name."""
    sums: defaultdict[str, float] = defaultdict(float)
    for name, _, value in SAMPLE.findall(text):
        sums[name] += float(value)
    return dict(sums)


@dataclass(frozen=True)
class Memory:
    """Resident memory over time: (second, bytes)."""

    samples: Sequence[tuple[float, float]]

    def settled(self) -> Sequence[tuple[float, float]]:
        """After the warm-up; of a short run the second half."""
        if not self.samples:
            return []
        last = self.samples[-1][0]
        begin = WARM_UP if last >= 2 * WARM_UP else last / 2
        return [sample for sample in self.samples if sample[0] >= begin]

    def growth(self) -> float:
        """From the first fifth's median to the last's, as a share."""
        settled = [size for _, size in self.settled()]
        if len(settled) < 2:
            return float("nan")
        fifth = max(len(settled) // 5, 1)
        return percentile(settled[-fifth:], 0.5) / percentile(settled[:fifth], 0.5) - 1

    def slope(self) -> float:
        """Bytes an hour, by least squares."""
        settled = self.settled()
        if len(settled) < 2:
            return float("nan")
        mean_time = sum(time for time, _ in settled) / len(settled)
        mean_size = sum(size for _, size in settled) / len(settled)
        above = sum((time - mean_time) * (size - mean_size) for time, size in settled)
        below = sum((time - mean_time) ** 2 for time, _ in settled)
        return 3600 * above / below


@dataclass(frozen=True)
class Check:
    """One thing that was asked for, and what was found."""

    name: str
    found: str
    asked: str
    met: bool


def checks(record: dict[str, Any]) -> list[Check]:
    """The record against what is asked for. What is not a number is not met."""
    refusals, memory, overload = record["refusals"], record["memory"], record["overload"]
    goodput = overload["goodput"]
    return [
        Check("crashes, restarts, silence", f"{len(record['failures'])}", "0", not record["failures"]),
        Check(
            "memory after the warm-up",
            f"{memory['growth']:+.1%}, {memory['slope_mb_h']:+.1f} MB/h, at most {memory['max_mb']:.0f} MB",
            f"< {GROWTH:+.0%}",
            memory["growth"] < GROWTH,
        ),
        Check(
            "accepted and not answered in time",
            f"{overload['late']} late, {overload['lost']} lost of {overload['accepted']}",
            "0",
            overload["late"] == overload["lost"] == 0 < overload["accepted"],
        ),
        Check(
            "time to refuse",
            f"p50 {refusals['p50_ms']:.1f} ms, p99 {refusals['p99_ms']:.1f} ms of {refusals['count']}",
            f"p99 < {REFUSAL_MS:.0f} ms",
            refusals["p99_ms"] < REFUSAL_MS,
        ),
        Check(
            "goodput of the saturated rate",
            ", ".join(f"{share:.0%} of {what}" for what, share in goodput.items()),
            f">= {GOODPUT:.0%}",
            # What is let in is shorter than what is offered, so that articles would flatter.
            min(goodput["tokens"], goodput["encoded tokens"]) >= GOODPUT,
        ),
        Check("answers that are not as they should be", f"{record['oddities']}", "0", record["oddities"] == 0),
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns; the first row is a head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def summary(record: dict[str, Any]) -> str:
    """The record for people."""
    saturated, overload, client = record["saturated"], record["overload"], record["client"]
    kinds: dict[str, Counter[str]] = {}
    for kind, outcomes in record["outcomes"].items():
        kinds.setdefault(kind.split(":")[0], Counter()).update(outcomes)
    rates = [
        ["", "requests/s", "articles/s", "tokens/s", "encoded tokens/s"],
        *(
            [name, *(f"{phase[key]:.1f}" for key in ("requests_s", "articles_s", "tokens_s", "encoded_s"))]
            for name, phase in (("saturated, answered", saturated), ("overload, answered", overload))
        ),
    ]
    outcomes = [
        ["client", "outcomes"],
        *(
            [kind, ", ".join(f"{count} {outcome}" for outcome, count in found.most_common())]
            for kind, found in kinds.items()
        ),
    ]
    verdicts = [["asked", "found", "", ""]]
    verdicts += [[c.name, c.found, c.asked, "met" if c.met else "NOT MET"] for c in checks(record)]
    notes = [
        f"offered {record['offered_s']:.1f} requests/s for {record['minutes']:.1f} minutes; the client took "
        f"{client['cpu']:.0%} of a processor and sent {client['lateness_p99_ms']:.1f} ms late at p99"
    ]
    notes += [f"! {failure}" for failure in record["failures"][:10]]
    notes += [f"? {odd}" for odd in record["odd"][:10]]
    return "\n\n".join([table(rates), table(outcomes), table(verdicts), "\n".join(notes)])
