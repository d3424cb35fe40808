#!/usr/bin/env python3
"""Make tiny random Hugging Face classifiers, one of each architecture that is served, with their golden answers.

tests/data/classifiers/NAME is what `save_pretrained` writes (config.json, *.safetensors; no tokenizer: all use the one
of models/tiny), and golden.jsonl: texts, the token ids that the tokenizers library makes of them, the logits, and the
scores as the model's `problem_type` wants them. Storage formats are varied on purpose: f32, f16, bf16, and one in
shards.

    scripts/make_classifiers.py            # from the repository's root; needs torch and transformers
"""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    CamembertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ModernBertConfig,
    PretrainedConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

TEXTS = (
    "Oil prices rose.",
    "أعلنت وزارة الخارجية أن المحادثات حول الأمن السيبراني مستمرة بين البلدين.",
    "Сборная победила соперника. 国家队在决赛中获胜。 The decision to cut production follows, and more of the same.",
)
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
POSITIONS = 96


@dataclass(frozen=True)
class Case:
    """One golden classifier."""

    name: str
    config: PretrainedConfig
    labels: tuple[str, ...]
    problem_type: str | None
    dtype: torch.dtype = torch.float32
    shard: str = "1GB"


def cases(vocabulary: int) -> list[Case]:
    """Every architecture, and every problem type twice or more."""
    common: dict[str, Any] = {"vocab_size": vocabulary, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    bert_like = common | SIZE | {"type_vocab_size": 1}
    topics = ("politics", "sport", "economy", "health")
    return [
        Case(
            "bert",
            BertConfig(**(bert_like | {"type_vocab_size": 2}), max_position_embeddings=POSITIONS),
            topics,
            "multi_label_classification",
            shard="20KB",
        ),
        Case(
            "roberta",
            RobertaConfig(**bert_like, max_position_embeddings=POSITIONS + 2),
            ("negative", "positive"),
            "single_label_classification",
        ),
        Case(
            "xlm_roberta",
            XLMRobertaConfig(**bert_like, max_position_embeddings=POSITIONS + 2),
            topics,
            "multi_label_classification",
            torch.float16,
        ),
        Case(
            "camembert",
            CamembertConfig(**bert_like, max_position_embeddings=POSITIONS + 2),
            ("for", "neither", "against"),
            None,
        ),
        Case(
            "distilbert",
            DistilBertConfig(**common, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=POSITIONS),
            topics,
            "single_label_classification",
            torch.bfloat16,
        ),
        Case(
            "deberta_v2",
            DebertaV2Config(
                **(bert_like | {"type_vocab_size": 0}),
                max_position_embeddings=POSITIONS,
                relative_attention=True,
                position_buckets=16,
                norm_rel_ebd="layer_norm",
                share_att_key=True,
                pos_att_type=["p2c", "c2p"],
                position_biased_input=False,
            ),
            topics,
            "multi_label_classification",
        ),
        Case(
            "modernbert",
            ModernBertConfig(
                **(common | SIZE),
                max_position_embeddings=POSITIONS,
                cls_token_id=0,
                sep_token_id=2,
                global_attn_every_n_layers=2,
                local_attention=8,
                classifier_pooling="mean",
            ),
            topics,
            "single_label_classification",
        ),
    ]


def write_model(case: Case, target: Path) -> Any:
    """Write a random classifier; the answer is the model as it is stored, in f32."""
    torch.manual_seed(sum(map(ord, case.name)))
    config = case.config
    config.num_labels = len(case.labels)
    config.id2label = dict(enumerate(case.labels))
    config.label2id = {label: index for index, label in enumerate(case.labels)}
    config.problem_type = case.problem_type
    config._attn_implementation = "eager"
    model = AutoModelForSequenceClassification.from_config(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Wide enough that an error anywhere shows; norms stay near one.
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
            elif "norm" in name.lower() and name.endswith("weight"):
                parameter.normal_(mean=1.0, std=0.1)
            else:
                parameter.normal_(std=0.1)
        # The answers are those of the weights as stored.
        model = model.to(case.dtype).float()

    shutil.rmtree(target, ignore_errors=True)
    stored = AutoModelForSequenceClassification.from_config(config).to(case.dtype)
    stored.load_state_dict(model.state_dict())
    stored.save_pretrained(target, max_shard_size=case.shard)
    return model


def make(case: Case, tokenizer: Tokenizer, out: Path) -> None:
    """Write one classifier and its answers."""
    target = out / case.name
    model = write_model(case, target)
    with (target / "golden.jsonl").open("w", encoding="utf-8") as golden:
        for text in TEXTS:
            ids = tokenizer.encode(text).ids
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0]
            multi = case.problem_type == "multi_label_classification"
            scores = torch.sigmoid(logits) if multi else torch.softmax(logits, -1)
            row = {"text": text, "ids": ids, "logits": logits.tolist(), "scores": scores.tolist()}
            golden.write(json.dumps(row, ensure_ascii=False) + "\n")


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, default=Path("models/tiny/tokenizer.json"))
    parser.add_argument("--out", type=Path, default=Path("tests/data/classifiers"))
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    for case in cases(tokenizer.get_vocab_size()):
        make(case, tokenizer, args.out)
        print(case.name)


if __name__ == "__main__":
    main()
