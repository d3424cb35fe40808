from typing import Any

import pytest
from conftest import OIL, TOPICS, VOTE, Ask, client

np = client("numpy")
triton = client("tritonclient.http")
utils = client("tritonclient.utils")


@pytest.fixture
def server(service: str) -> Any:
    with triton.InferenceServerClient(service.removeprefix("http://")) as server:
        yield server


def tensor(name: str, texts: Any, binary: bool) -> Any:
    tensor = triton.InferInput(name, [len(texts)], "BYTES")
    tensor.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=object), binary_data=binary)
    return tensor


def test_health_and_metadata(server: Any) -> None:
    assert server.is_server_live()
    assert server.is_server_ready()
    assert server.is_model_ready("tiny")
    assert server.is_model_ready("tiny", "1.0.0")
    assert not server.is_model_ready("none")
    assert server.get_server_metadata()["name"] == "tasnif"
    metadata = server.get_model_metadata("tiny")
    assert [tensor["name"] for tensor in metadata["inputs"]] == ["text"]
    assert {tensor["name"]: tensor["datatype"] for tensor in metadata["outputs"]} == {
        "scores": "FP32",
        "labels": "BYTES",
    }


@pytest.mark.parametrize("binary_input", [True, False])
@pytest.mark.parametrize("binary_output", [True, False, None])
def test_infer(server: Any, native: Ask, binary_input: bool, binary_output: bool | None) -> None:
    outputs = None
    if binary_output is not None:
        outputs = [triton.InferRequestedOutput(name, binary_data=binary_output) for name in ("scores", "labels")]
    answer = server.infer("tiny", [tensor("text", [OIL, VOTE], binary_input)], outputs=outputs, request_id="7")
    assert answer.get_response()["id"] == "7"
    scores, labels = answer.as_numpy("scores"), answer.as_numpy("labels")
    assert scores.shape == labels.shape == (2, 3)
    assert scores.dtype == np.float32
    for row, names, text in zip(scores, labels, [OIL, VOTE], strict=True):
        names = [name.decode() if isinstance(name, bytes) else name for name in names]
        assert dict(zip(names, row.tolist(), strict=True)) == pytest.approx(native(text), abs=1e-4)


def test_a_version_and_a_target(server: Any, native: Ask) -> None:
    inputs = [tensor("text", [VOTE], True), tensor("target", ["الحكومة"], True)]
    answer = server.infer("tiny", inputs, model_version="1.0.0")
    labels = [label.decode() for label in answer.as_numpy("labels")[0]]
    scores = dict(zip(labels, answer.as_numpy("scores")[0].tolist(), strict=True))
    assert scores == pytest.approx(native(VOTE, "الحكومة"), abs=1e-4)


def test_classification_extension(server: Any, native: Ask) -> None:
    wanted = triton.InferRequestedOutput("scores", class_count=2)
    answer = server.infer("tiny", [tensor("text", [OIL], True)], outputs=[wanted])
    best = [entry.decode().split(":") for entry in answer.as_numpy("scores")[0]]
    assert len(best) == 2
    assert {label for _, _, label in best} < TOPICS
    for score, _, label in best:
        assert float(score) == pytest.approx(native(OIL)[label], abs=1e-4)


def test_failures_are_told(server: Any) -> None:
    with pytest.raises(utils.InferenceServerException, match="none"):
        server.infer("none", [tensor("text", [OIL], True)])
    with pytest.raises(utils.InferenceServerException, match="empty"):
        server.infer("tiny", [tensor("text", [" "], True)])
