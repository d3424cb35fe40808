#!/usr/bin/env python3
"""Turn a training checkpoint into a bundle: compact weights, tokenizer, manifest and self-test.

The word embeddings are the base's own 4-bit blocks, in a file that is the same byte for byte in every bundle made
from this base. Matrices of the layers become int8 with a scale per output channel; the rest stays f32. Calibration
starts as the identity: scripts/calibrate.py fits it on the weights as they were written here, then scripts/card.py
writes the model card.

    scripts/export.py --checkpoint runs/default/checkpoint.pt --base base --data ../shared/data \\
        --taxonomy ../shared/taxonomy/topics.toml --out models/default
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tasnif_train import bundle, corpus, data, q4
from tasnif_train import config as configuration
from tasnif_train.shipped import Shipped, write_golden

log = logging.getLogger("export")

MAX_FILE = 60_000_000
MAX_BUNDLE = 110_000_000

GOLDEN: tuple[tuple[str, Sequence[str]], ...] = (
    (
        "قراصنة يخترقون أنظمة مصرف كبير\nقالت الشرطة إن مجهولين سرقوا بيانات آلاف العملاء بعد هجوم إلكتروني على خوادم "
        "المصرف، وإن خبراء أمن المعلومات يحققون في مصدر البرمجية الخبيثة.",
        (),
    ),
    (
        "Ministers back the new climate plan\nThe environment minister praised the plan to cut emissions by half, "
        "calling it a historic step, and urged parliament to pass the bill before the summer.",
        ("the plan to cut emissions", "the football league"),
    ),
    (
        "Сборная выиграла финал\nНациональная команда по хоккею победила соперников со счётом 3:1 и впервые за десять "
        "лет завоевала золотые медали чемпионата.",
        (),
    ),
)
"""Texts written for the self-test: part of no training set."""


def encoder_tensors(model: dict[str, torch.Tensor], base: Path) -> dict[str, npt.NDArray[np.float32]]:
    """The trunk of a checkpoint by Hugging Face name, without word embeddings; pooler and buffers are not used."""
    trunk = {
        name.removeprefix("trunk."): value.float().cpu().numpy()
        for name, value in model.items()
        if name.startswith("trunk.")
    }
    for name in [n for n in trunk if n.endswith(("position_ids", "token_type_ids", bundle.WORDS))]:
        del trunk[name]
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    if (found := trunk["encoder.layer.0.intermediate.dense.weight"].shape[0]) != config["intermediate_size"]:
        raise ValueError(f"the checkpoint has {found} intermediate units, {base} {config['intermediate_size']}")
    return trunk


def sources(articles: Sequence[data.Article]) -> tuple[bundle.Source, ...]:
    """Articles per source and licence, the largest first."""
    counted = Counter((a.source, a.license) for a in articles)
    return tuple(bundle.Source(source, license_id, n) for (source, license_id), n in counted.most_common())


SHORTER = {
    "arb": "ar",
    "deu": "de",
    "eng": "en",
    "fra": "fr",
    "heb": "he",
    "hin": "hi",
    "ind": "id",
    "pes": "fa",
    "por": "pt",
    "rus": "ru",
    "spa": "es",
    "swh": "sw",
    "tur": "tr",
    "ukr": "uk",
    "urd": "ur",
    "zho": "zh",
}
"""ISO 639-1 for the codes of SIB-200, which are ISO 639-3 with a script."""


def languages(articles: Sequence[data.Article]) -> tuple[str, ...]:
    """Those of the articles, the commonest first."""
    codes = (a.lang.split("_")[0] for a in articles)
    return tuple(lang for lang, _ in Counter(SHORTER.get(code, code) for code in codes).most_common())


def check_sizes(folder: Path) -> int:
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()}
    for name, size in sizes.items():
        if size >= MAX_FILE:
            raise ValueError(f"{name} has {size} bytes, at most {MAX_FILE}")
    if (total := sum(sizes.values())) > MAX_BUNDLE:
        raise ValueError(f"the bundle has {total} bytes, at most {MAX_BUNDLE}")
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "configs/default.toml")
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/default/checkpoint.pt"))
    parser.add_argument("--base", type=Path, default=Path("base"))
    parser.add_argument("--data", type=Path, required=True, help="the training data, for the provenance")
    parser.add_argument("--taxonomy", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("models/default"))
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config = configuration.load(args.config)
    topics = data.read_taxonomy(args.taxonomy)
    training = list(corpus.articles(config, args.config, args.data))
    state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    if state["labels"] != [topic.id for topic in topics]:
        raise ValueError("the checkpoint was trained on other labels than the taxonomy has")

    args.out.mkdir(parents=True, exist_ok=True)
    base_config = json.loads((args.base / "config.json").read_text(encoding="utf-8"))
    raw = np.frombuffer((args.base / "word_embeddings.q4_0").read_bytes(), dtype=np.uint8)
    words = raw.reshape(-1, base_config["hidden_size"] // q4.BLOCK * q4.BLOCK_BYTES)
    heads = {
        name: value.float().cpu().numpy()
        for name, value in state["model"].items()
        if name.startswith(("topics.", "stance."))
    }
    bundle.write_tensors(args.out / "embeddings.safetensors", {f"{bundle.WORDS}.q4_0": words})
    bundle.write_tensors(args.out / "encoder.safetensors", bundle.compact(encoder_tensors(state["model"], args.base)))
    bundle.write_tensors(args.out / "heads.safetensors", heads)
    (args.out / "config.json").write_text(json.dumps(base_config, indent=2) + "\n", encoding="utf-8")
    tokenizer = json.loads((args.base / "tokenizer.json").read_text(encoding="utf-8"))
    compact = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    (args.out / "tokenizer.json").write_text(compact, encoding="utf-8")
    manifest = bundle.Manifest(
        name=config.name,
        version=config.version,
        description=config.description,
        license=config.license,
        base=config.base,
        languages=languages(training),
        labels=tuple(bundle.Label(t.id, t.names, t.iptc) for t in topics),
        sequence=config.sequence,
        training=sources(training),
    )
    write_golden(args.out, Shipped.load(args.out, manifest), GOLDEN)
    bundle.write_manifest(args.out, manifest)
    progress = json.dumps(state["progress"], indent=1) + "\n"
    args.checkpoint.with_name("progress.json").write_text(progress, encoding="utf-8")
    log.info("wrote %s, %d bytes, step %d", args.out, check_sizes(args.out), state["progress"]["step"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
