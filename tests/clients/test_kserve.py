import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import OIL, VOTE, Ask, client

kserve = client("kserve")
np = client("numpy")


def ask(protocol: str, question: Callable[[Any], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with kserve.InferenceRESTClient(kserve.RESTConfig(protocol=protocol)) as rest:
            return await question(rest)

    return asyncio.run(run())


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_readiness(service: str, protocol: str) -> None:
    assert ask(protocol, lambda rest: rest.is_model_ready(service, "tiny"))
    if protocol == "v2":
        assert ask(protocol, lambda rest: rest.is_server_ready(service))
        assert ask(protocol, lambda rest: rest.is_server_live(service))
        assert not ask(protocol, lambda rest: rest.is_model_ready(service, "none"))


def test_v1(service: str, native: Ask) -> None:
    instances = {"instances": [OIL, {"text": VOTE, "target": "الحكومة"}]}
    answer = ask("v1", lambda rest: rest.infer(service, instances, model_name="tiny"))
    topics, stance = ({entry["label"]: entry["score"] for entry in row} for row in answer["predictions"])
    assert topics == pytest.approx(native(OIL), abs=1e-4)
    assert stance == pytest.approx(native(VOTE, "الحكومة"), abs=1e-4)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("binary_output", [True, False])
def test_v2(service: str, native: Ask, binary: bool, binary_output: bool | None) -> None:
    tensor = kserve.InferInput("text", [2], "BYTES")
    tensor.set_data_from_numpy(np.array([OIL.encode(), VOTE.encode()], dtype=object), binary_data=binary)
    parameters = {"binary_data_output": True} if binary_output else None
    request = kserve.InferRequest("tiny", [tensor], request_id="7", parameters=parameters)
    answer = ask("v2", lambda rest: rest.infer(service, request, model_name="tiny"))
    assert answer.id == "7"
    assert answer.model_name == "tiny"
    scores, labels = (output.as_numpy() for output in answer.outputs)
    assert scores.shape == labels.shape == (2, 3)
    for row, names, text in zip(scores, labels, [OIL, VOTE], strict=True):
        names = [name.decode() if isinstance(name, bytes) else name for name in names]
        assert dict(zip(names, row.tolist(), strict=True)) == pytest.approx(native(text), abs=1e-4)


def test_failures_are_told(service: str) -> None:
    with pytest.raises(Exception, match=r"none.*404"):
        ask("v1", lambda rest: rest.infer(service, {"instances": [OIL]}, model_name="none"))
