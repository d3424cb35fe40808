#!/usr/bin/env python3
"""How well labels given in a request are told apart, over HTTP against a running service.

    tasnif serve &
    scripts/evaluate_labels.py --data FOLDER                  # the sets of scripts/configs/labels.toml
    scripts/evaluate_labels.py --data FOLDER --by targets     # the same by the stance: 1 - unrelated
    scripts/evaluate_labels.py --data FOLDER --model my-nli

Prints a table in Markdown: accuracy and macro-F1 of the best label; precision, recall and F1 of the labels that reach
.5, and the calibration error of the scores (ECE). The last line says how the calibration of `[labels]` in tasnif.toml
would have to change to fit these sets, found on as many other rows of each. Texts that training took with labels of our
own (scripts/data/labelled.jsonl) are in neither.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tomllib
import urllib.request
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasnif_train.calibration import fit_logistic
from tasnif_train.metrics import counts, ece, f1

F64 = npt.NDArray[np.float64]
CHUNK = 8
"""Articles a request; the service takes 64 by default."""


@dataclass(frozen=True)
class Set:
    """A labelled sample."""

    name: str
    title: str
    labels: list[str]
    texts: list[str]
    truth: npt.NDArray[np.int64]
    groups: list[str]


def load(
    name: str, config: dict[str, Any], folder: Path, taught: Collection[str] = (), seed: int = 5
) -> tuple[Set, Set]:
    """Two samples of a set, to report on and to fit on; the same each time, without the rows that are `taught`."""
    names: dict[str, str] = config["labels"]
    labels = list(dict.fromkeys(names.values()))
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    with (folder / config["file"]).open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["category"] in names and row["id"] not in taught:
                groups[row[config["by"]]].append(row)
    rng = random.Random(seed)
    samples: tuple[list[dict[str, str]], list[dict[str, str]]] = ([], [])
    for group in sorted(groups):
        members = sorted(groups[group], key=lambda row: row["id"])
        rng.shuffle(members)
        size = min(config["sample"], len(members) // 2)
        samples[0].extend(members[:size])
        samples[1].extend(members[size : 2 * size])
    reported, fitted = (
        Set(
            name,
            config["title"],
            labels,
            [row["text"] for row in rows],
            np.array([labels.index(names[row["category"]]) for row in rows]),
            [row["lang"][:3] for row in rows],
        )
        for rows in samples
    )
    return reported, fitted


@dataclass(frozen=True)
class Service:
    """What is asked, and how."""

    url: str
    model: str | None
    by: str

    def scores(self, texts: Sequence[str], labels: Sequence[str]) -> F64:
        """A row for each text, a column for each label."""
        chunks = [texts[i : i + CHUNK] for i in range(0, len(texts), CHUNK)]
        with ThreadPoolExecutor(2) as pool:
            answers: Iterable[list[dict[str, Any]]] = pool.map(lambda chunk: self.ask(chunk, labels), chunks)
            verdicts = list(progress((verdict for answer in answers for verdict in answer), len(texts)))
        return np.array([self.row(verdict, labels) for verdict in verdicts])

    def ask(self, texts: Sequence[str], labels: Sequence[str]) -> list[dict[str, Any]]:
        question: dict[str, Any] = {"model": self.model} if self.model else {}
        question |= {self.by: labels, "tasks": ["topics" if self.by == "labels" else "stance"]}
        body = json.dumps({"articles": [question | {"text": text} for text in texts]}).encode()
        request = urllib.request.Request(
            f"{self.url}/v1/classify", body, {"Content-Type": "application/json"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=600) as response:
            verdicts: list[dict[str, Any]] = json.load(response)["verdicts"]
        for verdict in verdicts:
            if "error" in verdict:
                raise SystemExit(f"refused: {verdict['error']}")
        return verdicts

    def row(self, verdict: dict[str, Any], labels: Sequence[str]) -> list[float]:
        if self.by == "labels":
            found = {topic["label"]: topic["score"] for topic in verdict["topics"]}
            return [found[label] for label in labels]
        return [1 - stance["scores"]["unrelated"] for stance in verdict["stance"]]


def progress(verdicts: Iterable[dict[str, Any]], total: int) -> Iterator[dict[str, Any]]:
    for done, verdict in enumerate(verdicts, start=1):
        if sys.stderr.isatty() and (done % CHUNK == 0 or done == total):
            print(f"\r{done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)
        yield verdict


def figures(scores: F64, truth: npt.NDArray[np.int64]) -> list[float]:
    """Accuracy, macro-F1; precision, recall, F1 at .5; ECE."""
    labels = np.arange(scores.shape[1])
    true = labels == truth[:, None]
    best = labels == scores.argmax(1)[:, None]
    macro = [f1(*counts(true[:, label], best[:, label])) for label in labels]
    right, wrong, missed = counts(true, scores >= 0.5)
    return [
        float(best[true].mean()),
        float(np.mean(macro)),
        right / max(right + wrong, 1),
        right / max(right + missed, 1),
        f1(right, wrong, missed),
        ece(scores.ravel(), true.ravel()),
    ]


def refit(answers: Sequence[tuple[F64, npt.NDArray[np.int64]]]) -> tuple[float, float]:
    """a and b of p' = sigmoid(a * logit(p) + b), each set counting the same."""
    size = min(scores.shape[0] for scores, _ in answers)
    rng = np.random.default_rng(5)
    logits, truths = [], []
    for scores, truth in answers:
        rows = rng.permutation(len(scores))[:size]
        logits.append(np.log(scores[rows] / np.maximum(1 - scores[rows], 1e-9) + 1e-9).ravel())
        truths.append((np.arange(scores.shape[1]) == truth[rows, None]).ravel())
    features = np.stack([np.concatenate(logits), np.ones(sum(map(len, logits)))], axis=1)
    a, b = fit_logistic(features, np.concatenate(truths).astype(np.float64), np.array([1.0, 0.0]), np.zeros(2))
    return float(a), float(b)


def main() -> None:
    """Ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="where the sets' files are")
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "configs/labels.toml")
    parser.add_argument("--url", default="http://localhost:8080")
    parser.add_argument("--model", help="a model's name or alias [default: the service's own]")
    parser.add_argument("--by", choices=("labels", "targets"), default="labels")
    args = parser.parse_args()
    service = Service(args.url.rstrip("/"), args.model, args.by)
    labelled = Path(__file__).parent / "data/labelled.jsonl"
    with labelled.open(encoding="utf-8") as lines:
        taught = {json.loads(line)["id"] for line in lines}
    config = tomllib.loads(args.config.read_text())
    sets = [load(name, of, args.data, taught) for name, of in config.items()]

    print("| set | texts | labels | accuracy | macro-F1 | precision | recall | F1 at .5 | ECE |\n|---|" + "---|" * 8)
    answers = []
    for each, fitted in sets:
        scores = service.scores(each.texts, each.labels)
        answers.append((service.scores(fitted.texts, fitted.labels), fitted.truth))
        numbers = " | ".join(f"{value:.3f}".removeprefix("0") for value in figures(scores, each.truth))
        print(f"| {each.title} | {len(each.texts)} | {len(each.labels)} | {numbers} |", flush=True)
        groups = sorted(set(each.groups))
        if len(groups) > 1:
            right = scores.argmax(1) == each.truth
            accuracy = {g: right[[group == g for group in each.groups]].mean() for g in groups}
            print("\n" + ", ".join(f"{group} {value:.2f}" for group, value in accuracy.items()) + "\n")
    scale, bias = refit(answers)
    print(f"\nscale × {scale:.3f}, bias × {scale:.3f} {'+-'[bias < 0]} {abs(bias):.3f}")


if __name__ == "__main__":
    main()
