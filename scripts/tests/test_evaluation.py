import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from evaluate import Service
from tasnif_train import evaluation
from tasnif_train.data import Article, Pair
from tasnif_train.evaluation import Answer, Request

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
    assert "| Topics: micro-F1 | 1.0 |" in evaluation.markdown(report, "all")


@pytest.fixture
def service() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked = [Request(a["id"], a["text"], tuple(a.get("targets", ()))) for a in body["articles"]]
            names = ("favor", "against", "neutral", "unrelated")
            verdicts = [
                {
                    "id": r.id,
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


def test_an_error_of_the_service_ends_the_evaluation(service: str) -> None:
    with pytest.raises(RuntimeError, match="404"):
        Service(service + "/nowhere").classify([Request("1", "x")])
