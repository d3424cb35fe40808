#!/usr/bin/env python3
"""Make tiny random NLI models with the answers of transformers' own zero-shot pipeline.

tests/data/nli/NAME is what `save_pretrained` writes, and golden.jsonl: texts, labels, a hypothesis template, and the
scores with one and with many labels that may be true. `bert` has a WordPiece tokenizer of its own, whose segments have
types; the others use the one of models/tiny.

    scripts/make_nli.py            # from the repository's root; needs torch and transformers
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    DebertaV2Config,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    pipeline,
)

from make_classifiers import SIZE, TEXTS, Case, write_model

POSITIONS = 192
"""A quarter of them is for hypotheses."""
QUESTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("This text is about {}.", ("oil", "sport", "foreign policy")),
    ("الموضوع: {}", ("الأمن السيبراني", "sport", "النفط", "国家队")),
)


def word_pieces(corpus: Path) -> PreTrainedTokenizerFast:
    """A BERT's tokenizer: `[CLS] A [SEP] B [SEP]`, with type 1 from B on."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    lines = [*corpus.read_text(encoding="utf-8").splitlines(), *TEXTS, *(q for q, _ in QUESTIONS)]
    tokenizer.train_from_iterator(lines, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def cases(bert: int, shared: int) -> list[Case]:
    """Three ways and two, in other orders and cases; token types in BERT and DeBERTa."""
    common: dict[str, Any] = {"vocab_size": shared, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    own: dict[str, Any] = {"vocab_size": bert, "pad_token_id": 0}
    return [
        Case(
            "bert",
            BertConfig(**(own | SIZE), type_vocab_size=2, max_position_embeddings=POSITIONS),
            ("CONTRADICTION", "NEUTRAL", "ENTAILMENT"),
            None,
        ),
        Case(
            "xlm_roberta",
            XLMRobertaConfig(**(common | SIZE), type_vocab_size=1, max_position_embeddings=POSITIONS + 2),
            ("entailment", "neutral", "contradiction"),
            None,
        ),
        Case(
            "deberta_v2",
            DebertaV2Config(
                **(own | SIZE),
                type_vocab_size=2,
                max_position_embeddings=POSITIONS,
                relative_attention=True,
                position_buckets=16,
                norm_rel_ebd="layer_norm",
                share_att_key=True,
                pos_att_type=["p2c", "c2p"],
                position_biased_input=False,
            ),
            ("entailment", "not_entailment"),
            None,
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
            ),
            ("not_entailment", "entailment"),
            "single_label_classification",
        ),
    ]


def main() -> None:
    """Write all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", type=Path, default=Path("models/tiny/tokenizer.json"))
    parser.add_argument("--corpus", type=Path, default=Path("scripts/tasnif_train/tiny_corpus.txt"))
    parser.add_argument("--out", type=Path, default=Path("tests/data/nli"))
    args = parser.parse_args()
    typed = word_pieces(args.corpus)
    shared = PreTrainedTokenizerFast(
        tokenizer_file=str(args.tokenizer),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_input_names=["input_ids", "attention_mask"],
    )
    for case in cases(len(typed), len(shared)):
        tokenizer = typed if case.config.vocab_size == len(typed) else shared
        model = write_model(case, args.out / case.name)
        classify = pipeline("zero-shot-classification", model=model, tokenizer=tokenizer)
        with (args.out / case.name / "golden.jsonl").open("w", encoding="utf-8") as golden:
            for text in TEXTS:
                for template, labels in QUESTIONS:
                    row: dict[str, Any] = {"text": text, "template": template, "labels": labels}
                    for name, multi in (("many", True), ("one", False)):
                        said = classify(text, list(labels), hypothesis_template=template, multi_label=multi)
                        scores = dict(zip(said["labels"], said["scores"], strict=True))
                        row[name] = [scores[label] for label in labels]
                    golden.write(json.dumps(row, ensure_ascii=False) + "\n")
        print(case.name)
    (args.out / "word_pieces.json").write_text(typed.backend_tokenizer.to_str(), encoding="utf-8")


if __name__ == "__main__":
    main()
