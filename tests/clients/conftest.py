"""The running program, for clients of other systems that talk to it unchanged."""

import json
import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Protocol

import pytest

REPOSITORY = Path(__file__).parents[2]
TOPICS = {"politics", "sport", "cybersecurity"}
OIL = "Oil prices rose on world markets."
VOTE = "خسرت الحكومة التصويت في البرلمان."


class Ask(Protocol):
    """Asks the program's own API of a text: the scores of its topics, or of the stance toward a target."""

    def __call__(self, text: str, target: str | None = None) -> dict[str, float]: ...


def client(name: str) -> ModuleType:
    """A client's module; whoever lacks it skips its tests, but CI doesn't."""
    if os.environ.get("CI"):
        return __import__(name, fromlist=["_"])
    return pytest.importorskip(name, exc_type=ImportError)


@pytest.fixture(scope="session")
def service() -> Iterator[str]:
    """The address of the program, which serves models/tiny."""
    binary = os.environ.get("TASNIF", str(REPOSITORY / "target/debug/tasnif"))
    command = [binary, "serve", "--port", "0", "--log-format", "json", "--models", "models", "--model", "tiny"]
    process = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        address = next(line for line in process.stderr if "listening on " in line)
        # Somebody must read on, or the program would block on a full pipe.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        address = "http://" + address.split("listening on http://")[1].split('"')[0].split()[0]
        wait_until_ready(address)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_until_ready(address: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(f"{address}/health/ready"):
                return
        except urllib.error.HTTPError:
            time.sleep(0.1)
    raise TimeoutError("not ready within a minute")


@pytest.fixture(scope="session")
def native(service: str) -> Ask:
    def ask(text: str, target: str | None = None) -> dict[str, float]:
        article = {"text": text, "targets": [target] if target else []}
        body = json.dumps(article).encode()
        request = urllib.request.Request(f"{service}/v1/classify", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            verdict = json.load(answer)
        if target:
            scores: dict[str, float] = verdict["stance"][0]["scores"]
            return scores
        return {topic["label"]: topic["score"] for topic in verdict["topics"]}

    return ask
