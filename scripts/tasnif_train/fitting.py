"""From an article's windows to labels: pooling, calibration, thresholds, and how good they are on texts not seen.

The same arithmetic as the service's (models/README.md), for topics with many labels at once (sigmoid) and with one
label among all (softmax).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasnif_train import metrics
from tasnif_train.calibration import TopicCalibration, fit_topics, pool_topics, softmax

F64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """What a head said of one article: logits [windows, labels] and the text tokens of each window."""

    logits: F64
    tokens: Int


@dataclass(frozen=True)
class Decision:
    """From logits to scores to labels; without calibration as an ordinary classifier decides."""

    multi: bool
    calibration: TopicCalibration

    @staticmethod
    def plain(labels: int, multi: bool) -> Decision:
        threshold = np.full(labels, 0.5 if multi else 0.0)
        return Decision(multi, TopicCalibration(np.ones(labels), np.zeros(labels), threshold))

    def scores(self, logits: F64) -> F64:
        if self.multi:
            return self.calibration.apply(logits)
        return softmax(logits * self.calibration.scale + self.calibration.bias)

    def assigned(self, scores: F64) -> Bool:
        if self.multi:
            return np.asarray(scores >= self.calibration.threshold, dtype=np.bool_)
        return np.asarray(scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1]), dtype=np.bool_)


def pool(windows: Windows, multi: bool) -> F64:
    """Per label the largest logit of any window; with one label among all, the mean weighted by text tokens."""
    if multi:
        return pool_topics(windows.logits)
    weights = windows.tokens.astype(np.float64)
    return np.asarray(weights @ windows.logits / weights.sum(), dtype=np.float64)


def pool_all(answers: Sequence[Windows], multi: bool) -> F64:
    return np.array([pool(answer, multi) for answer in answers])


def fit(logits: F64, truth: Bool, multi: bool) -> Decision:
    """Platt scaling and a threshold per label, or one temperature for all."""
    if multi:
        return Decision(True, fit_topics(logits, truth))
    labels = logits.shape[1]
    scale = fit_scale(logits, truth.argmax(axis=1))
    return Decision(False, TopicCalibration(np.full(labels, scale), np.zeros(labels), np.zeros(labels)))


def fit_scale(logits: F64, truth: Int, prior_examples: float = 8.0) -> float:
    """1 / temperature of highest likelihood, on a grid of logarithms.

    The prior holds it near 1: a handful of texts that all come out right would make it infinite.
    """
    grid = np.linspace(np.log(0.05), np.log(20.0), 401)

    def loss(log_scale: float) -> float:
        p = softmax(logits * np.exp(log_scale))[np.arange(len(truth)), truth]
        return float(-np.log(np.clip(p, 1e-12, None)).sum() + prior_examples / 2 * log_scale**2)

    return float(np.exp(grid[np.argmin([loss(at) for at in grid])]))


def measure(logits: F64, truth: Bool, labels: Sequence[str], multi: bool, parts: Int) -> dict[str, Any]:
    """Figures of calibration and thresholds fitted on the other parts than the one that is measured."""
    scores = np.zeros(logits.shape)
    assigned = np.zeros(logits.shape, dtype=np.bool_)
    for part in np.unique(parts):
        inside = parts == part
        decision = fit(logits[~inside], truth[~inside], multi)
        scores[inside] = decision.scores(logits[inside])
        assigned[inside] = decision.assigned(scores[inside])
    return figures(truth, scores, assigned, labels, multi)


def figures(truth: Bool, scores: F64, assigned: Bool, labels: Sequence[str], multi: bool) -> dict[str, Any]:
    report = metrics.topic_metrics(truth, scores, assigned, labels)
    if not multi:
        # One answer a text: whether its confidence can be believed is asked of that answer alone.
        correct = truth[np.arange(len(truth)), scores.argmax(axis=1)]
        report["ece"] = metrics.ece(scores.max(axis=1), correct)
        report["commonest"] = float(truth.mean(axis=0).max())
    return report
