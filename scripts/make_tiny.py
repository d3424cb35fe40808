#!/usr/bin/env python3
"""Make what the Rust tests compare themselves with: a tiny random bundle and golden tensors from torch.

- models/tiny: a complete bundle in the compact form (4-bit embeddings, int8 layers, an f16 position table), with a
  Unigram tokenizer of its own, three topics and a golden.jsonl. Its answers mean nothing.
- tests/data/encoder/{bert,xlm_roberta}: random Hugging Face models in f32, and golden.safetensors with the hidden
  states of the embeddings and of each layer for sequences of several lengths, with and without branches.
- tests/data/shared/golden.jsonl: what models/tiny answers under the template "shared", with the raw logits.
- tests/data/tokenizer/golden.jsonl: texts that are hard to tokenize, with ids and character offsets from the
  tokenizers library, for models/tiny and, where it is there, models/default.

    scripts/make_tiny.py            # from the repository's root; needs torch and transformers

Seeds are fixed; weights are random with a spread wide enough that an error anywhere shows in the output.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel, PreTrainedModel, XLMRobertaConfig, XLMRobertaModel

from tasnif_train import bundle, q4, tokenizer
from tasnif_train.calibration import pool_stance, pool_topics
from tasnif_train.config import SequenceConfig
from tasnif_train.data import STANCES
from tasnif_train.sequence import BOS, EOS
from tasnif_train.shipped import Shipped, write_golden

PIECES = 640
LENGTHS = (1, 2, 3, 7, 16, 33, 40, 64)
"""Of the golden sequences; the last is the longest that the encoders take."""
BRANCHED = ((1, (1,)), (16, (2, 15, 17, 1)), (33, (7, 7)), (40, (2, 24, 3)))
"""Of the golden sequences with branches: the trunk's and the branches'. 40 + 24 positions are all that there are."""

LABELS = (
    bundle.Label(
        "politics", {"en": "Politics and government", "ar": "السياسة والحكومة"}, ("medtop:11000000",), 0.45, 1.1, -0.2
    ),
    bundle.Label("sport", {"en": "Sport", "ar": "الرياضة"}, ("medtop:15000000",), 0.5, 0.9, 0.1),
    bundle.Label(
        "cybersecurity",
        {"en": "Cybersecurity", "ar": "الأمن السيبراني"},
        ("medtop:20000086", "medtop:20001361"),
        0.41,
        1.02,
        -0.1,
    ),
)
GOLDEN_ARTICLES = (
    ("أعلنت وزارة الخارجية أن المحادثات حول الأمن السيبراني مستمرة بين البلدين.", ()),
    ("Oil prices rose on world markets after the decision to cut production.", ("the decision", "oil")),
    ("Сборная победила соперника со счётом два один в финальном матче. 国家队在决赛中获胜。", ("Сборная",)),
)
HARD_TEXTS = (
    "Hello world",
    "  leading, trailing and   repeated   spaces  ",
    "الْأَمْنُ السَّيْبَرَانِيُّ",
    "كتاب جميل ـ مدينة ـــ طويلة",
    "👩‍👩‍👧‍👦 family 👍🏽 flag 🇸🇾 heart ❤️",
    "外交部表示，两国关于网络安全的会谈仍在继续。",
    "قال Biden إن NATO ستناقش 3.5% من الناتج",
    "one\r\ntwo\rthree\nfour\tfive",
    "nul\u0000inside",
    "\u0301lone \u064e marks \u0654",
    "ﬁne oﬃce ﷺ ﻻ ﻷ ½ ② ㎏",
    "Ｆｕｌｌｗｉｄｔｈ　１２３",
    "e\u0301 é ö o\u0308",
    "zero\u200bwidth\u200cnon\u200djoiner\ufeffbom\u00adsoft",
    "می‌خواهم کتاب‌ها را",
    "Ελληνικά ქართული አማርኛ हिन्दी ไทย",
    "a" * 40,
    "▁ underscore ▁▁",
    "<s> </s> <unk> <pad> <mask>",
    "\u202eright to left\u202c \u2066isolate\u2069",
    "",
    " ",
    "\n",
)


SHARED_ARTICLES = (
    *GOLDEN_ARTICLES,
    (GOLDEN_ARTICLES[0][0], ("الأمن السيبراني", "the decision", "国家队", "وزارة الخارجية", "oil")),
)


def random_like(shape: tuple[int, ...], std: float, rng: np.random.Generator) -> np.ndarray:
    return (rng.standard_normal(shape) * std).astype(np.float32)


def randomise(model: PreTrainedModel, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Fresh weights for every parameter: matrices that mix well, LayerNorms that are not the identity."""
    tensors = {}
    for name, parameter in model.named_parameters():
        shape = tuple(parameter.shape)
        if name.endswith("LayerNorm.weight"):
            value = 1.0 + random_like(shape, 0.2, rng)
        elif len(shape) == 2:
            value = random_like(shape, 0.3 if "embeddings" in name else 1.2 / shape[1] ** 0.5, rng)
        else:
            value = random_like(shape, 0.1, rng)
        tensors[name] = value.astype(np.float32)
        with torch.no_grad():
            parameter.copy_(torch.from_numpy(tensors[name]))
    return tensors


def branched_states(
    model: torch.nn.Module, trunk: list[int], branches: list[list[int]], first_position: int = 0
) -> list[torch.Tensor]:
    """Hidden states of each layer for a trunk and its branches, one behind the other, by an explicit mask.

    The trunk is seen by all, a branch by itself; positions of every branch go on where the trunk ends.
    """
    parts = [trunk, *branches]
    part = torch.tensor([i for i, ids in enumerate(parts) for _ in ids])
    visible = (part[None, :] == 0) | (part[None, :] == part[:, None])
    mask = torch.zeros(visible.shape).masked_fill(~visible, torch.finfo(torch.float32).min)
    starts = [0, *(len(trunk) for _ in branches)]
    positions = [first_position + start + i for start, ids in zip(starts, parts, strict=True) for i in range(len(ids))]
    with torch.inference_mode():
        output = model(
            input_ids=torch.tensor([[i for ids in parts for i in ids]]),
            attention_mask=mask[None, None],
            position_ids=torch.tensor([positions]),
            output_hidden_states=True,
        )
    return [state[0] for state in output.hidden_states]


def rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]


def make_shared_golden(path: Path, shipped: Shipped) -> None:
    """golden.jsonl of the bundle under the template "shared", and beside each answer its raw logits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    model = shipped.model
    lines = []
    for text, targets in SHARED_ARTICLES:
        window, *named = (e.ids for e in shipped.tokenizer.encode_batch([text, *targets], add_special_tokens=False))
        head = [BOS, *shipped.layout.prefix]
        trunk = [*head, *window, EOS]
        branches = [[EOS, *target, EOS] for target in named or [[]]]
        states = branched_states(model.trunk, trunk, branches)[-1]
        pooled = states[len(head) : len(trunk) - 1].mean(0)
        behind = states[len(trunk) :].split([len(branch) for branch in branches])
        with torch.inference_mode():
            topics = model.topics(pooled).numpy()
            stance = [model.stance(torch.cat([branch.mean(0), pooled])).numpy() for branch in behind]
        scores = shipped.topics.apply(pool_topics(topics[None]))
        pairs = [pool_stance(row[None], np.array([len(window)]), shipped.stance) for row in stance]
        line = {
            "article": {"text": text, "targets": list(targets)} if targets else {"text": text},
            "topics": dict(zip((label.id for label in shipped.manifest.labels), rounded(scores), strict=True)),
            "stance": [dict(zip(STANCES, rounded(row), strict=True)) for row in pairs],
            "logits": {"topics": rounded(topics), "stance": [rounded(row) for row in stance]},
        }
        lines.append(json.dumps(line, ensure_ascii=False))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def make_bundle(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    corpus = Path(tokenizer.__file__).with_name("tiny_corpus.txt").read_text(encoding="utf-8").splitlines()
    pieces, charsmap = tokenizer.train_unigram(corpus, PIECES)
    contents = tokenizer.dumps(tokenizer.build(pieces, charsmap))
    (folder / "tokenizer.json").write_text(contents, encoding="utf-8")
    config: dict[str, Any] = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_act": "gelu",
        "hidden_size": 64,
        "intermediate_size": 128,
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": 512,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "pad_token_id": 0,
        "type_vocab_size": 2,
        "vocab_size": len(pieces),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    tensors = randomise(BertModel(BertConfig(**config), add_pooling_layer=False), rng)
    words = tensors.pop(bundle.WORDS)
    encoder = bundle.compact(tensors)
    position = "embeddings.position_embeddings.weight"
    encoder[position] = encoder[position].astype(np.float16)
    hidden = config["hidden_size"]
    heads = {
        "topics.weight": random_like((len(LABELS), hidden), 0.3, rng),
        "topics.bias": random_like((len(LABELS),), 0.3, rng),
        "stance.weight": random_like((4, 2 * hidden), 0.2, rng),
        "stance.bias": random_like((4,), 0.2, rng),
    }
    bundle.write_tensors(folder / "embeddings.safetensors", {f"{bundle.WORDS}.q4_0": q4.pack(words)})
    bundle.write_tensors(folder / "encoder.safetensors", encoder)
    bundle.write_tensors(folder / "heads.safetensors", heads)
    manifest = bundle.Manifest(
        name="tiny",
        version="1.0.0",
        description="random weights, for tests: its answers mean nothing",
        license="MIT OR Apache-2.0",
        base="none",
        languages=(),
        labels=LABELS,
        # Half the default's window: a test gets several windows out of a short text.
        sequence=SequenceConfig(tokens=128, overlap=16, target_tokens=32),
        temperature=1.2,
        stance_bias=(0.1, -0.1, 0.05, 0.0),
        training=(bundle.Source("none (random)", "MIT OR Apache-2.0", 0),),
    )
    write_golden(folder, Shipped.load(folder, manifest), GOLDEN_ARTICLES)
    bundle.write_manifest(folder, manifest)
    (folder / "README.md").write_text(
        "# tiny\n\nA random model in the bundle format, made by `scripts/make_tiny.py` for the tests. "
        "Its answers mean nothing.\n"
    )


def make_encoder(folder: Path, kind: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng({"bert": 2, "xlm_roberta": 3}[kind])
    common: dict[str, Any] = {
        "vocab_size": 120,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "hidden_act": "gelu",
    }
    model: PreTrainedModel
    if kind == "bert":
        model = BertModel(
            BertConfig(**common, max_position_embeddings=LENGTHS[-1], type_vocab_size=2), add_pooling_layer=False
        )
    else:
        # Positions begin at pad_token_id + 1 = 2, so the table is longer by two than the longest sequence.
        model = XLMRobertaModel(
            XLMRobertaConfig(
                **common,
                max_position_embeddings=LENGTHS[-1] + 2,
                type_vocab_size=1,
                pad_token_id=1,
                layer_norm_eps=1e-5,
            ),
            add_pooling_layer=False,
        )
    bundle.write_tensors(folder / "model.safetensors", randomise(model, rng), {"format": "pt"})
    (folder / "config.json").write_text(model.config.to_json_string())
    golden: dict[str, np.ndarray] = {}
    model.eval()
    for i, length in enumerate(LENGTHS):
        ids = rng.integers(4, common["vocab_size"], (1, length))
        ids[0, 0] = 0
        with torch.inference_mode():
            states = model(input_ids=torch.from_numpy(ids), output_hidden_states=True).hidden_states
        golden[f"seq{i}.input_ids"] = ids[0].astype(np.int64)
        for layer, state in enumerate(states):
            golden[f"seq{i}.hidden.{layer}"] = state[0].numpy().copy()
    for i, (length, branches) in enumerate(BRANCHED):
        trunk, *rest = (rng.integers(4, common["vocab_size"], n).tolist() for n in (length, *branches))
        states = branched_states(model, trunk, rest, first_position=0 if kind == "bert" else 2)
        for j, ids in enumerate([trunk, *rest]):
            golden[f"branched{i}.input_ids.{j}"] = np.array(ids, dtype=np.int64)
        for layer, state in enumerate(states):
            golden[f"branched{i}.hidden.{layer}"] = state.numpy().copy()
    bundle.write_tensors(folder / "golden.safetensors", golden)


def make_tokenizer_golden(path: Path, bundles: dict[str, Path]) -> None:
    """One line a text and tokenizer; ids without special tokens, offsets in characters of the text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, folder in bundles.items():
        if not (folder / "tokenizer.json").exists():
            continue
        loaded = Tokenizer.from_file(str(folder / "tokenizer.json"))
        for text in HARD_TEXTS:
            encoded = loaded.encode(text, add_special_tokens=False)
            entry = {"tokenizer": name, "text": text, "ids": encoded.ids, "offsets": encoded.offsets}
            lines.append(json.dumps(entry, ensure_ascii=False, separators=(",", ":")))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = Path(__file__).resolve().parent.parent
    parser.add_argument("--root", type=Path, default=root, help="the repository (default: where this script stands)")
    args = parser.parse_args()
    torch.manual_seed(0)
    tiny, default = args.root / "models/tiny", args.root / "models/default"
    make_bundle(tiny)
    make_shared_golden(args.root / "tests/data/shared/golden.jsonl", Shipped.load(tiny))
    for kind in ("bert", "xlm_roberta"):
        make_encoder(args.root / "tests/data/encoder" / kind, kind)
    make_tokenizer_golden(args.root / "tests/data/tokenizer/golden.jsonl", {"tiny": tiny, "default": default})
    return 0


if __name__ == "__main__":
    sys.exit(main())
