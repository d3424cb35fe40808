#!/usr/bin/env python3
"""Fit calibration and thresholds of a bundle on the held-out split, from the weights as shipped.

Topics: Platt scaling per label, shrunk towards a fit that all labels share, since some labels have no ten positives
there; then a threshold per label that maximises F1, shrunk towards the common one. Stance: a temperature and a bias
per class. The figures that are reported are cross-validated: fitted on one half of the split, measured on the other,
both ways round; what ships is fitted on all of it.

Rewrites tasnif.toml and golden.jsonl of the bundle in place.

    scripts/calibrate.py --bundle models/default --data ../shared/data --report runs/default/calibration.json
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tasnif_train import bundle, data, metrics
from tasnif_train import config as configuration
from tasnif_train.calibration import (
    StanceCalibration,
    TopicCalibration,
    fit_stance,
    fit_topics,
    pool_stance,
    pool_topics,
)
from tasnif_train.predict import HeldOut, Windowed, held_out_questions, predict
from tasnif_train.shipped import Shipped, rewrite_golden

log = logging.getLogger("calibrate")

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Answers:
    """Raw logits of the held-out questions, arranged for fitting.

    `owner`, `windowed` and `truth` have a row for each stance question: pairs and foreign targets, then the main
    subject of each article that has pairs.
    """

    topics: npt.NDArray[np.float64]
    topic_truth: npt.NDArray[np.bool_]
    windowed: list[Windowed]
    truth: npt.NDArray[np.int64]
    owner: npt.NDArray[np.int64]
    pairs: int
    languages: list[str]

    @staticmethod
    def collect(held: HeldOut, answers: Sequence[Windowed], labels: Sequence[str]) -> Answers:
        main = [i for i, article in enumerate(held.articles) if article.pairs]
        return Answers(
            np.array([pool_topics(a.topics) for a in answers[held.empty]]),
            np.array([[label in a.topics for label in labels] for a in held.articles]),
            [*answers[held.pairs], *(answers[i] for i in main)],
            np.concatenate([held.truth, [held.articles[i].pairs[0].stance for i in main]]),
            np.concatenate([held.pair_article, main]),
            len(held.truth),
            [article.lang for article in held.articles],
        )

    def fit(self, articles: Rows) -> tuple[TopicCalibration, StanceCalibration]:
        """Fit on these articles. Stance uses those that are one window long: pooled scores have no logits."""
        chosen = np.isin(self.owner, articles)
        single = np.array([len(w.tokens) == 1 for w in self.windowed])
        rows = np.flatnonzero(chosen & single)
        logits = np.array([self.windowed[i].stance[0] for i in rows])
        return (
            fit_topics(self.topics[articles], self.topic_truth[articles]),
            fit_stance(logits, self.truth[rows]),
        )

    def stance_scores(self, rows: Rows, calibration: StanceCalibration) -> npt.NDArray[np.float64]:
        return np.array([pool_stance(self.windowed[i].stance, self.windowed[i].tokens, calibration) for i in rows])


def cross_validate(answers: Answers, labels: Sequence[str], seed: int = 5) -> dict[str, Any]:
    """Figures at identity and as fitted on the other half."""
    order = np.random.default_rng(seed).permutation(len(answers.topics))
    halves = [order[::2], order[1::2]]
    scores = np.zeros(answers.topics.shape)
    assigned = np.zeros(answers.topics.shape, dtype=bool)
    stance = np.zeros((len(answers.truth), 4))
    for fitted_on, measured_on in (halves, halves[::-1]):
        topic_fit, stance_fit = answers.fit(fitted_on)
        scores[measured_on] = topic_fit.apply(answers.topics[measured_on])
        assigned[measured_on] = scores[measured_on] >= topic_fit.threshold
        rows = np.flatnonzero(np.isin(answers.owner, measured_on))
        stance[rows] = answers.stance_scores(rows, stance_fit)
    everything = np.arange(len(answers.truth))
    raw_topics = TopicCalibration(np.ones(len(labels)), np.zeros(len(labels))).apply(answers.topics)
    raw_stance = answers.stance_scores(everything, StanceCalibration())

    def stance_figures(of: npt.NDArray[np.float64]) -> dict[str, Any]:
        pairs, truth = answers.pairs, answers.truth
        return {
            "pairs": metrics.stance_metrics(truth[:pairs], of[:pairs], data.STANCES),
            "main_subject": metrics.stance_metrics(truth[pairs:], of[pairs:], data.STANCES),
        }

    languages: dict[str, dict[str, Any]] = {}
    for lang, _ in Counter(answers.languages).most_common():
        rows = np.flatnonzero(np.array(answers.languages) == lang)
        pairs = np.flatnonzero(np.isin(answers.owner[: answers.pairs], rows))
        truth = answers.truth[pairs]
        languages[lang] = {
            "articles": len(rows),
            "micro_f1": metrics.f1(*metrics.counts(answers.topic_truth[rows], assigned[rows])),
            "pairs": int((truth != data.UNRELATED).sum()),
            "stance_macro_f1_3": metrics.stance_metrics(truth, stance[pairs], data.STANCES)["macro_f1_3"],
        }
    return {
        "articles": len(answers.topics),
        "languages": languages,
        "topics_before": metrics.topic_metrics(answers.topic_truth, raw_topics, raw_topics >= 0.5, labels),
        "topics_after": metrics.topic_metrics(answers.topic_truth, scores, assigned, labels),
        "stance_before": stance_figures(raw_stance),
        "stance_after": stance_figures(stance),
    }


def calibrated(manifest: bundle.Manifest, topics: TopicCalibration, stance: StanceCalibration) -> bundle.Manifest:
    labels = tuple(
        replace(
            label,
            threshold=round(float(topics.threshold[i]), 4),
            scale=round(float(topics.scale[i]), 4),
            bias=round(float(topics.bias[i]), 4),
        )
        for i, label in enumerate(manifest.labels)
    )
    b0, b1, b2, b3 = (round(b, 4) for b in stance.bias)
    return replace(manifest, labels=labels, temperature=round(stance.temperature, 4), stance_bias=(b0, b1, b2, b3))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "configs/default.toml")
    parser.add_argument("--bundle", type=Path, default=Path("models/default"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--report", type=Path, default=Path("runs/default/calibration.json"))
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.threads:
        torch.set_num_threads(args.threads)
    config = configuration.load(args.config)
    _, articles = configuration.read_split(config, args.data)
    shipped = Shipped.load(args.bundle)
    labels = [label.id for label in shipped.manifest.labels]
    held = held_out_questions(articles)
    log.info("%d articles, %d questions", len(articles), len(held.questions))
    windowed = predict(shipped.model, shipped.tokenizer, shipped.layout, held.questions)
    answers = Answers.collect(held, windowed, labels)
    report = cross_validate(answers, labels)
    topics, stance = answers.fit(np.arange(len(articles)))
    manifest = calibrated(shipped.manifest, topics, stance)
    rewrite_golden(args.bundle, manifest)
    bundle.write_manifest(args.bundle, manifest)
    args.report.parent.mkdir(parents=True, exist_ok=True)
    args.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for when in ("before", "after"):
        t, s = report[f"topics_{when}"], report[f"stance_{when}"]["pairs"]
        log.info(
            "%s: topics micro %.3f macro %.3f ECE %.3f | stance macro3 %.3f macro4 %.3f ECE %.3f",
            *(when, t["micro_f1"], t["macro_f1"], t["ece"], s["macro_f1_3"], s["macro_f1_4"], s["ece"]),
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
