"""Figures for multi-label topics, stance and calibration, on plain numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]


def f1(tp: float, fp: float, fn: float) -> float:
    return 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0


def counts(truth: Bool, assigned: Bool) -> tuple[int, int, int]:
    """(true positives, false positives, false negatives)"""
    return int((truth & assigned).sum()), int((~truth & assigned).sum()), int((truth & ~assigned).sum())


def average_precision(truth: Bool, scores: F64) -> float:
    """Area under precision over recall, by the rank of each positive; nan without positives."""
    if not truth.any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = truth[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def reliability(confidence: F64, correct: Bool, bins: int = 15) -> list[tuple[int, float, float]]:
    """Of each bin of equal width that holds something: how many, their mean confidence, the share that is correct."""
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    inside = [index == b for b in range(bins)]
    return [(int(m.sum()), float(confidence[m].mean()), float(correct[m].mean())) for m in inside if m.any()]


def ece(confidence: F64, correct: Bool, bins: int = 15) -> float:
    """Expected calibration error over bins of equal width."""
    binned = reliability(confidence, correct, bins)
    return sum(n * abs(mean - share) for n, mean, share in binned) / max(len(confidence), 1)


def precision_recall(truth: Bool, scores: F64, points: int = 100) -> list[tuple[float, float]]:
    """(recall, precision) at up to so many ranks, evenly spaced in recall; empty without positives."""
    if not truth.any():
        return []
    hits = truth[np.argsort(-scores, kind="stable")]
    ranks = np.flatnonzero(hits)
    chosen = np.unique(np.linspace(0, len(ranks) - 1, points).round().astype(int))
    return [((k + 1) / len(ranks), (k + 1) / (int(ranks[k]) + 1)) for k in chosen.tolist()]


def topic_confusion(truth: Bool, assigned: Bool) -> Int:
    """[labels, labels]: articles to which the column's label was assigned, though it is wrong, in place of the row's,
    which is right and was missed. On the diagonal, the articles that got the label that they should."""
    missed, wrong = truth & ~assigned, ~truth & assigned
    confusion = missed.astype(np.int64).T @ wrong.astype(np.int64)
    np.fill_diagonal(confusion, (truth & assigned).sum(axis=0))
    return np.asarray(confusion, dtype=np.int64)


def topic_metrics(truth: Bool, scores: F64, assigned: Bool, labels: Sequence[str]) -> dict[str, Any]:
    """Micro and macro F1, mAP, ECE over all label decisions, and the figures of each label.

    Macro figures are over labels that have a positive in `truth`: a label that cannot be met says nothing.
    """
    per_label: dict[str, dict[str, float]] = {}
    for i, label in enumerate(labels):
        tp, fp, fn = counts(truth[:, i], assigned[:, i])
        per_label[label] = {
            "positives": int(truth[:, i].sum()),
            "precision": tp / (tp + fp) if tp + fp else 0.0,
            "recall": tp / (tp + fn) if tp + fn else 0.0,
            "f1": f1(tp, fp, fn),
            "ap": average_precision(truth[:, i], scores[:, i]),
        }
    present = [v for v in per_label.values() if v["positives"]]
    return {
        "articles": len(truth),
        "micro_f1": f1(*counts(truth, assigned)),
        "macro_f1": float(np.mean([v["f1"] for v in present])) if present else 0.0,
        "map": float(np.mean([v["ap"] for v in present])) if present else 0.0,
        "ece": ece(scores.ravel(), truth.ravel()),
        "labels": per_label,
    }


def stance_metrics(truth: Int, scores: F64, classes: Sequence[str]) -> dict[str, Any]:
    """F1 by class, macro over all four and over the three that are stances, accuracy, ECE of the top class.

    The three-class figure leaves pairs whose truth is `unrelated` out, but a prediction of it is an error.
    """
    predicted = scores.argmax(axis=1)
    per_class = {name: f1(*counts(truth == i, predicted == i)) for i, name in enumerate(classes)}
    related = truth != classes.index("unrelated")
    three = [
        f1(*counts(truth[related] == i, predicted[related] == i))
        for i, name in enumerate(classes)
        if name != "unrelated"
    ]
    confusion = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(confusion, (truth, predicted), 1)
    return {
        "pairs": len(truth),
        "accuracy": float((predicted == truth).mean()) if len(truth) else 0.0,
        "macro_f1_3": float(np.mean(three)),
        "macro_f1_4": float(np.mean(list(per_class.values()))),
        "f1": per_class,
        "ece": ece(scores.max(axis=1), predicted == truth),
        "confusion": confusion.tolist(),
    }
