#!/usr/bin/env python3
"""Measure a served model on annotated articles: topics, stance, calibration; as JSON and as Markdown.

The articles are posted to a running service (POST /v1/classify), so that what is measured is what answers: the
compiled engine with its windows, int8 weights and thresholds. Each article is asked twice: without targets (topics
and the stance of its main subject), and with its own targets plus one taken from an article that shares no topic with
it, which should come out as `unrelated`.

    tasnif serve &
    scripts/evaluate.py --url http://127.0.0.1:8080 ../shared/data/annotated.test.jsonl.xz --json report.json

--torch runs the same figures on a bundle through torch, for use while no service is at hand; its report says so.
--held-out keeps only the articles of the tuning split, out of the file that was trained on.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasnif_train import data, evaluation
from tasnif_train.data import STANCES
from tasnif_train.evaluation import Answer, Request

log = logging.getLogger("evaluate")


def parse_verdict(verdict: dict[str, Any]) -> Answer:
    """A verdict of the service; one with an `error` ends the evaluation, for its figures would lie."""
    if "error" in verdict:
        raise RuntimeError(f"article {verdict.get('id')}: {verdict['error']}")
    topics = {t["label"]: (float(t["score"]), bool(t["assigned"])) for t in verdict["topics"]}
    stance = [[float(entry["scores"][name]) for name in STANCES] for entry in verdict["stance"]]
    return Answer(topics, stance)


@dataclass(frozen=True)
class Service:
    """A running tasnif."""

    url: str
    model: str | None = None
    batch: int = 16
    timeout: float = 300.0

    def post(self, articles: list[dict[str, Any]]) -> list[dict[str, Any]]:
        body = json.dumps({"articles": articles}, ensure_ascii=False).encode()
        request = urllib.request.Request(
            self.url.rstrip("/") + "/v1/classify", body, {"content-type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                verdicts: list[dict[str, Any]] = json.load(response)["verdicts"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{self.url} answered {error.code}: {error.read().decode()[:500]}") from error
        return verdicts

    def classify(self, requests: Sequence[Request]) -> list[Answer]:
        answers: list[Answer] = []
        for start in range(0, len(requests), self.batch):
            articles = []
            for request in requests[start : start + self.batch]:
                article: dict[str, Any] = {"id": request.id, "text": request.text}
                if request.targets:
                    article["targets"] = list(request.targets)
                if self.model:
                    article["model"] = self.model
                articles.append(article)
            answers += [parse_verdict(verdict) for verdict in self.post(articles)]
            log.info("%d of %d", len(answers), len(requests))
        return answers


def torch_backend(folder: Path) -> evaluation.Backend:
    from tasnif_train.shipped import Shipped

    return Shipped.load(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="annotated articles, .jsonl or .jsonl.xz")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--url", help="base address of a running service")
    where.add_argument("--torch", type=Path, metavar="BUNDLE", help="a bundle, run in torch instead")
    parser.add_argument("--model", help="ask the service for this model")
    parser.add_argument("--held-out", action="store_true", help="only the tuning split of the file")
    parser.add_argument("--holdout-percent", type=int, default=10)
    parser.add_argument("--languages", nargs="*", help="only these")
    parser.add_argument("--limit", type=int, help="only the first so many")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--markdown", type=Path, help="write the tables here (default: standard output)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    articles = [data.parse_annotated(row) for row in data.read_jsonl(args.file)]
    if args.held_out:
        _, articles = data.split(articles, args.holdout_percent)
    if args.languages:
        articles = [a for a in articles if a.lang in args.languages]
    articles = articles[: args.limit]
    backend = torch_backend(args.torch) if args.torch else Service(args.url, args.model)
    judged = evaluation.ask(backend, articles)
    labels = sorted({label for answer in judged.main for label in answer.topics})
    engine = f"torch, bundle {args.torch.name}" if args.torch else "the tasnif service"
    name = args.file.name.split(".jsonl")[0] + (
        ", tuning split (which the calibration was fitted on)" if args.held_out else ""
    )
    figures = {"engine": engine, "data": name, **evaluation.report(judged, labels)}
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    text = evaluation.markdown(figures, f"{name} ({engine})")
    if args.markdown:
        args.markdown.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
