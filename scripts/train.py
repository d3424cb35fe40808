#!/usr/bin/env python3
"""Fine-tune the shared trunk and both heads (topics, stance) on the annotated articles.

Every pass over an article is one sequence that carries both losses (tasnif_train/sequence.py has the layouts). Its
targets are empty (the main subject), the article's own, or foreign (then the stance is `unrelated`). The word
embeddings stay frozen. About 10 % of the articles, chosen by a hash of their id, are never trained on:
scripts/calibrate.py fits thresholds and calibration there.

The length of a run is the configuration's `epochs`, or a budget of wall-clock minutes: the learning rate then
falls to zero as the minutes run out. A run that is stopped goes on with --resume.

    scripts/train.py --data ../shared/data --taxonomy ../shared/taxonomy/topics.toml --base base --out runs/default
    scripts/train.py ... --minutes 80 --resume
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from tasnif_train import config as configuration
from tasnif_train import corpus, data
from tasnif_train.model import freeze, from_base, set_topic_prior
from tasnif_train.shipped import load_model
from tasnif_train.trainer import Trainer

log = logging.getLogger("train")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "configs/default.toml")
    parser.add_argument("--data", type=Path, required=True, help="directory with the JSONL files (.xz or not)")
    parser.add_argument("--taxonomy", type=Path, required=True, help="topics.toml: ids, names and codes")
    parser.add_argument("--base", type=Path, default=Path("base"), help="what fetch_base.py wrote")
    parser.add_argument("--out", type=Path, default=Path("runs/default"), help="checkpoints go here")
    parser.add_argument("--minutes", type=float, help="wall-clock budget instead of the configured epochs")
    parser.add_argument(
        "--init", type=Path, help="begin from the weights of this checkpoint or bundle, with a fresh optimizer"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's choice)")
    parser.add_argument(
        "--precision",
        choices=["auto", "f32", "bf16"],
        default="auto",
        help="of the trunk's products; auto: bf16 where the CPU has AMX or the GPU has bf16, else f32",
    )
    parser.add_argument("--checkpoint-seconds", type=float, default=180.0)
    parser.add_argument("--evaluations", type=int, default=5, help="evaluations over the run")
    parser.add_argument("--evaluation-articles", type=int, help="look at so many held-out articles only: faster")
    return parser.parse_args()


def initial_weights(source: Path) -> dict[str, torch.Tensor]:
    """Of a checkpoint, or of a bundle's folder (its int8 layers, as f32)."""
    if source.is_dir():
        return dict(load_model(source).state_dict())
    weights: dict[str, torch.Tensor] = torch.load(source, map_location="cpu", weights_only=True)["model"]
    return weights


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 is faster than f32 here: on CPUs, only the matrix units make it so."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "amx_bf16" in cpuinfo.read_text()


def main() -> int:
    args = parse_arguments()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if args.threads:
        torch.set_num_threads(args.threads)
    config = configuration.load(args.config)
    random.seed(config.optim.seed)
    np.random.seed(config.optim.seed)
    torch.manual_seed(config.optim.seed)

    labels = [topic.id for topic in data.read_taxonomy(args.taxonomy)]
    learned = corpus.read(config, args.config, args.data, labels)
    log.info("%d articles to train on, %d held out", len(learned.training), len(learned.held_out))

    model = from_base(args.base, len(labels), config.optim.dropout)
    freeze(model, config.optim.frozen_layers)
    positives = [sum(label in a.topics for a in learned.training) for label in labels]
    set_topic_prior(model, [count / len(learned.training) for count in positives])
    if args.init:
        model.load_state_dict(initial_weights(args.init), strict=False)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainer = Trainer(
        config,
        model,
        Tokenizer.from_file(str(args.base / "tokenizer.json")),
        replace(learned, held_out=learned.held_out[: args.evaluation_articles]),
        args.out,
        device,
        args.minutes,
        args.precision == "bf16" or (args.precision == "auto" and has_bf16(device)),
    )
    if args.resume and trainer.resume():
        log.info("going on from step %d", trainer.progress.step)
    trainer.run(args.checkpoint_seconds, args.evaluations)
    return 0


if __name__ == "__main__":
    sys.exit(main())
