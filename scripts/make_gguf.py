#!/usr/bin/env python3
"""Make tiny GGUF files, as llama.cpp names and stores a BERT's tensors, with the answers of transformers.

tests/data/gguf/NAME has config.json, model.gguf and golden.jsonl: texts, token ids, logits. The models are two of
tests/data/classifiers, stored anew: xlm_roberta whole, in each format that is read, and bert with its head in
head.safetensors, since llama.cpp has no place for a pooler. The logits are those of the weights as stored.

    scripts/make_gguf.py            # from the repository's root; needs torch, transformers and gguf
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification

from make_classifiers import TEXTS

TYPES = gguf.GGMLQuantizationType
CASES: tuple[tuple[str, str, Any], ...] = (
    ("xlm_roberta_f32", "xlm_roberta", TYPES.F32),
    ("xlm_roberta_f16", "xlm_roberta", TYPES.F16),
    ("xlm_roberta_bf16", "xlm_roberta", TYPES.BF16),
    ("xlm_roberta_q8_0", "xlm_roberta", TYPES.Q8_0),
    ("xlm_roberta_q4_0", "xlm_roberta", TYPES.Q4_0),
    ("bert_q8_0", "bert", TYPES.Q8_0),
)


def make(name: str, source: Path, kind: Any, tokenizer: Tokenizer, out: Path) -> None:
    """Write one model and its answers."""
    target = out / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    shutil.copy(source / "config.json", target)
    model = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float32).eval()
    config = model.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, config.num_hidden_layers)
    skipped = config.pad_token_id + 1 if config.model_type == "xlm-roberta" else 0

    writer = gguf.GGUFWriter(target / "model.gguf", "bert")
    writer.add_name(name)
    writer.add_array("tokenizer.ggml.tokens", [tokenizer.id_to_token(i) for i in range(8)])
    head = {}
    for key, parameter in model.state_dict().items():
        plain = key.removeprefix(f"{model.base_model_prefix}.")
        mapped = (
            None
            if plain.startswith(("pooler.", "classifier.weight", "classifier.bias"))
            else names.get_name(plain, try_suffixes=(".weight", ".bias"))
        )
        if plain.endswith(("position_ids", "token_type_ids")):
            continue
        if mapped is None:
            head[plain] = parameter.contiguous()
            continue
        values = parameter.numpy().astype(np.float32)
        stored = kind if values.ndim > 1 else TYPES.F32
        data = gguf.quantize(values, stored)
        read = gguf.dequantize(data, stored).reshape(values.shape)
        parameter.copy_(torch.from_numpy(read.astype(np.float32)))
        if plain == "embeddings.position_embeddings.weight":
            data = data[skipped:]
        writer.add_tensor(mapped, data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    if head:
        save_file(head, target / "head.safetensors")

    with (target / "golden.jsonl").open("w", encoding="utf-8") as golden:
        for text in TEXTS:
            ids = tokenizer.encode(text).ids
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0]
            row = {"text": text, "ids": ids, "logits": logits.tolist(), "scores": torch.sigmoid(logits).tolist()}
            golden.write(json.dumps(row, ensure_ascii=False) + "\n")


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, default=Path("models/tiny/tokenizer.json"))
    parser.add_argument("--classifiers", type=Path, default=Path("tests/data/classifiers"))
    parser.add_argument("--out", type=Path, default=Path("tests/data/gguf"))
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    for name, source, kind in CASES:
        make(name, args.classifiers / source, kind, tokenizer, args.out)
        print(name)


if __name__ == "__main__":
    main()
