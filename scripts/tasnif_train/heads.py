"""Few-shot heads: the mean text states of a frozen encoder, and logistic regression on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression

from tasnif_train import fitting
from tasnif_train.calibration import sigmoid, softmax
from tasnif_train.fitting import F64, Bool, Int, Windows
from tasnif_train.model import collate
from tasnif_train.predict import by_length
from tasnif_train.sequence import Encoded, assemble, windows
from tasnif_train.shipped import Shipped
from tasnif_train.text import TextTokenizer

F32 = npt.NDArray[np.float32]

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""scikit-learn's C for standardised features: from nearly nothing learnt to the texts learnt by heart."""


@dataclass(frozen=True)
class Embedded:
    """The mean text state of each window of one text, [windows, hidden], and their text tokens."""

    states: F64
    tokens: Int

    @property
    def mean(self) -> F64:
        """Over the whole text. A linear head of it is the mean of the heads of its windows, by their tokens."""
        weights = self.tokens.astype(np.float64)
        return np.asarray(weights @ self.states / weights.sum(), dtype=np.float64)


@dataclass(frozen=True)
class Head:
    """`topics.weight` [labels, hidden] and `topics.bias`, as they are stored."""

    weight: F32
    bias: F32

    def answer(self, embedded: Embedded) -> Windows:
        logits = embedded.states @ self.weight.T.astype(np.float64) + self.bias
        return Windows(np.asarray(logits, dtype=np.float64), embedded.tokens)


@torch.inference_mode()
def embed(
    shipped: Shipped,
    texts: Sequence[str],
    progress: Callable[[int, int], None] | None = None,
    batch_tokens: int = 4096,
) -> list[Embedded]:
    """Each window stands beside an empty target, as the service reads topics."""
    layout = shipped.layout
    sequences: list[Encoded] = []
    owners: list[int] = []
    for owner, ids in enumerate(TextTokenizer(shipped.tokenizer).ids(texts)):
        for window in windows(ids, layout.room([]), layout.overlap):
            sequences.append(assemble(layout, [[]], window))
            owners.append(owner)
    owner_of = np.array(owners)
    states = np.zeros((len(sequences), shipped.model.topics.in_features))
    done = 0
    for rows in by_length(sequences, batch_tokens):
        batch = collate([sequences[i] for i in rows])
        hidden = shipped.model.states(batch)
        states[rows] = torch.einsum("bs,bsh->bh", batch.text_weights, hidden).double().numpy()
        done += len(rows)
        if progress:
            progress(done, len(sequences))
    tokens = np.array([sequence.text_tokens for sequence in sequences])
    return [Embedded(states[owner_of == i], tokens[owner_of == i]) for i in range(len(texts))]


def fit(texts: Sequence[Embedded], truth: Bool, multi: bool, strength: float) -> Head:
    """One regression per label, or one over all where a text has one label.

    Features are standardised, or the few dimensions of great variance would decide alone; the stored head has that
    folded in.
    """
    features = np.array([text.mean for text in texts])
    centre, spread = features.mean(axis=0), features.std(axis=0) + 1e-6
    scaled = (features - centre) / spread
    weight = np.zeros((truth.shape[1], features.shape[1]))
    bias = np.zeros(truth.shape[1])
    if multi:
        for i in range(truth.shape[1]):
            weight[i], bias[i] = _one_label(scaled, truth[:, i], strength)
    else:
        _all_labels(scaled, truth.argmax(axis=1), strength, weight, bias)
    weight /= spread
    return Head(weight.astype(np.float32), (bias - weight @ centre).astype(np.float32))


def _regression(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=2000)


def _one_label(features: F64, truth: Bool, strength: float) -> tuple[F64, float]:
    positives = int(truth.sum())
    if positives in (0, len(truth)):
        # Nothing to tell apart in these folds: the base rate, with half a text either way.
        return np.zeros(features.shape[1]), float(np.log((positives + 0.5) / (len(truth) - positives + 0.5)))
    fitted = _regression(strength).fit(features, truth)
    return np.asarray(fitted.coef_[0], dtype=np.float64), float(fitted.intercept_[0])


def _all_labels(features: F64, truth: Int, strength: float, weight: F64, bias: F64) -> None:
    fitted = _regression(strength).fit(features, truth)
    if len(fitted.classes_) == 2:
        # scikit-learn keeps one row for two labels: half of it for one, half against the other.
        negative, positive = fitted.classes_
        for label, sign in ((negative, -0.5), (positive, 0.5)):
            weight[label], bias[label] = sign * fitted.coef_[0], sign * fitted.intercept_[0]
    else:
        weight[fitted.classes_], bias[fitted.classes_] = fitted.coef_, fitted.intercept_


def cross_validate(texts: Sequence[Embedded], truth: Bool, multi: bool, parts: Int) -> tuple[float, list[Windows]]:
    """The strength of lowest loss, and each text's answer by a head that has not seen it."""
    tried = [(strength, _unseen(texts, truth, multi, parts, strength)) for strength in STRENGTHS]
    return min(tried, key=lambda entry: _loss(fitting.pool_all(entry[1], multi), truth, multi))


def _unseen(texts: Sequence[Embedded], truth: Bool, multi: bool, parts: Int, strength: float) -> list[Windows]:
    answers: dict[int, Windows] = {}
    for part in np.unique(parts):
        rest = np.flatnonzero(parts != part)
        head = fit([texts[int(i)] for i in rest], truth[rest], multi, strength)
        answers |= {int(i): head.answer(texts[int(i)]) for i in np.flatnonzero(parts == part)}
    return [answers[i] for i in range(len(texts))]


def _loss(logits: F64, truth: Bool, multi: bool) -> float:
    if multi:
        p = sigmoid(logits)
        return float(-np.log(np.clip(np.where(truth, p, 1 - p), 1e-12, None)).mean())
    return float(-np.log(np.clip(softmax(logits)[truth], 1e-12, None)).mean())
