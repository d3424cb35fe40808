"""All that one run learns from, apart from all that the model is measured on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tasnif_train import config as configuration
from tasnif_train import data
from tasnif_train.apart import Shingled
from tasnif_train.config import Config
from tasnif_train.data import Article

log = logging.getLogger("train")


@dataclass(frozen=True)
class Corpus:
    """What a run learns from and is measured on; `extra` holds public sets with how many texts an epoch takes."""

    labels: Sequence[str]
    training: Sequence[Article]
    extra: Sequence[tuple[int, Sequence[Article]]]
    held_out: Sequence[Article]


def read(config: Config, path: Path, folder: Path, labels: Sequence[str]) -> Corpus:
    """What the configuration at `path` names, from the data under `folder`.

    A text of the tuning split, of the reported articles or of the claims held out is left out of every other set, where
    it may stand with another title. A text may stand in several sets that are trained on: with labels of our own, and
    with the claims of its set.
    """
    training, held_out = configuration.read_split(config, folder)
    further = configuration.read_targets(config, path)
    training = [replace(article, pairs=article.pairs + further.get(article.id, ())) for article in training]
    labelled = configuration.read_labelled(config, path, folder)
    sets = [extra.read(folder, config.holdout_percent) for extra in config.extra]
    reported = data.read_annotated(data.find(folder, config.reported)) if config.reported else []
    held_claims = [article for _, held in sets for article in held]
    kept = Shingled(article.text for article in [*held_out, *reported, *held_claims])

    def apart(name: str, articles: Sequence[Article]) -> list[Article]:
        left = kept.without(articles)
        log.info("%s: %d texts, %d of them trained on", name, len(articles), len(left))
        return left

    extra = []
    for each, (articles, _) in zip(config.extra, sets, strict=True):
        extra += [(each.per_epoch, apart(each.name, articles))] * each.repeat
    # What written articles teach is measured on real ones.
    written = configuration.read_written(config, path) * config.written_repeat
    return Corpus(labels, apart("annotated", training) + written + apart("labelled", labelled), extra, held_out)


def articles(config: Config, path: Path, folder: Path) -> Iterator[Article]:
    """The training side of every set that the configuration names, those that `read` leaves out too."""
    yield from configuration.read_split(config, folder)[0]
    yield from configuration.read_written(config, path)
    yield from configuration.read_labelled(config, path, folder)
    for extra in config.extra:
        yield from extra.read(folder, config.holdout_percent)[0]
