#!/usr/bin/env python3
"""Fine-tune a Hugging Face encoder on labels of one's own, into a bundle that is served.

Takes a JSONL or CSV file of texts with labels; one label a text, or many ("a;b" or a list). A part is held out:
calibration and thresholds are fitted on it, and the card says how good the model is there. What comes out is an
ordinary …ForSequenceClassification with a tasnif.toml, a self-test and a card beside it.

    scripts/finetune.py labelled.jsonl --out models/desk
    scripts/finetune.py labelled.csv --text-field body --label-field section --base FacebookAI/xlm-roberta-base \\
        --out models/desk

On a CPU: a base the size of multilingual-e5-small reads about 1,000 tokens a second on two cores.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from tasnif_train import classifier, fitting, labelled, tool, topic_bundle
from tasnif_train.bundle import Label, Source
from tasnif_train.classifier import Classifier, Reader
from tasnif_train.labelled import Labelled
from tasnif_train.progress import progress
from tasnif_train.sequence import windows
from tasnif_train.topic_bundle import BundleError, TopicManifest

log = logging.getLogger("finetune")

BASE = "base"
LEAST = 5
"""Texts a label; as many as there are parts, so that one of them is held out."""
STEPS = 300
EPOCHS = (3, 20)
"""Without --epochs: as many passes as make about STEPS steps, within these bounds."""
WARMUP = 0.1
NEW_LAYERS = 10.0
"""How many times the learning rate those layers get that begin at random."""
USUAL_TOKENS = 256

MADE = """\
Fine-tuned by `scripts/finetune.py`: {epochs} passes over {texts} texts in steps of {batch}, learning rate
{lr:g}{frozen}, windows of {tokens} tokens, seed {seed}. It loads in transformers as an ordinary
`AutoModelForSequenceClassification`; tasnif adds the calibration and the thresholds of `tasnif.toml`."""

MEASURED = """\
On {texts} texts that were held out of training. Calibration and thresholds are cross-validated: fitted on one half of
them, measured on the other; what is in `tasnif.toml` is fitted on all of them."""


@dataclass(frozen=True)
class Recipe:
    """How to train."""

    epochs: int
    batch: int
    lr: float
    freeze_embeddings: bool
    seed: int


def describe(base: str) -> tuple[str, str]:
    """The name of a base, and the prefix that it was pretrained with."""
    folder = Path(base)
    if (folder / "word_embeddings.q4_0").exists():
        # What fetch_base.py leaves beside the weights; its directory has no name of its own.
        name = "intfloat/multilingual-e5-small"
    else:
        name = folder.resolve().name if folder.is_dir() else base
    return name, "query: " if re.search(r"\be5\b", Path(name).name) else ""


def load_base(base: str, data: Labelled) -> tuple[Any, set[str]]:
    """The base under a fresh head, and the names of the layers that begin at random."""
    if Path(base).is_dir():
        classifier.check_safetensors(Path(base))
    model, fresh = classifier.load_model(
        base,
        num_labels=len(data.labels),
        id2label=dict(enumerate(data.labels)),
        label2id={label: i for i, label in enumerate(data.labels)},
        problem_type="multi_label_classification" if data.multi else "single_label_classification",
        ignore_mismatched_sizes=True,
    )
    if lost := sorted(name for name in fresh if re.search(r"\.layers?\.|embeddings\.", name)):
        raise BundleError(f"{base}: the weights lack {lost[0]} and {len(lost) - 1} more; this is not a whole encoder")
    return model, fresh


def optimizer_of(model: Any, fresh: set[str], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW; matrices decay, and what begins at random learns faster."""
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = recipe.lr * (NEW_LAYERS if name in fresh else 1.0)
            groups.setdefault((rate, 0.01 if parameter.ndim > 1 else 0.0), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": members, "lr": rate, "weight_decay": decay} for (rate, decay), members in groups.items()]
    )


def batches(lengths: Sequence[int], size: int, rng: random.Random) -> Iterator[list[int]]:
    """Texts of like length together, in random order; jittered, so that the same don't meet in every pass."""
    order = sorted(range(len(lengths)), key=lambda i: lengths[i] * rng.uniform(0.8, 1.2))
    cut = [order[i : i + size] for i in range(0, len(order), size)]
    rng.shuffle(cut)
    yield from cut


def train(model: Any, fresh: set[str], reader: Reader, data: Labelled, rows: Sequence[int], recipe: Recipe) -> None:
    """A long text gives one of its windows a pass: the first, or as often any other."""
    rng = random.Random(recipe.seed)
    texts = reader.text_ids([data.rows[i].text for i in rows])
    cut = [windows(ids, reader.room, reader.overlap) for ids in texts]
    truth = torch.from_numpy(data.truth(rows).astype(np.float32))
    if recipe.freeze_embeddings:
        model.base_model.embeddings.requires_grad_(False)
    optimizer = optimizer_of(model, fresh, recipe)
    total = recipe.epochs * -(-len(rows) // recipe.batch)
    warmup = max(1, round(WARMUP * total))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, max(0.0, (total - step) / (total - warmup + 1)))
    )
    parameters = [p for p in model.parameters() if p.requires_grad]
    pad = classifier.pad_id(model.config)
    model.train()
    mean = float("nan")
    with tqdm(total=total, desc="training", unit="step", dynamic_ncols=True) as bar:
        for _ in range(recipe.epochs):
            chosen = [pieces[0] if rng.random() < 0.5 else rng.choice(pieces) for pieces in cut]
            for members in batches([len(ids) for ids in chosen], recipe.batch, rng):
                ids, mask = classifier.collate([reader.sequence(chosen[i]).ids for i in members], pad)
                wanted = truth[members] if data.multi else truth[members].argmax(dim=1)
                device = model.device
                loss = model(input_ids=ids.to(device), attention_mask=mask.to(device), labels=wanted.to(device)).loss
                if not torch.isfinite(loss):
                    raise BundleError("the loss is no number any more; try a lower --lr")
                loss.backward()
                torch.nn.utils.clip_grad_norm_(parameters, 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)
                mean = loss.item() if mean != mean else 0.9 * mean + 0.1 * loss.item()
                bar.set_postfix(loss=f"{mean:.3f}")
                bar.update()


def run(args: argparse.Namespace) -> None:
    topic_bundle.check_out(args.out, args.replace)
    data = labelled.read(args.file, args.text_field, args.label_field, args.multi_label)
    labelled.check(data, max(LEAST, args.held_out))
    part = labelled.folds(data, args.held_out, args.seed)
    training, held_out = np.flatnonzero(part != 0).tolist(), np.flatnonzero(part == 0).tolist()
    if data.repeated:
        log.info("%d texts stand in the file twice and are read once", data.repeated)
    log.info("%d texts to learn from, %d held out; labels: %s", len(training), len(held_out), ", ".join(data.labels))
    random.seed(args.seed)
    torch.manual_seed(args.seed)
    if args.base == BASE and not Path(BASE).exists():
        raise BundleError(f"{BASE} is not here; `scripts/fetch_base.py --out {BASE}` brings it, or name a --base")
    name, prefix = describe(args.base)
    config = classifier.load_config(args.base)
    entry = classifier.input_of(config, args.max_tokens, USUAL_TOKENS, prefix if args.prefix is None else args.prefix)
    per_pass = -(-len(training) // args.batch)
    epochs = args.epochs or min(max(round(STEPS / per_pass), EPOCHS[0]), EPOCHS[1])
    recipe = Recipe(epochs, args.batch, args.lr, args.freeze_embeddings, args.seed)
    description = args.description or f"{name} fine-tuned on {data.source}"

    with topic_bundle.staged(args.out, args.replace) as folder:
        reader = Reader(classifier.write_tokenizer(args.base, folder), entry)
        model, fresh = load_base(args.base, data)
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        train(model, fresh, reader, data, training, recipe)
        # The service computes on the CPU, and so does the self-test.
        model.cpu()
        with classifier.quietly():
            model.save_pretrained(folder)
        # safetensors writes for its owner alone; the service may run as another user.
        for path in folder.glob("*.safetensors"):
            shutil.copymode(folder / "config.json", path)
        trained = Classifier(model, reader)
        texts = [data.rows[i].text for i in held_out]
        with progress("measuring", "window") as tell:
            logits = fitting.pool_all(trained.answer(texts, tell), data.multi)
        truth = data.truth(held_out)
        decision = fitting.fit(logits, truth, data.multi)
        halves = labelled.folds(labelled.subset(data, held_out), 2, args.seed)
        report = fitting.measure(logits, truth, data.labels, data.multi, halves)

        manifest = TopicManifest(
            name=args.out.name,
            version=args.version,
            description=description,
            license=args.license,
            base=name,
            languages=topic_bundle.languages(args.languages),
            input=entry,
            head="classifier",
            multi=data.multi,
            labels=tuple(Label(label, {}) for label in data.labels),
            training=(Source(data.source, args.data_license, len(training)),),
        ).decided(decision)
        candidates = [(data.rows[i].text, data.rows[i].labels) for i in held_out]
        lengths = [len(ids) for ids in reader.text_ids(texts)]
        golden = topic_bundle.golden_texts(candidates, lengths, reader.room)
        topic_bundle.write_golden(folder, trained.golden(golden, data.labels, manifest.decision()))
        made = MADE.format(
            **vars(recipe) | {"frozen": ", embeddings frozen" if recipe.freeze_embeddings else ""},
            texts=len(training),
            tokens=entry.tokens,
        )
        card = topic_bundle.heading(manifest, made)
        card += topic_bundle.quality(report, data.multi, MEASURED.format(texts=len(held_out)))
        (folder / "README.md").write_text("\n".join(card), encoding="utf-8")
        topic_bundle.write_manifest(folder, manifest)
    log.info(
        "wrote %s; held out: %s %.3f, macro-F1 %.3f, ECE %.3f",
        *(args.out, "micro-F1" if data.multi else "accuracy", report["micro_f1"], report["macro_f1"], report["ece"]),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="the labelled texts: .jsonl, .csv or .tsv")
    labelled.add_arguments(parser)
    parser.add_argument("--base", default=BASE, help="an encoder: a directory or an id on the hub (default: base)")
    parser.add_argument(
        "--prefix", help='put before each text (default: "query: " for a base of the e5 family, else nothing)'
    )
    parser.add_argument(
        "--epochs", type=int, help=f"passes over the texts (default: about {STEPS} steps, {EPOCHS[0]} to {EPOCHS[1]})"
    )
    parser.add_argument("--batch", type=int, default=8, help="texts a step (default: 8)")
    parser.add_argument(
        "--lr", type=float, default=5e-5, help="learning rate; fresh layers get ten times it (default: 5e-5)"
    )
    parser.add_argument("--max-tokens", type=int, help=f"a window; longer texts take several (default: {USUAL_TOKENS})")
    parser.add_argument(
        "--freeze-embeddings",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="leave the embeddings as they are: of a multilingual base they are most of the memory and time (default)",
    )
    parser.add_argument("--held-out", type=int, default=5, help="one text in so many is held out (default: 5)")
    parser.add_argument("--seed", type=int, default=13)
    parser.add_argument("--threads", type=int, help="processors to use (default: all)")
    topic_bundle.add_arguments(parser)
    args = parser.parse_args()
    for least, option in ((1, "epochs"), (1, "batch"), (2, "held_out")):
        if (value := getattr(args, option)) is not None and value < least:
            parser.error(f"--{option.replace('_', '-')} {value}: at least {least}")
    return tool.run(args, run)


if __name__ == "__main__":
    sys.exit(main())
