import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pytest

from tasnif_train import evaluation, markdown
from tasnif_train.apart import Shingled
from tasnif_train.calibration import StanceCalibration, TopicCalibration
from tasnif_train.data import Article, Pair
from tasnif_train.evaluation import Answer, Request
from tasnif_train.service import Service

ARTICLES = [
    Article("1", "ar", "s1", "mit", "about banks", frozenset({"a"}), pairs=(Pair("rates", 0),), primary="a"),
    Article("2", "en", "s2", "mit", "about cups", frozenset({"b"}), pairs=(Pair("finals", 1),), primary="b"),
]


class Oracle:
    """Knows the answers; a target of another article is unrelated."""

    def classify(self, requests: Sequence[Request]) -> list[Answer]:
        known = {a.id: a for a in ARTICLES}
        answers = []
        for request in requests:
            article = known[request.id]
            topics = {label: (0.9, True) if label in article.topics else (0.1, False) for label in ("a", "b")}
            own = {pair.target: pair.stance for pair in article.pairs}
            stances = [own.get(t, 3) for t in request.targets] or [article.pairs[0].stance]
            answers.append(Answer(topics, [[float(i == s) for i in range(4)] for s in stances]))
        return answers


def test_an_oracle_gets_everything_right() -> None:
    judged = evaluation.ask(Oracle(), ARTICLES)
    assert judged.foreign == ["finals", "rates"]
    report = evaluation.report(judged, ["a", "b"])
    assert report["topics"]["micro_f1"] == 1.0
    assert report["topics"]["primary_in_top2"] == 1.0
    assert report["stance"]["accuracy"] == 1.0
    assert report["stance"]["pairs"] == 4
    assert set(report["languages"]) == {"ar", "en"}
    assert "| Topics: micro-F1 | 1.0 |" in markdown.evaluation(report, "all")
    assert report["confusion"] == [[1, 0], [0, 1]]
    assert report["precision_recall"]["a"] == [(1.0, 1.0)]


def test_languages_of_training_stand_apart() -> None:
    report = evaluation.report(evaluation.ask(Oracle(), ARTICLES), ["a", "b"], seen=["en"])
    assert {name: group["topics"]["articles"] for name, group in report["training"].items()} == {"seen": 1, "unseen": 1}


def test_texts_that_training_reads_too_stand_apart() -> None:
    judged = evaluation.ask(Oracle(), ARTICLES)
    report = evaluation.report(judged, ["a", "b"], elsewhere=Shingled([ARTICLES[0].text]))
    assert {name: group["topics"]["articles"] for name, group in report["elsewhere"].items()} == {"yes": 1, "no": 1}
    assert "| In a set that training reads too |" in markdown.evaluation(report, "all")
    assert not evaluation.report(judged, ["a", "b"])["elsewhere"]


def test_shortcuts_are_those_of_the_text_or_the_target_left_out() -> None:
    class Reader(Oracle):
        """Reads the text alone: beside a text that says nothing it is in favor of everything."""

        def classify(self, requests: Sequence[Request]) -> list[Answer]:
            answers = super().classify(requests)
            blind = [[1.0, 0.0, 0.0, 0.0]]
            return [
                Answer(a.topics, blind * len(a.stance)) if r.text == evaluation.NOTHING else a
                for r, a in zip(requests, answers, strict=True)
            ]

    shortcuts = evaluation.report(evaluation.ask(Reader(), ARTICLES), ["a", "b"])["shortcuts"]
    assert shortcuts["model"] == shortcuts["served, text alone"] == pytest.approx(2 / 3)
    assert shortcuts["served, target alone"] == pytest.approx((2 / 3) / 3)


def test_calibration_before_is_that_of_the_logits() -> None:
    fitted = TopicCalibration(np.array([2.0, 2.0]), np.array([0.5, 0.5])), StanceCalibration(2.0, (0.1, 0.2, 0.0, 0.0))
    logits, stance = np.array([1.5, -2.0]), np.array([2.0, 0.0, 1.0, -1.0])
    topics, scores = fitted[0].apply(logits), fitted[1].apply(stance)
    assert fitted[0].invert(topics) == pytest.approx(logits)
    assert np.diff(fitted[1].invert(scores)) == pytest.approx(np.diff(stance))

    class Fixed:
        def classify(self, requests: Sequence[Request]) -> list[Answer]:
            named = {label: (float(p), bool(p > 0.5)) for label, p in zip("ab", topics, strict=True)}
            return [Answer(named, [scores.tolist()] * max(len(r.targets), 1)) for r in requests]

    report = evaluation.report(evaluation.ask(Fixed(), ARTICLES[:1]), ["a", "b"], fitted=fitted)
    states = report["calibration"]["topics"]
    raw = 1 / (1 + np.exp(-logits))
    assert states["before"]["ece"] == pytest.approx(((1 - raw[0]) + raw[1]) / 2)
    assert states["after"]["ece"] == pytest.approx(((1 - topics[0]) + topics[1]) / 2)


def test_the_most_confident_errors_are_shown_once_a_label() -> None:
    class Sure:
        """Gives every article topic a, the first more surely, and is against everything."""

        def classify(self, requests: Sequence[Request]) -> list[Answer]:
            score = {"1": 0.9, "2": 0.8, "3": 0.7}
            return [
                Answer({"a": (score[r.id], True), "b": (0.2, False)}, [[0.1, 0.8, 0.1, 0.0]] * max(len(r.targets), 1))
                for r in requests
            ]

    third = Article("3", "en", "s2", "mit", "about cups", frozenset({"b"}), pairs=(Pair("cups", 2),), primary="b")
    errors = evaluation.errors(evaluation.ask(Sure(), [*ARTICLES, third]), ["a", "b"])
    assert [(e["label"], e["score"]) for e in errors["wrong"]] == [("a", 0.8)]
    assert [(e["label"], e["wanted"]) for e in errors["missed"]] == [("b", ["b"])]
    assert {(e["wanted"], e["got"]) for e in errors["stance"]} == {("favor", "against"), ("neutral", "against")}


@pytest.fixture
def refusals() -> list[int]:
    """Statuses with which the service answers before it does as it is asked."""
    return []


@pytest.fixture
def service(refusals: list[int]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if refusals:
                self.send_response(refusals.pop())
                self.send_header("retry-after", "0")
                self.send_header("content-length", "0")
                self.end_headers()
                return
            asked = [Request(a["id"], a["text"], tuple(a.get("targets", ()))) for a in body["articles"]]
            names = ("favor", "against", "neutral", "unrelated")
            verdicts = [
                {
                    "id": r.id,
                    "model": {"name": "made", "version": "0.1.0"},
                    "topics": [{"label": k, "score": s, "assigned": on} for k, (s, on) in a.topics.items()],
                    "stance": [{"scores": dict(zip(names, row, strict=True))} for row in a.stance],
                }
                for r, a in zip(asked, Oracle().classify(asked), strict=True)
            ]
            answer = json.dumps({"verdicts": verdicts}).encode()
            self.send_response(200 if self.path == "/v1/classify" else 404)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_service_is_asked_as_the_contract_says(service: str) -> None:
    asked = Service(service, batch=1)
    assert evaluation.ask(asked, ARTICLES) == evaluation.ask(Oracle(), ARTICLES)


def test_a_full_queue_is_asked_again(service: str, refusals: list[int]) -> None:
    refusals += [429, 429]
    assert len(Service(service).classify([Request("1", "about banks")])) == 1
    refusals += [429, 429]
    with pytest.raises(RuntimeError, match="429"):
        Service(service, tries=2).classify([Request("1", "about banks")])


def test_an_error_of_the_service_ends_the_evaluation(service: str) -> None:
    with pytest.raises(RuntimeError, match="404"):
        Service(service + "/nowhere").classify([Request("1", "x")])
