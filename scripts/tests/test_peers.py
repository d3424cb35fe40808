"""The peers' way from texts to scores, on torch; the other engines are compared with it by bench_peers.py itself."""

from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from tasnif_train.evaluation import Request
from tasnif_train.peers import Peer, answer, torch_runs
from tasnif_train.shipped import Shipped

TINY = Path(__file__).parents[2] / "models/tiny"
TEXTS = ["Ministers met in Geneva.", "The team won the final by three goals to one.", "Oil"]


def peer(shared: bool, streams: int) -> Peer:
    shipped = Shipped.load(TINY)
    shipped = replace(shipped, layout=replace(shipped.layout, shared=shared))
    return Peer(shipped, torch_runs(TINY, torch.float32)(streams, 2), batch_tokens=64)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("streams", [1, 2])
def test_a_peer_answers_what_the_bundle_does(shared: bool, streams: int) -> None:
    tested = peer(shared, streams)
    expected = tested.shipped.classify([Request("", text, ()) for text in TEXTS])
    for scores, wanted in zip(tested.classify(TEXTS, ["oil"] * 3), expected, strict=True):
        assert scores == pytest.approx([score for score, _ in wanted.topics.values()], abs=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_a_target_is_a_pass_more(shared: bool) -> None:
    tested = peer(shared, 1)
    sequences, owners = tested.plan(TEXTS, ["oil"] * 3)
    assert owners == [0, 1, 2, 3, 4, 5]
    assert all(len(pair.ids) > len(alone.ids) for alone, pair in zip(sequences[:3], sequences[3:], strict=True))
    assert not any(sequence.branches for sequence in sequences)


def test_requests_are_answered_with_seconds() -> None:
    tested = peer(False, 1)
    assert len(answer(tested, {"what": "alone", "texts": TEXTS})["seconds"]) == 3
    assert answer(tested, {"what": "encoder", "texts": TEXTS})["positions"] > 3
    assert len(answer(tested, {"what": "together", "texts": TEXTS})["scores"]) == 3
