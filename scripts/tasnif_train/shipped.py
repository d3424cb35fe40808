"""A bundle as it ships, run in torch: dequantised weights, calibrated scores, golden.jsonl."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel

from tasnif_train import bundle
from tasnif_train.calibration import StanceCalibration, TopicCalibration, of_manifest, pool_stance, pool_topics
from tasnif_train.data import STANCES
from tasnif_train.evaluation import Answer, Request
from tasnif_train.model import Classifier
from tasnif_train.predict import Question, layout_of, predict
from tasnif_train.sequence import Layout


def load_model(folder: Path) -> Classifier:
    """The classifier of a bundle, in f32."""
    tensors = {name: torch.from_numpy(value) for name, value in bundle.read_tensors(folder).items()}
    config = AutoConfig.from_pretrained(folder)
    trunk = AutoModel.from_config(config, add_pooling_layer=False, attn_implementation="sdpa")
    model = Classifier(trunk, config.hidden_size, len(tensors["topics.bias"]))
    heads = ("topics.", "stance.")
    state = {k if k.startswith(heads) else f"trunk.{k}": v for k, v in tensors.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    missing = [m for m in missing if not m.endswith(("position_ids", "token_type_ids"))]
    if missing or unexpected:
        raise ValueError(f"{folder}: missing {missing}, unexpected {unexpected}")
    return model.eval()


@dataclass(frozen=True)
class Shipped:
    """Everything that an answer needs."""

    model: Classifier
    tokenizer: Tokenizer
    manifest: bundle.Manifest
    layout: Layout
    topics: TopicCalibration
    stance: StanceCalibration

    @staticmethod
    def load(folder: Path, manifest: bundle.Manifest | None = None) -> Shipped:
        """`manifest` stands in for tasnif.toml while a bundle is being written."""
        manifest = manifest or bundle.read_manifest(folder)
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        layout = layout_of(tokenizer, manifest.sequence)
        return Shipped(load_model(folder), tokenizer, manifest, layout, *of_manifest(manifest))

    def classify(self, requests: Sequence[Request]) -> list[Answer]:
        """Calibrated answers, as the service gives them."""
        questions = [Question(r.text, target) for r in requests for target in ("", *r.targets)]
        windowed = iter(predict(self.model, self.tokenizer, self.layout, questions))
        answers = []
        for request in requests:
            main, *targeted = [next(windowed) for _ in range(1 + len(request.targets))]
            scores = self.topics.apply(pool_topics(main.topics))
            answers.append(
                Answer(
                    {
                        label.id: (float(score), bool(score >= label.threshold))
                        for label, score in zip(self.manifest.labels, scores, strict=True)
                    },
                    [pool_stance(a.stance, a.tokens, self.stance).tolist() for a in targeted or [main]],
                )
            )
        return answers


def write_golden(folder: Path, shipped: Shipped, articles: Sequence[tuple[str, Sequence[str]]]) -> None:
    """golden.jsonl: what the loader must reproduce before it serves. Without targets, the main subject's stance."""
    lines = []
    for text, targets in articles:
        for target in targets or [""]:
            parts = shipped.tokenizer.encode_batch([text, target], add_special_tokens=False)
            if len(parts[0].ids) > shipped.layout.room(parts[1].ids):
                raise ValueError(f"longer than one window: {text[:40]}…")
        # One article a call: padding beside a longer one moves the last digits.
        (answer,) = shipped.classify([Request("", text, tuple(targets))])
        line = {
            "article": {"text": text, "targets": list(targets)} if targets else {"text": text},
            "topics": {label: round(score, 6) for label, (score, _) in answer.topics.items()},
            "stance": [{name: round(p, 6) for name, p in zip(STANCES, row, strict=True)} for row in answer.stance],
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    (folder / "golden.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def rewrite_golden(folder: Path, manifest: bundle.Manifest) -> None:
    """The articles of golden.jsonl again, under the calibration of `manifest`."""
    lines = (folder / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    articles = [json.loads(line)["article"] for line in lines]
    write_golden(folder, Shipped.load(folder, manifest), [(a["text"], a.get("targets", [])) for a in articles])
