"""The configuration of a training run: one TOML file, one frozen dataclass per table."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasnif_train import data
from tasnif_train.data import Article, Pair, Sampling


@dataclass(frozen=True)
class Extra:
    """A public set beside the annotated articles, `per_epoch` texts of it each epoch, each `repeat` times.

    `topics` maps its categories to labels of the taxonomy; without it the set is one of stance. `exclusive` are labels
    that a text of another category does not have. Texts in `excluded_languages` are left out.
    """

    name: str
    per_epoch: int
    repeat: int = 1
    topics: dict[str, list[str]] | None = None
    exclusive: tuple[str, ...] = ()
    excluded_languages: tuple[str, ...] = ()

    def read(self, folder: Path, holdout_percent: int) -> tuple[list[Article], list[Article]]:
        """(training, held out); sets of topics are trained on whole."""
        articles = data.read_public(data.find(folder, self.name), self.topics, self.exclusive)
        articles = [a for a in articles if a.lang not in self.excluded_languages]
        return data.split_claims(articles, holdout_percent) if self.topics is None else (articles, [])


@dataclass(frozen=True)
class SequenceConfig:
    """Lengths in tokens; a bundle carries the same numbers."""

    prefix: str = "query: "
    tokens: int = 256
    target_tokens: int = 64
    overlap: int = 32
    template: str = "pair"
    """The layout, `pair` or `shared`; see tasnif_train/sequence.py."""

    def __post_init__(self) -> None:
        if self.template not in ("pair", "shared"):
            raise ValueError(f"template {self.template!r}: pair or shared")


@dataclass(frozen=True)
class Optim:
    """Learning rates are those of the top layer (`lr`) and of the heads; `warmup` is a share of the run."""

    batch: int = 16
    lr: float = 1.5e-4
    head_lr: float = 1e-3
    layer_decay: float = 0.9
    weight_decay: float = 0.01
    warmup: float = 0.05
    clip: float = 1.0
    dropout: float = 0.1
    frozen_layers: int = 0
    topic_weight: float = 10.0
    stance_weight: float = 1.0
    unrelated_weight: float = 1.0
    epochs: float = 5.0
    seed: int = 13


@dataclass(frozen=True)
class Config:
    """One shipped model: its identity, its data and its recipe."""

    name: str
    version: str
    description: str
    license: str
    base: str
    annotated: str
    reported: str = ""
    """Annotated articles for the report alone: read here to keep their texts out of every other set."""
    holdout_percent: int = 10
    excluded_sources: tuple[str, ...] = ()
    written: str = ""
    """Annotated articles of our own, a file of this repository beside the configuration's folder."""
    written_repeat: int = 1
    labelled: str = ""
    """Labels of our own for texts of the public sets; see data.read_labelled."""
    targets: str = ""
    """Further targets of our own for the annotated articles: `{id, stance[]}` as in these."""
    sequence: SequenceConfig = field(default_factory=SequenceConfig)
    sampling: Sampling = field(default_factory=Sampling)
    optim: Optim = field(default_factory=Optim)
    extra: tuple[Extra, ...] = ()


def parse(table: dict[str, Any]) -> Config:
    """Unknown keys are errors: a misspelt option must not pass for its default."""
    table = dict(table)
    nested: dict[str, Any] = {
        "excluded_sources": tuple(table.pop("excluded_sources", ())),
        "sequence": SequenceConfig(**table.pop("sequence", {})),
        "sampling": Sampling(**table.pop("sampling", {})),
        "optim": Optim(**table.pop("optim", {})),
        "extra": tuple(parse_extra(entry) for entry in table.pop("extra", [])),
    }
    return Config(**table, **nested)


def parse_extra(entry: dict[str, Any]) -> Extra:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Extra(**fields)


def load(path: Path) -> Config:
    return parse(tomllib.loads(path.read_text(encoding="utf-8")))


def read_split(config: Config, folder: Path) -> tuple[list[Article], list[Article]]:
    """(training, held out): the annotated articles under `folder` that the configuration takes."""
    annotated = data.read_annotated(data.find(folder, config.annotated), config.excluded_sources)
    return data.split(annotated, config.holdout_percent)


def read_labelled(config: Config, path: Path, folder: Path) -> list[Article]:
    """The texts of public sets under `folder` that the configuration at `path` has labels for."""
    return data.read_labelled(path.parent.parent / config.labelled, folder) if config.labelled else []


def read_written(config: Config, path: Path) -> list[Article]:
    """The articles that the configuration at `path` adds to the annotated ones."""
    return data.read_annotated(path.parent.parent / config.written) if config.written else []


def read_targets(config: Config, path: Path) -> dict[str, tuple[Pair, ...]]:
    """By article, the targets that the configuration at `path` adds to the annotated ones."""
    rows = data.read_jsonl(path.parent.parent / config.targets) if config.targets else ()
    return {row["id"]: data.parse_pairs(row) for row in rows}
