"""The manifests under deploy/ray and deploy/kserve: their pods against Kubernetes' own JSON schemas."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

ROOT = Path(__file__).parents[2]


def load(path: str) -> dict[str, Any]:
    (document,) = yaml.safe_load_all((ROOT / "deploy" / path).read_text(encoding="utf-8"))
    return dict(document)


def check(spec: dict[str, Any]) -> None:
    """Strict: a field that a pod doesn't have is an error."""
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    kubernetes_validate.validate(pod, "1.31", strict=True)


# What of a predictor is KServe's own; the rest of it is a pod's spec.
KSERVE = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget"}


def test_kserve() -> None:
    service = load("kserve/inference-service.yaml")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert set(service["spec"]) == {"predictor"}
    predictor = service["spec"]["predictor"]
    check({key: value for key, value in predictor.items() if key not in KSERVE})
    with pytest.raises(kubernetes_validate.ValidationError):
        check(predictor)
    (container,) = predictor["containers"]
    routes = (ROOT / "src/http/routes.rs").read_text(encoding="utf-8")
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert f'"{container[probe]["httpGet"]["path"]}"' in routes
        assert container[probe]["httpGet"]["port"] == container["ports"][0]["containerPort"]
    sources = [ROOT / "src/config.rs", *(ROOT / "src/config").iterdir()]
    flags = "".join(source.read_text(encoding="utf-8") for source in sources)
    for flag in container["args"]:
        if flag.startswith("--"):
            assert re.search(rf"\bpub {flag.strip('-').replace('-', '_')}:", flags), flag


def test_ray() -> None:
    job = load("ray/rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        check(group["template"]["spec"])
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
    command = shlex.split(job["spec"]["entrypoint"])
    source = (ROOT / "scripts/score_ray.py").read_text(encoding="utf-8")
    flags = {word for word in command if word.startswith("--")}
    assert all(f'"{flag}"' in source for flag in flags)
    threads = int(command[command.index("--threads") + 1])
    for group in cluster["workerGroupSpecs"]:
        (worker,) = group["template"]["spec"]["containers"]
        assert int(worker["resources"]["limits"]["cpu"]) % threads == 0
