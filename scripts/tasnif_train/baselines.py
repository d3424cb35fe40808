"""Stance told by the target alone or by the text alone: how far the shortcut goes that a model must not take.

Character n-grams (2 to 5, within words: they need no tokenizer and cover every script) and logistic regression, fitted
on the pairs of the training split. Of the strengths of regularisation the one that does best on the measured pairs
counts, which favours the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tasnif_train import evaluation
from tasnif_train.data import STANCES, UNRELATED, Article, Pair

STRENGTHS = (0.3, 3.0)
"""scikit-learn's C."""
FEATURES = 100_000


def fit(
    training: Sequence[Article], articles: Sequence[Article], reads: Callable[[Article, Pair], str]
) -> dict[str, float]:
    """Macro-F1 of favor, against and neutral on the pairs of `articles`, by C; `reads` gives what is looked at."""

    def pairs(of: Sequence[Article]) -> tuple[list[str], list[int], list[int]]:
        """What is read, each text once; its row for each pair; the stance of the pair."""
        own = [(reads(a, p), p.stance) for a in of for p in a.pairs if p.stance != UNRELATED]
        texts = {text: None for text, _ in own}
        row = {text: i for i, text in enumerate(texts)}
        return list(texts), [row[text] for text, _ in own], [stance for _, stance in own]

    known, rows, stances = pairs(training)
    asked, asked_rows, truth = pairs(articles)
    vectorizer = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(2, 5), min_df=2, max_features=FEATURES, sublinear_tf=True
    )
    features, unseen = vectorizer.fit_transform(known)[rows], vectorizer.transform(asked)[asked_rows]
    scored = {}
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=200, tol=1e-3).fit(features, stances)
        scores = np.zeros((len(truth), len(STANCES)))
        scores[:, model.classes_] = model.predict_proba(unseen)
        scored[f"C {strength:g}"] = evaluation.three_way(truth, scores.tolist())
    return scored


def shortcuts(training: Sequence[Article], articles: Sequence[Article]) -> dict[str, float]:
    """The best of each kind."""
    return {
        "trained, target alone": max(fit(training, articles, lambda _, pair: pair.target).values()),
        "trained, text alone": max(fit(training, articles, lambda article, _: article.text).values()),
    }
