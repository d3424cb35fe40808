"""What a model is asked and how its answers are judged: shared by the service's report and the torch path."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tasnif_train import metrics
from tasnif_train.apart import Shingled
from tasnif_train.calibration import StanceCalibration, TopicCalibration, sigmoid, softmax
from tasnif_train.data import STANCES, UNRELATED, Article, Foreign, Pair


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
    """Articles with the answers for their main subject and for their targets, the foreign one last if there is one.

    `blind` are the answers for an article's own targets beside a text that says nothing.
    """

    articles: list[Article]
    foreign: list[str | None]
    main: list[Answer]
    targeted: list[Answer]
    blind: list[Answer]

    def pairs(self) -> list[tuple[Article, Pair, list[float]]]:
        """Every target of an article's own, with the scores of the four stances toward it."""
        rows = zip(self.articles, self.targeted, strict=True)
        return [(a, p, s) for a, answer in rows for p, s in zip(a.pairs, answer.stance[: len(a.pairs)], strict=True)]


NOTHING = "…"
"""A text that says nothing, in any language."""


def ask(backend: Backend, articles: Sequence[Article], seed: int = 7) -> Judged:
    """Three requests an article: without targets; with its own targets and one that is foreign to it; with its own
    targets, but without its text."""
    rng = random.Random(seed)
    source = Foreign(articles)
    foreign = [source.draw(article, rng, same_language=0.5) for article in articles]
    main = backend.classify([Request(a.id, a.text) for a in articles])
    own = [tuple(pair.target for pair in article.pairs) for article in articles]
    both = [(*targets, alien) if alien else targets for targets, alien in zip(own, foreign, strict=True)]
    targeted = _ask_targets(backend, [Request(a.id, a.text, t) for a, t in zip(articles, both, strict=True)])
    blind = _ask_targets(backend, [Request(a.id, NOTHING, t) for a, t in zip(articles, own, strict=True)])
    return Judged(list(articles), foreign, main, targeted, blind)


def _ask_targets(backend: Backend, requests: Sequence[Request]) -> list[Answer]:
    """An article without targets has no answers, not those for its main subject."""
    answered = iter(backend.classify([r for r in requests if r.targets]))
    return [next(answered) if r.targets else Answer({}, []) for r in requests]


@dataclass(frozen=True)
class _Topics:
    """What is right, scored and assigned: [articles, labels]."""

    truth: metrics.Bool
    scores: metrics.F64
    assigned: metrics.Bool

    @staticmethod
    def of(judged: Judged, rows: Sequence[int], labels: Sequence[str]) -> _Topics:
        answers = [judged.main[i].topics for i in rows]
        return _Topics(
            np.array([[label in judged.articles[i].topics for label in labels] for i in rows]),
            np.array([[topics[label][0] for label in labels] for topics in answers]),
            np.array([[topics[label][1] for label in labels] for topics in answers]),
        )


def _topic_report(judged: Judged, rows: Sequence[int], labels: Sequence[str]) -> dict[str, Any]:
    topics = _Topics.of(judged, rows, labels)
    report = metrics.topic_metrics(topics.truth, topics.scores, topics.assigned, labels)
    primaries = [(judged.articles[i].primary, row) for row, i in enumerate(rows) if judged.articles[i].primary]
    hits = [primary in {labels[k] for k in np.argsort(-topics.scores[row])[:2]} for primary, row in primaries]
    report["primary_in_top2"] = float(np.mean(hits)) if hits else 0.0
    return report


def _stances(judged: Judged, rows: Sequence[int]) -> tuple[metrics.Int, metrics.F64]:
    """Truth and scores of the pairs and of the foreign targets of these articles."""
    truth: list[int] = []
    scores: list[list[float]] = []
    for i in rows:
        truth += [pair.stance for pair in judged.articles[i].pairs] + ([UNRELATED] if judged.foreign[i] else [])
        scores += judged.targeted[i].stance
    return np.array(truth, dtype=np.int64), np.array(scores).reshape(-1, len(STANCES))


def _stance_report(judged: Judged, rows: Sequence[int]) -> dict[str, Any]:
    truth, scores = _stances(judged, rows)
    return metrics.stance_metrics(truth, scores, STANCES) if len(truth) else {}


def _main_subject(judged: Judged) -> dict[str, Any]:
    rows = [i for i, article in enumerate(judged.articles) if article.pairs]
    truth = np.array([judged.articles[i].pairs[0].stance for i in rows])
    return metrics.stance_metrics(truth, np.array([judged.main[i].stance[0] for i in rows]), STANCES)


def three_way(truth: Sequence[int], scores: Sequence[Sequence[float]]) -> float:
    """Macro-F1 of favor, against and neutral where `unrelated` is no answer that may be given."""
    picked = np.array(scores)[:, :UNRELATED].argmax(axis=1)
    return float(np.mean([metrics.f1(*metrics.counts(np.array(truth) == i, picked == i)) for i in range(UNRELATED)]))


def _shortcuts(judged: Judged) -> dict[str, float]:
    """How far the stance of the pairs is told by the target alone, or by the text alone, read by the served model."""
    pairs = judged.pairs()
    truth = [pair.stance for _, pair, _ in pairs]
    if not truth:
        return {}
    return {
        "model": three_way(truth, [scores for *_, scores in pairs]),
        "served, target alone": three_way(truth, [scores for answer in judged.blind for scores in answer.stance]),
        "served, text alone": three_way(
            truth, [m.stance[0] for a, m in zip(judged.articles, judged.main, strict=True) for _ in a.pairs]
        ),
    }


Calibrations = tuple[TopicCalibration, StanceCalibration]


def _calibration(topics: _Topics, stances: tuple[metrics.Int, metrics.F64], fitted: Calibrations) -> dict[str, Any]:
    """Calibration before and after: scores are taken back to logits, which is exact for texts of one window."""
    truth, scores = stances
    raw_topics = sigmoid(fitted[0].invert(topics.scores))
    raw_stance = softmax(fitted[1].invert(scores))

    def figures(confidence: metrics.F64, correct: metrics.Bool) -> dict[str, Any]:
        return {"ece": metrics.ece(confidence, correct), "bins": metrics.reliability(confidence, correct)}

    def top(of: metrics.F64) -> dict[str, Any]:
        return figures(of.max(axis=1), of.argmax(axis=1) == truth)

    return {
        "topics": {
            "before": figures(raw_topics.ravel(), topics.truth.ravel()),
            "after": figures(topics.scores.ravel(), topics.truth.ravel()),
        },
        "stance": {"before": top(raw_stance), "after": top(scores)},
    }


def report(
    judged: Judged,
    labels: Sequence[str],
    seen: Sequence[str] = (),
    fitted: Calibrations | None = None,
    elsewhere: Shingled | None = None,
) -> dict[str, Any]:
    """Figures over everything, over languages that training has seen and those that it hasn't, by language, by source.

    `seen` are the languages of training; with `fitted`, the calibration that the scores have gone through, the figures
    have calibration before and after; with `elsewhere`, texts of the sets that training reads, figures for articles
    that stand there too and for the others.
    """
    everything = range(len(judged.articles))
    kinds = ("training", "elsewhere", "languages", "sources")
    groups: dict[str, dict[str, list[int]]] = {kind: defaultdict(list) for kind in kinds}
    for i, article in enumerate(judged.articles):
        groups["languages"][article.lang].append(i)
        groups["sources"][article.source].append(i)
        if seen:
            groups["training"]["seen" if article.lang in seen else "unseen"].append(i)
        if elsewhere:
            groups["elsewhere"]["yes" if elsewhere.holds(article.text) else "no"].append(i)
    topics = _Topics.of(judged, everything, labels)
    result: dict[str, Any] = {
        "topics": _topic_report(judged, everything, labels),
        "stance": _stance_report(judged, everything),
        "main_subject": _main_subject(judged),
        "shortcuts": _shortcuts(judged),
        "confusion": metrics.topic_confusion(topics.truth, topics.assigned).tolist(),
        "precision_recall": {
            "all labels": metrics.precision_recall(topics.truth.ravel(), topics.scores.ravel()),
            **{
                label: metrics.precision_recall(topics.truth[:, i], topics.scores[:, i])
                for i, label in enumerate(labels)
            },
        },
    }
    if fitted:
        result["calibration"] = _calibration(topics, _stances(judged, everything), fitted)
    for kind, members in groups.items():
        result[kind] = {
            name: {"topics": _topic_report(judged, rows, labels), "stance": _stance_report(judged, rows)}
            for name, rows in sorted(members.items(), key=lambda item: -len(item[1]))
        }
    return result


def errors(
    judged: Judged, labels: Sequence[str], topics: int = 8, stances: int = 10
) -> dict[str, list[dict[str, Any]]]:
    """The most confident errors: wrong topics of the highest score and right ones of the lowest, one a label; wrong
    stances of the highest score, two for each pair of right and given answer."""
    wrong: list[dict[str, Any]] = []
    missed: list[dict[str, Any]] = []
    for article, answer in zip(judged.articles, judged.main, strict=True):
        got = sorted(label for label in labels if answer.topics[label][1])
        entry = {"lang": article.lang, "text": article.text, "wanted": sorted(article.topics), "got": got}
        for label in labels:
            score, assigned = answer.topics[label]
            if assigned != (label in article.topics):
                (wrong if assigned else missed).append({**entry, "label": label, "score": score})
    turned: list[dict[str, Any]] = []
    for article, pair, scores in judged.pairs():
        best = int(np.argmax(scores))
        if best != pair.stance:
            kind = {"wanted": STANCES[pair.stance], "got": STANCES[best], "score": scores[best]}
            turned.append({"lang": article.lang, "text": article.text, "target": pair.target, **kind})
    return {
        "wrong": _first(sorted(wrong, key=lambda e: -e["score"]), ("label",), 1, topics),
        "missed": _first(sorted(missed, key=lambda e: e["score"]), ("label",), 1, topics),
        "stance": _first(sorted(turned, key=lambda e: -e["score"]), ("wanted", "got"), 2, stances),
    }


def _first(entries: Sequence[dict[str, Any]], by: Sequence[str], each: int, most: int) -> list[dict[str, Any]]:
    """Of sorted entries the first `most`, no more than `each` with the same values of `by`."""
    taken: Counter[tuple[Any, ...]] = Counter()
    chosen = []
    for entry in entries:
        key = tuple(entry[name] for name in by)
        if taken[key] < each:
            taken[key] += 1
            chosen.append(entry)
    return chosen[:most]
