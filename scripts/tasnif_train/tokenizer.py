"""XLM-RoBERTa's tokenizer as a `tokenizer.json`: a Unigram model behind sentencepiece's nmt_nfkc normalisation."""

from __future__ import annotations

import base64
import io
import json
import struct
from collections.abc import Iterable, Iterator
from typing import Any

SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]
MASK = "<mask>"


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def protobuf_fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and payload of each field of a protobuf message.

    sentencepiece ships generated code for this, but it needs the protobuf package: twenty lines are cheaper
    than a dependency.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 0:
            start = at
            _, at = _varint(data, at)
        elif wire in (1, 5):
            start, at = at, at + (8 if wire == 1 else 4)
        elif wire == 2:
            size, start = _varint(data, at)
            at = start + size
        else:
            raise ValueError(f"wire type {wire}")
        yield key >> 3, data[start:at]


def protobuf_field(data: bytes, number: int) -> bytes:
    """The first field of that number."""
    for found, payload in protobuf_fields(data):
        if found == number:
            return payload
    raise KeyError(number)


def train_unigram(sentences: Iterable[str], pieces: int) -> tuple[list[tuple[str, float]], bytes]:
    """Train a small sentencepiece Unigram model; returns pieces (SPECIALS first) and its nmt_nfkc charsmap."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        vocab_size=pieces,
        hard_vocab_limit=False,
        character_coverage=1.0,
        num_threads=1,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    found: list[tuple[str, float]] = [(special, 0.0) for special in SPECIALS]
    for number, payload in protobuf_fields(model.getvalue()):
        if number == 1:
            fields = dict(protobuf_fields(payload))
            piece = fields[1].decode()
            if piece not in SPECIALS:
                found.append((piece, struct.unpack("<f", fields[2])[0]))
    normalizer_spec = protobuf_field(model.getvalue(), 3)
    return found, protobuf_field(normalizer_spec, 2)


def nmt_nfkc_charsmap() -> bytes:
    """The precompiled table of sentencepiece's `nmt_nfkc` rule, out of a throw-away model trained with it."""
    return train_unigram(["a small text to train on", "another small text", "and one more of them"], 24)[1]


def build(pieces: list[tuple[str, float]], charsmap: bytes) -> dict[str, Any]:
    """The contents of tokenizer.json for Unigram pieces whose first four are SPECIALS."""
    if [piece for piece, _ in pieces[:4]] != SPECIALS:
        raise ValueError(f"pieces begin with {pieces[:4]}")
    added = list(enumerate(SPECIALS))
    if pieces[-1][0] == MASK:
        added.append((len(pieces) - 1, MASK))

    def special(token: str) -> dict[str, Any]:
        return {"SpecialToken": {"id": token, "type_id": 0}}

    def sequence(which: str) -> dict[str, Any]:
        return {"Sequence": {"id": which, "type_id": 0}}

    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": token,
                "single_word": False,
                "lstrip": token == MASK,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, token in added
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(charsmap).decode()},
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
            ],
        },
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special("<s>"), sequence("A"), special("</s>")],
            "pair": [
                special("<s>"),
                sequence("A"),
                special("</s>"),
                special("</s>"),
                sequence("B"),
                special("</s>"),
            ],
            "special_tokens": {
                "<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]},
                "</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]},
            },
        },
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
        "model": {
            "type": "Unigram",
            "unk_id": 3,
            "vocab": [[piece, score] for piece, score in pieces],
            "byte_fallback": False,
        },
    }


def dumps(contents: dict[str, Any]) -> str:
    return json.dumps(contents, ensure_ascii=False, separators=(",", ":"))
