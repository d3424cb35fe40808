"""What a model is asked and how its answers are judged: shared by the service's report and the torch path."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tasnif_train import metrics
from tasnif_train.data import STANCES, UNRELATED, Article, Foreign


@dataclass(frozen=True)
class Request:
    """One article as it is posted; without targets the stance is that toward the main subject."""

    id: str
    text: str
    targets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """Calibrated scores: of each topic with whether it is assigned, and of the four stances by target."""

    topics: dict[str, tuple[float, bool]]
    stance: list[list[float]]


class Backend(Protocol):
    """Something that answers requests in their order."""

    def classify(self, requests: Sequence[Request]) -> list[Answer]: ...


@dataclass(frozen=True)
class Judged:
    """Articles with the answers for their main subject and for their targets, the foreign one last if there is one."""

    articles: list[Article]
    foreign: list[str | None]
    main: list[Answer]
    targeted: list[Answer]


def ask(backend: Backend, articles: Sequence[Article], seed: int = 7) -> Judged:
    """Two requests an article: without targets, and with its own targets and one that is foreign to it."""
    rng = random.Random(seed)
    source = Foreign(articles)
    foreign = [source.draw(article, rng, same_language=0.5) for article in articles]
    main = backend.classify([Request(a.id, a.text) for a in articles])
    asked: list[Request] = []
    for article, alien in zip(articles, foreign, strict=True):
        targets = [pair.target for pair in article.pairs] + ([alien] if alien else [])
        asked.append(Request(article.id, article.text, tuple(targets)))
    answered = iter(backend.classify([r for r in asked if r.targets]))
    targeted = [next(answered) if r.targets else Answer({}, []) for r in asked]
    return Judged(list(articles), foreign, main, targeted)


def _topic_report(judged: Judged, rows: Sequence[int], labels: Sequence[str]) -> dict[str, Any]:
    truth = np.array([[label in judged.articles[i].topics for label in labels] for i in rows])
    scores = np.array([[judged.main[i].topics[label][0] for label in labels] for i in rows])
    assigned = np.array([[judged.main[i].topics[label][1] for label in labels] for i in rows])
    report = metrics.topic_metrics(truth, scores, assigned, labels)
    primaries = [(judged.articles[i].primary, row) for row, i in enumerate(rows) if judged.articles[i].primary]
    hits = [primary in {labels[k] for k in np.argsort(-scores[row])[:2]} for primary, row in primaries]
    report["primary_in_top2"] = float(np.mean(hits)) if hits else 0.0
    return report


def _stance_report(judged: Judged, rows: Sequence[int]) -> dict[str, Any]:
    truth: list[int] = []
    scores: list[list[float]] = []
    for i in rows:
        truth += [pair.stance for pair in judged.articles[i].pairs] + ([UNRELATED] if judged.foreign[i] else [])
        scores += judged.targeted[i].stance
    if not truth:
        return {}
    return metrics.stance_metrics(np.array(truth), np.array(scores), STANCES)


def _main_subject(judged: Judged) -> dict[str, Any]:
    rows = [i for i, article in enumerate(judged.articles) if article.pairs]
    truth = np.array([judged.articles[i].pairs[0].stance for i in rows])
    return metrics.stance_metrics(truth, np.array([judged.main[i].stance[0] for i in rows]), STANCES)


def report(judged: Judged, labels: Sequence[str]) -> dict[str, Any]:
    """Figures over everything, by language and by source."""
    everything = range(len(judged.articles))
    groups: dict[str, dict[str, list[int]]] = {"languages": defaultdict(list), "sources": defaultdict(list)}
    for i, article in enumerate(judged.articles):
        groups["languages"][article.lang].append(i)
        groups["sources"][article.source].append(i)
    result: dict[str, Any] = {
        "topics": _topic_report(judged, everything, labels),
        "stance": _stance_report(judged, everything),
        "main_subject": _main_subject(judged),
    }
    for kind, members in groups.items():
        result[kind] = {
            name: {"topics": _topic_report(judged, rows, labels), "stance": _stance_report(judged, rows)}
            for name, rows in sorted(members.items(), key=lambda item: -len(item[1]))
        }
    return result


def table(header: Sequence[str], rows: Sequence[Sequence[str | int | float]]) -> list[str]:
    """A Markdown table with a blank line after it; fractions are written as .873."""

    def cell(value: str | int | float) -> str:
        return f"{value:.3f}".replace("0.", ".", 1) if isinstance(value, float) and value < 1 else str(value)

    lines = ["| " + " | ".join(header) + " |", "|" + "|".join([" --- "] + [" ---: "] * (len(header) - 1)) + "|"]
    return lines + ["| " + " | ".join(cell(v) for v in row) + " |" for row in rows] + [""]


def markdown(figures: dict[str, Any], title: str) -> str:
    """The report as a section of a model card."""
    topics, stance, main = figures["topics"], figures["stance"], figures["main_subject"]
    lines = [f"### {title}", ""]
    lines += table(
        ["Figure", "Value"],
        [
            ["Articles", topics["articles"]],
            ["Topics: micro-F1", topics["micro_f1"]],
            ["Topics: macro-F1", topics["macro_f1"]],
            ["Topics: mean average precision", topics["map"]],
            ["Topics: primary topic among the top two", topics["primary_in_top2"]],
            ["Topics: ECE over all label decisions", topics["ece"]],
            ["Stance: pairs (a foreign target an article among them)", stance["pairs"]],
            ["Stance: macro-F1 of favor, against, neutral", stance["macro_f1_3"]],
            ["Stance: macro-F1 of all four", stance["macro_f1_4"]],
            *([f"Stance: F1 of {name}", value] for name, value in stance["f1"].items()),
            ["Stance: ECE of the top class", stance["ece"]],
            ["Main subject: macro-F1 of favor, against, neutral", main["macro_f1_3"]],
        ],
    )
    lines += table(
        ["Topic", "Positives", "Precision", "Recall", "F1", "AP"],
        [
            [label, int(v["positives"]), v["precision"], v["recall"], v["f1"], v["ap"]]
            for label, v in topics["labels"].items()
            if v["positives"]
        ],
    )
    for kind, heading in (("languages", "Language"), ("sources", "Source")):
        lines += table(
            [heading, "Articles", "Topics micro-F1", "Stance macro-F1 (3)"],
            [
                [
                    name,
                    group["topics"]["articles"],
                    group["topics"]["micro_f1"],
                    group["stance"].get("macro_f1_3", "–"),
                ]
                for name, group in figures[kind].items()
            ],
        )
    return "\n".join(lines)
