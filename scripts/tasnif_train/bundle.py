"""A bundle on disk: compact tensors, the manifest tasnif.toml, and file hashes.

The Rust loader is written against the same description (models/README.md).
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save

from tasnif_train import q4
from tasnif_train.config import SequenceConfig

F32 = npt.NDArray[np.float32]
I8 = npt.NDArray[np.int8]
Tensors = dict[str, npt.NDArray[Any]]

FORMAT = 1
WORDS = "embeddings.word_embeddings.weight"
UNHASHED = ("tasnif.toml", "README.md", "LICENSES.md")


def quantise_rows(weight: F32) -> tuple[I8, F32]:
    """Symmetric int8 with one scale per output channel; -128 stays unused, so that negation is exact."""
    scale = np.abs(weight).max(axis=1) / 127.0
    safe = np.where(scale > 0, scale, 1.0)
    codes = np.clip(np.rint(weight / safe[:, None]), -127, 127).astype(np.int8)
    return codes, scale.astype(np.float32)


def compact(tensors: Mapping[str, F32]) -> Tensors:
    """Matrices of the layers in int8, everything else as it is."""
    packed: Tensors = {}
    for name, value in tensors.items():
        if name.startswith("encoder.layer.") and value.ndim == 2:
            packed[name], packed[f"{name}_scale"] = quantise_rows(value)
        else:
            packed[name] = value
    return packed


def expand(tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, F32]:
    """The f32 tensors that compact ones stand for."""
    plain: dict[str, F32] = {}
    for name, value in tensors.items():
        if name.endswith(".weight_scale"):
            continue
        if name.endswith(".weight.q4_0"):
            plain[name.removesuffix(".q4_0")] = q4.unpack(value, value.shape[1] // q4.BLOCK_BYTES * q4.BLOCK)
        elif value.dtype == np.int8:
            plain[name] = value.astype(np.float32) * tensors[f"{name}_scale"][:, None]
        else:
            plain[name] = value.astype(np.float32)
    return plain


def write_tensors(path: Path, tensors: Mapping[str, npt.NDArray[Any]], metadata: dict[str, str] | None = None) -> None:
    """Names are sorted first, so that the same tensors give the same bytes."""
    ordered = {name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)}
    path.write_bytes(save(ordered, metadata))


def read_tensors(folder: Path) -> dict[str, F32]:
    """All tensors of a bundle, dequantised."""
    merged: Tensors = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, value in load_file(path).items():
            if name in merged:
                raise ValueError(f"{path.name}: {name} stands in another file too")
            merged[name] = value
    return expand(merged)


@dataclass(frozen=True)
class Label:
    """A topic as it ships: names, codes, threshold, and the calibration sigmoid(scale * logit + bias)."""

    id: str
    names: dict[str, str]
    iptc: tuple[str, ...] = ()
    threshold: float = 0.5
    scale: float = 1.0
    bias: float = 0.0


@dataclass(frozen=True)
class Source:
    """Something that the model was trained on."""

    source: str
    license: str
    examples: int


@dataclass(frozen=True)
class Manifest:
    """The contents of tasnif.toml, file hashes aside."""

    name: str
    version: str
    description: str
    license: str
    base: str
    languages: tuple[str, ...]
    labels: tuple[Label, ...]
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    temperature: float = 1.0
    stance_bias: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    training: tuple[Source, ...] = ()


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(value, ensure_ascii=False)


def _texts(values: Iterable[str]) -> str:
    return "[" + ", ".join(_text(v) for v in values) + "]"


def _number(value: float) -> str:
    return repr(round(float(value), 6))


def to_toml(manifest: Manifest, files: Mapping[str, str]) -> str:
    sequence = manifest.sequence
    lines = [f"format = {FORMAT}"]
    for key in ("name", "version", "description", "license", "base"):
        lines.append(f"{key} = {_text(getattr(manifest, key))}")
    lines += [
        f"languages = {_texts(manifest.languages)}",
        *("", "[input]", f"template = {_text(sequence.template)}", f"prefix = {_text(sequence.prefix)}"),
        *("", "[windows]", f"tokens = {sequence.tokens}", f"overlap = {sequence.overlap}"),
        f"target_tokens = {sequence.target_tokens}",
        *("", "[topics]", 'windows = "max"'),
    ]
    for label in manifest.labels:
        names = ", ".join(f"{lang} = {_text(name)}" for lang, name in label.names.items())
        lines += [
            *("", "[[topics.labels]]", f"id = {_text(label.id)}", f"name = {{ {names} }}"),
            *(f"iptc = {_texts(label.iptc)}", f"threshold = {_number(label.threshold)}"),
            f"calibration = {{ scale = {_number(label.scale)}, bias = {_number(label.bias)} }}",
        ]
    bias = ", ".join(_number(b) for b in manifest.stance_bias)
    lines += [
        *("", "[stance]", 'labels = ["favor", "against", "neutral", "unrelated"]'),
        f"calibration = {{ temperature = {_number(manifest.temperature)}, bias = [{bias}] }}",
    ]
    for source in manifest.training:
        lines += ["", "[[training]]", f"source = {_text(source.source)}", f"license = {_text(source.license)}"]
        lines.append(f"examples = {source.examples}")
    lines += ["", "[files]", *(f"{_text(name)} = {_text(digest)}" for name, digest in sorted(files.items()))]
    return "\n".join(lines) + "\n"


def from_toml(text: str) -> Manifest:
    table = tomllib.loads(text)
    if table["format"] != FORMAT:
        raise ValueError(f"format {table['format']}, expected {FORMAT}")
    labels = tuple(
        Label(
            entry["id"],
            entry["name"],
            tuple(entry["iptc"]),
            entry["threshold"],
            entry["calibration"]["scale"],
            entry["calibration"]["bias"],
        )
        for entry in table["topics"]["labels"]
    )
    windows = table["windows"]
    stance = table["stance"]["calibration"]
    return Manifest(
        **{key: table[key] for key in ("name", "version", "description", "license", "base")},
        languages=tuple(table["languages"]),
        labels=labels,
        sequence=SequenceConfig(
            table["input"]["prefix"],
            windows["tokens"],
            windows["target_tokens"],
            windows["overlap"],
            table["input"]["template"],
        ),
        temperature=stance["temperature"],
        stance_bias=tuple(stance["bias"]),
        training=tuple(Source(**entry) for entry in table.get("training", [])),
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write tasnif.toml last: it names the hash of every other file."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file() and path.name not in UNHASHED
    }
    (folder / "tasnif.toml").write_text(to_toml(manifest, files), encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    return from_toml((folder / "tasnif.toml").read_text(encoding="utf-8"))
