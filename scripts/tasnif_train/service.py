"""A running tasnif as something that answers requests."""

from __future__ import annotations

import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tasnif_train.data import STANCES
from tasnif_train.evaluation import Answer, Request

log = logging.getLogger("service")


def parse_verdict(verdict: dict[str, Any]) -> Answer:
    """A verdict of the service; one with an `error` ends the evaluation, for its figures would lie."""
    if "error" in verdict:
        raise RuntimeError(f"article {verdict.get('id')}: {verdict['error']}")
    topics = {t["label"]: (float(t["score"]), bool(t["assigned"])) for t in verdict["topics"]}
    stance = [[float(entry["scores"][name]) for name in STANCES] for entry in verdict["stance"]]
    return Answer(topics, stance)


@dataclass(frozen=True)
class Service:
    """A running tasnif. A request that its full queue refuses is sent again, up to `tries` times."""

    url: str
    model: str | None = None
    batch: int = 16
    timeout: float = 300.0
    tries: int = 20

    def call(self, body: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/classify"""
        data = json.dumps(body, ensure_ascii=False).encode()
        url = self.url.rstrip("/") + "/v1/classify"
        request = urllib.request.Request(url, data, {"content-type": "application/json"}, method="POST")
        for left in reversed(range(self.tries)):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    answer: dict[str, Any] = json.load(response)
                    return answer
            except urllib.error.HTTPError as error:
                if error.code != 429 or not left:
                    raise RuntimeError(f"{self.url} answered {error.code}: {error.read().decode()[:500]}") from error
                time.sleep(float(error.headers.get("retry-after", 1)))
        raise AssertionError("the last try returns or raises")

    def version(self) -> str:
        """NAME VERSION of the model that answers."""
        model = self.call({"text": "…"} | ({"model": self.model} if self.model else {}))["model"]
        return f"{model['name']} {model['version']}"

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
            answers += [parse_verdict(verdict) for verdict in self.call({"articles": articles})["verdicts"]]
            log.info("%d of %d", len(answers), len(requests))
        return answers
