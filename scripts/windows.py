#!/usr/bin/env python3
"""Compare ways to make one answer of a long article's windows, for topics: largest logit, mean, log-sum-exp, noisy-or.

In torch on the shipped weights, with the calibration and thresholds as they are: on the tuning split, and on long
articles of two topics joined from it (tasnif_train/probes.py).

    scripts/windows.py --bundle models/default --data ../shared/data --json runs/default/windows.json
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tasnif_train import config as configuration
from tasnif_train import markdown, metrics, probes
from tasnif_train.calibration import TopicCalibration, pool_topics
from tasnif_train.metrics import F64
from tasnif_train.predict import Question, Windowed, predict
from tasnif_train.progress import progress
from tasnif_train.shipped import Shipped


def mean(windows: Windowed) -> F64:
    return np.asarray(np.average(windows.topics, axis=0, weights=windows.tokens), dtype=np.float64)


def log_mean_exp(windows: Windowed) -> F64:
    return np.asarray(np.logaddexp.reduce(windows.topics, axis=0) - np.log(len(windows.tokens)), dtype=np.float64)


def log_sum_exp(windows: Windowed) -> F64:
    return np.asarray(np.logaddexp.reduce(windows.topics, axis=0), dtype=np.float64)


def poolings(calibration: TopicCalibration) -> dict[str, Callable[[Windowed], F64]]:
    """Each from the windows of an article to its scores."""

    def noisy_or(windows: Windowed) -> F64:
        return np.asarray(1 - np.prod(1 - calibration.apply(windows.topics), axis=0), dtype=np.float64)

    return {
        "largest logit": lambda windows: calibration.apply(pool_topics(windows.topics)),
        "mean logit": lambda windows: calibration.apply(mean(windows)),
        "log-mean-exp": lambda windows: calibration.apply(log_mean_exp(windows)),
        "log-sum-exp": lambda windows: calibration.apply(log_sum_exp(windows)),
        "noisy-or": noisy_or,
    }


def figures(scores: F64, truth: metrics.Bool, threshold: F64) -> dict[str, float]:
    assigned = scores >= threshold
    tp, fp, fn = metrics.counts(truth, assigned)
    return {
        "micro_f1": metrics.f1(tp, fp, fn),
        "recall": tp / max(tp + fn, 1),
        "precision": tp / max(tp + fp, 1),
        "ece": metrics.ece(scores.ravel(), truth.ravel()),
    }


def compare(shipped: Shipped, parts: dict[str, tuple[Sequence[Windowed], metrics.Bool]]) -> dict[str, Any]:
    """By part of the data, by pooling."""
    return {
        part: {
            name: figures(np.array([pool(w) for w in windows]), truth, shipped.topics.threshold)
            for name, pool in poolings(shipped.topics).items()
        }
        for part, (windows, truth) in parts.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "configs/default.toml")
    parser.add_argument("--bundle", type=Path, default=Path("models/default"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mixtures", type=int, default=20, help="long articles of two topics")
    parser.add_argument("--positions", type=int, nargs="+", default=[0, 4, 9], help="of the other topic, 0 to 9")
    parser.add_argument("--limit", type=int, help="only so many articles of the tuning split")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.threads:
        torch.set_num_threads(args.threads)
    config = configuration.load(args.config)
    _, articles = configuration.read_split(config, args.data)
    mixed = [(m, k) for m in probes.mixtures(articles, args.mixtures) for k in args.positions]
    articles = articles[: args.limit]
    shipped = Shipped.load(args.bundle)
    labels = [label.id for label in shipped.manifest.labels]
    questions = [Question(a.text) for a in articles] + [Question(m.at(k)) for m, k in mixed]
    with progress("windows", "window") as tell:
        windows = predict(shipped.model, shipped.tokenizer, shipped.layout, questions, progress=tell)
    wanted = [a.topics for a in articles] + [{m.host, m.guest} for m, _ in mixed]
    truth = np.array([[label in topics for label in labels] for topics in wanted])
    several = [i for i in range(len(articles)) if len(windows[i].tokens) > 1]
    parts = {
        "tuning split": range(len(articles)),
        "tuning split, several windows": several,
        "two topics in ten texts": range(len(articles), len(questions)),
    }
    compared = compare(
        shipped, {k: ([windows[i] for i in rows], truth[list(rows)]) for k, rows in parts.items() if rows}
    )
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(compared, indent=1) + "\n", encoding="utf-8")
    rows = [
        [part, len(parts[part]), name, v["micro_f1"], v["recall"], v["precision"], v["ece"]]
        for part, by_name in compared.items()
        for name, v in by_name.items()
    ]
    header = ["", "Articles", "Pooling", "Micro-F1", "Recall", "Precision", "ECE"]
    sys.stdout.write("\n".join(markdown.table(header, rows)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
